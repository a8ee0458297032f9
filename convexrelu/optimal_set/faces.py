"""The maximisers of a joint correlation over the cones of patterns, face by face: `maximisers`.

Letters: `Z` (n, k) reduced data, `N` (n, T) dual variable, `D` pattern, `E` (k, r) basis of a face of its cone,
orthonormal in the penalised coordinates, `G = E^T Z^T D N` (r, T).

On a face |N^T relu(Z E z)| = |G^T z|, and the maximum over |z| = 1 has no other local maxima than the largest singular
value of G: a maximiser in the interior of a face is a singular vector of it (theory C.3). Where that value is repeated
its singular vectors form a sphere, and if this meets the interior of the face, infinitely many neurons are active.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def maximisers(arrangement: Arrangement, patterns: Patterns, N: Array, level: float) -> Maximisers:
    """Neurons in the cones of the patterns with |N^T relu(Z u)| >= level, where these are the largest there are.

    Notes
    -----
    Faces whose largest singular value is below the level are left out, and with them all of their faces. What is left
    costs one decomposition of a matrix (r, T) each; a cone of f facets has at most the sum of the binomials (f over j),
    j < k, of them.
    """
    found: list[Array] = [np.zeros((0, arrangement.Z.shape[1]))]
    continuum = ""
    for i in _promising(arrangement, patterns, N, level):
        face = _Cone(arrangement, patterns, int(i), N, level)
        for tight in face.tight_sets():
            neurons, infinite = face.maximisers(tight)
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


class _Cone:
    """The cone of one pattern."""

    def __init__(self, arrangement: Arrangement, patterns: Patterns, i: int, N: Array, level: float) -> None:
        self.arrangement, self.active, self.level = arrangement, patterns.active[i], level
        self.rows = patterns.facet_rows[patterns.facet_indptr[i] : patterns.facet_indptr[i + 1]]
        self.K = patterns.cone(arrangement.Z, i)
        self.gradient = arrangement.Z.T @ (self.active[:, None] * N)

    def tight_sets(self) -> Iterator[tuple[int, ...]]:
        """Sets of facets, smallest first, without those that hold one that cannot reach the level."""
        # A free bias is determined by a sample's kink only.
        k = self.arrangement.Z.shape[1]
        hopeless: list[set[int]] = []
        for size in range(int(self.arrangement.bias == "free"), k):
            for tight in combinations(range(len(self.rows)), size):
                if any(bad <= set(tight) for bad in hopeless):
                    continue
                if self._largest(tight) < self.level:
                    hopeless.append(set(tight))
                    continue
                yield tight

    def _basis(self, tight: tuple[int, ...]) -> Array:
        chosen = np.zeros(len(self.active), dtype=np.bool_)
        chosen[self.rows[list(tight)]] = True
        return face_basis(self.arrangement, chosen)

    def _largest(self, tight: tuple[int, ...]) -> float:
        G = self._basis(tight).T @ self.gradient
        return float(np.linalg.norm(G, ord=2)) if G.size else 0.0

    def maximisers(self, tight: tuple[int, ...]) -> tuple[Array, int]:
        """Those on the face of some facets; how often the singular value is repeated if they are infinitely many."""
        E = self._basis(tight)
        left, singular, _ = np.linalg.svd(E.T @ self.gradient)
        top = int(np.sum(singular >= (1 - REPEATED) * singular[0]))
        S = E @ left[:, :top]
        if top > 1:
            inner = self._interior(S, tight)
            return (np.zeros((0, len(S))), 0) if inner is None else (inner[None], top)
        candidates = np.vstack([S.T, -S.T])
        pre = candidates @ self.K.T
        size = np.abs(candidates) @ np.abs(self.K).T
        return candidates[(pre >= -INTERIOR * size).all(axis=1)], 0

    def _interior(self, S: Array, tight: tuple[int, ...]) -> Array | None:
        """A neuron in the span of S (k, r) and in the interior of the face, if there is one."""
        from scipy.optimize import linprog  # a tenth of a second

        loose = np.delete(self.K, list(tight), axis=0)
        rows = loose @ S
        size = np.linalg.norm(loose, axis=1)[:, None]
        r = S.shape[1]
        # Largest depth within the box |z| <= 1.
        answer = linprog(
            np.append(np.zeros(r), -1.0),
            A_ub=np.hstack([-rows, size]),
            b_ub=np.zeros(len(rows)),
            bounds=[(-1, 1)] * r + [(None, 1)],
        )
        if answer.x is None or answer.x[-1] <= INTERIOR:
            return None
        u = S @ answer.x[:-1]
        return np.asarray(u / self.arrangement.cost(u[None])[0])
