"""Proven bounds on the dual norm: never below any neuron's correlation, and tight over complete patterns."""

import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.patterns import arrange
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.pricing.dual_norm import dual_norm, dual_norm_over_patterns
from convexrelu.pricing.rounding import resolution_slack

BIASES = ("none", "penalized", "free")


def centred(nu, bias):
    """A dual variable as a column, orthogonal to the constants where the bias is free."""
    return (nu - nu.mean() if bias == "free" else nu)[:, None]


def over_all_patterns(X, nu, bias):
    return dual_norm_over_patterns(arrange(X, bias), cr.enumerate_patterns(X, bias=bias), nu)


def attained(arrangement, norm, nu):
    """The correlation of the neuron that the bound shows, and its cost."""
    pre = arrangement.Z @ norm.neuron
    return abs(nu[:, 0] @ np.maximum(pre, 0)), arrangement.cost(norm.neuron[None])[0]


@examples(80)
@given(data(6, 2), st.data(), st.sampled_from(BIASES))
def test_bounds_agree_with_brute_force(X, draw, bias):
    nu = centred(draw.draw(vectors(len(X))), bias)
    exact = oracles.dual_norm(X, nu[:, 0], bias)
    norm = over_all_patterns(X, nu, bias)
    size = np.abs(nu).sum() * (1 + np.abs(X).max())
    assert norm.scope == "global"
    assert norm.upper >= exact
    assert norm.upper <= exact + 1e-7 * size  # the free coordinate is met to 1e-8 where the bias is free
    assert norm.lower <= norm.upper
    assert norm.lower >= exact - 1e-7 * size
    value, cost = attained(arrange(X, bias), norm, nu)
    assert value == pytest.approx(norm.lower, rel=1e-13, abs=1e-13)
    assert cost == pytest.approx(1.0, abs=1e-13) or norm.lower == 0.0


@examples(40)
@given(data(6, 3), st.data(), st.sampled_from(BIASES))
def test_no_neuron_has_a_larger_correlation(X, draw, bias):
    nu = centred(draw.draw(vectors(len(X))), bias)
    norm = over_all_patterns(X, nu, bias)
    rng = np.random.default_rng(0)
    W, b = rng.standard_normal((2000, X.shape[1])), rng.standard_normal(2000) * (bias != "none") * 3
    if bias == "free":
        # sum(nu) = 0 up to rounding, which a large bias would multiply: the bound is for kinks at samples (A.3).
        b = -(W @ X.T)[np.arange(2000), rng.integers(0, len(X), 2000)]
    cost = np.linalg.norm(W if bias == "free" else np.column_stack([W, b]), axis=1)
    values = np.abs(nu[:, 0] @ np.maximum(X @ W.T + b, 0)) / cost
    # Rounding of the left-hand side only: sums of six products of size ten.
    assert values.max() <= norm.upper + 1e-13


@pytest.mark.parametrize(
    ("bias", "offset", "rel"), [("penalized", 1e4, 1e-8), ("free", 1e4, 1e-8), ("free", 1e8, 1e-2)]
)
def test_offset_data(bias, offset, rel):
    rng = np.random.default_rng(0)
    X, nu = rng.standard_normal((6, 2)), centred(rng.standard_normal(6), "free")
    norm = over_all_patterns(X + offset, nu, bias)
    exact = oracles.dual_norm(X, nu[:, 0], "free") if bias == "free" else norm.lower
    # What is added for rounding grows with the offset: 1e-16 times it, per sample.
    assert exact * (1 - 1e-7) <= norm.upper <= exact * (1 + rel) + 1e-13 * offset


@pytest.mark.parametrize("scales", [[1e-6, 1e6], [1e6, 1e6], [1e-9, 1e-9]])
@pytest.mark.parametrize("bias", BIASES)
def test_badly_scaled_columns(bias, scales):
    rng = np.random.default_rng(1)
    X, nu = rng.standard_normal((6, 2)) * scales, centred(rng.standard_normal(6), bias)
    exact = oracles.dual_norm(X, nu[:, 0], bias)
    norm = over_all_patterns(X, nu, bias)
    # The oracle's NNLS leaves 1e-12; its neuron is evaluated, so it may be too small but never too large.
    assert exact * (1 - 1e-12) <= norm.upper <= exact * (1 + 1e-6)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("distance", [1e-6, 1e-9, 1e-12, 1e-15])
def test_nearly_equal_rows_with_opposite_signs(bias, distance):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((4, 2))
    X = np.vstack([X, X[:2] + distance * rng.standard_normal((2, 2))])
    nu = centred(np.array([1.0, -1.0, 0.5, -0.25, -1.0, 1.0]) * 1e3, bias)
    norm = over_all_patterns(X, nu, bias)
    U = rng.standard_normal((20_000, 2))
    # Neurons whose kink passes between the twins, in one direction or the other.
    for i, j in ((0, 4), (1, 5)):
        shift = -(U @ (X[i] + X[j])) / 2 if bias != "none" else np.zeros(len(U))
        cost = np.linalg.norm(U if bias == "free" else np.column_stack([U, shift]), axis=1)
        values = np.abs(nu[:, 0] @ np.maximum(X @ U.T + shift, 0)) / cost
        assert values.max() <= norm.upper + 1e-10


