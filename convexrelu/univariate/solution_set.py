"""`solution_set`: all interpolants of least norm in one variable, for one task and a free bias.

Letters: `x` (n,) points, `s` (n - 1,) slopes of the polygon through the data, `eps` (n,) sign of its curvature at each
point, `l_k` the line of segment k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.univariate.chords import Chords
from convexrelu.univariate.modes import check_modes
from convexrelu.univariate.samples import check_points, samples
from convexrelu.univariate.spline import Spline


@dataclass(frozen=True, eq=False, repr=False)
class SolutionSet:
    """All interpolants of least norm: on a free interval they fan out, elsewhere they connect the dots.

    An interpolant has least norm if and only if it is linear on all intervals but the free ones, and convex (sign +1)
    or concave (-1) on each run of neighbouring points of one sign, with the slopes of the data at both ends of the run
    (theory D.3).

    Attributes
    ----------
    x, y : float64 (n,)
        Distinct points, increasing, and their targets.
    slopes : float64 (n + 1,)
        Of the lines that bound the set: the extension to the left, the n - 1 segments, the extension to the right.
        Without a skip the extensions may be steeper or flatter than the outer segments (`outer`).
    sign : float64 (n,)
        Of the curvature at each point; 0 where it is below what the last bits of the data can make.
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
            return "Unique: no two neighbouring points have curvature of the same sign."
        parts = []
        if self.free.any():
            k = int(np.argmax(self.free))
            parts.append(
                f"{int(self.free.sum())} of {len(self.free)} intervals are free, the first from {self.x[k]:g} to "
                f"{self.x[k + 1]:g}: both its ends have curvature of the same sign"
            )
        if self.outer:
            parts.append("without a skip the slope is not determined beyond the data")
        return f"Not unique: {'; '.join(parts)}."

    def __repr__(self) -> str:
        return f"SolutionSet(n={len(self.x)}, {int(self.free.sum())} free intervals, is_unique={self.is_unique})"

    def prediction_range(self, x_new: Any) -> tuple[Array, Array]:
        """The least and the largest value (m,) over all solutions at points (m,); both are attained.

        On a free interval: between the polygon and the larger (sign +1) or smaller (-1) of the neighbours' lines.
        """
        t = check_points(x_new, "x_new")
        polygon, far = self._polygon(t), self._far(t)
        return np.minimum(polygon, far), np.maximum(polygon, far)

    def _polygon(self, t: Array) -> Array:
        return Spline.through(self.x, self.y)(t)[:, 0] if len(self.x) > 1 else np.full(len(t), self.y[0])

    def _far(self, t: Array) -> Array:
        """The end of the range (m,) that is not the polygon."""
        n = len(self.x)
        k = np.clip(np.searchsorted(self.x, t, side="right") - 1, 0, max(n - 2, 0))
        right = np.minimum(k + 1, n - 1)
        before = self.y[k] + self.slopes[k] * (t - self.x[k])
        after = self.y[right] + self.slopes[right + 1] * (t - self.x[right])
        outside = (t < self.x[0]) | (t > self.x[-1])
        sign = np.where(self.free[k], self.sign[k], 0.0) if n > 1 else np.zeros(len(t))
        far = np.where(
            sign > 0, np.maximum(before, after), np.where(sign < 0, np.minimum(before, after), self._polygon(t))
        )
        return np.where(outside, np.where(t < self.x[0], before, after), far)

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
        points = knots[order], np.concatenate([self.y[keep], v])[order]
        inner = Spline.through(*points)
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
        a, b = np.abs(self.slopes[k + 1] - self.slopes[k]), np.abs(self.slopes[k + 2] - self.slopes[k + 1])
        offset = (self.x[k + 1] - self.x[k]) * (b / (a + b))
        return self.x[k] + offset, self.y[k] + self.slopes[k] * offset


def solution_set(x: Any, y: Any, bias: str = "free", skip: str = "free") -> SolutionSet:
    """All interpolants of least norm sum_j |w_j| |v_j| of one task.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order; repeated ones must have equal targets.
    y : array (n,) or (n, 1)
    bias : {"free"}
    skip : {"free", "none"}

    Returns
    -------
    SolutionSet

    Raises
    ------
    InvalidInputError
        For data that cannot be used or interpolated, or of several tasks.
    UnsupportedError
        For a penalised bias, and without one.

    Notes
    -----
    Cost O(n log n), O(n) for sorted points. For penalised training with squared loss the set is that of the data
    (x, predictions of the optimum).

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
    if data.Y.shape[1] > 1:
        raise InvalidInputError(f"`y` must have one task, got {data.Y.shape[1]}; see `curvature` for several.")
    data.check_single_valued()
    chords = Chords(data.points, data.Y[data.first])
    return _bounded(chords, *_outer_lines(chords, skip))


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
