"""The dual norm with proof: over given patterns, or over all neurons. The only bounds a certificate may use.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `D` (P, n) patterns, `K_i = (2 D_i - 1) Z`, `nu` (n, 1)
dual variable, `tau(nu)` the largest |nu . relu(Z u)| over neurons u of cost |u[:p]| <= 1.

Over one pattern's cone the maximum of s nu . (D_i Z u) is the norm of the projection of the gradient g = s Z^T D_i nu
onto the cone, and for every rho >= 0 the norm |g + K_i^T rho| is an upper bound on it (theory: Mishkin and Pilanci,
ICML 2023, Section 3; Moreau's decomposition). So a non-negative least squares solver only has to find a good rho; it
need not be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from convexrelu.arrays import EPS, Array, frozen, power_of_two, row_norms
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.axes import box_axes
from convexrelu.pricing.bound import bound_dual_norm
from convexrelu.pricing.face_enumeration import bound_over_cones
from convexrelu.pricing.neuron_search import search_neurons
from convexrelu.pricing.parallel_rows import merge_parallel
from convexrelu.pricing.rounding import (
    activation_sizes,
    bias_radius,
    evaluation_slack,
    fewer_tasks,
    reduction_slack,
    resolution_slack,
)
from convexrelu.pricing.task_bound import bound_joint_norm

# Several tasks: up to this rank and number of samples the faces of all cells are the faster proof. Measured against
# boxes, in ms: 3 / 22 for 20 samples of rank 2, 12 / 67 for 100; at rank 3 21 / 18 for 12 samples, 163 / 63 for 40.
FACES_RANK, FACES_SAMPLES = 2, 250


@dataclass(frozen=True, eq=False)
class DualNorm:
    """Bounds on a dual norm.

    Attributes
    ----------
    upper : float
        Proven: never below the maximum over the neurons in `scope`, rounding included.
    lower : float
        The correlation of `neuron`, the best one found.
    neuron : float64 (k,)
        In reduced coordinates; zeros if none has a positive correlation.
    scope : {"global", "patterns"}
        Whether `upper` speaks of every neuron or only of those with the given patterns.
    boxes : int
        What the branch and bound took.
    """

    upper: float
    lower: float
    neuron: Array
    scope: str
    boxes: int = 0

    def times(self, unit: float) -> DualNorm:
        """The bounds on the dual norm of `unit` times the dual variable, rounded outwards."""
        upper = float(np.nextafter(self.upper * unit, np.inf)) if self.upper > 0 else 0.0
        return replace(self, upper=upper, lower=self.lower * unit)


def dual_norm_over_patterns(arrangement: Arrangement, patterns: Patterns, nu: Array) -> DualNorm:
    """Bound tau(nu) over the neurons of the given patterns; global if these are complete.

    Cost: one matrix product over all patterns, and a small non-negative least squares problem for each cone whose
    gradient is longer than the maximum itself.
    """
    unit = power_of_two(nu)  # squares of tiny entries would vanish
    bound = _norm_over_patterns if nu.shape[1] == 1 else _joint_norm_over_patterns
    return bound(arrangement, patterns, nu / unit).times(unit)


def _norm_over_patterns(arrangement: Arrangement, patterns: Patterns, nu: Array) -> DualNorm:
    signed, bounds = gradients_and_bounds(arrangement, patterns, nu)
    radius = bias_radius(arrangement)
    best, at, direction = 0.0, 0.0, np.zeros(arrangement.Z.shape[1])
    # From the loosest bound down: once a projected norm exceeds the next cone's loose bound, the rest cannot matter.
    for index in np.argsort(-bounds, kind="stable"):
        if bounds[index] <= best:
            break
        K = patterns.cone(arrangement.Z, int(index) % len(patterns))
        projected = project(signed[index], K, arrangement.n_penalized, radius)
        bound = min(float(bounds[index]), float(_bound(projected[None], arrangement.n_penalized, radius)[0]))
        if bound > best:
            best, direction = bound, projected
    at, direction = _correlation(arrangement, nu, direction)
    return _over_patterns(arrangement, patterns, nu, best, at, direction)


def _joint_norm_over_patterns(arrangement: Arrangement, patterns: Patterns, nu: Array) -> DualNorm:
    """The same for several tasks, by the faces of the cones."""
    few, lost = fewer_tasks(arrangement, nu)
    if arrangement.n_penalized == 0 or not nu.any():
        return _over_patterns(arrangement, patterns, nu, lost, 0.0, frozen(np.zeros(arrangement.Z.shape[1])))
    bound, found = bound_over_cones(arrangement.Z, few, arrangement.n_penalized, patterns, bias_radius(arrangement))
    found = found or [np.zeros(arrangement.Z.shape[1])]
    at, direction = max((_correlation(arrangement, few, u) for u in found), key=lambda pair: pair[0])
    return _over_patterns(arrangement, patterns, nu, bound + lost, at, direction)


def _over_patterns(
    arrangement: Arrangement, patterns: Patterns, nu: Array, best: float, at: float, direction: Array
) -> DualNorm:
    """A bound over the cones in exact arithmetic with what rounding, and cells too small to see, can add."""
    upper = (best + evaluation_slack(arrangement, nu)) * arrangement.stretch + reduction_slack(arrangement, nu)
    if not patterns.complete:
        return DualNorm(upper, at, direction, "patterns")
    factor, addition = resolution_slack(arrangement, nu, patterns.resolution)
    return DualNorm(upper * factor + addition, at, direction, "global")


def gradients_and_bounds(arrangement: Arrangement, patterns: Patterns, nu: Array) -> tuple[Array, Array]:
    """For each pattern, of both signs: g = Z' D nu (2 P, k), and a bound (2 P,) on g . u over its cone at cost one."""
    p, radius = arrangement.n_penalized, bias_radius(arrangement)
    gradients = (patterns.active * nu[:, 0]) @ arrangement.Z
    signed = np.concatenate([gradients, -gradients])
    off = _off_one_facet(arrangement, patterns, signed)
    return signed, np.minimum(_bound(signed, p, radius), _bound(off, p, radius))


