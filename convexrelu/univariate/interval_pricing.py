"""Which neurons of one input correlate most with a residual, interval by interval: `best_of_intervals`, in O(n).

Letters: as in `neurons`; `A` (T, 2) the correlation of the residual with a neuron (w, b) whose knot is in an interval:
|A u| is to be compared with lam. In an interval its maximum over unit u is at the top eigenvector of A^T A, or at an
end (theory C.3, D.5); for free biases always at an end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.univariate.neurons import EVERYWHERE, Line, Neurons
from convexrelu.univariate.running_sums import WIDE, Wide, double_sum
from convexrelu.univariate.trend_filter import peaks

# Of an interval: knots closer to its ends count as on them.
NEAR = 1e-7


@dataclass(frozen=True, eq=False)
class Sums:
    """What neurons correlate with: a dual variable's running sums `c` (n, T) and their sums `G` (n - 1, T).

    Letters as in `running_sums`.
    """

    line: Line
    c: Wide
    G: Wide

    @classmethod
    def of(cls, line: Line, r: Array) -> Sums:
        """Of a residual (n, T)."""
        c, _, G, _ = double_sum(line.x, r)
        return cls(line, c, G)

    def lowered(self, share: Array) -> Sums:
        """With the correlations of neurons with knots at the points at shares (n,) of what they are.

        Those of neurons that face left differ from the others' by a line. It stays: without a skip both fall towards
        the middle between them.
        """
        x = self.line.x.astype(WIDE)
        left = self._left
        middle = 0 * left if self.line.skip == "free" else (left - self._right(left)) / 2
        left[1:-1] = (middle + (left - middle) * share[:, None])[1:-1]
        c = self.c.copy()
        c[:-1] = np.diff(left, axis=0) / np.diff(x)[:, None]
        return Sums(self.line, c, left[1:])

    @property
    def _left(self) -> Wide:
        return np.concatenate([np.zeros_like(self.c[:1]), self.G])

    def _right(self, left: Wide) -> Wide:
        x = self.line.x[:, None]
        right: Wide = left - left[-1] + (x[-1] - x) * self.c[-1]
        return right

    def at_points(self, side: float) -> Array:
        """Correlations (n, T) of relu(x - t), or relu(t - x) for side -1, for t at the points, where A would cancel."""
        left = self._left
        return (self._right(left) if side > 0 else left).astype(np.float64)

    def by_interval(self, side: float) -> Array:
        """A (n + 1, T, 2) of neurons that are on at the points from k on, or before k for side -1."""
        before = np.zeros((len(self.c) + 1, self.c.shape[1], 2), dtype=WIDE)
        before[1:, :, 0] = self.line.x[:, None] * self.c - self._left
        before[1:, :, 1] = self.c
        return (before[-1] - before if side > 0 else before).astype(np.float64)


def correlations(line: Line, r: Array, neurons: Neurons) -> Array:
    """A (k, T, 2) of the given neurons."""
    sums = Sums.of(line, r)
    right = np.where(neurons.place == EVERYWHERE, 0, neurons.place + 1)
    left = np.where(neurons.loose, neurons.place + 1, neurons.place)
    faces_right = (neurons.side > 0)[:, None, None]
    chosen: Array = np.where(faces_right, sums.by_interval(1.0)[right], sums.by_interval(-1.0)[left])
    return chosen


def best_of_intervals(sums: Sums, tol: float) -> tuple[Neurons, float]:
    """New neurons of size zero, the best of each stretch of violating intervals, and the dual norm."""
    line, tau = sums.line, 0.0
    found = Neurons.none(line.Y.shape[1])
    for side in line.sides:
        neurons, value = _candidates(sums, side)
        tau = max(tau, float(value.max(initial=0.0)))
        # A single interval without a candidate does not end a stretch.
        found = found.joined(neurons.taken(peaks(value, value > line.lam * (1 + 1e-3 * tol), apart=2)))
    return found, tau


def largest_by_interval(sums: Sums) -> Array:
    """The largest correlation (n - 1,) of a neuron with its knot in the interval, ends included."""
    count = 2 * len(sums.line.x) - 1
    value = np.max([_candidates(sums, side)[1][:count] for side in sums.line.sides], axis=0)
    largest: Array = np.maximum(value[1::2], np.maximum(value[:-1:2], value[2::2]))
    return largest


def _candidates(sums: Sums, side: float) -> tuple[Neurons, Array]:
    """In the order of their knots the best neuron at each point and inside each interval; correlations (2 n - 1,)."""
    line, x, n, at = sums.line, sums.line.x, len(sums.line.x), sums.by_interval(side)
    place = np.repeat(np.arange(n), 2)[:-1]
    loose = np.arange(2 * n - 1) % 2 == 1
    t = x[place]
    A = at[np.where(loose, place + 1, place + (side > 0))]
    if line.bias == "penalized":
        t[loose] = _tops(A[loose], x[:-1], x[1:])
    u = line.unit(np.where(np.isnan(t), 0.0, t), side)
    g = np.einsum("ktj,kj->kt", A, u)
    g[~loose] = sums.at_points(side) * np.abs(u[~loose, :1])
    value = np.where(np.isnan(t) | (loose & (line.bias == "free")), 0.0, row_norms(g))
    if line.skip == "free":
        value[[0, -1]] = 0.0
    size = row_norms(g)
    d = g / np.where(size > 0, size, 1.0)[:, None]
    neurons = Neurons(place, loose, np.full(2 * n - 1, side), u, d, np.zeros(2 * n - 1))
    if side > 0 and line.bias == "penalized" and line.skip == "none":
        return _with_everywhere(line, at[0], neurons, value)
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
