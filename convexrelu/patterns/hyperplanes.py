"""The distinct hyperplanes {u : z_i . u = 0} of reduced data, and the number of cells they can cut out.

Letters: `Z` (n, k) reduced data; `N` (m, k) unit normals of the distinct hyperplanes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray, row_norms

# Rows this close (angle) count as parallel. Reducing the data leaves parallel rows parallel to some d * EPS ~ 1e-14;
# and hyperplanes nearer than this could not be told apart anyway: their intersection is only known to EPS / angle.
PARALLEL = 1e-12


@dataclass(frozen=True, eq=False)
class Hyperplanes:
    """Distinct hyperplanes of a data set.

    Attributes
    ----------
    normals : float64 (m, k)
        Unit normals; the j-th points along sample `first[j]`.
    index : int (n,)
        Hyperplane of each sample, -1 for a zero row.
    sign : float64 (n,)
        +1 where the sample points along its hyperplane's normal, -1 where against it; +1 for a zero row.
    first : int (m,)
        The first sample on each hyperplane, ascending.
    width : float
        Largest angle between a sample's own hyperplane and the one it was merged into; 0 if merged rows are equal.
    """

    normals: Array
    index: IntArray
    sign: Array
    first: IntArray
    width: float

    def __len__(self) -> int:
        return len(self.normals)


def count_cells(m: int, k: int) -> int:
    """Number of cells of m hyperplanes through the origin of R^k in general position; else an upper bound.

    2 sum_{j<k} C(m-1, j) (T. M. Cover, "Geometrical and statistical properties of systems of linear inequalities",
    IEEE Transactions on Electronic Computers, 1965, Theorem 1).
    """
    return 2 * sum(math.comb(m - 1, j) for j in range(k)) if m > 0 else 1


def distinct_hyperplanes(Z: Array) -> Hyperplanes:
    """Find the distinct hyperplanes among the rows of Z; cost O(n log n + n k).

    Parameters
    ----------
    Z : float64 (n, k)
        Rows may be zero, duplicate, parallel or opposite. Rows within an angle of 1e-12 are merged, chains of
        such rows too; `width` says by how much.

    Returns
    -------
    Hyperplanes
    """
    size = np.abs(Z).max(axis=1, initial=0.0)
    rows = np.flatnonzero(size)
    # Divided by the largest entry first: squares of tiny or huge entries would leave the range of float64.
    units = Z[rows] / size[rows, None]
    units /= row_norms(units)[:, None]
    away, along = _generic_directions(Z.shape[1])
    side = np.where(units @ away < 0, -1.0, 1.0)
    lines = side[:, None] * units
    group = _group(lines, lines @ along)
    m = int(group.max(initial=-1)) + 1
    if m == len(rows) == len(Z):  # nothing to merge: the common case, and it is called very often
        return Hyperplanes(units, np.arange(m), np.ones(m), rows, 0.0)
    local = np.full(m, len(rows))
    np.minimum.at(local, group, np.arange(len(rows)))
    index, sign = np.full(len(Z), -1), np.ones(len(Z))
    index[rows], sign[rows] = group, side * side[local[group]]
    width = _width(Z, rows, rows[local[group]], sign, units, units[local[group]])
    return Hyperplanes(units[local], index, sign, rows[local], width)


def _generic_directions(k: int) -> tuple[Array, Array]:
    """Two fixed vectors without small integer relations, so that data meet them only by accident."""
    j = np.arange(1.0, k + 1)
    return np.cos(j * j), np.sin(j * j + 0.5)


def _group(lines: Array, key: Array) -> IntArray:
    """Group number (r,) of each unit vector, numbered by first member: equal groups are equal vectors (or chains)."""
    order = np.argsort(key, kind="stable")
    near = np.diff(key[order]) <= PARALLEL
    same = near & (row_norms(np.diff(lines[order], axis=0)) <= PARALLEL)
    if not same.any():
        return _greedy(lines) if near.any() else np.arange(len(lines))
    if (near & ~same).any():
        return _greedy(lines)
    labels = np.empty(len(lines), dtype=np.intp)
    labels[order] = np.concatenate([[0], np.cumsum(~same)])
    return _by_first_member(labels)


def _greedy(lines: Array) -> IntArray:
    """Groups without a sort key, O(r m k): for the rare data where different vectors have the same key."""
    labels = np.full(len(lines), -1)
    for i, line in enumerate(lines):
        if labels[i] < 0:
            labels[(labels < 0) & (row_norms(lines - line) <= PARALLEL)] = i
    return _by_first_member(labels)


def _by_first_member(labels: IntArray) -> IntArray:
    """The same groups, numbered in the order in which they first appear."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _width(Z: Array, rows: IntArray, heads: IntArray, sign: Array, units: Array, head_units: Array) -> float:
    """Largest angle to the hyperplane a row was merged into; the units carry rounding of their own."""
    if np.array_equal(sign[rows, None] * Z[rows], Z[heads]):
        return 0.0
    return float(row_norms(sign[rows, None] * units - head_units).max()) + 4 * EPS