def _bound(gradients: Array, p: int, radius: float) -> Array:
    """Largest g . u over |u[:p]| <= 1, |u[p:]| <= radius for each row."""
    norms: Array = np.linalg.norm(gradients[:, :p], axis=1) + radius * np.abs(gradients[:, p:]).sum(axis=1)
    return norms


def _off_one_facet(arrangement: Arrangement, patterns: Patterns, signed: Array) -> Array:
    """Return g + rho k (2 P, k) for the facet k of each cone that g violates most, rho = max(-k . g / |k|^2, 0).

    A valid bound for all cones at once: most of them need no least squares problem after it.
    """
    counts = np.diff(patterns.facet_indptr)
    block, rows = np.repeat(np.arange(len(counts)), counts), patterns.facet_rows
    signs = np.where(patterns.active[block, rows], 1.0, -1.0)
    K = (signs / row_norms(arrangement.Z)[rows])[:, None] * arrangement.Z[rows]
    moved = signed.copy()
    some = np.flatnonzero(counts)
    for half in (moved[: len(counts)], moved[len(counts) :]) if len(some) else ():
        along = np.einsum("fk,fk->f", K, half[block])
        least = np.zeros(len(counts))
        least[some] = np.minimum.reduceat(along, patterns.facet_indptr[some])
        worst = np.flatnonzero((along == least[block]) & (along < 0))
        worst = worst[np.unique(block[worst], return_index=True)[1]]
        half[block[worst]] -= along[worst, None] * K[worst]
    return moved


def project(g: Array, K: Array, p: int, radius: float) -> Array:
    """Return g + K^T rho with rho >= 0 chosen to make its penalised part short and its free coordinate vanish."""
    # Rows are scaled to unit length for the solver; the free coordinate is weighted to be met nearly exactly.
    K = K / np.linalg.norm(K, axis=1)[:, None]
    weight = np.ones(len(g))
    weight[p:] = 1e4 * max(radius, 1e-300)
    rho, _ = nnls((K * weight).T, -g * weight, maxiter=50 * (K.size + 10))
    projected: Array = g + K.T @ rho
    return projected


def _correlation(arrangement: Arrangement, nu: Array, direction: Array) -> tuple[float, Array]:
    """|nu^T relu(Z u)| of the neuron of cost one along `direction`; with a free bias, at its best kink."""
    cost = float(arrangement.cost(direction[None])[0])
    if cost == 0:
        return 0.0, frozen(np.zeros_like(direction))
    p = arrangement.n_penalized
    u = direction / cost
    pre = arrangement.Z[:, :p] @ u[:p]
    offsets = -pre if p < len(u) else np.zeros(1)
    values = row_norms(np.maximum(pre[:, None] + offsets[None, :], 0.0).T @ nu)
    best = int(np.argmax(values))
    u[p:] = offsets[best]
    return float(values[best]), frozen(u)


