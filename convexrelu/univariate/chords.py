"""Slopes and curvature of the polygon through sorted points, with bounds on their rounding: `Chords`.

Letters: `x` (n,) increasing points, `Y` (n, T) values, `h` (n - 1,) spacings, `s` (n - 1, T) slopes, `delta` (n - 2, T)
curvature at the inner points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms


@dataclass(frozen=True, eq=False)
class Chords:
    """The polygon through the points (x_i, Y_i), x increasing."""

    x: Array
    Y: Array

    @cached_property
    def h(self) -> Array:
        """Spacings (n - 1,)."""
        return np.diff(self.x)

    @cached_property
    def s(self) -> Array:
        """Slopes (n - 1, T)."""
        slopes: Array = np.diff(self.Y, axis=0) / self.h[:, None]
        return slopes

    @cached_property
    def delta(self) -> Array:
        """Curvature (n - 2, T) at the inner points."""
        return np.diff(self.s, axis=0)

    @cached_property
    def rounding(self) -> Array:
        """Bound (n - 2,) on the error of `delta`: three roundings in each slope and one in the difference."""
        sizes = row_norms(self.s)
        return 4 * EPS * (sizes[1:] + sizes[:-1])

    @cached_property
    def ambiguity(self) -> Array:
        """What rounding of x and Y, relative to the largest, could do to `delta` (n - 2,): less curvature is a tie."""
        blur = 8 * EPS * (row_norms(self.Y).max() + row_norms(self.s) * np.abs(self.x).max()) / self.h
        ambiguity: Array = blur[1:] + blur[:-1] + self.rounding
        return ambiguity
