"""Patterns: the arrangement's reduction, enumeration against linear programs, sampling, the patterns of networks."""

import math

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from strategies import data, examples

import convexrelu as cr
from convexrelu.errors import InvalidInputError, TooManyPatternsError
from convexrelu.patterns import Patterns, arrange, enumerate_arrangement, neuron_patterns, sample_arrangement

BIASES = ("none", "penalized", "free")


def rows(active):
    return {row.tobytes() for row in np.asarray(active, dtype=bool)}


def cones(patterns):
    """(pattern, its facet rows) for each listed pattern."""
    bounds = zip(patterns.facet_indptr, patterns.facet_indptr[1:], strict=False)
    return [(active, patterns.facet_rows[a:b]) for active, (a, b) in zip(patterns.active, bounds, strict=True)]


# -- the arrangement --------------------------------------------------------------------------------------------------


@examples(60)
@given(data(6, 3), st.sampled_from(BIASES), st.booleans())
def test_reduced_neurons_see_what_full_ones_see(X, bias, embed):
    X = X @ np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])[: X.shape[1]] if embed else X
    arrangement = arrange(X, bias)
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((5, X.shape[1])), rng.standard_normal(5) * (bias != "none")
    U = arrangement.from_weights(W, b)
    pre = X @ W.T + b
    # Rows of size up to ten in sums of up to four products.
    np.testing.assert_allclose(arrangement.Z @ U.T, pre, atol=1e-13)
    back_W, back_b = arrangement.to_weights(U)
    np.testing.assert_allclose(X @ back_W.T + back_b, pre, atol=1e-13)
    # The way back is the cheapest neuron that does the same, and costs what the reduced one costs.
    full = np.linalg.norm(back_W if bias == "free" else np.column_stack([back_W, back_b]), axis=1)
    given_cost = np.linalg.norm(W if bias == "free" else np.column_stack([W, b]), axis=1)
    np.testing.assert_allclose(arrangement.cost(U), full, rtol=1e-13, atol=1e-15)
    assert (full <= given_cost * (1 + 1e-13)).all()


@examples(40)
@given(data(6, 3), st.sampled_from(BIASES))
def test_the_rank_is_the_rank(X, bias):
    arrangement = arrange(X, bias)
    A = X if bias == "none" else np.column_stack([X, np.ones(len(X))])
    rank = np.linalg.matrix_rank(A)
    assert arrangement.Z.shape == (len(X), max(rank, int(bias == "free")))
    assert arrangement.n_penalized == (rank - 1 if bias == "free" else rank)
    if bias == "free":
        np.testing.assert_array_equal(arrangement.Z[:, -1], 1.0)


def test_integer_data_of_full_rank_stay_as_they_are():
    X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    np.testing.assert_array_equal(arrange(X, "none").Z, X)
    np.testing.assert_array_equal(arrange(X, "penalized").Z, np.column_stack([X, np.ones(3)]))
    assert arrange(X, "none").stretch == 1.0


def test_the_errors_of_the_reduction_are_bounded():
    rng = np.random.default_rng(0)
    for bias in BIASES:
        for scale in (1.0, 1e6):
            X = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 6)) * scale + scale
            arrangement = arrange(X, bias)
            W, b = rng.standard_normal((20, 6)), rng.standard_normal(20) * (bias != "none")
            full = np.linalg.norm(W if bias == "free" else np.column_stack([W, b]), axis=1)
            U = arrangement.from_weights(W / full[:, None], b / full)
            exact = np.longdouble(X) @ np.longdouble((W / full[:, None]).T) + np.longdouble(b / full)
            error = np.abs(np.float64(np.longdouble(arrangement.Z) @ np.longdouble(U.T) - exact))
            # Computing U itself rounds as well: (d + 2) products per coordinate, not part of the reduction's error.
            own = (
                8
                * np.finfo(float).eps
                * (np.abs(arrangement.Z) @ np.abs(U.T) + np.abs(X) @ np.abs(W / full[:, None]).T)
            )
            assert (error <= arrangement.row_error[:, None] * (1 + np.abs(b / full)) + own + 1e-16).all()
            assert (arrangement.cost(U) <= arrangement.stretch * (1 + 1e-15)).all()


def test_tiny_columns_count():
    X = np.random.default_rng(0).standard_normal((5, 2)) * [1.0, 1e-20]
    assert arrange(X, "none").n_penalized == 2
    assert len(cr.enumerate_patterns(X, bias="none")) == oracles.count_in_general_position(5, 2)


