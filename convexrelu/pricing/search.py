"""Search for neurons that violate the dual constraint: fast local maximisation from many starts at once.

Letters: `Z` (n, k) reduced hidden data, `nu` (n,) dual variable, `u` (k,) a neuron, `w = u[:p]` its penalised part,
`|S u| = |w|` its cost, `t = Z u` its pre-activations, `c` (n,) the slopes of relu at `t`: 1 where on, 0 where off,
anything between at a kink. For a sign `s` write `a = s * nu`; the search maximises `h(u) = a . relu(Z u)` over
`|S u| = 1`.

As `h` is positively homogeneous, its local maxima over the sphere are, up to scale, the local minima of
`1/2 |w|^2 - h(u)`. Samples with `a_i > 0` make `-h` concave across their kink: a local minimum never sits there, and
the bit of the current point is used. Samples with `a_i < 0` make it convex, and local minima do sit on those kinks:
they are handled by an augmented Lagrangian whose multiplier is `c_i` in [0, 1], and every step is a semismooth Newton
step, until an active set of kinks takes over (`convexrelu.pricing.climb`). All starts move together, so that the work
is matrix products and batched k x k solves.

With a free bias the maximum over the bias, for given `w`, is at a kink `b = -w . x_a` (theory A.3): every start gets
the best anchor `a` first and again after every step, and the Newton steps keep `z_a . u = 0`; the climb moves the bias
like the other coordinates.

The search finds; it proves nothing. Its values are values of real neurons: lower bounds on the dual norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray
from convexrelu.pricing.climb import climb
from convexrelu.pricing.smoothing import smoothed_merit, smoothed_slopes, stiffness_of

# Stiffness of the kinks in units of the curvature of 1/2|w|^2. Measured: without step control values above about 1.5
# cycle and values below 0.3 crawl.
_COARSE_STIFFNESS = 0.7
_FIRST_STIFFNESS, _FINE_GROWTH = 10.0, 1.3
# Steps of growing stiffness of the starts near neurons. Measured on diabetes: with 20 of them the neurons found lower
# the objective twice as fast as without, where more starts end in the same few maxima. The others have taken coarse
# steps: more of them find 1 to 5 % better neurons in 10 to 20 % more time.
_FINE_STEPS = 20
_SHORTER_STEPS = (0.5, 0.2, 0.05)
# How far, as unit vectors, starts near a neuron are from it: those that take fine steps, and those that climb at once.
# Measured on diabetes: nearer ones find more neurons, which are mostly the same and worth little; with these the
# objective is reached in a sixth fewer rounds than at (0.02, 0.3).
_NEARBY, _NEARER = (0.05, 1.0), (0.1, 0.7)
# Entries of an array (starts x samples) up to which the dozen in use at once stay in the cache; and those of climbs,
# which see to that themselves: a matter of memory.
_CACHED, _TOGETHER = 32_768, 1_000_000
# Steps of a climb: most end after 2 k, in whose course they meet the k kinks of a local maximum.
_CLIMB_STEPS = 100


@dataclass(frozen=True)
class SearchResult:
    """Distinct neurons with a large correlation with the dual variable, the best first.

    Attributes
    ----------
    neurons : (m, k) float64
        Neurons of unit cost `|S u| = 1`.
    signs : (m,) float64
        +1 or -1: the sign of the correlation.
    values : (m,) float64
        `|nu . relu(Z u)|`, all above the threshold, in decreasing order.
    slopes : (m, n) float64
        Slopes of relu at the pre-activations, between 0 and 1 at kinks (multipliers of the tight rows).
    best : float
        The largest value met, above the threshold or not (0 if none is positive): a lower bound on the dual norm.
    """

    neurons: Array
    signs: Array
    values: Array
    slopes: Array
    best: float


@dataclass(frozen=True)
class _Rows:
    """The data of the search: rows, squared norms, and outer products (n, k (k + 1) / 2), `packed` by places (k, k)."""

    points: Array
    squares: Array
    outer: Array
    packed: IntArray
    n_penalized: int

    @classmethod
    def of(cls, Z: Array, n_penalized: int) -> _Rows:
        points = np.ascontiguousarray(Z)
        squares = np.einsum("ij,ij->i", points, points)
        i, j = np.triu_indices(points.shape[1])
        packed = np.zeros((points.shape[1],) * 2, dtype=np.intp)
        packed[i, j] = packed[j, i] = np.arange(len(i))
        return cls(points, squares, points[:, i] * points[:, j], packed, n_penalized)

    @property
    def free_bias(self) -> bool:
        return bool(self.n_penalized < self.points.shape[1])

    def weighted_squares(self, weights: Array) -> Array:
        """Z' diag(w) Z (B, k, k) for each row of weights (B, n)."""
        return np.asarray((weights @ self.outer)[:, self.packed])

    def penalized(self, u: Array) -> Array:
        """`S u`: the neurons with a free bias set to zero."""
        if not self.free_bias:
            return u
        return np.hstack([u[:, : self.n_penalized], np.zeros((len(u), 1))])

    def near(self, u: Array) -> Array:
        """Neurons of unit cost whose free biases are not further than the samples: beyond, rounding is all that grows.

        All samples are on there, or off, and as weights sum to zero the correlation does not change.
        """
        if self.free_bias:
            furthest = np.linalg.norm(self.points[:, :-1], axis=1).max()
            u[:, -1] = np.clip(u[:, -1], -furthest, furthest)
        return u

    def costs(self, u: Array) -> Array:
        """`|S u|`; infinite for neurons that have shrunk to rounding: what would be computed of them is noise."""
        norms = np.linalg.norm(u[:, : self.n_penalized], axis=1)
        return np.where(norms > 1e-9 * norms.max(initial=0.0), norms, np.inf)


