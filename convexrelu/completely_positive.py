"""Matrices with non-negative entries and eigenvalues as sums of squares of non-negative vectors: `nonnegative_root`.

Letters: `G` (k, k) the matrix, `B` (k, s) with G = B B^T and B >= 0, `L` (k, r) with L L^T = G.

Up to order four every such matrix has a B (J. E. Maxfield and H. Minc, "On the matrix equation X'X = A", Proc.
Edinburgh Math. Soc. 13, 1962). So one can be found greedily: a vector b >= 0 in the range of G whose support has only
positive entries of G is taken as often as what is left stays non-negative; then a rank or an entry is gone.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import linprog

from convexrelu.arrays import Array, BoolArray

# Entries and eigenvalues below this, relative to the largest, are zero.
ZERO = 1e-13
# Solvers leave more than that: the root is taken with zero so many times as large, until it is this close.
NOISE, CLOSE = (1.0, 1e3, 1e5, 1e7), 1e-9


def nonnegative_root(G: Array) -> Array:
    """Return B (k, s), s <= k (k + 1) / 2, with B >= 0 and G = B B^T up to rounding.

    Parameters
    ----------
    G : float64 (k, k)
        Symmetric, k <= 4, entries and eigenvalues at least zero up to the accuracy of a solver.
    """
    G = np.maximum((G + G.T) / 2, 0.0)
    size = float(G.max(initial=0.0))
    best = np.zeros((len(G), 0))
    for noise in NOISE:
        B = _greedy(G, noise * size)
        if np.abs(B @ B.T - G).max(initial=0.0) < np.abs(best @ best.T - G).max(initial=0.0):
            best = B
        if np.abs(best @ best.T - G).max(initial=0.0) <= CLOSE * size:
            break
    return best


def _greedy(G: Array, size: float) -> Array:
    """A non-negative root of G, entries below ZERO `size` being zero, and with those on the diagonal their rows."""
    columns: list[Array] = []
    kept = np.diag(G) > ZERO * size
    rest = G * np.outer(kept, kept)
    for _ in range(len(G) * (len(G) + 1) // 2):
        rest = np.where(rest > ZERO * size, rest, 0.0)
        candidates = [_largest(rest, b, size) for b in _directions(rest, size)]
        b = max(candidates, key=lambda c: float(c @ c), default=np.zeros(len(G)))
        if not b.any():
            break
        columns.append(b)
        rest = np.maximum(rest - np.outer(b, b), 0.0)
    return np.array(columns).reshape(-1, len(G)).T


def _directions(G: Array, size: float) -> list[Array]:
    """Non-negative vectors in the range of G, at most two for each set of indices with positive entries only."""
    found = []
    k = len(G)
    L = _root(G, size)
    for support in _cliques(G > 0):
        outside = np.setdiff1d(np.arange(k), support)
        inside = L @ _null_space(L[outside], size)
        if inside.shape[1]:
            found += [b for b in (_first(inside), _vertex(inside)) if b is not None]
    return found


def _root(G: Array, size: float) -> Array:
    values, vectors = np.linalg.eigh(G)
    keep = values > ZERO * size
    return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def _null_space(rows: Array, size: float) -> Array:
    """Orthonormal basis of the y with rows y = 0."""
    _, singular, right = np.linalg.svd(np.vstack([rows, np.zeros((1, rows.shape[1]))]))
    rank = int(np.sum(singular > np.sqrt(ZERO * size)))
    return np.asarray(right[rank:].T)


def _cliques(adjacent: BoolArray) -> list[list[int]]:
    """Largest sets of indices whose entries are all positive."""
    k = len(adjacent)
    sets = [
        set(some)
        for count in range(k, 0, -1)
        for some in itertools.combinations(range(k), count)
        if adjacent[np.ix_(some, some)].all()
    ]
    return [sorted(one) for one in sets if not any(one < other for other in sets)]


def _first(inside: Array) -> Array | None:
    """The leading direction, where it is non-negative (Perron and Frobenius: if nothing was left out)."""
    b = np.linalg.svd(inside)[0][:, 0]
    b = b * np.sign(b.sum())
    return np.maximum(b, 0.0) if b.min() > -1e-12 else None


def _vertex(inside: Array) -> Array | None:
    """Any non-negative vector of sum one."""
    answer = linprog(
        -inside.T @ inside.sum(axis=1),
        A_ub=-inside,
        b_ub=np.zeros(len(inside)),
        A_eq=inside.sum(axis=0)[None],
        b_eq=[1.0],
        bounds=(None, None),
    )
    return np.maximum(inside @ answer.x, 0.0) if answer.status == 0 else None


def _largest(G: Array, b: Array, size: float) -> Array:
    """The largest multiple of b whose square leaves entries and eigenvalues of G non-negative."""
    b = np.where(b > 1e-12 * b.max(), b, 0.0)
    L = _root(G, size)
    y = np.linalg.lstsq(L, b, rcond=None)[0]
    square = np.outer(b, b)
    entries = float((G[square > 0] / square[square > 0]).min())
    return np.asarray(np.sqrt(min(entries, 1 / float(y @ y))) * b)