# -- enumeration ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "d", "bias"), [(9, 1, "penalized"), (8, 2, "none"), (7, 2, "penalized"), (8, 3, "none"), (7, 3, "penalized")]
)
def test_counts_in_general_position(n, d, bias):
    X = np.random.default_rng(n).standard_normal((n, d))
    patterns = cr.enumerate_patterns(X, bias=bias)
    count = oracles.count_in_general_position(n, d + (bias == "penalized"))
    # Where everything can be off, that cell is not listed: a block that contributes nothing.
    everything_off = len(oracles.exact_patterns(oracles.hidden_data(X, bias))) - len(patterns)
    assert len(patterns) + everything_off == count and everything_off in (0, 1)
    assert patterns.complete and patterns.resolution < 1e-6


@pytest.mark.parametrize(("n", "r"), [(100, 2), (30, 3), (14, 4)])
def test_large_counts_in_general_position(n, r):
    X = np.random.default_rng(1).standard_normal((n, r))
    # Gaussian rows have no common half-space at these sizes: nothing is all off.
    assert len(cr.enumerate_patterns(X, bias="none")) == oracles.count_in_general_position(n, r)


@examples(60)
@given(data(7, 3), st.sampled_from(BIASES))
def test_enumeration_agrees_with_linear_programs(X, bias):
    A = oracles.hidden_data(X, bias)
    expected = oracles.exact_patterns(A)
    expected = expected[expected.any(axis=1) & ~(expected.all(axis=1) & (bias == "free"))]
    patterns = cr.enumerate_patterns(X, bias=bias)
    assert rows(patterns.active) == rows(expected)
    assert len(rows(patterns.active)) == len(patterns)
    assert patterns.complete
    assert not patterns.active[:, ~A.any(axis=1)].any()


@examples(40)
@given(data(7, 3), st.sampled_from(BIASES))
def test_facets_describe_the_cones(X, bias):
    arrangement = arrange(X, bias)
    Z = arrangement.Z
    points = np.random.default_rng(0).standard_normal((300, Z.shape[1]))
    patterns = enumerate_arrangement(arrangement)
    for active, facets in cones(patterns):
        signs = np.where(active, 1.0, -1.0)[:, None]
        inside = ((signs * Z) @ points.T >= 0).all(axis=0)
        by_facets = ((signs * Z)[facets] @ points.T >= 0).all(axis=0)
        np.testing.assert_array_equal(by_facets, inside)
        # None can be left out: there is a point that only this facet excludes.
        for facet in facets if len(facets) > 1 else ():
            others = np.setdiff1d(facets, [facet])
            K = (signs * Z)[others]
            rhs = np.append(np.zeros(len(K)), -1.0)
            answer = linprog(np.zeros(Z.shape[1]), np.vstack([-K, (signs * Z)[[facet]]]), rhs, bounds=(None, None))
            assert answer.status == 0
    if Z.shape[1] == 2 and bias != "free":
        assert (np.diff(patterns.facet_indptr) <= 2).all()


@examples(20)
@given(data(6, 2), st.sampled_from(BIASES), st.integers(0, 3))
def test_scaling_columns_changes_no_pattern_without_offsets(X, bias, power):
    scaled = X * 10.0 ** np.array([power, -power])[: X.shape[1]]
    assert rows(cr.enumerate_patterns(X, bias=bias).active) == rows(cr.enumerate_patterns(scaled, bias=bias).active)


@pytest.mark.parametrize("bias", BIASES)
def test_degenerate_data(bias):
    zero = cr.enumerate_patterns(np.zeros((3, 2)), bias=bias)
    assert zero.complete
    # Without bias there is nothing to see, a free bias moves everything at once, a penalised one turns all on.
    assert zero.active.tolist() == ([[True] * 3] if bias == "penalized" else [])
    one = cr.enumerate_patterns([[2.0]], bias=bias)
    assert one.active.tolist() == ([] if bias == "free" else [[True]])


def test_one_feature_with_free_bias_has_a_pattern_per_gap_and_side():
    patterns = cr.enumerate_patterns([[3.0], [1.0], [2.0], [2.0]], bias="free")
    expected = [[1, 0, 0, 0], [1, 0, 1, 1], [0, 1, 0, 0], [0, 1, 1, 1]]
    assert rows(patterns.active) == rows(np.array(expected, dtype=bool))


