"""The dual norm of several tasks over the cones of given patterns, face by face: `bound_over_cones`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `N` (n, T) dual variable, `D` patterns with cones
`K u >= 0`, the rows of `K` of length one; `M = N^T D Z` (T, k), so that N^T relu(Z u) = M u on the cone; `S` the rows
that are tight on a face, `E` (k, r) a basis of its span with |E y| = |y| in the penalised coordinates.

Where |M u| is largest over the neurons of cost one in a cone, it is so in the interior of some face, and a local
maximum of a quadratic form on a sphere is a top eigenvector, here of (M E)^T (M E) (theory C.3). So a face whose top
eigenvectors lie outside the cone is worth no more than the faces in its boundary, and any other at most its top
singular value, which bounds all faces in its boundary, too. With a free bias a neuron is anchored: some row is tight.

Rounding
--------
A vector of cost one in a face is within `_OFF` of the computed span: rows whose singular values fall below `_CUT` count
as dependent, which makes the span larger: its singular value still bounds the face, but says nothing of where its
maximum is, and no such face is left out. The true maximum y of a face, if it is a top eigenvector, has |M E y|^2
>= (1 - delta) s_0^2, hence is within sqrt(2 delta / (1 - s_1^2 / s_0^2)) of +-the computed one; only if both of these
are outside by more than that, the face is. Where singular values coincide no face is left out: then the bound holds,
and may be loose.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convexrelu.arrays import EPS, Array
from convexrelu.patterns.patterns import Patterns

# Singular values of tight rows below which these are dependent, and what the span of a face is off by at most.
_CUT = 1e-3
_OFF = 1024 * EPS / _CUT


def bound_over_cones(
    Z: Array, N: Array, n_penalized: int, patterns: Patterns, radius: float
) -> tuple[float, list[Array]]:
    """Bound |N^T relu(Z u)| over the (anchored) neurons of cost one in the cones of patterns.

    Parameters
    ----------
    Z : float64 (n, k)
        Reduced data; with a free bias (`n_penalized = k - 1`) its last column is all ones.
    N : float64 (n, T)
        Dual variable.
    n_penalized : int
        k or k - 1.
    patterns : Patterns
        Of these data.
    radius : float
        Largest size of the free bias of an anchored neuron of cost one.

    Returns
    -------
    float
        Never below the maximum, but for the rounding of N^T D Z.
    list of float64 (k,)
        Directions on the faces that raised the bound, the last of them the best: neurons to evaluate.

    Notes
    -----
    Most cones are settled by one singular value; of the others all faces may be visited, of which a cone of k
    dimensions with f facets has up to f^(k-1). Meant for ranks up to four.
    """
    # The free bias in units of its largest size, so that no face is nearly parallel to it.
    unit = np.ones(Z.shape[1])
    unit[n_penalized:] = max(radius, 1e-300)
    M = np.stack([(patterns.active * column) @ Z for column in N.T], axis=1) * unit
    sizes = np.linalg.norm(M[:, :, :n_penalized], 2, axis=(1, 2)) + np.linalg.norm(M[:, :, n_penalized:], axis=1).sum(1)
    sizes *= 1 + 1024 * EPS
    best, found = 0.0, []
    for i in np.argsort(-sizes, kind="stable"):
        if sizes[i] <= best:
            break
        K = patterns.cone(Z, int(i)) * unit
        cone = _Cone(M[i], K / np.linalg.norm(K, axis=1)[:, None], n_penalized)
        bound, direction = cone.bound(best)
        if direction is not None:
            best = min(bound, float(sizes[i]))
            found.append(direction * unit)
    return best, found


class _Cone:
    """One cone, and the best direction met in it."""

    def __init__(self, M: Array, K: Array, p: int) -> None:
        self.M, self.K, self.p = M, K, p
        self.off = 2 * _OFF * float(np.linalg.norm(M))

    def bound(self, best: float) -> tuple[float, Array | None]:
        """The larger of `best` and a bound on the faces, and the direction where that is larger."""
        direction = None
        open_faces: list[tuple[int, ...]] = [()]
        while open_faces:
            S = open_faces.pop()
            value, w = self._top(S) if S or self.p == len(self.K.T) else (np.inf, None)
            if value <= best:
                continue
            if w is None:
                open_faces += self._boundary(S)
            else:
                best, direction = value, w
        return best, direction

    def _boundary(self, S: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Faces with one more tight row: in increasing order, so that none comes twice."""
        return ((*S, j) for j in range(S[-1] + 1 if S else 0, len(self.K)))

    def _top(self, S: tuple[int, ...]) -> tuple[float, Array | None]:
        """A bound on a face, and a top eigenvector; None in its place if all of them are outside the cone."""
        E, clear = self._span(S)
        if not E.shape[1]:
            return 0.0, None
        s, V = np.linalg.svd(self.M @ E)[1:]
        value = float(s[0]) + self.off
        second = float(s[1]) if len(s) > 1 else 0.0
        apart = 1 - (second / value) ** 2 if E.shape[1] > 1 else 1.0
        delta = 4 * self.off / value if E.shape[1] > 1 else 0.0
        near = 2 * np.sqrt(2 * delta / apart) + 4 * _OFF if clear and apart > 4 * delta else np.inf
        w = E @ V[0]
        sides = self.K @ w
        least = max(float(sides.min(initial=0.0)), float((-sides).min(initial=0.0)))
        if least < -near:
            return value, None
        return value, w if sides.min(initial=0.0) >= (-sides).min(initial=0.0) else -w

    def _span(self, S: tuple[int, ...]) -> tuple[Array, bool]:
        """E, and whether the tight rows are clearly independent."""
        k = len(self.K.T)
        E, rank = np.eye(k), 0
        if S:
            singular, V = np.linalg.svd(self.K[list(S)])[1:]
            rank = int(np.sum(singular > _CUT))
            E = V[rank:].T
        if self.p < k and E.shape[1]:
            R = np.asarray(np.linalg.qr(E[: self.p], mode="r"))
            E = np.linalg.solve(R.T, E.T).T
        return E, rank == len(S)
