"""The cells of the arrangement of hyperplanes {u : z_i . u = 0}: all of them, or a sample.

Letters: `Z` (n, k) reduced data, full column rank; `N` (m, k) unit normals of its distinct hyperplanes; `v` a unit
vector along an extreme ray; `T` the hyperplanes through a ray; `tau` a slack such that every cell that contains a unit
vector with |N_j . v| > tau for all j is found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.errors import TooManyPatternsError
from convexrelu.patterns.facets import cone_facets
from convexrelu.patterns.hyperplanes import Hyperplanes, count_cells, distinct_hyperplanes
from convexrelu.patterns.rays import Half, TooMany, half_cells, has_ties
from convexrelu.patterns.words import distinct_words, to_words

__all__ = [
    "Cells",
    "Hyperplanes",
    "cone_facets",
    "count_cells",
    "distinct_hyperplanes",
    "enumerate_cells",
    "sample_cells",
]

# Data with ties can have far fewer cells than the bound; with a bound up to this multiple of the limit, look.
HOPE = 20


@dataclass(frozen=True, eq=False)
class Cells:
    """Full-dimensional cells of an arrangement.

    Attributes
    ----------
    active : bool (P, n)
        The patterns, distinct, in ascending order of the bits of the first sample of each hyperplane; zero rows
        are off.
    facet_indptr, facet_rows : int (P + 1,), int (F,)
        Facets of cell i: samples ``facet_rows[facet_indptr[i]:facet_indptr[i + 1]]``, ascending, the first sample
        of each hyperplane that bounds it.
    interior : float64 (P, k)
        Unit vectors strictly inside the cells, by more than the rounding of their evaluation.
    resolution : float
        Every unit vector lies within this distance of the closure of a listed cell; see `enumerate_cells`.
    """

    active: BoolArray
    facet_indptr: IntArray
    facet_rows: IntArray
    interior: Array
    resolution: float

    def __len__(self) -> int:
        return len(self.active)


def enumerate_cells(Z: Array, limit: int = 200_000) -> Cells:
    """List all cells of the arrangement of the rows of Z.

    Parameters
    ----------
    Z : float64 (n, k)
        Full column rank; rows may be zero, duplicate, parallel or opposite.
    limit : int, default 200,000

    Returns
    -------
    Cells

    Raises
    ------
    TooManyPatternsError
        If there are more than `limit` cells. Data in general position, or whose bound on the count exceeds twenty
        limits, are refused on the bound; for other data it is the cells found that count.

    Notes
    -----
    Cost and memory are those of C(m, k-1) rays times m signs, in chunks, for m distinct hyperplanes.

    `resolution` is zero where the count of `count_cells` is met: the listed cells are real (each has its interior
    vector) and there can be no more. Elsewhere two hyperplanes, or more than k-1 through one ray, were taken to
    coincide to a tolerance, and cells may be missing. Let C be missing and x in C a unit vector. At a ray v of C with
    hyperplanes T, |N_t . v| <= tol, the signs of C are not those of a cell of the projected arrangement, so
    (Gordan) some convex combination of the signed projected normals is zero; the same combination of the numbers
    |N_t . x| is at most tol, and so is one of them. Tolerances add up along the recursion into projections, to `tau`.
    So x lies in one of m slabs |N_t . u| <= tau |u|. Slabs of half-width tau cannot cover a ball of radius greater
    than m tau (T. Bang, "A solution of the plank problem", Proceedings of the AMS, 1951), so within that distance
    of x there is a point in no slab, that is, in a listed cell. The factor 2 in ``resolution = 2 m tau`` is for
    |u| != 1. Sets of k-1 normals that are dependent to 1e-13 are taken to be dependent; that is the one decision
    this argument does not cover, and it adds 1e-13 to tau.
    """
    planes = distinct_hyperplanes(Z)
    m, k = planes.normals.shape
    half = _verified(_half_within(planes.normals, limit), planes)
    count = 2 * len(half.bits)
    tau = planes.width + (0.0 if count == count_cells(m, k) else half.tau)
    bits = np.vstack([~half.bits[::-1], half.bits])  # ascending: the negatives come first, in reverse
    facets = np.vstack([half.facets[::-1], half.facets])
    active = _active(bits, planes)
    indptr, rows = _facet_rows(facets, planes)
    interior = np.vstack([-half.interior[::-1], half.interior])
    return Cells(active, indptr, rows, interior, 2 * m * tau)


def _half_within(normals: Array, limit: int) -> Half:
    """Half of the cells, or TooManyPatternsError: on the bound where that is the count, or out of reach."""
    m, k = normals.shape
    bound = count_cells(m, k)
    if bound > limit and (bound > HOPE * limit or not has_ties(normals)):
        how = "" if k <= 2 else f" in general position: {m:,} distinct hyperplanes in {k} dimensions"
        raise _too_many(f"{bound:,}{how}", limit)
    try:
        return half_cells(normals, limit // 2)
    except TooMany as found:
        raise _too_many(f"at least {2 * found.count:,}, found before stopping", limit) from None


def _too_many(count: str, limit: int) -> TooManyPatternsError:
    return TooManyPatternsError(
        f"The number of activation patterns exceeds `limit`={limit:,}: the data have {count}. Write a larger `limit`, "
        'an int to sample that many patterns (patterns=1000), or patterns="generate", which finds those it needs.'
    )


def _verified(half: Half, planes: Hyperplanes) -> Half:
    """Keep the cells whose interior vector proves them; what is dropped enters `tau`."""
    normals = planes.normals
    # Rounding of normals and of the k-term product, and what merged samples may differ by.
    guard = 4 * (normals.shape[1] + 4) * EPS + planes.width
    margin = _margins(half, normals)
    doubtful = np.flatnonzero(margin <= guard)
    if not len(doubtful):
        return half
    interior, tau = half.interior.copy(), half.tau
    keep = margin > guard
    for i in doubtful:
        interior[i], inradius = deepest(np.where(half.bits[i], 1.0, -1.0)[:, None] * normals)
        keep[i] = np.min(np.where(half.bits[i], 1.0, -1.0) * (normals @ interior[i])) > guard
        tau = tau if keep[i] else max(tau, inradius + guard)
    return Half(half.bits[keep], half.facets[keep], interior[keep], tau)


def _margins(half: Half, normals: Array) -> Array:
    """Smallest signed product of each interior vector with the normals, in chunks of a few million entries."""
    margin = np.empty(len(half.bits))
    step = max(1, 4_000_000 // len(normals))
    for start in range(0, len(margin), step):
        part = slice(start, start + step)
        product = half.interior[part] @ normals.T
        margin[part] = np.where(half.bits[part], product, -product).min(axis=1)
    return margin


def deepest(rows: Array) -> tuple[Array, float]:
    """The unit vector deepest inside the cone {u : rows u >= 0}, unit rows, and an upper bound on its depth.

    By duality the depth max_{|u| <= 1} min_i rows_i . u is the distance of the rows' convex hull from the origin, and
    u points to its nearest point: non-negative least squares.
    """
    from scipy.optimize import nnls  # a tenth of a second

    try:
        weights, _ = nnls(np.vstack([rows.T, np.ones(len(rows))]), np.append(np.zeros(rows.shape[1]), 1.0))
    except RuntimeError:  # iteration limit: nothing is known
        return rows[0], 1.0
    point = rows.T @ (weights / weights.sum())
    depth = float(np.linalg.norm(point))
    return (point / depth if depth else rows[0]), depth + 4 * len(rows) * EPS


def _active(bits: BoolArray, planes: Hyperplanes) -> BoolArray:
    """Patterns (P, n) of the samples from the sides (P, m) of the hyperplanes."""
    active = bits[:, planes.index]  # index -1 takes any column: those samples are off
    active ^= planes.sign < 0
    active[:, planes.index < 0] = False
    return active


def _facet_rows(facets: BoolArray, planes: Hyperplanes) -> tuple[IntArray, IntArray]:
    """The facets in compressed rows, as samples."""
    indptr = np.zeros(len(facets) + 1, dtype=np.intp)
    np.cumsum(facets.sum(axis=1), out=indptr[1:])
    return indptr, planes.first[np.nonzero(facets)[1]]


def sample_cells(
    Z: Array, n_patterns: int, rng: np.random.Generator, penalized: int | None = None
) -> tuple[BoolArray, Array]:
    """Sample cells as those of Gaussian vectors, duplicates removed.

    Parameters
    ----------
    Z : float64 (n, k)
    n_patterns : int
        Distinct patterns to look for.
    rng : numpy.random.Generator
    penalized : int, default k
        How many leading coordinates are penalised. They are standard normal; the others are normal with the size of
        the data's rows in the penalised coordinates, so that kinks fall among the samples.

    Returns
    -------
    active, interior : bool (m, n), float64 (m, k)
        Distinct patterns in the order in which they were drawn, with the unit vectors that have them. `m` is
        `n_patterns`, or what was found: all there can be, or those met in 2,000 + 20 `n_patterns` draws.
    """
    planes = distinct_hyperplanes(Z)
    scale = _coordinate_scales(Z, Z.shape[1] if penalized is None else penalized)
    wanted = min(n_patterns, count_cells(*planes.normals.shape))
    bits = np.zeros((0, len(planes)), dtype=np.bool_)
    U = np.zeros((0, Z.shape[1]))
    draws = 2000 + 20 * n_patterns
    while len(bits) < wanted and draws > 0:
        # Bounded memory: a few million pre-activations at a time.
        batch = min(draws, 64 + 2 * (wanted - len(bits)), 64 + 4_000_000 // max(1, len(planes)))
        draws -= batch
        new_bits, new_U = _clear(planes, rng.standard_normal((batch, Z.shape[1])) * scale)
        bits, U = np.vstack([bits, new_bits]), np.vstack([U, new_U])
        first = np.sort(distinct_words(to_words(bits))[1])[:wanted]
        bits, U = bits[first], U[first]
    return _active(bits, planes), U


def _coordinate_scales(Z: Array, penalized: int) -> Array:
    """Standard deviations (k,) of the sampled coordinates."""
    scale = np.ones(Z.shape[1])
    size = float(np.sqrt(np.mean(row_norms(Z[:, :penalized]) ** 2))) if len(Z) else 0.0
    if size > 0:
        scale[penalized:] = size
    return scale


def _clear(planes: Hyperplanes, U: Array) -> tuple[BoolArray, Array]:
    """Sides and unit vectors of those rows of U that are off every hyperplane by more than rounding."""
    U = U / row_norms(U)[:, None]
    product = U @ planes.normals.T
    clear = np.abs(product).min(axis=1, initial=1.0) > 4 * (U.shape[1] + 4) * EPS + planes.width
    return product[clear] > 0, U[clear]
