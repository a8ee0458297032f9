"""`Spline`: a continuous piecewise linear function of one variable, what a 1-D ReLU network computes.

Letters: `t` (K,) knots, `T` tasks, `delta` (K, T) curvature: the change of slope at each knot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, BoolArray, frozen, row_norms
from convexrelu.errors import InvalidInputError
from convexrelu.univariate.samples import check_points
from convexrelu.validation import check_numeric, check_targets


@dataclass(frozen=True, eq=False, repr=False)
class Spline:
    """A continuous piecewise linear function with T outputs; arrays are float64 and read-only.

    Values and slopes are both stored, so that the slope of a short piece does not suffer from cancellation.

    Parameters
    ----------
    knots : array (K,)
        Increasing, K >= 1; a linear function has any one point for its knot.
    values : array (K, T)
        At the knots.
    slopes : array (K + 1, T)
        Left of the first knot, between neighbouring knots, right of the last one.

    Raises
    ------
    InvalidInputError
        If shapes do not fit together, entries are not finite or the knots do not increase.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> tent = univariate.Spline([0.0, 1.0, 2.0], [[0.0], [1.0], [0.0]], [[0.0], [1.0], [-1.0], [0.0]])
    >>> tent([0.5, 3.0])
    array([[0.5],
           [0. ]])
    >>> tent.total_variation
    4.0
    """

    knots: Array
    values: Array
    slopes: Array

    def __post_init__(self) -> None:
        knots = check_points(self.knots, "knots")
        if np.any(np.diff(knots) <= 0):
            raise InvalidInputError("`knots` must increase strictly; sort them and drop repeated ones.")
        values = check_targets(self.values, len(knots), "values")
        slopes = frozen(check_numeric(self.slopes, "slopes"))
        shape = (len(knots) + 1, values.shape[1])
        if slopes.shape != shape or not np.isfinite(slopes).all():
            raise InvalidInputError(
                f"`slopes` must be finite of shape {shape}, one row more than `knots`; got shape {slopes.shape}."
            )
        for name, array in (("knots", knots), ("values", values), ("slopes", slopes)):
            object.__setattr__(self, name, array)

    @classmethod
    def through(cls, x: Any, Y: Any) -> Spline:
        """Connect the points (x_i, Y_i), x increasing, and extend the outer pieces linearly."""
        t = check_points(x)
        values = check_targets(Y, len(t))
        inner = np.diff(values, axis=0) / np.diff(t)[:, None] if len(t) > 1 else np.zeros((1, values.shape[1]))
        return cls(t, values, np.vstack([inner[:1], inner, inner[-1:]]) if len(t) > 1 else np.vstack([inner, inner]))

    def __repr__(self) -> str:
        return f"Spline({self.n_knots} knots, {self.values.shape[1]} outputs)"

    def __call__(self, x: Any) -> Array:
        """Values (m, T) at points x (m,)."""
        x = check_points(x)
        piece = np.searchsorted(self.knots, x, side="right")
        last = len(self.knots) - 1
        before, after = np.maximum(piece - 1, 0), np.minimum(piece, last)
        anchor = np.where(x - self.knots[before] <= self.knots[after] - x, before, after)
        anchor = np.where(piece > last, last, anchor)  # the nearer end of the piece
        out: Array = self.values[anchor] + self.slopes[piece] * (x - self.knots[anchor])[:, None]
        return out

    @property
    def curvature(self) -> Array:
        """Changes of slope (K, T) at the knots."""
        return np.diff(self.slopes, axis=0)

    @property
    def n_knots(self) -> int:
        """The number of knots where the slope changes."""
        return int(self.bends.sum())

    @property
    def bends(self) -> BoolArray:
        """Which knots (K,) change the slope."""
        bends: BoolArray = np.any(self.slopes[1:] != self.slopes[:-1], axis=1)
        return bends

    @property
    def total_variation(self) -> float:
        """Of the derivative, the integral of |f''|: the sum over knots of |delta_k|."""
        return float(row_norms(self.curvature).sum())

    def pruned(self) -> Spline:
        """The same function without the knots at which the slope does not change (one of them if none does)."""
        keep = self.bends
        if not keep.any():
            keep[0] = True
        slopes = np.vstack([self.slopes[:1], self.slopes[1:][keep]])
        return Spline(self.knots[keep], self.values[keep], slopes)

    def blended(self, other: Spline, share: float) -> Spline:
        """The function (1 - share) self + share other."""
        knots = np.union1d(self.knots, other.knots)
        parts = []
        for spline in (self, other):
            piece = np.searchsorted(spline.knots, knots, side="right")
            parts.append((spline(knots), np.vstack([spline.slopes[:1], spline.slopes[piece]])))
        (values, slopes), (more, steeper) = parts
        return Spline(knots, values + share * (more - values), slopes + share * (steeper - slopes))