def dual_norm(
    arrangement: Arrangement,
    nu: Array,
    *,
    target: float | None = None,
    max_boxes: int | None = None,
    time_limit: float | None = None,
    starts: Array | None = None,
) -> DualNorm:
    """Bound tau(nu) over all neurons by branch and bound.

    Parameters
    ----------
    arrangement : Arrangement
    nu : float64 (n, 1)
        Orthogonal to the free columns up to rounding.
    target : float, optional
        Stop once the norm is proven to be at most this, or a neuron above it is met. Default: just above the best
        neuron found.
    max_boxes : int, optional
        Budget; default `default_boxes(rank)`. When it is used up the bound holds but may be far from the norm.
    time_limit : float, optional
        Seconds.
    starts : float64 (m, k), optional
        Neurons known to be good.

    Notes
    -----
    Cost grows exponentially with the rank of the data.
    """
    unit = power_of_two(nu)
    goal = None if target is None else target / unit
    return _over_all(arrangement, nu / unit, goal, max_boxes, time_limit, starts).times(unit)


def _over_all(
    arrangement: Arrangement,
    nu: Array,
    target: float | None,
    max_boxes: int | None,
    time_limit: float | None,
    starts: Array | None,
) -> DualNorm:
    if nu.shape[1] > 1 and arrangement.Z.shape[1] <= FACES_RANK and len(nu) <= FACES_SAMPLES:
        faces = _joint_norm_over_patterns(arrangement, enumerate_arrangement(arrangement), nu)
        enough = max(faces.lower * 1.000_000_1, target or 0.0)
        if faces.upper <= enough or not nu.any():  # else singular values coincide
            return faces
    nu, lost = fewer_tasks(arrangement, nu)
    axes = box_axes(arrangement, nu)
    rows = merge_parallel(axes.Z, nu, arrangement.n_penalized)
    stretch = arrangement.stretch * axes.stretch
    slack = reduction_slack(arrangement, nu) + lost + arrangement.stretch * axes.slack + stretch * rows.slack
    own_target = target is None
    if target is None:
        best, neuron = best_neuron(arrangement, nu, starts)
        target, starts = 1.000_000_1 * best + slack, neuron[None]
    inner = (target - slack) / stretch
    if inner <= 0 or not nu.any():
        trivial = float(row_norms(nu) @ activation_sizes(arrangement)) * (1 + 4 * len(nu) * EPS)
        return DualNorm(trivial, 0.0, frozen(np.zeros(arrangement.Z.shape[1])), "global")
    prove = bound_dual_norm if nu.shape[1] == 1 else bound_joint_norm
    found = prove(
        rows.Z,
        rows.nu,
        arrangement.n_penalized,
        target=inner,
        max_boxes=default_boxes(arrangement.Z.shape[1]) if max_boxes is None else max_boxes,
        time_limit=time_limit,
        starts=None if starts is None else starts @ axes.V,
    )
    if own_target and found.lower > inner:
        # The search had missed a better neuron, which ended the proof.
        better = 1.000_000_1 * found.lower * stretch + slack
        return _over_all(arrangement, nu, better, max_boxes, time_limit, starts)
    neuron = frozen(axes.V @ found.neuron)
    return DualNorm(found.upper * stretch + slack, found.lower, neuron, "global", found.boxes)


def default_boxes(rank: int) -> int:
    """The default budget of a proof: generous where it can succeed, small where the rank makes it hopeless."""
    return 20_000_000 if rank <= 8 else 100_000


def best_neuron(
    arrangement: Arrangement, nu: Array, starts: Array | None = None, seed: int = 0, most: int | None = None
) -> tuple[float, Array]:
    """The largest correlation that a search finds, and its neuron of cost one: a lower bound on tau(nu).

    `most` bounds the given starts and, apart from these, the random ones.
    """
    Z, p = arrangement.Z, arrangement.n_penalized
    if p == 0 or not nu.any():
        return 0.0, np.zeros(Z.shape[1])
    starts = np.zeros((0, Z.shape[1])) if starts is None else starts[:most]
    n_random = 100 + 50 * Z.shape[1]
    n_random = n_random if most is None else min(most, n_random)
    rng = np.random.default_rng(seed)
    neurons, values = search_neurons(Z, nu, p, threshold=0.0, starts=starts, rng=rng, n_random=n_random)
    return (float(values[0]), neurons[0]) if len(values) else (0.0, np.zeros(Z.shape[1]))
