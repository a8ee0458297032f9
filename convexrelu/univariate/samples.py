"""Samples of one variable in order: `Samples`, and the check of their points.

Letters: `x` (n,) points, `Y` (n, T) targets, `w` (n,) sample weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, IntArray, frozen
from convexrelu.errors import InvalidInputError
from convexrelu.validation import check_matrix, check_numeric, check_sample_weight, check_targets


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples sorted by their points, with the distinct points aside.

    Attributes
    ----------
    x : float64 (n,)
        Sorted, repeated points kept.
    Y : float64 (n, T)
    weight : float64 (n,)
    order : intp (n,)
        `x = given_x[order]`.
    first : intp (k,)
        Where each of the k distinct points begins in `x`.
    """

    x: Array
    Y: Array
    weight: Array
    order: IntArray
    first: IntArray

    @property
    def points(self) -> Array:
        """Distinct points (k,), increasing."""
        return self.x[self.first]

    def merged(self) -> tuple[Array, Array, Array]:
        """Distinct points (k,) of positive weight, the weighted mean of their targets (k, T), their weights (k,).

        For the squared loss the merged samples pose the same problem up to a constant.
        """
        if len(self.first) == len(self.x) and self.weight.all():
            return self.x, self.Y, self.weight
        weight = np.add.reduceat(self.weight, self.first)
        base = self.Y[self.first]
        # Relative to the first target of each point, so that equal targets keep their mean exactly.
        excess = self.weight[:, None] * (self.Y - np.repeat(base, np.diff(self.first, append=len(self.x)), axis=0))
        mean = base + np.add.reduceat(excess, self.first, axis=0) / np.where(weight > 0, weight, 1.0)[:, None]
        heavy = weight > 0
        return self.points[heavy], mean[heavy], weight[heavy]

    def check_single_valued(self) -> None:
        """Raise InvalidInputError, naming the rows, if two samples at one point have different targets."""
        base = np.repeat(self.first, np.diff(self.first, append=len(self.x)))
        differ = np.flatnonzero(np.any(self.Y[base] != self.Y, axis=1))
        if len(differ):
            i, j = sorted((int(self.order[base[differ[0]]]), int(self.order[differ[0]])))
            raise InvalidInputError(
                f"`Y` contradicts itself: samples {i} and {j} have the same x but different targets; "
                "average or drop one of them, or use `univariate.fit`."
            )


def check_points(value: Any, name: str = "x") -> Array:
    """Finite float64 points (n,) from an array (n,) or (n, 1), read-only."""
    x = check_numeric(value, name)
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 1:
        raise InvalidInputError(
            f"`{name}` must be points on a line, of shape (n,) or (n, 1); got {x.shape}. "
            "For data of several features use `convexrelu.solve`."
        )
    return frozen(check_matrix(x[:, None], name)[:, 0])


def samples(x: Any, Y: Any, sample_weight: Any = None) -> Samples:
    """Check and sort; cost O(n log n)."""
    points = check_points(x)
    targets = check_targets(Y, len(points))
    weight = check_sample_weight(sample_weight, len(points))
    order = np.argsort(points)
    if (np.diff(points[order]) == 0).any():
        order = np.argsort(points, kind="stable")  # repeated points as given; slower
    points = points[order] + 0.0  # no negative zeros
    first = np.flatnonzero(np.concatenate([[True], points[1:] > points[:-1]]))
    targets, weight = targets[order], weight[order]
    for part in (points, targets, weight):
        part.flags.writeable = False
    return Samples(points, targets, weight, order, first)