def test_over_some_patterns_only_these_count():
    X, nu = np.array([[1.0], [-1.0]]), np.array([[2.0], [5.0]])
    some = cr.Patterns.from_active(X, np.array([[True, False]]), bias="none")
    norm = dual_norm_over_patterns(arrange(X, "none"), some, nu)
    assert norm.scope == "patterns"
    assert 2.0 <= norm.upper <= 2.0 + 1e-13  # some dozen roundings of two numbers of size two to five
    assert norm.lower == 2.0 and norm.neuron.tolist() == [1.0]
    none = cr.Patterns.from_active(X, np.zeros((0, 2), dtype=bool), bias="none")
    assert dual_norm_over_patterns(arrange(X, "none"), none, nu).lower == 0.0


def test_flat_cones_have_norm_zero():
    # The pattern exists at u = 0 only: its gradient must be projected away.
    X, nu = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [-3.0], [1.0]])
    flat = cr.Patterns.from_active(X, np.array([[True, False, True]]))
    norm = dual_norm_over_patterns(arrange(X, "penalized"), flat, nu)
    assert 0.0 <= norm.upper <= 1e-12


@pytest.mark.parametrize("bias", BIASES)
def test_zero_dual_variables(bias):
    X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    norm = over_all_patterns(X, np.zeros((3, 1)), bias)
    assert norm.upper == norm.lower == 0.0 and not norm.neuron.any()


def test_zero_data():
    norm = over_all_patterns(np.zeros((2, 1)), np.ones((2, 1)), "none")
    assert norm.upper == norm.lower == 0.0


def test_one_sample_exactly():
    # |nu| |row| = 2 * 5: the bound may exceed it by its stated rounding, never fall below.
    norm = over_all_patterns(np.array([[3.0, 4.0]]), np.array([[-2.0]]), "none")
    assert 10.0 <= norm.upper <= 10.0 * (1 + 1e-13)


def test_scaling_is_exact():
    rng = np.random.default_rng(3)
    X, nu = rng.standard_normal((6, 2)), rng.standard_normal((6, 1))
    one, many = over_all_patterns(X, nu, "penalized"), over_all_patterns(X, 1024 * nu, "penalized")
    assert many.upper == pytest.approx(1024 * one.upper, rel=1e-14)


def test_missing_thin_cells_are_paid_for():
    arrangement = arrange(np.random.default_rng(4).standard_normal((6, 2)), "none")
    nu = np.ones((6, 1))
    assert resolution_slack(arrangement, nu, 0.0) == (1.0, 0.0)
    small, large = (resolution_slack(arrangement, nu, r) for r in (1e-9, 1e-3))
    assert 1.0 < small[0] < large[0] and 0.0 < small[1] < large[1]


@examples(10)
@given(data(5, 2), st.data(), st.sampled_from(BIASES))
def test_branch_and_bound_agrees(X, draw, bias):
    nu = centred(draw.draw(vectors(len(X))), bias)
    exact = oracles.dual_norm(X, nu[:, 0], bias)
    norm = dual_norm(arrange(X, bias), nu)
    size = np.abs(nu).sum() * (1 + np.abs(X).max())
    assert norm.scope == "global"
    assert norm.upper >= exact
    assume(exact > 1e-9 * size)  # a bound relative to zero cannot be asked for
    assert norm.upper <= exact * (1 + 1e-6)  # the default target is 1e-7 above the best neuron
    assert exact * (1 - 1e-7) <= norm.lower <= norm.upper


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.parametrize("unit", [2.0**-600, 2.0**-1000, 2.0**500])
def test_dual_variables_of_any_size_have_norms_of_that_size(tasks, unit):
    # Squares of entries of 2^-600 vanish: the norm was bounded by next to nothing, a lower bound 2e6 times too high.
    rng = np.random.default_rng(0)
    arrangement, nu = arrange(rng.standard_normal((6, 2)), "penalized"), rng.standard_normal((6, tasks))
    bounds = [dual_norm(arrangement, nu), dual_norm(arrangement, unit * nu)]
    if tasks == 1:
        patterns = enumerate_arrangement(arrangement)
        bounds += [dual_norm_over_patterns(arrangement, patterns, factor * nu) for factor in (1.0, unit)]
    for norm, scaled in zip(bounds[::2], bounds[1::2], strict=True):
        assert scaled.upper == pytest.approx(unit * norm.upper, rel=1e-12, abs=0)
        assert scaled.lower == pytest.approx(unit * norm.lower, rel=1e-12, abs=0)
