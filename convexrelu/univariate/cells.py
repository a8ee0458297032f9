"""The cells of points on a line, each with the two neurons that span it: `Cells`.

Letters: `x` (n,) increasing points, neuron `(w, b)` with its knot at `-b / w`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, IntArray


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of points on a line that the program needs, each with its two spanning neurons.

    Attributes
    ----------
    first, second : float64 (m, 2)
        Spanning neurons (w, b), of norm one.
    at_first, at_second : intp (m,)
        The point at which each has its knot.
    """

    first: Array
    second: Array
    at_first: IntArray
    at_second: IntArray

    @classmethod
    def of(cls, x: Array, skip: str) -> Cells:
        """With a skip one of each two opposite cells, and none of those without a kink between points."""
        k = np.arange(len(x) - 1)
        sides, starts, ends = [np.ones(len(k))], [k], [k + 1]
        if skip == "none":
            sides, starts, ends = [np.ones(len(k)), -np.ones(len(k))], [k, k], [k + 1, k + 1]
        side, at_first, at_second = np.concatenate(sides), np.concatenate(starts), np.concatenate(ends)
        first, second = _unit(side, x[at_first]), _unit(side, x[at_second])
        if skip == "none":
            # Neurons that are on at all points lie between one that begins at the first and one that ends at the last.
            first, second = np.vstack([first, _unit(1.0, x[:1])]), np.vstack([second, _unit(-1.0, x[-1:])])
            at_first, at_second = np.append(at_first, 0), np.append(at_second, len(x) - 1)
        return cls(first, second, at_first, at_second)


def _unit(side: Array | float, t: Array) -> Array:
    """Neurons (w, b) of norm one with knots t, facing right (side 1) or left (-1)."""
    rows = np.column_stack([np.ones(len(t)), -t]) * np.reshape(side, (-1, 1))
    unit: Array = rows / np.hypot(1.0, t)[:, None]
    return unit
