"""The maximisers of a joint correlation over the cones of patterns, face by face: `maximisers`.

Letters: `Z` (n, k) reduced data, `N` (n, T) dual variable, `D` pattern, `E` (k, r) basis of a face of its cone,
orthonormal in the penalised coordinates, `G = E^T Z^T D N` (r, T).

On a face |N^T relu(Z E z)| = |G^T z|, and the maximum over |z| = 1 has no other local maxima than the largest singular
value of G: a maximiser in the interior of a face is a singular vector of it (theory C.3). Where that value is repeated
its singular vectors form a sphere, and if this meets the interior of the face, infinitely many neurons are active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from convexrelu.arrays import Array, IntArray
from convexrelu.optimal_set.stationary import face_basis
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.patterns import Patterns

# Singular values are repeated when they agree to this, relative.
REPEATED = 1e-7
# Least distance (relative) from the facets at which a neuron is in the interior of a face.
INTERIOR = 1e-7


@dataclass(frozen=True, eq=False)
class Maximisers:
    """Neurons of cost one that reach a correlation.

    Attributes
    ----------
    neurons : float64 (m, k)
    continuum : str
        Where there are infinitely many; empty where there are not.
    """

    neurons: Array
    continuum: str


def maximisers(
    arrangement: Arrangement, patterns: Patterns, N: Array, level: float, check_time: Callable[[], object] = bool
) -> Maximisers:
    """Neurons in the cones of the patterns with |N^T relu(Z u)| >= level, where these are the largest there are.

    `check_time` is called before every pattern, and may raise.

    Notes
    -----
    Faces whose largest singular value is below the level are left out, and with them all of their faces. What is left
    costs one decomposition of a matrix (r, T) each; a cone of f facets has at most the sum of the binomials (f over j),
    j < k, of them.
    """
    found: list[Array] = [np.zeros((0, arrangement.Z.shape[1]))]
    continuum, bases = "", _Bases(arrangement)
    for i in _promising(arrangement, patterns, N, level):
        check_time()
        cone = _Cone(bases, patterns, int(i), N, level)
        for face in cone.faces():
            neurons, infinite = cone.maximisers(face)
            found.append(neurons)
            if infinite and not continuum:
                continuum = f"the largest singular value over pattern {int(i)} is repeated {infinite} times"
    return Maximisers(np.vstack(found), continuum)


def _promising(arrangement: Arrangement, patterns: Patterns, N: Array, level: float) -> IntArray:
    """Patterns whose cone may hold a neuron that reaches the level."""
    if arrangement.n_penalized < arrangement.Z.shape[1]:
        return np.arange(len(patterns))  # a free bias makes the loose bound infinite
    G = np.einsum("pn,nk,nt->pkt", patterns.active.astype(float), arrangement.Z, N, optimize=True)
    return np.flatnonzero(np.linalg.norm(G, ord=2, axis=(1, 2)) >= level)


class _Bases:
    """Bases E of faces, by the samples that are on the kink: neighbouring cones share them."""

    def __init__(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement
        self.known: dict[tuple[int, ...], Array] = {}

    def of(self, rows: tuple[int, ...]) -> Array:
        """E (k, r)."""
        if rows not in self.known:
            tight = np.zeros(len(self.arrangement.Z), dtype=np.bool_)
            tight[list(rows)] = True
            self.known[rows] = face_basis(self.arrangement, tight)
        return self.known[rows]


@dataclass(frozen=True, eq=False)
class _Face:
    """A face of a cone on which the level may be reached.

    Attributes
    ----------
    tight : tuple of int
        The facets, by their position among those of the cone.
    top : float64 (k, t)
        Neurons of cost one that belong to the largest singular value.
    """

    tight: tuple[int, ...]
    top: Array


class _Cone:
    """The cone of one pattern."""

    def __init__(self, bases: _Bases, patterns: Patterns, i: int, N: Array, level: float) -> None:
        self.bases, self.arrangement, self.level = bases, bases.arrangement, level
        self.rows = patterns.facet_rows[patterns.facet_indptr[i] : patterns.facet_indptr[i + 1]].tolist()
        self.K = patterns.cone(self.arrangement.Z, i)
        self.gradient = self.arrangement.Z.T @ (patterns.active[i][:, None] * N)

    def faces(self) -> Iterator[_Face]:
        """Sets of facets, smallest first, without those that hold one that cannot reach the level."""
        hopeless: list[set[int]] = []
        # A free bias is determined by a sample's kink only.
        for size in range(int(self.arrangement.bias == "free"), self.arrangement.Z.shape[1]):
            for tight in combinations(range(len(self.rows)), size):
                if any(bad <= set(tight) for bad in hopeless):
                    continue
                E = self.bases.of(tuple(sorted(self.rows[j] for j in tight)))
                left, singular, _ = np.linalg.svd(E.T @ self.gradient, full_matrices=False)
                if singular.max(initial=0.0) < self.level:
                    hopeless.append(set(tight))
                else:
                    yield _Face(tight, E @ left[:, singular >= (1 - REPEATED) * singular[0]])

    def maximisers(self, face: _Face) -> tuple[Array, int]:
        """Those on the face; how often the singular value is repeated if they are infinitely many, else zero."""
        k, repeated = face.top.shape
        if repeated > 1:
            inner = self._interior(face)
            return (np.zeros((0, k)), 0) if inner is None else (inner[None], repeated)
        candidates = np.vstack([face.top.T, -face.top.T])
        pre = candidates @ self.K.T
        size = np.abs(candidates) @ np.abs(self.K).T
        return candidates[(pre >= -INTERIOR * size).all(axis=1)], 0

    def _interior(self, face: _Face) -> Array | None:
        """A neuron among all those of the largest singular value that is in the interior of the face."""
        from scipy.optimize import linprog  # a tenth of a second

        loose = np.delete(self.K, list(face.tight), axis=0)
        rows = loose @ face.top
        size = np.linalg.norm(loose, axis=1)[:, None]
        r = face.top.shape[1]
        # Largest depth within the box |z| <= 1.
        answer = linprog(
            np.append(np.zeros(r), -1.0),
            A_ub=np.hstack([-rows, size]),
            b_ub=np.zeros(len(rows)),
            bounds=[(-1, 1)] * r + [(None, 1)],
        )
        if answer.x is None or answer.x[-1] <= INTERIOR:
            return None
        u = face.top @ answer.x[:-1]
        return np.asarray(u / self.arrangement.cost(u[None])[0])
