"""Banded linear systems of splines, each node with two groups of T unknowns: `Bands`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dgbtrf, dgbtrs

from convexrelu.arrays import Array


class Bands:
    """A banded matrix of m nodes with two groups of T unknowns each, added to in blocks; a node meets its neighbours.

    Unknown t of group g at node k has the index (2 k + g) T + t.
    """

    def __init__(self, m: int, T: int) -> None:
        self.m, self.T = m, T
        self.width = 4 * T - 1
        # LAPACK's storage: entry (i, j) in row 2 width + i - j, the first `width` rows are for the factors.
        self.entries = np.zeros((3 * self.width + 1, 2 * T * m), order="F")

    def add(self, row: int, column: int, offset: int, blocks: Array) -> None:
        """Add blocks (., T, T) that couple group `row` of a node k to group `column` of node k + offset, for all k."""
        T, first = self.T, max(offset, 0)
        count = self.m - abs(offset)
        for s in range(T):
            for t in range(T):
                diagonal = 2 * self.width + (row - column) * T + s - t - 2 * T * offset
                start = 2 * T * first + column * T + t
                self.entries[diagonal, start :: 2 * T][:count] += blocks[:count, s, t]

    def factorised(self) -> Factors:
        """The factors of the matrix, whose entries are used up."""
        factors, pivots, _ = dgbtrf(self.entries, self.width, self.width, overwrite_ab=1)
        return Factors(factors, pivots, self.width)


class Factors:
    """A factorised banded matrix; of a singular one the solutions are not finite."""

    def __init__(self, factors: Array, pivots: NDArray[np.int32], width: int) -> None:
        self.factors, self.pivots, self.width = factors, pivots, width

    def solve(self, rhs: Array) -> Array:
        """The solutions for right-hand sides in columns."""
        x: Array = dgbtrs(self.factors, self.width, self.width, rhs, self.pivots)[0]
        return x
