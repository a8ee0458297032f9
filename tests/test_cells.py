"""Cells against exact integer arithmetic, and what each field of the answer promises."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from convexrelu.errors import ConvexReLUError, TooManyPatternsError
from convexrelu.patterns import hyperplanes, rays, words
from convexrelu.patterns.cells import (
    _verified,
    cone_facets,
    count_cells,
    deepest,
    distinct_hyperplanes,
    enumerate_cells,
    sample_cells,
)

# The same examples in every run; each takes milliseconds.
settings.register_profile("cells", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
QUICK = settings(settings.get_profile("cells"), max_examples=60)


@st.composite
def integer_data(draw, max_n=7, max_k=3, size=2):
    """Integer rows of full column rank: ties, duplicates, zero, parallel and opposite rows."""
    k = draw(st.integers(1, max_k))
    row = st.lists(st.integers(-size, size), min_size=k, max_size=k)
    rows = draw(st.lists(row, min_size=k, max_size=max_n))
    copies = draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), st.sampled_from([1, -1, 2, -3, 0])), max_size=3))
    rows += [[factor * entry for entry in rows[i]] for i, factor in copies]
    Z = np.array(draw(st.permutations(rows)), dtype=float)
    assume(np.linalg.matrix_rank(Z) == k)
    return Z


# -- oracles ----------------------------------------------------------------------------------------------------------


def determinant(rows):
    """Exact determinant of a small integer matrix (list of lists)."""
    if not rows:
        return 1
    minors = ([r[:j] + r[j + 1 :] for r in rows[1:]] for j in range(len(rows)))
    return sum((-1) ** j * a * determinant(minor) for j, (a, minor) in enumerate(zip(rows[0], minors, strict=True)))


def exact_cells(Z):
    """Signs of every cell of integer data, in integers.

    Every cell touches a flag of faces: a ray r_1, then a ray r_2 within its hyperplanes, ... and contains
    B^k r_1 + B^(k-1) r_2 + ... for B large. All k-subsets of normals, in all orders and signs, give all flags.
    """
    rows = [[int(a) for a in row] for row in Z]
    k = len(rows[0])
    signs = set()
    for subset in itertools.combinations([r for r in rows if any(r)], k):
        if determinant(list(subset)):
            dual = adjugate(subset)  # dual[i] . subset[j] = 0 for i != j
            for order in itertools.permutations(dual):
                for flips in itertools.product((1, -1), repeat=k):
                    # Lexicographic sign: that of the first direction that the row is not orthogonal to.
                    products = (
                        [f * sum(map(int.__mul__, r, d)) for f, d in zip(flips, order, strict=True)] for r in rows
                    )
                    signs.add(tuple(next((p for p in ps if p), 0) > 0 for ps in products))
    return signs


def adjugate(rows):
    """Integer vectors d_i, each orthogonal to all rows but the i-th."""
    k = len(rows)
    without = [[list(r) for j, r in enumerate(rows) if j != i] for i in range(k)]
    return [[(-1) ** j * determinant([r[:j] + r[j + 1 :] for r in rest]) for j in range(k)] for rest in without]


def signed(Z, bits):
    return np.where(bits, 1.0, -1.0)[:, None] * Z


def follows(rows, target):
    """Whether target . u >= 0 on the cone {rows u >= 0}: the minimum over the cone within a box is zero."""
    answer = linprog(target, A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1, 1))
    # HiGHS meets constraints to 1e-7; for integer rows up to 6 a violated condition costs more than 1e-2.
    return answer.fun > -1e-5


def as_set(active):
    return {tuple(row) for row in active.tolist()}


def facet_lists(indptr, rows):
    return [rows[a:b].tolist() for a, b in itertools.pairwise(indptr)]


# -- enumeration ------------------------------------------------------------------------------------------------------


@QUICK
@given(integer_data())
@example(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]))
def test_cells_are_those_of_exact_arithmetic(Z):
    cells = enumerate_cells(Z)
    assert len(as_set(cells.active)) == len(cells)
    assert as_set(cells.active) == exact_cells(Z)


def test_cells_of_ties_in_four_dimensions_are_exact():
    # The braid-like arrangement of all 0/1 vectors: rays with up to seven planes through them, and recursion twice.
    Z = np.array([v for v in itertools.product((0.0, 1.0), repeat=4) if any(v)])[:11]
    assert as_set(enumerate_cells(Z).active) == exact_cells(Z)


@pytest.mark.parametrize(("k", "count"), [(2, 4 * 2), (3, 48), (4, 384), (5, 3840)])
def test_reflection_arrangements_have_the_known_number_of_cells(k, count):
    # x_i = 0, x_i = x_j, x_i = -x_j: the cells are the signed orders, 2^k k! of them.
    pairs = [(i, j, s) for i, j in itertools.combinations(range(k), 2) for s in (1, -1)]
    Z = np.vstack([np.eye(k), *[np.eye(k)[i] + s * np.eye(k)[j] for i, j, s in pairs]])
    cells = enumerate_cells(Z)
    assert len(cells) == count
    assert set(np.diff(cells.facet_indptr)) == {k}  # simplicial cones


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (5, 1), (2, 2), (7, 2), (70, 2), (3, 3), (10, 3), (70, 3), (12, 4), (9, 5), (8, 8)]
)
def test_general_position_has_the_counted_cells(n, k):
    Z = np.random.default_rng(n + k).standard_normal((n, k))
    cells = enumerate_cells(Z)
    m = 1 if k == 1 else n
    assert len(cells) == len(as_set(cells.active)) == count_cells(m, k)
    assert cells.resolution == 0 or k == 1


def test_count_cells():
    assert [count_cells(6, 2), count_cells(6, 3), count_cells(5, 3), count_cells(3, 5)] == [12, 32, 22, 8]


@QUICK
@given(integer_data())
def test_interior_vectors_are_strictly_inside(Z):
    cells = enumerate_cells(Z)
    np.testing.assert_allclose(np.linalg.norm(cells.interior, axis=1), 1, rtol=1e-14)
    moving = Z.any(axis=1)
    for bits, u in zip(cells.active, cells.interior, strict=True):
        # Cells of integer data this small are wider than 1e-3.
        assert (signed(Z, bits)[moving] @ u > 1e-3).all()
        assert not bits[~moving].any()


@QUICK
@given(integer_data())
def test_facets_imply_all_rows_and_none_can_go(Z):
    cells = enumerate_cells(Z)
    for bits, facets in list(zip(cells.active, facet_lists(cells.facet_indptr, cells.facet_rows), strict=True))[:12]:
        K = signed(Z, bits)
        assert facets == sorted(facets)
        assert all(follows(K[facets], row) for row in K)
        assert not any(follows(K[[j for j in facets if j != i]], K[i]) for i in facets if len(facets) > 1)


@QUICK
@given(integer_data(), st.randoms(use_true_random=False))
def test_permuting_rows_permutes_patterns(Z, random):
    order = random.sample(range(len(Z)), len(Z))
    assert as_set(enumerate_cells(Z[order]).active) == as_set(enumerate_cells(Z).active[:, order])


@QUICK
@given(integer_data(), st.data())
def test_scaling_rows_keeps_patterns_and_negating_them_flips_bits(Z, data):
    factor = np.array(
        data.draw(st.lists(st.sampled_from([1e-200, 0.1, 3.0, 1e100, -1.0, -0.7]), min_size=len(Z), max_size=len(Z)))
    )
    cells, scaled = enumerate_cells(Z), enumerate_cells(factor[:, None] * Z)
    flip = (factor < 0) & Z.any(axis=1)
    assert as_set(scaled.active) == as_set(cells.active ^ flip)


def test_rotated_ties_are_still_ties():
    rng = np.random.default_rng(0)
    for k in (3, 4):
        Z = rng.integers(-1, 2, (14, k)).astype(float)
        Q = np.linalg.qr(rng.standard_normal((k, k)))[0]
        cells, rotated = enumerate_cells(Z), enumerate_cells(Z @ Q)
        assert len(cells) < count_cells(len(distinct_hyperplanes(Z)), k)
        assert as_set(rotated.active) == as_set(cells.active)
        # tau is a few hundred EPS here, times 2 m and over the smallest singular value.
        assert 0 < rotated.resolution < 1e-10


@pytest.mark.parametrize("angle", [1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_near_parallel_rows_give_true_cells(k, angle):
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((8, k))
    Z[5] = 2 * Z[0] + angle * rng.standard_normal(k)
    Z[6] = -Z[1] + angle * rng.standard_normal(k)
    cells = enumerate_cells(Z)
    moved = signed_products(Z, cells)
    assert moved.min() > 0
    # The wedges between near-parallel hyperplanes are cells as well; so are their intersections.
    assert len(cells) == count_cells(8, k)
    assert cells.resolution == 0


@pytest.mark.parametrize("angle", [1e-11, 1e-12, 1e-13])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_rows_at_the_merging_tolerance_give_true_cells_and_a_resolution(k, angle):
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((8, k))
    Z[5] = 2 * Z[0] + angle * rng.standard_normal(k)
    Z[6] = -Z[1] + angle * rng.standard_normal(k)
    cells = enumerate_cells(Z)
    assert signed_products(Z, cells).min() > 0
    # Six hyperplanes are well apart, and all eight may or may not be told apart.
    assert count_cells(6, k) <= len(cells) <= count_cells(8, k)
    assert cells.resolution > angle / 10 or len(cells) == count_cells(8, k)


def signed_products(Z, cells):
    """Products in twice the precision: the signs of doubles that are not exactly zero are then right."""
    product = cells.interior.astype(np.longdouble) @ Z.T.astype(np.longdouble)
    return np.where(cells.active, product, -product)


@pytest.mark.parametrize("offset", [1e-3, 1e-8, 1e-12, 1e-14, 1e-15, 3e-16])
def test_near_ties_stay_within_the_resolution(offset):
    """Planes that almost meet in a line: every direction near that line lies within `resolution` of a listed cell."""
    rng = np.random.default_rng(0)
    Z = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [1, -1, 0], [1, 2, 3], [2, -1, 1]])
    Z[2:4, 2] += offset * np.array([1, 2])
    cells = enumerate_cells(Z)
    assert signed_products(Z, cells).min() > 0
    known = as_set(cells.active)
    reach = max(cells.resolution, 10 * offset)
    for step in reach * rng.standard_normal((2000, 3)):
        u = np.array([0, 0, 1.0]) + step
        if tuple((Z @ u > 0).tolist()) not in known:
            # Missing: then some point within the resolution is in a listed cell.
            near = u + cells.resolution * rng.uniform(-1, 1, (200, 3)) / np.sqrt(3)
            assert any(tuple(bits) in known for bits in (near @ Z.T > 0).tolist())
    assert cells.resolution < 1e-11
    assert len(cells) == count_cells(6, 3) or offset < 1e-12


def test_random_directions_lie_in_listed_cells():
    Z = np.random.default_rng(3).integers(-3, 4, (25, 3)).astype(float)
    known = as_set(enumerate_cells(Z).active)
    seen = np.random.default_rng(4).standard_normal((20_000, 3)) @ Z.T > 0
    assert as_set(seen) <= known


def test_chunks_do_not_change_the_answer(monkeypatch):
    Z = np.random.default_rng(5).integers(-2, 3, (12, 4)).astype(float)
    whole = enumerate_cells(Z)
    monkeypatch.setattr(rays, "CHUNK", 1000)
    parts = enumerate_cells(Z)
    np.testing.assert_array_equal(parts.active, whole.active)
    np.testing.assert_array_equal(parts.facet_rows, whole.facet_rows)


def test_order_is_that_of_the_bits():
    cells = enumerate_cells(np.random.default_rng(6).standard_normal((70, 2)))
    assert cells.active.tolist() == sorted(cells.active.tolist())


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k", "limit"), [(100, 2, 199), (30, 3, 100), (60, 12, 200_000)])
def test_too_many_cells_are_refused_with_the_count(n, k, limit):
    Z = np.random.default_rng(0).standard_normal((n, k))
    with pytest.raises(TooManyPatternsError, match=rf"`limit`={limit:,}.*{count_cells(n, k):,}.*larger.*generate"):
        enumerate_cells(Z, limit=limit)
    assert issubclass(TooManyPatternsError, ConvexReLUError)


def test_the_limit_itself_is_allowed():
    Z = np.random.default_rng(0).standard_normal((10, 3))
    assert len(enumerate_cells(Z, limit=92)) == 92
    with pytest.raises(TooManyPatternsError):
        enumerate_cells(Z, limit=91)


def test_data_with_ties_are_judged_by_the_cells_they_have():
    # Nine planes through each of two lines: 324 - far fewer cells than in general position.
    Z = np.array([[np.cos(t), np.sin(t), 0] for t in range(9)] + [[0, np.cos(t), np.sin(t)] for t in range(9)])
    cells = enumerate_cells(Z)
    assert len(cells) < count_cells(18, 3) - 50
    assert len(enumerate_cells(Z, limit=len(cells))) == len(cells)
    with pytest.raises(TooManyPatternsError, match="at least"):
        enumerate_cells(Z, limit=len(cells) - 1)


# -- hyperplanes ------------------------------------------------------------------------------------------------------


def test_zero_parallel_and_opposite_rows_share_hyperplanes():
    planes = distinct_hyperplanes(np.array([[0.0, 0], [3, 4], [-6, -8], [0, 2], [3, 4], [0, -1e-300]]))
    np.testing.assert_array_equal(planes.index, [-1, 0, 0, 1, 0, 1])
    np.testing.assert_array_equal(planes.sign, [1, 1, -1, 1, 1, -1])
    np.testing.assert_array_equal(planes.first, [1, 3])
    np.testing.assert_allclose(planes.normals, [[0.6, 0.8], [0, 1]], rtol=1e-15)
    assert 0 < planes.width < 1e-14


def test_equal_rows_merge_without_error():
    assert distinct_hyperplanes(np.array([[0.1, 0.7], [-0.1, -0.7], [0.3, 0.3]])).width == 0


def test_merging_tolerance():
    base = np.array([0.6, 0.8])
    turned = np.array([[-0.8, 0.6]])
    assert len(distinct_hyperplanes(np.vstack([base, base + 1e-13 * turned]))) == 1
    assert len(distinct_hyperplanes(np.vstack([base, base + 1e-11 * turned]))) == 2
    assert distinct_hyperplanes(np.vstack([base, base + 1e-13 * turned])).width > 0.9e-13


@QUICK
@given(integer_data())
def test_grouping_does_not_depend_on_the_sort_key(Z):
    usual = distinct_hyperplanes(Z)
    directions = hyperplanes._generic_directions
    with pytest.MonkeyPatch.context() as patch:
        # A key on which everything collides.
        patch.setattr(hyperplanes, "_generic_directions", lambda k: (directions(k)[0], np.zeros(k)))
        slow = distinct_hyperplanes(Z)
    np.testing.assert_array_equal(slow.index, usual.index)
    np.testing.assert_array_equal(slow.sign, usual.sign)


# -- facets of given cells --------------------------------------------------------------------------------------------


@QUICK
@given(integer_data())
def test_facets_of_given_cells_are_those_of_the_enumeration(Z):
    cells = enumerate_cells(Z)
    given_cells = facet_lists(*cone_facets(Z, cells.active, cells.interior))
    assert given_cells == facet_lists(cells.facet_indptr, cells.facet_rows)


@pytest.mark.parametrize(("n", "k"), [(9, 1), (40, 2), (30, 3), (14, 4), (10, 5)])
def test_facets_of_given_cells_in_general_position(n, k):
    Z = np.random.default_rng(n).standard_normal((n, k))
    cells = enumerate_cells(Z)
    # Another vector in each cell, off-centre: facets must not depend on it.
    inside = cells.interior + 0.5 * np.abs(signed_products(Z, cells)).min(axis=1, keepdims=True).astype(float) / 5
    ok = (np.where(cells.active, 1, -1) * (inside @ Z.T) > 0).all(axis=1)
    indptr, rows = cone_facets(Z, cells.active[ok], inside[ok])
    expected = facet_lists(cells.facet_indptr, cells.facet_rows)
    assert ok.mean() > 0.5
    assert facet_lists(indptr, rows) == [f for f, keep in zip(expected, ok, strict=True) if keep]


def test_flat_cones_keep_every_half_space():
    Z = np.array([[1.0, 0], [2, 0], [0, 1], [-1, 0], [0, 0]])
    active = np.array([[True, True, True, False, False], [True, False, True, True, False]])
    assert facet_lists(*cone_facets(Z, active, None)) == [[0, 2], [0, 1, 2]]
    # An interior vector that is not inside is not believed.
    assert facet_lists(*cone_facets(Z, active, np.array([[-1.0, 1], [1, 1]]))) == [[0, 2], [0, 1, 2]]


def test_a_vector_of_another_cell_is_not_believed():
    Z = np.random.default_rng(0).standard_normal((12, 2))
    cells = enumerate_cells(Z)
    assert facet_lists(*cone_facets(Z, cells.active[:1], cells.interior[5:6])) == [list(range(12))]


def test_no_hull_for_a_vector_near_a_wall():
    Z = np.random.default_rng(0).standard_normal((12, 3))
    wall = np.linalg.svd(Z[:1])[2][1]
    x = wall + 1e-9 * Z[0] * np.sign(Z[0] @ Z[0])
    assert facet_lists(*cone_facets(Z, (Z @ x > 0)[None], x[None])) == [list(range(12))]


# -- sampling ---------------------------------------------------------------------------------------------------------


@QUICK
@given(integer_data(), st.integers(1, 12))
def test_sampled_cells_are_distinct_cells(Z, count):
    active, interior = sample_cells(Z, count, np.random.default_rng(0), Z.shape[1])
    known = as_set(enumerate_cells(Z).active)
    assert len(active) == len(interior) == len(as_set(active))
    assert as_set(active) <= known
    # Cells of data this small are hit within two thousand draws.
    assert len(active) == min(count, len(known))
    moving = Z.any(axis=1)
    assert (np.where(active, 1, -1) * (interior @ Z.T) > 0)[:, moving].all()


def test_sampling_is_reproducible_and_stops():
    Z = np.random.default_rng(0).standard_normal((30, 4))
    first, again = (sample_cells(Z, 500, np.random.default_rng(7), 4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(first) == 500
    # A cell of width 1e-9 is not hit in the bounded number of draws: fewer come back.
    narrow = np.array([[1.0, 0], [1, 1e-9]])
    assert len(sample_cells(narrow, 4, np.random.default_rng(0), 2)[0]) == 2


def test_sampled_free_coordinate_has_the_size_of_the_data():
    # Kinks at -u_1 / u_0 for data of size 1e4: a standard normal bias would put them all at zero.
    x = 1e4 * np.linspace(-1, 1, 9)
    Z = np.column_stack([x, np.ones(9)])
    assert len(sample_cells(Z, 18, np.random.default_rng(0), 1)[0]) == 18


# -- parts ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 140), st.integers(0, 9))
@QUICK
def test_words_keep_bits_and_order(m, seed):
    bits = np.random.default_rng(seed).random((6, m)) < 0.5
    packed = words.to_words(bits)
    np.testing.assert_array_equal(words.from_words(packed, m), bits)
    np.testing.assert_array_equal(words.to_words(np.eye(m, dtype=bool)), words.bit_words(m))
    distinct, first, inverse = words.distinct_words(np.vstack([packed, packed[::-1]]))
    assert words.from_words(distinct, m).tolist() == sorted(map(list, as_set(bits)))
    np.testing.assert_array_equal(distinct[inverse], np.vstack([packed, packed[::-1]]))
    np.testing.assert_array_equal(np.vstack([packed, packed[::-1]])[first], distinct)


def test_a_cell_without_an_interior_is_dropped_and_a_misplaced_vector_is_replaced():
    Z = np.array([[1.0, 0], [0, 1], [1, 1]])
    planes = distinct_hyperplanes(Z)
    # (+, +, -) is no cell; (+, +, +) is one, but (1, -1) is not in it.
    bits = np.array([[True, True, False], [True, True, True]])
    claimed = rays.Half(bits, bits, np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2), 0.0)
    checked = _verified(claimed, planes)
    np.testing.assert_array_equal(checked.bits, bits[1:])
    assert (checked.interior > 0.1).all()
    # The false cell has depth zero, so only rounding enters.
    assert 0 < checked.tau < 1e-13


def test_deepest_vector():
    u, depth = deepest(np.eye(3))
    np.testing.assert_allclose(u, np.full(3, 3**-0.5), rtol=1e-12)
    assert depth == pytest.approx(3**-0.5, rel=1e-12)
    # Opposite half-spaces: flat.
    assert deepest(np.array([[1.0, 0], [-1, 0]]))[1] < 1e-14


def test_complement_bases_are_orthonormal():
    v = np.random.default_rng(0).standard_normal((50, 4))
    v = np.vstack([v / np.linalg.norm(v, axis=1)[:, None], np.eye(4), -np.eye(4)])
    B = np.concatenate([v[:, :, None], rays.orthogonal_basis(v)], axis=2)
    np.testing.assert_allclose(np.swapaxes(B, 1, 2) @ B, np.broadcast_to(np.eye(4), B.shape), atol=1e-14)
