"""Search for neurons that violate the dual constraint of several tasks at once.

Letters: `Z` (n, k) reduced hidden data, `N` (n, tasks) dual variable, `u` (k,) a neuron, `|S u| = |u[:p]|` its cost,
`t = Z u` its pre-activations, `c` (n,) the slopes of relu there, `P(u) = N^T relu(t)`, `v = P / |P|` (tasks,) its
output direction, `a = N v`. The search maximises `|P(u)|` over `|S u| = 1`.

For a fixed v the norm is at least `v . P(u) = a . relu(Z u)`, with equality where v was taken: every step of the search
for one task with the dual variable `a` (see `search`: semismooth Newton steps on `1/2 |S u|^2 - a . relu(Z u)`, the
kinks of samples with `a_i < 0` smoothed by an augmented Lagrangian with multipliers `c_i`), v renewed after each,
raises |P|. Near a maximum this converges as power iteration does, linearly; the value is then twice as accurate as the
neuron. With a free bias the best one is at a kink: every start gets it first and again now and then.

The search finds; it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.pricing.smoothing import smoothed_merit, smoothed_slopes, stiffness_of

COARSE_STIFFNESS = 0.7
"""Stiffness of the kinks in units of the curvature of 1/2 |S u|^2 (measured for one task: see `search`)."""

FINE_GROWTH, LARGEST_STIFFNESS = 1.3, 300.0

REFINED = 60
"""Steps of the fine stage at most."""

CANDIDATES = 30
"""Directions evaluated for each of the starts that are the best of many."""

APART, MOST = 1e-5, 60
"""Neurons whose cosine is within APART of one count as one, that of the larger value; at most MOST are returned."""

CHECKED, LOOSELY_APART = 4, 1e-2
"""An ascent counts what it has after every CHECKED steps; neurons within LOOSELY_APART of each other as one."""

BIAS_CURVATURE = 0.05
"""Curvature of the proximal term of a free bias, in units of 1 / (largest row norm)^2."""


@dataclass(frozen=True)
class JointSearchResult:
    """Distinct neurons with a large joint correlation with the dual variable, the best first.

    Attributes
    ----------
    neurons : (m, k) float64
        Neurons of unit cost `|S u| = 1`.
    outputs : (m, tasks) float64
        Their output directions, unit vectors.
    values : (m,) float64
        `|N^T relu(Z u)|`, all above the threshold, in decreasing order.
    slopes : (m, n) float64
        Slopes of relu at the pre-activations, between 0 and 1 at kinks.
    best : float
        The largest value met (0 if none is positive): a lower bound on the dual norm.
    """

    neurons: Array
    outputs: Array
    values: Array
    slopes: Array
    best: float


def find_joint_neurons(
    Z: Array,
    N: Array,
    n_penalized: int,
    *,
    threshold: float,
    starts: Array,
    rng: np.random.Generator,
    n_random: int = 100,
    n_steps: int = 12,
    should_stop: Callable[[], bool] = lambda: False,
) -> JointSearchResult:
    """Find neurons of unit cost with `|N^T relu(Z u)| > threshold` by local maximisation from many starts.

    Parameters
    ----------
    Z : (n, k) float64
        Reduced hidden data.
    N : (n, tasks) float64
        Dual variable; with a free bias (`n_penalized = k - 1`) its columns must sum to zero up to rounding.
    n_penalized : int
        `k`, or `k - 1` when the last coordinate is a free bias.
    threshold : float
        Only neurons with a larger value are returned.
    starts : (b, k) float64
        Neurons to start from (the current ones, for example); may be empty.
    rng : numpy.random.Generator
        Source of the random starts.
    n_random : int
        Number of random starts.
    n_steps : int
        Steps of the coarse stage.
    should_stop : callable
        Asked before every step; True ends the search with what it has.

    Notes
    -----
    Each step costs a product of (starts x n) by (n x (k^2 + tasks)) and one k x k solve per start.
    """
    data = _Data(np.ascontiguousarray(Z), np.ascontiguousarray(N), n_penalized)
    if n_penalized == 0 or not N.any():
        nothing = np.zeros((0, len(Z)))
        return JointSearchResult(np.zeros((0, Z.shape[1])), np.zeros((0, N.shape[1])), np.zeros(0), nothing, 0.0)
    given = _start(data, starts, keep_bias=True)
    fresh = _start(data, _random_neurons(data, rng, n_random), keep_bias=False)
    batch = _coarse(data, _stack([given, fresh]), n_steps, should_stop)
    promising = _norms(data, batch) > 0.8 * threshold
    if promising.any():
        batch = _stack([_refine(data, batch.take(promising), should_stop), batch.take(~promising)])
    return _collect(data, batch, threshold)


def ascend_joint_neurons(
    Z: Array,
    N: Array,
    n_penalized: int,
    *,
    threshold: float,
    starts: Array,
    rng: np.random.Generator,
    n_random: int,
    most: int,
    n_steps: int = 40,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Array, Array]:
    """Find neurons of unit cost above a threshold by steps of first order, until there are enough: for high rank.

    A step takes each neuron to the best one for its own slopes and output direction, S u = sum_i c_i a_i z_i: without
    kinks in the way that is power iteration. It costs a product of (starts x n) by (n x (k + tasks)), a k-th of a step
    of `find_joint_neurons`, whose kinks this one jumps over; so it finds less where little is left to find.

    Parameters
    ----------
    Z, N, n_penalized, threshold, starts, rng, n_random, should_stop
        As for `find_joint_neurons`.
    most : int
        Stop once this many distinct neurons are above the threshold; no more are returned.
    n_steps : int
        Steps at most.

    Returns
    -------
    (m, k) float64, (m,) float64
        Neurons and their values, in decreasing order.
    """
    data = _Data(np.ascontiguousarray(Z), np.ascontiguousarray(N), n_penalized)
    if n_penalized == 0 or not N.any():
        return np.zeros((0, Z.shape[1])), np.zeros(0)
    u = np.vstack([starts, _random_neurons(data, rng, n_random)])
    u = u[row_norms(u[:, :n_penalized]) > 0]
    best, values = _anchored(data, u)[0], np.zeros(len(u))
    for i in range(n_steps):
        u, t = _anchored(data, u)
        P = np.maximum(t, 0) @ data.N
        now = row_norms(P)
        better = now > values
        best, values = np.where(better[:, None], u, best), np.where(better, now, values)
        if should_stop() or (i % CHECKED == 0 and len(_above(best, values, threshold, most)) == most):
            break
        a = (P / np.maximum(now, 1e-300)[:, None]) @ data.N.T
        a *= t > 0
        # A neuron that is off everywhere stays what it is.
        u = np.where(now[:, None] > 0, a @ data.Z, u)
    order = _above(best, values, threshold, most)
    return best[order], values[order]


def _above(u: Array, values: Array, threshold: float, most: int) -> IntArray:
    """Indices of at most so many distinct neurons above a threshold, the best first."""
    order = np.argsort(-values, kind="stable")
    return _distinct(u, order[values[order] > threshold], LOOSELY_APART)[:most]


def _anchored(data: _Data, u: Array) -> tuple[Array, Array]:
    """The neurons scaled to unit cost, a free bias at its best kink; and their pre-activations."""
    cost = row_norms(u[:, : data.p])[:, None]
    u = u / np.where(cost > 0, cost, 1.0)
    t = u @ data.Z.T
    return _shifted(u, t, _best_shift(data, t)[0]) if data.free_bias else (u, t)


@dataclass(frozen=True)
class _Data:
    """What is searched over."""

    Z: Array
    N: Array
    p: int

    @cached_property
    def squares(self) -> Array:
        """Squared norms (n,) of the rows of Z."""
        return np.asarray(np.einsum("ij,ij->i", self.Z, self.Z))

    @cached_property
    def outer(self) -> Array:
        """Outer products (n, k^2) of the rows of Z."""
        return (self.Z[:, :, None] * self.Z[:, None, :]).reshape(len(self.Z), -1)

    @cached_property
    def metric(self) -> Array:
        """Curvature (k,) of 1/2 |S u|^2, with a little for a free bias."""
        metric = np.ones(self.Z.shape[1])
        metric[self.p :] = BIAS_CURVATURE / max(float(self.squares.max(initial=0.0)), 1e-300)
        return metric

    @property
    def free_bias(self) -> bool:
        return bool(self.p < self.Z.shape[1])

    def costs(self, u: Array) -> Array:
        """`|S u|`; infinite for a neuron that cannot be scaled to cost one: what is computed of it is rounding.

        That is one that has shrunk to rounding itself, or with a free bias is on everywhere or nowhere, far out.
        """
        norms = row_norms(u[:, : self.p])
        usable = norms > 1e-9 * norms.max(initial=0.0)
        if self.free_bias:
            usable &= np.abs(u[:, -1]) <= 2 * np.sqrt(self.squares.max(initial=0.0)) * norms
        return np.where(usable, norms, np.inf)

    def penalized(self, u: Array) -> Array:
        """`S u`: the neurons with a free bias set to zero."""
        return np.hstack([u[:, : self.p], np.zeros((len(u), u.shape[1] - self.p))])


@dataclass(frozen=True)
class _Batch:
    """Many starts at once: neurons `u` (B, k), weights `a` (B, n), slopes `c` (B, n), pre-activations `t` (B, n)."""

    u: Array
    a: Array
    c: Array
    t: Array

    def take(self, rows: IntArray | BoolArray) -> _Batch:
        return _Batch(self.u[rows], self.a[rows], self.c[rows], self.t[rows])


def _stack(batches: list[_Batch]) -> _Batch:
    fields = zip(*((b.u, b.a, b.c, b.t) for b in batches), strict=True)
    return _Batch(*(np.concatenate(f) for f in fields))


def _choose(mask: BoolArray, new: _Batch, old: _Batch) -> _Batch:
    """Rows of `new` where the mask holds, rows of `old` elsewhere."""
    m = mask[:, None]
    return _Batch(*(np.where(m, getattr(new, f), getattr(old, f)) for f in ("u", "a", "c", "t")))


def _random_neurons(data: _Data, rng: np.random.Generator, n_random: int) -> Array:
    """Half random combinations of the rows weighted by random outputs, half the best of many random directions.

    The first reach cells that are too narrow to hit. Evaluating is cheap: CANDIDATES directions for each one kept.
    """
    n, k = data.Z.shape
    half = n_random // 2
    directions = rng.standard_normal((half, data.N.shape[1]))
    mixed = ((rng.random((half, n)) < 0.5) * (directions @ data.N.T)) @ data.Z
    many = rng.standard_normal((CANDIDATES * (n_random - half), k))
    t = many @ data.Z.T
    if data.free_bias:
        kink = t[np.arange(len(t)), rng.integers(n, size=len(t))]
        many, t = _shifted(many, t, -kink)
    values = row_norms(np.maximum(t, 0) @ data.N) / row_norms(many[:, : data.p])
    best = np.argsort(-values, kind="stable")[: len(many) // CANDIDATES]
    return np.vstack([mixed, many[best]])


def _start(data: _Data, u: Array, *, keep_bias: bool) -> _Batch:
    """Scale each neuron, with its best bias, to `|S u| = |P|`."""
    norms = row_norms(u[:, : data.p])
    u = u[norms > 0] / norms[norms > 0, None]
    t = u @ data.Z.T
    if data.free_bias and not keep_bias:
        u, t = _shifted(u, t, _best_shift(data, t)[0])
    scale = row_norms(np.maximum(t, 0) @ data.N)[:, None]
    scale[scale == 0] = 1.0
    return _aimed(data, _Batch(u * scale, np.zeros_like(t), (t > 0).astype(float), t * scale))


def _aimed(data: _Data, batch: _Batch) -> _Batch:
    """Renew the output directions, and with them the weights a = N v."""
    P = np.maximum(batch.t, 0) @ data.N
    norms = row_norms(P)[:, None]
    return replace(batch, a=(P / np.where(norms > 0, norms, 1.0)) @ data.N.T)


def _shifted(u: Array, t: Array, shift: Array) -> tuple[Array, Array]:
    """Add to the biases, the last coordinate, whose column of data is ones."""
    return np.hstack([u[:, :-1], u[:, -1:] + shift[:, None]]), t + shift[:, None]


def _best_shift(data: _Data, t: Array) -> tuple[Array, Array]:
    """Find for each row of pre-activations the shift of the bias with the largest |P|, and that value.

    Between kinks |P| is convex in the shift, and constant beyond the last: all kinks are evaluated by sorting.
    """
    order = np.argsort(-t, axis=1, kind="stable")
    falling = np.take_along_axis(t, order, axis=1)
    N = data.N[order]
    P = np.cumsum(N * falling[:, :, None], axis=1) - falling[:, :, None] * np.cumsum(N, axis=1)
    values = np.linalg.norm(P, axis=2)
    best = np.argmax(values, axis=1)[:, None]
    return -np.take_along_axis(falling, best, axis=1)[:, 0], np.take_along_axis(values, best, axis=1)[:, 0]


def _improve_biases(data: _Data, batch: _Batch) -> _Batch:
    """Move the bias of every start to the best place for its direction, where that raises the value."""
    shift, value = _best_shift(data, batch.t)
    now = row_norms(np.maximum(batch.t, 0) @ data.N)
    u, t = _shifted(batch.u, batch.t, np.where(value > now * (1 + 1e-9), shift, 0.0))
    return _aimed(data, replace(batch, u=u, t=t))


def _norms(data: _Data, batch: _Batch) -> Array:
    """|P| of the neurons scaled to unit cost (0 for a neuron that cannot be)."""
    return np.asarray(row_norms(np.maximum(batch.t, 0) @ data.N) / data.costs(batch.u))


def _coarse(data: _Data, batch: _Batch, n_steps: int, should_stop: Callable[[], bool]) -> _Batch:
    """Full steps at a low stiffness: no merit is evaluated, every start keeps its best point."""
    best, best_values = batch, _norms(data, batch)
    for i in range(n_steps):
        if should_stop():
            break
        step, dt, stiffness = _newton(data, batch, COARSE_STIFFNESS)
        t = batch.t + dt
        batch = _aimed(data, replace(batch, u=batch.u + step, t=t, c=smoothed_slopes(batch, t, stiffness)))
        if data.free_bias and i % 2:
            batch = _improve_biases(data, batch)
        values = _norms(data, batch)
        better = values > best_values
        best, best_values = _choose(better, batch, best), np.where(better, values, best_values)
    return best


def _refine(data: _Data, batch: _Batch, should_stop: Callable[[], bool]) -> _Batch:
    """Converge towards local maxima: growing stiffness and step control, output directions renewed in between."""
    best, best_values, kappa = batch, _norms(data, batch), 1.0
    for i in range(REFINED):
        if should_stop():
            break
        batch = _aimed(data, _controlled_step(data, batch, kappa))
        kappa = min(kappa * FINE_GROWTH, LARGEST_STIFFNESS)
        if i % 5 < 4:
            continue
        if data.free_bias and i < REFINED // 2:
            batch = _improve_biases(data, batch)
        values = _norms(data, batch)
        better = values > best_values
        settled = i > REFINED // 3 and not (values > best_values * (1 + 1e-13)).any()
        best, best_values = _choose(better, batch, best), np.where(better, values, best_values)
        if settled:
            break
    return best


def _newton(data: _Data, batch: _Batch, kappa: float) -> tuple[Array, Array, Array]:
    """The semismooth Newton direction for fixed a, its pre-activations and the stiffness of every kink."""
    k = data.Z.shape[1]
    curvature, stiffness = stiffness_of(data.squares, batch.a, kappa)
    raw = batch.c + batch.t * stiffness
    tight = (batch.a < 0) & (raw > 0) & (raw < 1)
    residual = (smoothed_slopes(batch, batch.t, stiffness) * batch.a) @ data.Z - data.penalized(batch.u)
    system = ((tight * curvature) @ data.outer).reshape(-1, k, k)
    system[:, range(k), range(k)] += data.metric
    step = np.linalg.solve(system, residual[:, :, None])[:, :, 0]
    return np.asarray(step), step @ data.Z.T, np.asarray(stiffness)


def _controlled_step(data: _Data, batch: _Batch, kappa: float) -> _Batch:
    """One Newton step, halved where the smoothed merit would rise; slopes are updated only after full steps."""
    step, dt, stiffness = _newton(data, batch, kappa)
    slack = 1e-14 * np.einsum("bj,bj->b", batch.u, batch.u)
    current = smoothed_merit(data.p, batch, batch.u, batch.t, stiffness) + slack
    length = np.ones(len(step))
    for shorter in (0.5, 0.2, 0.05):
        s = length[:, None]
        failed = smoothed_merit(data.p, batch, batch.u + s * step, batch.t + s * dt, stiffness) > current
        length[failed] = shorter
    s = length[:, None]
    t = batch.t + s * dt
    c = np.where((s == 1) | (batch.a >= 0), smoothed_slopes(batch, t, stiffness), batch.c)
    return replace(batch, u=batch.u + s * step, t=t, c=c)


def _collect(data: _Data, batch: _Batch, threshold: float) -> JointSearchResult:
    """Rescale to unit cost, keep distinct neurons, polish them, and evaluate the true values."""
    norms = data.costs(batch.u)
    usable = np.isfinite(norms)
    batch, norms = batch.take(usable), norms[usable]
    u = batch.u / norms[:, None]
    values = row_norms(np.maximum(u @ data.Z.T, 0) @ data.N)
    order = np.argsort(-values, kind="stable")
    kept = _distinct(u, order[values[order] > threshold], APART)[:MOST]
    u = np.array([_polished(data, *pair) for pair in zip(u[kept], batch.c[kept], strict=True)]).reshape(-1, u.shape[1])
    P = np.maximum(u @ data.Z.T, 0) @ data.N
    polished = row_norms(P)
    outputs = P / np.maximum(polished[:, None], 1e-300)
    slopes = np.array([_slopes_for(data, *pair) for pair in zip(u, P, strict=True)]).reshape(-1, len(data.Z))
    order = np.argsort(-polished, kind="stable")
    best = max(float(values.max(initial=0.0)), float(polished.max(initial=0.0)))
    return JointSearchResult(u[order], outputs[order], polished[order], slopes[order], best)


def _slopes_for(data: _Data, u: Array, P: Array) -> Array:
    """Slopes (n,) of relu at u that fit its kinks: those nearest to one half that make sum_i c_i a_i z_i = |P| S u."""
    t, value = data.Z @ u, float(np.linalg.norm(P))
    a = data.N @ P / max(value, 1e-300)
    tight = np.abs(t) <= 1e-3 * np.sqrt(data.squares) * float(np.linalg.norm(u))
    slopes = ((t > 0) & ~tight).astype(float)
    soft = tight & (a < 0)
    slopes[soft] = 0.5
    lacking = value * data.penalized(u[None])[0] - (slopes * a) @ data.Z
    rows = a[soft, None] * data.Z[soft]
    slopes[soft] = np.clip(0.5 + np.linalg.lstsq(rows.T, lacking, rcond=1e-10)[0], 0.0, 1.0)
    return slopes


def _polished(data: _Data, u: Array, c: Array) -> Array:
    """The best neuron with the same kinks and the same pattern otherwise, if it is better (theory C.3)."""
    t = data.Z @ u
    size = np.sqrt(data.squares) * float(np.linalg.norm(u))
    tight = ((c > 0) & (c < 1) & (np.abs(t) < 1e-3 * size)) | (np.abs(t) <= 1e-12 * size)
    if data.free_bias and not tight.any():
        tight[np.argmin(np.abs(t))] = True
    E = scipy.linalg.null_space(data.Z[tight]) if tight.any() else np.eye(len(u))
    if not E.shape[1]:
        return u
    R = np.linalg.qr(E[: data.p], mode="r")
    if E.shape[1] > data.p or np.abs(np.diag(R)).min() < 1e-9:
        return u
    on = (t > 0) & ~tight
    M = (data.N[on].T @ data.Z[on]) @ E @ np.linalg.inv(R)
    y = np.linalg.svd(M, full_matrices=False)[2][0]
    new = E @ np.linalg.solve(R, y)
    new = new * (1.0 if new[: data.p] @ u[: data.p] >= 0 else -1.0)
    before, after = (float(np.linalg.norm(np.maximum(data.Z @ w, 0) @ data.N)) for w in (u, new))
    return new if after > before else u


def _distinct(u: Array, order: IntArray, apart: float) -> IntArray:
    """Walk through `order` and keep each neuron whose cosine with every kept one is below `1 - apart`."""
    unit = u[order] / row_norms(u[order])[:, None]
    near = (unit @ unit.T) > 1 - apart
    free = np.ones(len(order), dtype=bool)
    kept = []
    for i in range(len(order)):
        if free[i]:
            kept.append(i)
            free &= ~near[i]
    return order[np.array(kept, dtype=np.intp)]
