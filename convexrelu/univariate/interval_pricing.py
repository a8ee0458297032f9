"""Which neurons of one input correlate most with a residual, interval by interval: `best_of_intervals`, in O(n).

Letters: as in `neurons`; `A` (T, 2) the correlation of the residual with a neuron (w, b) whose knot is in an interval:
|A u| is to be compared with lam. In an interval its maximum over unit u is at the top eigenvector of A^T A, or at an
end (theory C.3, D.5); for free biases always at an end.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.univariate.neurons import EVERYWHERE, Line, Neurons
from convexrelu.univariate.running_sums import Wide
from convexrelu.univariate.trend_filter import peaks

# Of an interval: knots closer to its ends count as on them.
NEAR = 1e-7


def sums_by_side(line: Line, r: Array | Wide) -> dict[float, Array]:
    """A (n + 1, T, 2) by side: of neurons that are on at the points from k on (side 1) or before k (-1).

    With the digits of r: between close points A is large where the correlations are not.
    """
    terms = np.stack([r * line.x[:, None], r], axis=2).astype(np.longdouble)
    before = np.concatenate([np.zeros_like(terms[:1]), np.cumsum(terms, axis=0)])
    return {1.0: (before[-1] - before).astype(r.dtype), -1.0: before.astype(r.dtype)}


def correlations(line: Line, r: Array, neurons: Neurons) -> Array:
    """A (k, T, 2) of the given neurons."""
    sums = sums_by_side(line, r)
    right = np.where(neurons.place == EVERYWHERE, 0, neurons.place + 1)
    left = np.where(neurons.loose, neurons.place + 1, neurons.place)
    chosen: Array = np.where((neurons.side > 0)[:, None, None], sums[1.0][right], sums[-1.0][left])
    return chosen


def best_of_intervals(line: Line, r: Array, tol: float) -> tuple[Neurons, float]:
    """New neurons of size zero, the best of each stretch of violating intervals, and the dual norm of the residual."""
    sums, tau = sums_by_side(line, r), 0.0
    found = Neurons.none(line.Y.shape[1])
    for side in line.sides:
        neurons, value = _candidates(line, sums[side], side)
        tau = max(tau, float(value.max(initial=0.0)))
        # A single interval without a candidate does not end a stretch.
        found = found.joined(neurons.taken(peaks(value, value > line.lam * (1 + 1e-3 * tol), apart=2)))
    return found, tau


def largest_by_interval(line: Line, r: Array | Wide) -> Array:
    """The largest correlation (n - 1,) of a neuron that faces right with its knot in the interval, ends included."""
    value = _candidates(line, sums_by_side(line, r)[1.0], 1.0)[1].astype(np.float64)
    return np.maximum(value[1::2], np.maximum(value[:-1:2], value[2::2]))


def _candidates(line: Line, sums: Array, side: float) -> tuple[Neurons, Array]:
    """In the order of their knots the best neuron at each point and inside each interval; correlations (2 n - 1,)."""
    x, n = line.x, len(line.x)
    place = np.repeat(np.arange(n), 2)[:-1]
    loose = np.arange(2 * n - 1) % 2 == 1
    t = x[place].astype(sums.dtype)
    A = sums[np.where(loose, place + 1, place + (side > 0))]
    if line.bias == "penalized":
        t[loose] = _tops(A[loose], x[:-1], x[1:])
    u = line.unit(np.where(np.isnan(t), 0.0, t), side)
    g = np.einsum("ktj,kj->kt", A, u)
    value = np.where(np.isnan(t) | (loose & (line.bias == "free")), 0.0, row_norms(g))
    if line.skip == "free":
        value[[0, -1]] = 0.0
    size = row_norms(g)
    d = g / np.where(size > 0, size, 1.0)[:, None]
    neurons = Neurons(place, loose, np.full(2 * n - 1, side), u, d, np.zeros(2 * n - 1))
    if side > 0 and line.bias == "penalized" and line.skip == "none":
        return _with_everywhere(line, sums[0], neurons, value)
    return neurons, value


def _with_everywhere(line: Line, A: Array, neurons: Neurons, value: Array) -> tuple[Neurons, Array]:
    """The same and the best neuron that is on at all points, if it is inside its cell."""
    u = np.linalg.svd(A)[2][0]
    u = u * np.sign(u[1] + u[0] * line.x.mean() or 1.0)
    g = A @ u
    size = float(np.linalg.norm(g))
    if np.any(u[0] * line.x[[0, -1]] + u[1] <= 0) or size == 0:
        return neurons, value
    one = Neurons(np.array([EVERYWHERE]), np.array([True]), np.ones(1), u[None], (g / size)[None], np.zeros(1))
    # Set apart from the others, among which neighbours compete.
    gap = neurons.taken(np.array([0]))
    return neurons.joined(gap).joined(one), np.concatenate([value, [0.0, size]])


def _tops(A: Array, a: Array, b: Array) -> Array:
    """Knots (k,) of the top eigenvectors of A^T A strictly inside the intervals (a, b), nan elsewhere."""
    S = np.einsum("kti,ktj->kij", A, A)
    half = (S[:, 0, 0] - S[:, 1, 1]) / 2
    angle = np.arctan2(S[:, 0, 1], half) / 2  # of (w, b)
    w, bias = np.cos(angle), np.sin(angle)
    with np.errstate(divide="ignore"):
        t = np.where(w != 0, -bias / np.where(w != 0, w, 1.0), np.inf)
    near = NEAR * (b - a)
    tops: Array = np.where((t > a + near) & (t < b - near), t, np.nan)
    return tops
