"""The facets of given cells: `cone_facets`.

Letters: `Z` (n, k) reduced data; `N` (m, k) unit normals of its distinct hyperplanes; `x` a vector strictly inside a
cell; `a_j` the normals turned so that a_j . x > 0.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.patterns.hyperplanes import Hyperplanes, distinct_hyperplanes

# Beyond this dimension convex hulls cost more than the redundant rows they would remove.
HULL_DIMENSION = 5
# Dual points further out than this (the vector is that near to a wall) are left to no hull: qhull's tolerance is
# about 1e-15 times the largest coordinate, and 1e-9 is the error in the facets we accept.
FARTHEST = 1e6


def cone_facets(Z: Array, active: BoolArray, interior: Array | None) -> tuple[IntArray, IntArray]:
    """Rows that bound the cones of given patterns.

    Parameters
    ----------
    Z : float64 (n, k)
    active : bool (P, n)
    interior : float64 (P, k) or None
        A vector strictly inside the cone of each pattern; None where cones may be flat. A vector that is not strictly
        inside is treated like None.

    Returns
    -------
    indptr, rows : int (P + 1,), int (F,)
        ``rows[indptr[i]:indptr[i + 1]]``, ascending, are samples whose conditions imply those of all others in
        pattern i: one sample per facet for k <= 5; otherwise, and wherever the hull fails, one sample per
        distinct half-space (a superset).

    Notes
    -----
    The facets of {u : a_j . u >= 0} are the vertices of the convex hull of the points a_j / (a_j . x) in the plane
    {y : y . x = 1} (polarity): one facet for k = 1, the two ends of an interval for k = 2, qhull above.
    """
    planes = distinct_hyperplanes(Z)
    if interior is None or not len(planes):
        return _csr([_half_spaces(planes, bits) for bits in active])
    normals, k = planes.normals, Z.shape[1]
    slack = np.where(active[:, planes.first], 1.0, -1.0) * (interior @ normals.T)
    inside = slack.min(axis=1) > 4 * (k + 4) * EPS * row_norms(interior)
    # Samples merged into one hyperplane must agree about its side, too.
    inside &= ((active[:, planes.first[planes.index]] == active) == (planes.sign > 0))[:, planes.index >= 0].all(axis=1)
    rows = [
        planes.first[_irredundant(normals, s, x)] if ok else _half_spaces(planes, bits)
        for bits, s, x, ok in zip(active, slack, interior, inside, strict=True)
    ]
    return _csr(rows)


def _csr(rows: list[IntArray]) -> tuple[IntArray, IntArray]:
    """Index pointer and the concatenated rows."""
    indptr = np.zeros(len(rows) + 1, dtype=np.intp)
    np.cumsum([len(r) for r in rows], out=indptr[1:])
    return indptr, np.concatenate([np.zeros(0, dtype=np.intp), *rows])


def _half_spaces(planes: Hyperplanes, bits: BoolArray) -> IntArray:
    """One sample (ascending) for each half-space of a pattern: two where samples of one hyperplane disagree."""
    side = 2 * planes.index + (np.where(bits, planes.sign, -planes.sign) > 0)
    values, first = np.unique(side, return_index=True)
    return np.sort(first[values >= 0])  # zero rows have index -1 and sides below zero


def _irredundant(normals: Array, slack: Array, x: Array) -> IntArray:
    """Hyperplanes (ascending) that bound the cell in which x lies, `slack` = |normals @ x|."""
    m, k = normals.shape
    everything = np.arange(m)
    if k == 1:
        return everything[:1]
    if m <= k or k > HULL_DIMENSION:
        return everything
    points = (np.sign(normals @ x) / slack)[:, None] * normals @ orthogonal_basis(x / np.linalg.norm(x))
    if np.abs(points).max() * np.linalg.norm(x) > FARTHEST:
        return everything
    if k == 2:
        return np.sort([points[:, 0].argmin(), points[:, 0].argmax()])
    return _hull(points)


def _hull(points: Array) -> IntArray:
    """Vertices (ascending) of the convex hull; all points where qhull fails."""
    from scipy.spatial import ConvexHull, QhullError  # a tenth of a second

    try:
        return np.sort(ConvexHull(points).vertices).astype(np.intp)
    except QhullError:
        return np.arange(len(points))


def orthogonal_basis(v: Array) -> Array:
    """Orthonormal columns (..., k, k-1) that span the complement of each unit vector v (..., k), by a reflection."""
    w = v.copy()
    w[..., 0] += np.where(v[..., 0] < 0, -1.0, 1.0)
    scale = 2.0 / np.einsum("...i,...i->...", w, w)
    reflection: Array = np.eye(v.shape[-1]) - scale[..., None, None] * w[..., :, None] * w[..., None, :]
    return reflection[..., :, 1:]
