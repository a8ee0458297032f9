"""`solution_set`: all interpolants of least norm in one variable, for free biases.

Letters: `x` (n,) points, `s` (n - 1,) slopes of the polygon through the data, `eps` (n,) sign of its curvature at each
point, for several tasks its unit direction (n, T), `l_k` the line of segment k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.univariate.chords import Chords
from convexrelu.univariate.modes import check_modes
from convexrelu.univariate.samples import check_points, samples
from convexrelu.univariate.spline import Spline
from convexrelu.univariate.zonotope import shares_of


@dataclass(frozen=True, eq=False, repr=False)
class SolutionSet:
    """All interpolants of least norm: on a free interval they fan out, elsewhere they connect the dots.

    An interpolant has least norm if and only if it is linear on all intervals but the free ones, and convex (sign +1)
    or concave (-1) on each run of neighbouring points of one sign, with the slopes of the data at both ends of the run
    (theory D.3). For several tasks a run is one of neighbours whose curvature has the same direction, along which
    solutions differ as those of one task do (theory D.4).

    Attributes
    ----------
    x, y : float64 (n,)
        Distinct points, increasing, and their targets, (n, T) for several tasks.
    slopes : float64 (n + 1,) or (n + 1, T)
        Of the lines that bound the set: the extension to the left, the n - 1 segments, the extension to the right.
        Without a skip the extensions may be steeper or flatter than the outer segments (`outer`).
    sign : float64 (n,)
        Of the curvature at each point; 0 where it is below what the last bits of the data can make. For several tasks 1
        where there is curvature.
    free : bool (n - 1,)
        The intervals between neighbouring points on which the solutions differ.
    outer : float
        By how much the slope may change at or beyond the ends; zero with a skip.
    """

    x: Array
    y: Array
    slopes: Array
    sign: Array
    free: BoolArray
    outer: float

    @property
    def is_unique(self) -> bool:
        """Whether there is one solution only."""
        return not self.free.any() and self.outer == 0

    @property
    def reason(self) -> str:
        """Why the solution is unique, or where it is not."""
        if self.is_unique:
            return f"Unique: no two neighbouring points have curvature of the same {self._alike}."
        parts = []
        if self.free.any():
            k = int(np.argmax(self.free))
            parts.append(
                f"{int(self.free.sum())} of {len(self.free)} intervals are free, the first from {self.x[k]:g} to "
                f"{self.x[k + 1]:g}: both its ends have curvature of the same {self._alike}"
            )
        if self.outer:
            parts.append("without a skip the slope is not determined beyond the data")
        return f"Not unique: {'; '.join(parts)}."

    @property
    def _alike(self) -> str:
        return "sign" if self.y.ndim == 1 else "direction"

    def __repr__(self) -> str:
        return f"SolutionSet(n={len(self.x)}, {int(self.free.sum())} free intervals, is_unique={self.is_unique})"

    def prediction_range(self, x_new: Any) -> tuple[Array, Array]:
        """The least and the largest value (m,), or (m, T), over all solutions at points (m,); both are attained.

        On a free interval: between the polygon and the nearer of the neighbours' lines.
        """
        t = check_points(x_new, "x_new")
        polygon, far = self._polygon(t), self._far(t)
        return np.minimum(polygon, far), np.maximum(polygon, far)

    def _polygon(self, t: Array) -> Array:
        values = Spline.through(self.x, self.y.reshape(len(self.x), -1))(t) if len(self.x) > 1 else self.y[[0] * len(t)]
        return values.reshape(len(t), *self.y.shape[1:])

    def _far(self, t: Array) -> Array:
        """The end of the range (m,) or (m, T) that is not the polygon."""
        n, across = len(self.x), (slice(None), *[None] * (self.y.ndim - 1))
        k = np.clip(np.searchsorted(self.x, t, side="right") - 1, 0, max(n - 2, 0))
        right, polygon = np.minimum(k + 1, n - 1), self._polygon(t)
        before = self.y[k] + self.slopes[k] * (t - self.x[k])[across]
        after = self.y[right] + self.slopes[right + 1] * (t - self.x[right])[across]
        # Both lines are on one side of the polygon.
        nearer = np.abs(before - polygon).reshape(len(t), -1).sum(1) < np.abs(after - polygon).reshape(len(t), -1).sum(
            1
        )
        free = self.free[k] if n > 1 else np.zeros(len(t), dtype=bool)
        inside: Array = np.where(free[across], np.where(nearer[across], before, after), polygon)
        low, high = (t < self.x[0])[across], (t > self.x[-1])[across]
        return np.where(low, before, np.where(high, after, inside))

    def connect_the_dots(self) -> Spline:
        """The solution that is linear between neighbouring points, and beyond them if there is a skip."""
        return self.spiked(np.zeros(len(self.free), dtype=bool))

    def spiked(self, intervals: Any) -> Spline:
        """The solution that follows the neighbours' lines on the given intervals, and connects the dots on the others.

        Parameters
        ----------
        intervals : bool (n - 1,) or indices
            Free intervals, no two of them neighbours. On each the two knots of its ends become one between them.

        Raises
        ------
        InvalidInputError
            If an interval is not free, or two are neighbours.
        """
        chosen = self._chosen(intervals)
        k = np.flatnonzero(chosen)
        t, v = self._crossing(k)
        replaced = np.zeros(len(self.x), dtype=bool)
        replaced[k] = replaced[k + 1] = True
        keep = (self.sign != 0) & ~replaced
        # A point of no curvature at either end anchors the outer lines.
        keep[[0, -1]] |= ~replaced[[0, -1]]
        knots = np.concatenate([self.x[keep], t])
        order = np.argsort(knots, kind="stable")
        values = np.concatenate([self.y[keep], v])[order]
        inner = Spline.through(knots[order], values.reshape(len(knots), -1))
        return self._with_outer_lines(inner, replaced)

    def _with_outer_lines(self, inner: Spline, replaced: BoolArray) -> Spline:
        """The spline with the lines that a change of slope at or beyond an end, or a crossing there, asks for."""
        slopes = inner.slopes.copy()
        if self.outer:
            left, right = self._outer_sides(replaced)
            slopes[0] = self.slopes[0] if left else self.slopes[1]
            slopes[-1] = self.slopes[-1] if right else self.slopes[-2]
        return Spline(inner.knots, inner.values, slopes).pruned()

    def _outer_sides(self, replaced: BoolArray) -> tuple[bool, bool]:
        """At which end the outer change of slope sits: where it made a spike, else at the left end."""
        right = bool(replaced[-1]) and not replaced[0]
        return not right, right

    def _chosen(self, intervals: Any) -> BoolArray:
        asked = np.asarray(intervals)
        chosen = np.zeros(len(self.free), dtype=bool)
        try:
            if asked.size:
                chosen[asked] = True
        except (IndexError, TypeError, ValueError):
            raise InvalidInputError(
                f"`intervals` must be a mask of length {len(self.free)} or indices below it."
            ) from None
        if np.any(chosen & ~self.free):
            k = int(np.argmax(chosen & ~self.free))
            raise InvalidInputError(f"`intervals` contains {k}, which is not free; see the attribute `free`.")
        if np.any(chosen[1:] & chosen[:-1]) or (self.outer and chosen.sum() and chosen[0] and chosen[-1]):
            raise InvalidInputError("`intervals` contains neighbours, which share a knot; drop one of each two.")
        return chosen

    def _crossing(self, k: IntArray) -> tuple[Array, Array]:
        """Where the lines before and after the intervals k meet: at h b / (a + b) from the left end (theory D.3)."""
        bends = np.diff(self.slopes, axis=0).reshape(len(self.x), -1)
        a, b = row_norms(bends[k]), row_norms(bends[k + 1])
        offset = (self.x[k + 1] - self.x[k]) * (b / (a + b))
        steps = self.slopes[k] * offset.reshape(-1, *[1] * (self.y.ndim - 1))
        return self.x[k] + offset, self.y[k] + steps


def solution_set(x: Any, y: Any, bias: str = "free", skip: str = "free") -> SolutionSet:
    """All interpolants of least norm sum_j |w_j| |v_j|.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order; repeated ones must have equal targets.
    y : array (n,) or (n, T)
    bias : {"free"}
    skip : {"free", "none"}
        Without a skip, for several tasks, the set is known where it is that with a skip, as for most noisy data.

    Returns
    -------
    SolutionSet

    Raises
    ------
    InvalidInputError
        For data that cannot be used or interpolated.
    UnsupportedError
        For a penalised bias, and without one; for several tasks without a skip whose least norm is larger than with
        one.

    Notes
    -----
    Cost O(n log n), O(n) for sorted points. For penalised training with squared loss the set is that of the data
    (x, predictions of the optimum).

    Neurons of both directions can share the curvature at a knot, in shares theta and 1 - theta. So they do without a
    skip, at no cost, if and only if the sum of the first and the last slope is a sum of the curvatures, each times a
    number in [-1, 1] (theory D.2; for one task: if it is no larger than their variation). For several tasks that takes
    O(n T^2), and a linear program where least squares do not find the numbers.

    References
    ----------
    B. Hanin, "Ridgeless interpolation with shallow ReLU networks in 1D is nearest neighbor curvature extrapolation and
    provably generalizes on Lipschitz functions", 2021, Theorem 1; T. Debarre, Q. Denoyelle, M. Unser, J. Fageot,
    "Sparsest piecewise-linear regression of one-dimensional data", J. Comput. Appl. Math. 2022, Theorem 2.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> S = univariate.solution_set([0, 1, 2, 3], [0, 1, 1, 0])
    >>> S.is_unique, S.prediction_range([1.5])
    (False, (array([1.]), array([1.5])))
    """
    if bias == "none":
        raise UnsupportedError("`bias='none'` leaves one interpolant at most; see `univariate.interpolate`.")
    check_modes(bias, skip)
    if bias == "penalized":
        raise UnsupportedError("`bias='penalized'` is not part of `solution_set`; use `convexrelu.solve`.")
    data = samples(x, y)
    data.check_single_valued()
    chords = Chords(data.points, data.Y[data.first])
    if data.Y.shape[1] > 1:
        if skip == "none":
            _check_slopes(chords)
        return _of_tasks(chords)
    return _bounded(chords, *_outer_lines(chords, skip))


def _check_slopes(chords: Chords) -> None:
    """Raise unless the least norm of several tasks without a skip is that with one: then so are the solutions.

    Else a knot's curvature may split into two directions, and a set of solutions is more than one fan per interval.
    """
    if len(chords.x) < 2:
        return
    delta = chords.delta if len(chords.x) > 2 else np.zeros((0, chords.Y.shape[1]))
    tie = float(chords.ambiguity.sum()) if len(delta) else 0.0
    if shares_of(delta, chords.s[0] + chords.s[-1], tie) is None:
        raise UnsupportedError(
            "`skip='none'` costs more than a skip for these tasks in `solution_set`, which does not know that set; use "
            "skip='free', or `convexrelu.solve` and `Result.optimal_set()`."
        )


def _of_tasks(chords: Chords) -> SolutionSet:
    """The set of several tasks with a skip: intervals are free between curvatures that point the same way."""
    n, T = chords.Y.shape
    sign, size = np.zeros(n), np.zeros(n)
    unit, blur = np.zeros((n, T)), np.zeros(n)
    if n > 2:
        size[1:-1] = row_norms(chords.delta)
        sign[1:-1] = size[1:-1] > chords.ambiguity
        unit[1:-1] = chords.delta / np.where(size[1:-1] > 0, size[1:-1], 1.0)[:, None]
        blur[1:-1] = chords.ambiguity / np.where(size[1:-1] > 0, size[1:-1], 1.0)
    apart = row_norms(np.diff(unit, axis=0))
    free = (sign[1:] * sign[:-1] > 0) & (apart <= 2 * (blur[1:] + blur[:-1]))
    slopes = np.zeros((2, T)) if n < 2 else np.concatenate([chords.s[:1], chords.s, chords.s[-1:]])
    return SolutionSet(chords.x, chords.Y, slopes, sign, free, 0.0)


def solutions_through(x: Array, spline: Spline) -> SolutionSet:
    """The interpolants of least norm of the values of a spline with knots among the points x (n,), increasing.

    The signs are those of the knots, which are exact, not of the differences of the values.
    """
    piece = np.searchsorted(spline.knots, x, side="right")
    right = spline.slopes[piece, 0]
    left = np.concatenate([spline.slopes[:1, 0], right[:-1]])
    sign = np.sign(right - left)
    free = (sign[1:] == sign[:-1]) & (sign[1:] != 0)
    return SolutionSet(x, spline(x)[:, 0], np.append(left, right[-1]), sign, free, 0.0)


def _bounded(chords: Chords, outer_slopes: tuple[float, float], outer_sign: float, outer: float) -> SolutionSet:
    """The set between the polygon and the lines of its segments and the given extensions."""
    n = len(chords.x)
    sign = np.zeros(n)
    if n > 2:
        delta = chords.delta[:, 0]
        sign[1:-1] = np.where(np.abs(delta) > chords.ambiguity, np.sign(delta), 0.0)
    if n > 1:
        sign[[0, -1]] = outer_sign, -outer_sign
    slopes = np.concatenate([[outer_slopes[0]], chords.s[:, 0], [outer_slopes[1]]])
    free = (sign[1:] == sign[:-1]) & (sign[1:] != 0)
    return SolutionSet(chords.x, chords.Y[:, 0], slopes, sign, free, outer)


def _outer_lines(chords: Chords, skip: str) -> tuple[tuple[float, float], float, float]:
    """Slopes of the extensions, the sign of their change at the left end, and its size (theory D.2)."""
    if len(chords.x) < 2:
        return (0.0, 0.0), 0.0, 0.0
    first, last = float(chords.s[0, 0]), float(chords.s[-1, 0])
    if skip == "free":
        return (first, last), 0.0, 0.0
    S, variation = first + last, float(np.abs(chords.delta).sum())
    tie = float(chords.ambiguity.sum()) if len(chords.x) > 2 else 0.0
    extra = (abs(S) - variation) / 2
    if extra <= tie:
        return (first, last), 0.0, 0.0
    sign = math.copysign(1.0, S)
    return (first - sign * extra, last - sign * extra), sign, extra
