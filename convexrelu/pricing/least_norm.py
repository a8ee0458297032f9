"""The dual variable of least dual norm among those that do equally well: `least_dual_norm`.

Letters: `nu` (n, T) dual variable in a box with equations Q^T nu = c, `tau(nu)` its dual norm, `phi` (n,) activations
of a neuron of cost one and `v` (T,) a unit output direction, `t` a bound on tau(nu).

    minimise t   subject to   <nu, phi v^T> <= t for all neurons,   lower <= nu <= upper,   Q^T nu = c

is a linear program with a constraint for every neuron. Those that matter are found by exchange: solve over the neurons
known, search for neurons that the solution violates, add them (R. Hettich and K. O. Kortanek, "Semi-infinite
programming", SIAM Review 35, 1993, Section 7.1). The optimum over some neurons is a lower bound, the dual norm of any
feasible nu an upper bound; the search makes the latter one up to what it misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.pricing.neuron_search import search_neurons

# Relative distance of the two bounds at which to stop, rounds at most, and random starts of each search.
CLOSE, ROUNDS, STARTS = 1e-9, 200, 40
# Where to search between the best dual variable so far and that of the linear program: the latter alone zigzags.
SHARES = (0.3, 1.0)


@dataclass(frozen=True, eq=False)
class LeastNorm:
    """A feasible dual variable `nu` (n, T), its dual norm as far as searched, and a lower bound on any other's."""

    nu: Array
    norm: float
    bound: float


def least_dual_norm(
    arrangement: Arrangement, nu: Array, lower: Array, upper: Array, Q: Array, seed: int = 0
) -> LeastNorm:
    """Minimise tau over the dual variables in the box lower <= nu <= upper with the same Q^T nu as the given one.

    Parameters
    ----------
    arrangement : Arrangement
    nu : float64 (n, T)
        Where to start: in the box up to the accuracy of a solver.
    lower, upper : float64 (n, T)
        Equal where nu is determined.
    Q : float64 (n, q)
    """
    rng = np.random.default_rng(seed)
    found = _neurons(arrangement, nu, np.zeros((0, arrangement.Z.shape[1])), rng)
    best, bound, cuts = LeastNorm(nu, found.norm, 0.0), 0.0, found.cuts
    loose = (upper > lower).ravel()
    if not loose.any() or not len(cuts):
        return LeastNorm(nu, found.norm, found.norm)
    known = found.neurons
    for _ in range(ROUNDS):
        answer = _program(cuts, Q.T @ nu, lower, upper, Q, loose)
        if answer is None:
            break
        bound = max(bound, answer[1])
        if best.norm <= bound * (1 + CLOSE):
            break
        for share in SHARES:
            trial = best.nu + share * (answer[0] - best.nu)
            found = _neurons(arrangement, trial, known[-STARTS:], rng)
            cuts, known = np.vstack([cuts, found.cuts]), np.vstack([known, found.neurons])
            if found.norm < best.norm:
                best = LeastNorm(trial, found.norm, bound)
    return LeastNorm(best.nu, best.norm, min(bound, best.norm))


@dataclass(frozen=True, eq=False)
class _Found:
    """Local maximisers (m, k), their gradients phi v^T (m, n T) in nu, and the largest value."""

    neurons: Array
    cuts: Array
    norm: float


def _neurons(arrangement: Arrangement, nu: Array, starts: Array, rng: np.random.Generator) -> _Found:
    Z, p = arrangement.Z, arrangement.n_penalized
    neurons, _ = search_neurons(Z, nu, p, threshold=0.0, starts=starts, rng=rng, n_random=STARTS)
    phi = np.maximum(neurons @ Z.T, 0.0)
    along = phi @ nu
    size = row_norms(along)
    cuts = phi[:, :, None] * (along / np.where(size > 0, size, 1.0)[:, None])[:, None, :]
    return _Found(neurons, cuts.reshape(len(neurons), nu.size), float(size.max(initial=0.0)))


def _program(
    cuts: Array, moments: Array, lower: Array, upper: Array, Q: Array, loose: BoolArray
) -> tuple[Array, float] | None:
    """The best dual variable for the neurons known, and its largest correlation with them; None if none is found."""
    fixed = np.where(loose, 0.0, lower.ravel())
    equations = sp.kron(Q.T, sp.eye_array(lower.shape[1]), format="csr")
    goal = moments.ravel() - equations @ fixed
    unit = max(float(np.abs(cuts).max()), 1e-300)
    answer = linprog(
        np.append(np.zeros(int(loose.sum())), 1.0),
        A_ub=np.column_stack([cuts[:, loose] / unit, -np.ones(len(cuts))]),
        b_ub=-cuts @ fixed / unit,
        A_eq=sp.hstack([equations[:, loose], sp.csr_array((equations.shape[0], 1))]) if Q.shape[1] else None,
        b_eq=goal if Q.shape[1] else None,
        bounds=[*zip(lower.ravel()[loose], upper.ravel()[loose], strict=True), (0, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if answer.status != 0:
        return None
    point = fixed.copy()
    point[loose] = answer.x[:-1]
    return point.reshape(lower.shape), float(answer.x[-1]) * unit
