"""The cones of patterns cut into simplicial ones, spanned by as many rays as there are dimensions: `simplicial_cones`.

Letters: `Z` (n, k) reduced data, `K` (facets, k) rows of a cone {u : K u >= 0}, `R` (k, k) rays of a simplicial cone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.patterns.enumeration import equilibration
from convexrelu.patterns.patterns import Patterns

# A unit ray this far beyond a facet still counts as being on it: far above the rounding of a null vector of k unit
# rows, far below the cells that matter. What a wrong decision costs, the certificate of the solution shows.
ON_FACET = 1e-9


@dataclass(frozen=True, eq=False)
class SimplicialCones:
    """Simplicial cones whose union is that of the cones of some patterns.

    Attributes
    ----------
    rays : float64 (C, k, k)
        One ray per row.
    pattern : int (C,)
        The pattern whose cone each is part of.
    """

    rays: Array
    pattern: IntArray

    def __len__(self) -> int:
        return len(self.rays)


def simplicial_cones(Z: Array, patterns: Patterns) -> SimplicialCones:
    """Triangulate the cone of every pattern, with no rays but its own.

    Notes
    -----
    A cone with F facets costs C(F, k - 1) null vectors; in general position there are F = 2 k - 2 facets on average.
    Flat cones have no simplicial ones.
    """
    units, k = equilibration(Z), Z.shape[1]
    found: list[Array] = []
    pattern: list[int] = []
    for i in range(len(patterns)):
        K = patterns.cone(Z * units, i)
        rays = extreme_rays(K / row_norms(K)[:, None])
        on_facet = np.abs(rays @ (K / row_norms(K)[:, None]).T) <= ON_FACET
        for simplex in _fan(rays, on_facet, tuple(range(len(rays))), k):
            found.append(rays[list(simplex)] * units)
            pattern.append(i)
    return SimplicialCones(np.array(found).reshape(len(found), k, k), np.array(pattern, dtype=np.intp))


def extreme_rays(K: Array) -> Array:
    """Unit vectors (m, k) along the extreme rays of the pointed cone {u : K u >= 0}, K with unit rows."""
    k = K.shape[1]
    if k == 1:
        return np.sign(K[:1])
    subsets = np.array(list(itertools.combinations(range(len(K)), k - 1)), dtype=np.intp).reshape(-1, k - 1)
    _, singular, right = np.linalg.svd(np.concatenate([K[subsets], np.zeros((len(subsets), 1, k))], axis=1))
    # A subset determines a line where it has full rank; the padding adds a singular value zero.
    lines = right[singular[:, k - 2] > ON_FACET, -1]
    candidates = np.concatenate([lines, -lines])
    inside = candidates[(candidates @ K.T >= -ON_FACET).all(axis=1)]
    return inside[_distinct(inside)]


def _distinct(rays: Array) -> IntArray:
    """The first of each group of equal rays."""
    apart = row_norms((rays[:, None, :] - rays[None, :, :]).reshape(-1, rays.shape[1])).reshape(len(rays), -1)
    return np.flatnonzero(~np.tril(apart <= ON_FACET, -1).any(axis=1))


def _fan(rays: Array, on_facet: BoolArray, face: tuple[int, ...], dimension: int) -> Iterator[tuple[int, ...]]:
    """Simplices of a face, given by its rays: its first ray joined with the simplices of the faces without it."""
    if len(face) < dimension:
        return
    if len(face) == dimension:
        yield face
        return
    apex = face[0]
    below = {tuple(i for i in face if on_facet[i, facet]) for facet in range(on_facet.shape[1])}
    for smaller in sorted(below):
        proper = apex not in smaller and len(smaller) >= dimension - 1
        if proper and np.linalg.matrix_rank(rays[list(smaller)], tol=ON_FACET) == dimension - 1:
            for simplex in _fan(rays, on_facet, smaller, dimension - 1):
                yield (apex, *simplex)
