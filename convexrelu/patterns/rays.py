"""The cells of a central arrangement from its extreme rays, one of each pair C, -C.

Letters: `N` (m, k) unit normals of distinct hyperplanes, rank k; `v` a unit vector along an extreme ray; `T` the
hyperplanes through a ray; `tol` how far from zero N_t . v may be for a hyperplane through the ray.

Every cell is a pointed cone, so it has extreme rays, and each is the null space of k-1 normals. Around a ray with
exactly k-1 hyperplanes through it all 2^(k-1) combinations of their signs occur, and each of these hyperplanes bounds
each of these cells. Around a ray with more, the cells are those of the hyperplanes in T projected along v: an
arrangement in R^(k-1), treated in the same way. The arrangement is symmetric about the origin: of each pair C, -C the
cell on the positive side of the first hyperplane is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.patterns.facets import orthogonal_basis
from convexrelu.patterns.hyperplanes import distinct_hyperplanes
from convexrelu.patterns.words import Words, bit_words, distinct_words, from_words, to_words

# Normals whose smallest singular value is below this are dependent: rounding leaves some 1e-15 of dependent ones.
DEPENDENT = 1e-13
# Error of a product N . v for every coordinate and unit of conditioning; see `_rays`.
ROUNDING = 16 * EPS
# Entries of the largest arrays of a chunk: some 30 MB.
CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Half:
    """Cells on the positive side of hyperplane 0: the others are their negatives.

    Attributes
    ----------
    bits, facets : bool (H, m)
        Sides of the hyperplanes, rows ascending; which hyperplanes bound the cell.
    interior : float64 (H, k)
        Sums of unit rays, scaled to norm one: strictly inside but for rounding.
    tau : float
        Cells with a unit vector further than this from all hyperplanes are listed.
    """

    bits: BoolArray
    facets: BoolArray
    interior: Array
    tau: float


class TooMany(Exception):
    """More than the allowed number of cells were found."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def half_cells(N: Array, limit: float = math.inf) -> Half:
    """Cells of the arrangement on the positive side of hyperplane 0; TooMany if more than `limit` of them."""
    m, k = N.shape
    if k == 1:
        return Half(np.ones((1, 1), np.bool_), np.ones((1, 1), np.bool_), N[:1].copy(), 0.0)
    if k == 2:
        if m > limit:
            raise TooMany(m)
        return _planar(N)
    found = _Found(N, limit)
    for subsets in _subsets(m, k - 1, max(1, CHUNK // max(m, 2 ** (k - 1) * (m // 64 + 1 + k)))):
        found.add(*_candidates(found, subsets))
    return found.half()


def _planar(N: Array) -> Half:
    """Lines in the plane: a cell between any two neighbours in order of angle."""
    # No tolerance: angles are known to EPS, and distinct hyperplanes are 1e-12 apart.
    m = len(N)
    angle = np.arctan2(N[:, 0], -N[:, 1]) % np.pi  # of the line itself
    order = np.argsort(angle, kind="stable")
    ends = np.append(angle[order], angle[order[0]] + np.pi)
    middle = (ends[:-1] + ends[1:]) / 2
    interior = np.column_stack([np.cos(middle), np.sin(middle)])
    product = interior @ N.T
    side = np.where(product[:, 0] > 0, 1.0, -1.0)
    bits = (side[:, None] * product) > 0
    facets = np.zeros((m, m), dtype=np.bool_)
    facets[np.arange(m), order] = True
    facets[np.arange(m), np.roll(order, -1)] = True
    ascending = np.lexsort(to_words(bits).T[::-1])
    return Half(bits[ascending], facets[ascending], (side[:, None] * interior)[ascending], 0.0)


def _subsets(m: int, size: int, step: int) -> Iterator[IntArray]:
    """All subsets (., size) of range(m), `step` at a time."""
    if size == 2 and m * (m - 1) // 2 <= step:
        yield np.column_stack(np.triu_indices(m, 1))
        return
    everything = itertools.combinations(range(m), size)
    while True:
        flat = itertools.chain.from_iterable(itertools.islice(everything, step))
        part = np.fromiter(flat, dtype=np.intp).reshape(-1, size)
        if not len(part):
            return
        yield part


def _rays(N: Array, subsets: IntArray) -> tuple[Array, Array, IntArray]:
    """Unit null vectors (R, k) of k-1 normals, tolerances (R,) for N . v, and the independent subsets (R, k-1).

    Rounded normals, and the factorisation, are those of normals moved by a few EPS; the null vector then turns by that
    over the smallest singular value. ROUNDING k is some four times the sum of these errors.
    """
    k = N.shape[1]
    if k == 3:
        a, b = N[subsets[:, 0]], N[subsets[:, 1]]
        # The difference of nearly parallel vectors is exact, and its product with one of them does not cancel.
        v = np.cross(a, b - np.where(np.einsum("ij,ij->i", a, b) < 0, -1.0, 1.0)[:, None] * a)
        smallest = row_norms(v)  # the sine of the angle; the smallest singular value is this or up to 1.42 times less
        v /= np.maximum(smallest, DEPENDENT)[:, None]
    else:
        _, singular, Vt = np.linalg.svd(N[subsets])
        v, smallest = Vt[:, -1], singular[:, -1]
    ok = smallest > DEPENDENT
    if not ok.all():
        v, smallest, subsets = v[ok], smallest[ok], subsets[ok]
    return v, ROUNDING * k / smallest, subsets


def _through(N: Array, v: Array, tol: Array, subsets: IntArray) -> tuple[Array, BoolArray]:
    """Products N . v (R, m) and which hyperplanes count as passing through each ray; `tol` is lowered where it matters.

    An error in v shows in N_j . v in proportion to the coefficients of N_j in terms of the k-1 normals: much less
    than `tol` where two of them are nearly parallel and N_j is nearly parallel to the third. Only rays that seem
    crowded are worth the coefficients; their `tol` becomes the largest tolerance that was used.
    """
    product = v @ N.T
    through = np.abs(product) <= tol[:, None]
    own = np.arange(len(v))[:, None], subsets
    through[own] = True
    crowded = np.flatnonzero(through.sum(axis=1) >= N.shape[1])
    step = max(1, CHUNK // (4 * N.size))
    for part in (crowded[start : start + step] for start in range(0, len(crowded), step)):
        coefficients = N @ np.linalg.pinv(N[subsets[part]])
        fine = np.minimum(ROUNDING * N.shape[1] * (1 + np.abs(coefficients).sum(axis=2)), tol[part, None])
        through[part] &= np.abs(product[part]) <= fine
        through[own] = True
        tol[part] = np.max(fine, axis=1, where=through[part], initial=0.0)
    return product, through


def has_ties(N: Array, n_subsets: int = 1000) -> bool:
    """Whether a ray in a fixed sample has more than k-1 hyperplanes through it, or is not determined by k-1 of them."""
    m, k = N.shape
    if k < 3 or m <= k:
        return False
    scores = np.random.default_rng(0).random((n_subsets, m))
    subsets = np.argpartition(scores, k - 1, axis=1)[:, : k - 1]
    v, tol, independent = _rays(N, subsets)
    return len(v) < len(subsets) or bool((_through(N, v, tol, independent)[1].sum(axis=1) >= k).any())


@dataclass(frozen=True, eq=False)
class _Batch:
    """Candidates: cells (C, W) as words, a ray (C, k) of each, and pairs (candidate, hyperplane that bounds it)."""

    words: Words
    rays: Array
    owner: IntArray
    wall: IntArray


class _Found:
    """The cells found so far, as words in ascending order, with the sums of their rays and their facets."""

    def __init__(self, N: Array, limit: float) -> None:
        m, k = N.shape
        self.N, self.limit, self.tau = N, limit, 0.0
        self.bit = bit_words(m)
        self.words = np.zeros((0, self.bit.shape[1]), dtype=np.uint64)
        self.rays = np.zeros((0, k))
        self.facets = np.zeros((0, m), dtype=np.bool_)
        self.seen: set[bytes] = set()

    def add(self, batches: list[_Batch], tau: float) -> None:
        """Add candidates; equal cells become one."""
        self.tau = max(self.tau, tau)
        for batch in batches:
            self._merge(batch)
            if len(self.words) > self.limit:
                raise TooMany(len(self.words))

    def _merge(self, batch: _Batch) -> None:
        old = len(self.words)
        words = np.vstack([self.words, batch.words])
        rays = np.vstack([self.rays, batch.rays])
        self.words, _, inverse = distinct_words(words)
        count = len(self.words)
        self.rays = np.column_stack([np.bincount(inverse, column, count) for column in rays.T])
        facets = np.zeros((count, self.facets.shape[1]), dtype=np.bool_)
        facets[inverse[:old]] = self.facets
        facets[inverse[old:][batch.owner], batch.wall] = True
        self.facets = facets

    def half(self) -> Half:
        """The result."""
        length = np.maximum(row_norms(self.rays), EPS)
        bits = from_words(self.words, len(self.N))
        return Half(bits, self.facets, self.rays / length[:, None], self.tau)


def _candidates(found: _Found, subsets: IntArray) -> tuple[list[_Batch], float]:
    """Cells around the rays of these subsets, and the tolerance that any coincidences among them needed."""
    N = found.N
    k = N.shape[1]
    v, tol, independent = _rays(N, subsets)
    tau = DEPENDENT if len(v) < len(subsets) else 0.0
    product, through = _through(N, v, tol, independent)
    crowded = through.sum(axis=1) >= k
    simple = ~crowded
    batches = [_around_simple(found, v[simple], product[simple], independent[simple])] if simple.any() else []
    if crowded.any():
        batch, slack = _around_crowded(found, v[crowded], tol[crowded], through[crowded])
        batches.extend(batch)
        tau = max(tau, slack)
    return batches, tau


def _around_simple(found: _Found, v: Array, product: Array, subsets: IntArray) -> _Batch:
    """All sign combinations of the k-1 hyperplanes through each ray."""
    bits = product > 0
    bits[np.arange(len(v))[:, None], subsets] = False
    words = to_words(bits)[:, None, :]
    for column in subsets.T:
        words = np.concatenate([words, words | found.bit[column][:, None, :]], axis=1)
    copies = words.shape[1]
    owner = np.repeat(np.arange(len(v) * copies), subsets.shape[1])
    wall = np.repeat(subsets, copies, axis=0).ravel()
    return _on_positive_side(found, words.reshape(-1, words.shape[2]), np.repeat(v, copies, axis=0), owner, wall)


def _on_positive_side(found: _Found, words: Words, rays: Array, owner: IntArray, wall: IntArray) -> _Batch:
    """Replace cells on the negative side of hyperplane 0 by their negatives."""
    negative = words[:, 0] >> np.uint64(63) == 0
    flip = np.bitwise_or.reduce(found.bit, axis=0)
    return _Batch(
        np.where(negative[:, None], words ^ flip, words), np.where(negative[:, None], -rays, rays), owner, wall
    )


def _around_crowded(found: _Found, v: Array, tol: Array, through: BoolArray) -> tuple[list[_Batch], float]:
    """Cells around rays with k or more hyperplanes through them, each set of hyperplanes once."""
    words, rays, owner, wall, tau, count = [], [], [], [], 0.0, 0
    # The best determined ray of each set comes first.
    for i in np.argsort(tol, kind="stable"):
        key = np.packbits(through[i]).tobytes()
        if key in found.seen:
            continue
        found.seen.add(key)
        T = np.flatnonzero(through[i])
        ray, slack = _refined(found.N, T, v[i], float(tol[i]))
        bits, facets, local = _local(found.N, T, ray)
        cell, column = np.nonzero(facets)
        words.append(to_words(bits))
        rays.append(np.broadcast_to(ray, (len(bits), len(ray))))
        owner.append(count + cell)
        wall.append(T[column])
        count += len(bits)
        tau = max(tau, slack + local)
    if not words:
        return [], tau
    parts = np.vstack(words), np.vstack(rays), np.concatenate(owner), np.concatenate(wall)
    return [_on_positive_side(found, *parts)], tau


def _refined(N: Array, T: IntArray, v: Array, tol: float) -> tuple[Array, float]:
    """The ray from all its hyperplanes at once, with a smaller tolerance, if the same ones pass through it."""
    _, singular, Vt = np.linalg.svd(N[T], full_matrices=False)
    better = ROUNDING * N.shape[1] / max(float(singular[-2]), DEPENDENT)
    product = N @ Vt[-1]
    if better < tol and np.array_equal(np.flatnonzero(np.abs(product) <= better), T):
        return Vt[-1], better
    return v, tol


def _local(N: Array, T: IntArray, v: Array) -> tuple[BoolArray, BoolArray, float]:
    """Cells (L, m) around the ray v, which hyperplanes of T bound them (L, |T|), and the slack of the projection."""
    planes = distinct_hyperplanes(N[T] @ orthogonal_basis(v))
    half = half_cells(planes.normals)
    sides = np.vstack([half.bits, ~half.bits])[:, planes.index] ^ (planes.sign < 0)
    bits = np.repeat((N @ v > 0)[None], len(sides), axis=0)
    bits[:, T] = sides
    facets = np.zeros((len(sides), len(T)), dtype=np.bool_)
    facets[:, planes.first] = np.vstack([half.facets, half.facets])
    return bits, facets, half.tau + planes.width