@dataclass(frozen=True)
class _Batch:
    """Many starts at once.

    Neurons `u` (B, k), weights `a` (B, n), slopes `c` (B, n), pre-activations `t` (B, n) and, for a free bias, the
    sample `anchor` (B,) at their kink.
    """

    u: Array
    a: Array
    c: Array
    t: Array
    anchor: IntArray

    def take(self, rows: IntArray | BoolArray | slice) -> _Batch:
        return _Batch(self.u[rows], self.a[rows], self.c[rows], self.t[rows], self.anchor[rows])


def find_neurons(
    Z: Array,
    nu: Array,
    n_penalized: int,
    *,
    threshold: float,
    starts: Array,
    rng: np.random.Generator,
    n_random: int = 100,
    n_near: int = 0,
    fine: bool = True,
    refine: bool = True,
    n_steps: int = 12,
) -> SearchResult:
    """Find neurons of unit cost with `|nu . relu(Z u)| > threshold` by local maximisation from many starts.

    Parameters
    ----------
    Z : (n, k) float64
        Reduced hidden data.
    nu : (n,) float64
        Dual variable; with a free bias (`n_penalized = k - 1`) its sum must vanish up to rounding.
    n_penalized : int
        `k`, or `k - 1` when the last coordinate is a free bias.
    threshold : float
        Only neurons with a larger value are returned.
    starts : (b, k) float64
        Neurons to start from (the current ones, for example); may be empty.
    rng : numpy.random.Generator
        Source of the random starts.
    n_random : int
        Number of random starts: half are Gaussian directions, half combinations of data rows weighted by `nu`.
    n_near : int
        Number of starts drawn around `starts`, which take no coarse steps.
    fine : bool
        Whether these take fine steps before they climb.
    refine : bool
        Whether to climb to exact local maxima (kinks included).
    n_steps : int
        Steps of the coarse stage.

    Returns
    -------
    SearchResult

    Notes
    -----
    Each step costs a product of (starts x n) by (n x k^2) and one k x k solve per start. Each start is run for the sign
    of its own value. There is no guarantee that all, or the largest, local maxima are found.
    """
    if n_penalized == 0:  # no weights, no neurons: data of rank zero
        return SearchResult(np.zeros((0, Z.shape[1])), np.zeros(0), np.zeros(0), np.zeros((0, len(Z))), 0.0)
    rows = _Rows.of(Z, n_penalized)
    fresh = _random_neurons(rows, nu, rng, n_random)
    batch = _coarse(rows, _start(rows, nu, np.vstack([starts, fresh])), n_steps)
    if len(starts) and n_near:
        near = _start(rows, nu, _near(starts, rng, n_near, _NEARBY if fine else _NEARER))
        batch = _stack([batch, _fine(rows, near) if fine and refine else near])
    if refine and len(batch.u):
        batch = _climbed(rows, batch)
    return _collect(rows, batch, nu, threshold, 1e-9 if refine else 1e-4)