def test_duplicate_parallel_and_opposite_rows():
    base = np.random.default_rng(3).standard_normal((5, 2))
    X = np.vstack([base, base[0], 2 * base[1], -base[2], np.zeros(2), -0.5 * base[0]])
    patterns = cr.enumerate_patterns(X, bias="none")
    assert len(patterns) == len(cr.enumerate_patterns(base, bias="none")) or len(patterns) == 10
    np.testing.assert_array_equal(patterns.active[:, 5], patterns.active[:, 0])
    np.testing.assert_array_equal(patterns.active[:, 6], patterns.active[:, 1])
    np.testing.assert_array_equal(patterns.active[:, 7], ~patterns.active[:, 2])
    assert not patterns.active[:, 8].any()


def test_the_limit_is_checked_before_the_work():
    X = np.random.default_rng(0).standard_normal((200, 6))
    with pytest.raises(TooManyPatternsError) as caught:
        cr.enumerate_patterns(X, bias="none")
    message = str(caught.value)
    assert "200,000" in message or "200000" in message
    assert str(oracles.count_in_general_position(200, 6)) in message.replace(",", "")
    with pytest.raises(TooManyPatternsError):
        cr.enumerate_patterns(X[:5, :2], bias="none", limit=9)
    assert len(cr.enumerate_patterns(X[:5, :2], bias="none", limit=10)) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": [1.0]}, "`X` must be a matrix"),
        ({"X": [[math.nan]]}, "`X` has 1 NaN"),
        ({"bias": "yes"}, r"`bias` must be one of .*got 'yes'"),
        ({"limit": 0}, r"`limit` must be an integer of at least 1, got 0"),
        ({"limit": 1.5}, r"`limit` must be an integer"),
    ],
    ids=str,
)
def test_bad_arguments_of_enumeration(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.enumerate_patterns(**{"X": [[1.0]], **arguments})


# -- sampling ---------------------------------------------------------------------------------------------------------


@examples(40)
@given(data(7, 2), st.sampled_from(BIASES), st.integers(1, 12), st.integers(0, 5))
def test_samples_are_distinct_patterns_that_exist(X, bias, count, seed):
    sample = cr.sample_patterns(X, count, bias=bias, random_state=seed)
    every = cr.enumerate_patterns(X, bias=bias)
    assert rows(sample.active) <= rows(every.active)
    assert len(rows(sample.active)) == len(sample) <= count
    assert not sample.complete and sample.resolution == math.inf
    # The facets are those of the enumeration: both list the irredundant rows.
    full = {active.tobytes(): len(facets) for active, facets in cones(every)}
    for active, facets in cones(sample):
        assert len(facets) == full[active.tobytes()]


def test_samples_are_seeded():
    X = np.random.default_rng(0).standard_normal((20, 3))
    a, b, c = (cr.sample_patterns(X, 15, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.active, b.active)
    assert rows(a.active) != rows(c.active)
    assert len(a) == len(c) == 15


@pytest.mark.parametrize("bias", BIASES)
def test_enough_samples_find_almost_everything(bias):
    X = np.random.default_rng(0).standard_normal((6, 1))
    every = cr.enumerate_patterns(X, bias=bias)
    # Cells that are not listed (all off, and all on where the bias is free) may be drawn as well.
    assert rows(cr.sample_patterns(X, len(every) + 2, bias=bias).active) == rows(every.active)


@pytest.mark.parametrize("scales", [[1.0, 1e-9], [1e9, 1.0]])
def test_sampling_does_not_depend_on_units(scales):
    X = np.random.default_rng(0).standard_normal((12, 2))
    assert len(cr.sample_patterns(X * scales, 20)) >= 15


def test_offset_data_are_sampled_through_their_middle():
    X = 1e6 + np.random.default_rng(0).standard_normal((10, 1))
    # Without care every Gaussian neuron would be all on or all off.
    assert len(cr.sample_patterns(X, 8, bias="free")) >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": [1.0]}, "`X` must be a matrix"),
        ({"n_patterns": 0}, r"`n_patterns` must be an integer of at least 1, got 0"),
        ({"n_patterns": 2.0}, r"`n_patterns` must be an integer"),
        ({"bias": None}, "`bias` must be one of"),
        ({"random_state": "one"}, "`random_state`.*'one'"),
        ({"random_state": -1}, "`random_state`.*-1"),
    ],
    ids=str,
)
def test_bad_arguments_of_sampling(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.sample_patterns(**{"X": [[1.0]], "n_patterns": 1, **arguments})


# -- given patterns, patterns of networks -----------------------------------------------------------------------------


def test_given_patterns_are_cleaned():
    X = [[0.0], [1.0], [2.0]]
    active = np.array([[0, 1, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=bool)
    patterns = Patterns.from_active(X, active)
    assert patterns.active.tolist() == [[False, True, True], [True, True, True]]
    assert not patterns.complete
    assert Patterns.from_active(X, active, bias="free").active.tolist() == [[False, True, True]]
    assert len(Patterns.from_active(X, np.zeros((0, 3), dtype=bool))) == 0


def test_given_patterns_may_be_unrealisable():
    # On at the ends and off in the middle: only the zero neuron. The program takes it and gains nothing.
    X, active = [[0.0], [1.0], [2.0]], np.array([[True, False, True]])
    problem = cr.TrainingProblem(X, [0.0, 1.0, 0.0], 0.1)
    result = cr.solve(problem, patterns=Patterns.from_active(X, active), backend="clarabel")
    assert result.objective == pytest.approx(0.5, rel=1e-6) and result.certificate.scope == "patterns"


@pytest.mark.parametrize(
    "active", [[[1, 0, 1]], np.ones((2, 2), dtype=bool), np.ones(3, dtype=bool), "all", None], ids=repr
)
def test_bad_given_patterns(active):
    with pytest.raises(InvalidInputError, match=r"`active` must be a boolean matrix \(n_patterns, 3\), got "):
        Patterns.from_active([[0.0], [1.0], [2.0]], active)


def test_repr_take_and_read_only():
    patterns = cr.enumerate_patterns([[0.0], [1.0], [2.0]])
    assert repr(patterns) == "Patterns(5 complete patterns of 3 samples)"
    some = patterns.take(np.array([3, 1]))
    assert repr(some) == "Patterns(2 partial patterns of 3 samples)"
    both = cones(patterns)
    for (active, facets), index in zip(cones(some), (3, 1), strict=True):
        np.testing.assert_array_equal(active, both[index][0])
        np.testing.assert_array_equal(facets, both[index][1])
    for array in (patterns.active, patterns.facet_rows, patterns.facet_indptr):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@examples(30)
@given(data(6, 2), st.sampled_from(BIASES), st.integers(0, 9))
def test_union_keeps_the_first_and_adds_the_rest(X, bias, seed):
    every = cr.enumerate_patterns(X, bias=bias)
    rng = np.random.default_rng(seed)
    a, b = (every.take(rng.permutation(len(every))[:3]) for _ in range(2))
    union = a.union(b)
    assert rows(union.active) == rows(a.active) | rows(b.active)
    assert len(union) == len(rows(union.active))
    np.testing.assert_array_equal(union.active[: len(a)], a.active)
    expected = {active.tobytes(): facets.tolist() for active, facets in cones(every)}
    assert all(facets.tolist() == expected[active.tobytes()] for active, facets in cones(union))


@examples(60)
@given(data(6, 2), st.sampled_from(BIASES), st.integers(0, 99))
def test_a_neurons_pattern_is_a_cell_that_touches_it(X, bias, seed):
    arrangement = arrange(X, bias)
    rng = np.random.default_rng(seed)
    W, b = rng.integers(-2, 3, (4, X.shape[1])) * 1.0, rng.integers(-2, 3, 4) * (bias != "none") * 1.0
    patterns = neuron_patterns(arrangement, arrangement.from_weights(W, b))
    assert rows(patterns.active) <= rows(cr.enumerate_patterns(X, bias=bias).active)
    pre = X @ W.T + b
    for j in np.flatnonzero(np.abs(W).sum(axis=1) > 0):
        if (pre[:, j] <= 0).all() or np.abs(arrangement.cost(arrangement.from_weights(W, b))[j]) < 1e-9:
            continue
        shifted = pre[:, j] - (pre[:, j].min() if bias == "free" and pre[:, j].min() > 0 else 0.0)
        touching = ((shifted > 1e-9) <= patterns.active) & ((shifted < -1e-9) <= ~patterns.active)
        assert touching.all(axis=1).any()


def test_a_neuron_on_the_kink_of_opposite_rows_is_next_to_a_real_cell():
    # Both samples off is no cell: one of the two must be on.
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    patterns = neuron_patterns(arrange(X, "none"), np.array([[0.0, 1.0]]))
    assert patterns.active.tolist() in ([[True, False, True]], [[False, True, True]])


def test_sampling_an_arrangement_of_rank_zero():
    assert len(sample_arrangement(arrange(np.zeros((3, 1)), "none"), 5, 0)) == 0