def _random_neurons(rows: _Rows, nu: Array, rng: np.random.Generator, n_random: int) -> Array:
    """Draw Gaussian directions and random combinations of the rows weighted by the dual variable."""
    n, k = rows.points.shape
    gaussian = rng.standard_normal((n_random - n_random // 2, k))
    mixed = (rng.random((n_random // 2, n)) < 0.5) * nu @ rows.points
    return np.vstack([gaussian, mixed])


def _near(starts: Array, rng: np.random.Generator, n_near: int, distances: tuple[float, float]) -> Array:
    """Draw neurons around the starts: most local maxima that random ones miss are there."""
    unit = starts / np.linalg.norm(starts, axis=1)[:, None]
    near = unit[rng.integers(len(starts), size=n_near)]
    low, high = np.log(distances)
    distance = np.exp(rng.uniform(low, high, n_near))[:, None]
    return np.asarray(near + distance * rng.standard_normal(near.shape) / math.sqrt(near.shape[1]))


def _start(rows: _Rows, nu: Array, u: Array) -> _Batch:
    """Choose for each neuron the sign of its larger value (with its best bias), and scale it to `|S u| = value`."""
    # As unit vectors: combinations of rows with huge weights would make the other starts look like rounding.
    size = np.linalg.norm(u, axis=1)
    u = u[size > 0] / size[size > 0, None]
    costs = rows.costs(u)
    u = rows.penalized(u[np.isfinite(costs)]) / costs[np.isfinite(costs), None]
    t = u @ rows.points.T
    sign = np.where(np.maximum(t, 0) @ nu >= 0, 1.0, -1.0)
    anchor = np.zeros(len(u), dtype=np.intp)
    if rows.free_bias:
        (anchor, up), (other, down) = _best_anchor(t, nu[None, :]), _best_anchor(t, -nu[None, :])
        sign, anchor = np.where(up >= down, 1.0, -1.0), np.where(up >= down, anchor, other)
        u, t = _anchored(u, t, anchor)
    batch = _Batch(u, sign[:, None] * nu, (t > 0).astype(float), t, anchor)
    scale = np.linalg.norm(rows.penalized((batch.c * batch.a) @ rows.points), axis=1)[:, None]
    scale[scale == 0] = 1.0
    return replace(batch, u=u * scale, t=t * scale)


def _best_anchor(t: Array, a: Array) -> tuple[IntArray, Array]:
    """For each row of pre-activations the sample to put the kink on for the largest value, and that value.

    The value is piecewise linear in the bias, with kinks at `-t_j`: all of them are evaluated by sorting.
    """
    order = np.argsort(-t, axis=1, kind="stable")
    t_sorted = np.take_along_axis(t, order, axis=1)
    a_sorted = np.take_along_axis(np.broadcast_to(a, t.shape), order, axis=1)
    values = np.cumsum(a_sorted * t_sorted, axis=1) - t_sorted * np.cumsum(a_sorted, axis=1)
    best = np.argmax(values, axis=1)[:, None]
    return np.take_along_axis(order, best, axis=1)[:, 0], np.take_along_axis(values, best, axis=1)[:, 0]


def _anchored(u: Array, t: Array, anchor: IntArray) -> tuple[Array, Array]:
    """Shift the biases, the last coordinate, whose column of data is ones, until the kinks are on the anchors."""
    shift = -np.take_along_axis(t, anchor[:, None], axis=1)
    return np.hstack([u[:, :-1], u[:, -1:] + shift]), t + shift


def _improve_anchors(batch: _Batch) -> _Batch:
    """Give every start the best anchor for its direction, where that raises the value."""
    anchor, value = _best_anchor(batch.t, batch.a)
    now = np.einsum("bi,bi->b", np.maximum(batch.t, 0), batch.a)
    anchor = np.where(value > now + 1e-9 * np.abs(now), anchor, batch.anchor)
    u, t = _anchored(batch.u, batch.t, anchor)
    return replace(batch, u=u, t=t, anchor=anchor)


def _values(rows: _Rows, batch: _Batch) -> Array:
    """The values of the neurons scaled to unit cost (0 for those that cannot be)."""
    return np.asarray(np.einsum("bi,bi->b", np.maximum(batch.t, 0), batch.a) / rows.costs(batch.u))


def _newton(rows: _Rows, batch: _Batch, kappa: float) -> tuple[Array, Array, Array, Array]:
    """The semismooth Newton direction, its pre-activations, and the stiffness 1/eps and slope of every kink."""
    p = rows.n_penalized
    curvature, stiffness = stiffness_of(rows.squares, batch.a, kappa)
    slopes = smoothed_slopes(batch, batch.t, stiffness)
    tight = (slopes > 0) & (slopes < 1)  # negative samples: the others' slopes are bits
    residual = (slopes * batch.a) @ rows.points - rows.penalized(batch.u)
    system = rows.weighted_squares(tight * curvature)
    system[:, range(p), range(p)] += 1.0
    if rows.free_bias:
        step = _solve_anchored(rows.points[batch.anchor], system, residual)
    else:
        step = np.asarray(np.linalg.solve(system, residual[:, :, None])[:, :, 0], dtype=float)
    return step, step @ rows.points.T, stiffness, slopes


def _solve_anchored(points: Array, system: Array, residual: Array) -> Array:
    """The step (B, k) among directions that keep the kink on its anchor: the bias follows the other coordinates."""
    B, k = points.shape
    free = np.broadcast_to(np.eye(k, k - 1), (B, k, k - 1)).copy()
    free[:, -1] = -points[:, :-1]
    back = free.transpose(0, 2, 1)
    return np.asarray((free @ np.linalg.solve(back @ system @ free, back @ residual[:, :, None]))[:, :, 0])


def _coarse(rows: _Rows, batch: _Batch, n_steps: int) -> _Batch:
    """Full steps at a low stiffness: no merit is evaluated, every start keeps its best point."""
    best, best_values = batch, _values(rows, batch)
    for _ in range(n_steps):
        step, dt, stiffness, _ = _newton(rows, batch, _COARSE_STIFFNESS)
        t = batch.t + dt
        batch = replace(batch, u=batch.u + step, t=t, c=smoothed_slopes(batch, t, stiffness))
        if rows.free_bias:
            batch = _improve_anchors(batch)
        values = _values(rows, batch)
        better = values > best_values
        best, best_values = _choose(better, batch, best), np.where(better, values, best_values)
    return best


def _choose(mask: BoolArray, new: _Batch, old: _Batch) -> _Batch:
    """Rows of `new` where the mask holds, rows of `old` elsewhere."""
    m = mask[:, None]
    u, c, t = np.where(m, new.u, old.u), np.where(m, new.c, old.c), np.where(m, new.t, old.t)
    return _Batch(u, old.a, c, t, np.where(mask, new.anchor, old.anchor))


def _fine(rows: _Rows, batch: _Batch) -> _Batch:
    """Steps of growing stiffness."""
    return _stack([_stepped(rows, part) for part in _parts(batch, _CACHED)])


def _stepped(rows: _Rows, start: _Batch) -> _Batch:
    """Steps of growing stiffness; where they lose height, the start."""
    batch, kappa = start, _FIRST_STIFFNESS
    for _ in range(_FINE_STEPS):
        batch = _controlled_step(rows, batch, kappa)
        batch = _improve_anchors(batch) if rows.free_bias else batch
        kappa *= _FINE_GROWTH
    return _choose(_values(rows, batch) >= _values(rows, start), batch, start)


def _climbed(rows: _Rows, batch: _Batch) -> _Batch:
    """The exact local maxima, each at least as high as its start."""
    ends = []
    for part in _parts(batch, _TOGETHER):
        end = climb(rows.points, rows.n_penalized, part.a, part.u, _CLIMB_STEPS)
        ends.append(replace(part, u=end.u, t=end.t, c=end.c))
    return _stack(ends)


def _parts(batch: _Batch, entries: int) -> list[_Batch]:
    """Parts with about so many entries in an array."""
    size = max(entries // batch.t.shape[1], 8)
    return [batch.take(slice(i, i + size)) for i in range(0, len(batch.u), size)]


def _stack(batches: list[_Batch]) -> _Batch:
    """Concatenate batches."""
    fields = zip(*((b.u, b.a, b.c, b.t, b.anchor) for b in batches), strict=True)
    return _Batch(*(np.concatenate(f) for f in fields))


def _controlled_step(rows: _Rows, batch: _Batch, kappa: float) -> _Batch:
    """One Newton step, shortened where the smoothed merit would rise; slopes are updated only after full steps."""
    step, dt, stiffness, now = _newton(rows, batch, kappa)
    p, u, t = rows.n_penalized, batch.u + step, batch.t + dt
    c = smoothed_slopes(batch, t, stiffness)
    current = smoothed_merit(p, batch, batch.u, batch.t, stiffness, now)
    slack = 1e-14 * np.einsum("bj,bj->b", batch.u, batch.u)
    full = smoothed_merit(p, batch, u, t, stiffness, c) <= current + slack
    failed = np.flatnonzero(~full)
    if len(failed):
        part, d, s, soft = batch.take(failed), dt[failed], step[failed], stiffness[failed]
        merits = [smoothed_merit(p, part, part.u + x * s, part.t + x * d, soft) for x in _SHORTER_STEPS]
        length = np.array(_SHORTER_STEPS)[np.argmin(merits, axis=0)][:, None]
        u[failed], t[failed] = part.u + length * s, part.t + length * d
        c[failed] = np.where(part.a < 0, part.c, t[failed] > 0)
    return replace(batch, u=u, t=t, c=c)


def _collect(rows: _Rows, batch: _Batch, nu: Array, threshold: float, apart: float) -> SearchResult:
    """Rescale to unit cost, evaluate the true values, and keep distinct neurons above the threshold."""
    costs = rows.costs(batch.u)
    batch, costs = batch.take(np.isfinite(costs)), costs[np.isfinite(costs)]
    u = rows.near(batch.u / costs[:, None])
    t = u @ rows.points.T
    correlation = np.maximum(t, 0) @ nu
    sign, values = np.where(correlation >= 0, 1.0, -1.0), np.abs(correlation)
    order = np.argsort(-values, kind="stable")
    kept = _distinct(u, sign, order[values[order] > threshold], apart)
    weights = sign[kept, None] * nu
    slopes = np.where((weights < 0) & (batch.a[kept] * weights > 0), batch.c[kept], t[kept] > 0)
    return SearchResult(u[kept], sign[kept], values[kept], slopes, float(values.max(initial=0.0)))


def _distinct(u: Array, sign: Array, order: IntArray, apart: float) -> IntArray:
    """Walk through `order` and keep each neuron whose cosine with every kept one of its sign is below `1 - apart`."""
    scaled = u[order] / np.linalg.norm(u[order], axis=1)[:, None]
    near = ((scaled @ scaled.T) > 1 - apart) & (sign[order][:, None] == sign[order][None, :])
    free = np.ones(len(order), dtype=bool)
    kept = []
    for i in range(len(order)):
        if free[i]:
            kept.append(i)
            free &= ~near[i]
    return order[np.array(kept, dtype=np.intp)]
