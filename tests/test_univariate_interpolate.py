"""Interpolation in closed form: least norm, all solutions, fewest knots."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.univariate.interpolant import interpolant
from convexrelu.univariate.zonotope import shares_of

SKIPS = st.sampled_from(["free", "none"])


@st.composite
def points(draw, least=2, most=7):
    """Distinct integers in any order, and integer targets: runs, ties and straight pieces are frequent."""
    x = draw(st.lists(st.integers(-6, 6), min_size=least, max_size=most, unique=True))
    return np.array(x, dtype=float), draw(vectors(len(x)))


def norm(spline, skip):
    outer = abs(spline.slopes[0, 0] + spline.slopes[-1, 0]) if skip == "none" else 0.0
    return max(spline.total_variation, outer)


@examples(200)
@given(points(), SKIPS)
def test_least_norm_is_the_closed_form(data, skip):
    x, y = data
    result, order = uv.interpolate(x, y, skip=skip), np.argsort(x)
    exact = float(oracles.univariate_interpolation_value(x[order], y[order], skip))
    assert result.objective == pytest.approx(exact, rel=1e-13, abs=1e-13)
    assert result.certificate.lower_bound <= exact
    assert result.certificate.gap <= 1e-13
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem.interpolation(x[:, None], y, bias="free", skip=skip)
    assert problem.objective(result.network) == pytest.approx(exact, rel=1e-12, abs=1e-12)
    assert problem.dual_value(result.certificate.dual) == pytest.approx(exact, rel=1e-12, abs=1e-12)


@examples(30)
@given(points(3, 5), SKIPS)
def test_least_norm_agrees_with_the_convex_program(data, skip):
    x, y = data
    value = oracles.convex_value(x[:, None], y, None, bias="free", output_bias="free", skip=skip)
    assert uv.interpolate(x, y, skip=skip).objective == pytest.approx(value, rel=1e-6, abs=1e-6)


@examples(100)
@given(points(), SKIPS)
def test_every_spike_is_a_solution(data, skip):
    x, y = data
    solutions, least = uv.solution_set(x, y, skip=skip), uv.interpolate(x, y, skip=skip).objective
    members = [[], *([k] for k in np.flatnonzero(solutions.free))]
    for member in members:
        spline = solutions.spiked(member)
        assert spline(x)[:, 0] == pytest.approx(y, abs=1e-12)
        assert norm(spline, skip) == pytest.approx(least, rel=1e-12, abs=1e-12)
        t = np.linspace(-8, 8, 65)
        lower, upper = solutions.prediction_range(t)
        assert np.all(lower - 1e-9 <= spline(t)[:, 0])
        assert np.all(spline(t)[:, 0] <= upper + 1e-9)


@examples(30)
@given(points(2, 6), SKIPS, st.integers(-28, 28))
def test_ranges_agree_with_linear_programs(data, skip, quarter):
    x, y = data
    order = np.argsort(x)
    least, at = uv.interpolate(x, y, skip=skip).objective, quarter / 4
    lower, upper = uv.solution_set(x, y, skip=skip).prediction_range([at])
    low, high = oracles.interpolant_range(x[order], y[order], at, least, skip)
    # The program may miss a crossing by rounding, and the knots beyond the data that are not on its grid.
    assert [lower[0], upper[0]] == pytest.approx([low, high], rel=1e-6, abs=1e-6)


@examples(300)
@given(points(1, 9))
def test_sparsest_has_the_fewest_knots(data):
    x, y = data
    spline, order = uv.sparsest(x, y), np.argsort(x)
    assert spline.n_knots == oracles.fewest_knots(x[order], y[order])
    assert spline(x)[:, 0] == pytest.approx(y, abs=1e-12)
    if len(x) > 1:
        assert spline.total_variation == pytest.approx(uv.interpolate(x, y).objective, rel=1e-12, abs=1e-12)


def test_outer_curvature_makes_the_first_interval_free():
    # theory D.2: |s_1 + s_3| = 5 > TV = 3.
    solutions = uv.solution_set([0, 1, 2, 3], [0, 1, 3, 7], skip="none")
    assert solutions.outer == 1.0
    assert solutions.free.tolist() == [True, True, False]
    lower, upper = solutions.prediction_range([-1.0, 0.5, 4.0])
    assert lower.tolist() == [-1.0, 0.0, 10.0]
    assert upper.tolist() == [0.0, 0.5, 11.0]
    assert "beyond the data" in solutions.reason
    with pytest.raises(InvalidInputError, match="neighbours"):
        solutions.spiked([0, 1])


def test_reasons():
    assert uv.solution_set([0, 1, 2], [0, 1, 0]).reason.startswith("Unique")
    several = uv.solution_set([0, 1, 2, 3], [0, 1, 1, 0])
    assert "from 1 to 2" in several.reason
    assert not several.is_unique


def test_tenths_are_collinear():
    x = np.arange(30) * 0.1
    assert uv.sparsest(x, 3 * x - 0.7).n_knots == 0
    assert uv.solution_set(x, 3 * x - 0.7).is_unique


@examples(60)
@given(points(3, 6), st.integers(2, 3))
def test_several_tasks_connect_the_dots(data, T):
    x, y = data
    Y = np.column_stack([y, *(np.roll(y, k) for k in range(1, T))])
    result = uv.interpolate(x, Y)
    problem = cr.TrainingProblem.interpolation(x[:, None], Y, bias="free", skip="free")
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-12, abs=1e-12)
    assert result.certificate.gap <= 1e-12
    singles = [uv.interpolate(x, Y[:, t]).objective for t in range(T)]
    assert max(singles) <= result.objective * (1 + 1e-12)
    assert result.objective <= sum(singles) * (1 + 1e-12)
    duplicated = np.repeat(Y[:, :1], T, axis=1) / np.sqrt(T)
    assert uv.interpolate(x, duplicated).objective == pytest.approx(singles[0], rel=1e-12, abs=1e-12)


def test_repeated_points():
    result = uv.interpolate([2, 0, 1, 0], [0, 0, 1, 0])
    assert result.objective == 2.0
    assert result.certificate.dual.shape == (4, 1)
    with pytest.raises(InvalidInputError, match="samples 1 and 3"):
        uv.interpolate([2, 0, 1, 0], [0, 0, 1, 5])


def test_two_neurons_may_bend_at_one_knot():
    x, Y, outer = np.array([0.0, 1.0]), np.array([[0.0], [1.0]]), np.array([[-0.5], [2.5]])
    twice = interpolant(x, Y, np.array([0.5, 0.5]), np.array([[1.0], [2.0]]), outer)
    once = interpolant(x, Y, np.array([0.5]), np.array([[3.0]]), outer)
    assert np.array_equal(twice.knots, once.knots)
    assert np.array_equal(twice.slopes, once.slopes)
    rng = np.random.default_rng(7)
    assert uv.interpolate(np.sort(rng.random(100)), rng.standard_normal(100), bias="penalized").certificate.gap <= 1e-8


def test_single_point_and_straight_line():
    for skip in ("free", "none"):
        assert uv.interpolate([3.0], [2.0], skip=skip).objective == 0.0
        assert uv.solution_set([3.0], [2.0], skip=skip).is_unique
    assert uv.interpolate([0, 1, 3], [1, 3, 7]).network.n_neurons == 0
    assert uv.interpolate([0, 1, 3], [1, 3, 7], skip="none").objective == 2.0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: uv.interpolate([0, 1], [0, np.inf]), InvalidInputError, "Y"),
        (lambda: uv.interpolate([], []), InvalidInputError, "x"),
        (lambda: uv.interpolate([[0, 1]], [0]), InvalidInputError, "points on a line"),
        (lambda: uv.interpolate([0, 1], [0, 1], skip="maybe"), InvalidInputError, "skip"),
        (lambda: uv.interpolate([0, 1], [0, 1], output_bias="none"), InvalidInputError, "output_bias"),
        (lambda: uv.interpolate([0, 1], [0, 1], tol=0.0), InvalidInputError, "tol"),
        (lambda: uv.solution_set([0, 1], [0, 1]).spiked([0]), InvalidInputError, "not free"),
        (lambda: uv.solution_set([0, 1], [0, 1]).spiked([7]), InvalidInputError, "mask"),
    ],
)
def test_bad_input_is_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_aligned_curvature_frees_an_interval_of_several_tasks():
    # theory D.4: a spike of the depth h a b / (a + b) along the direction that neighbours share.
    x, y = np.arange(4.0), np.array([0.0, 0.0, 1.0, 4.0])
    direction = np.array([0.6, 0.8])
    line = np.outer(x, [1.0, -2.0])
    solutions = uv.solution_set(x, np.outer(y, direction) + line)
    assert solutions.free.tolist() == [False, True, False]
    assert "direction" in solutions.reason
    lower, upper = solutions.prediction_range([1.0 + 2 / 3])
    assert upper - lower == pytest.approx(2 / 3 * direction[None])  # a = 1, b = 2
    single = uv.solution_set(x, y).prediction_range([0.5, 1.2, 1.9, 5.0])
    several = uv.solution_set(x, np.outer(y, direction)).prediction_range([0.5, 1.2, 1.9, 5.0])
    assert several[0] == pytest.approx(np.outer(single[0], direction))
    assert several[1] == pytest.approx(np.outer(single[1], direction))
    spike = solutions.spiked([1])
    assert spike(x) == pytest.approx(np.outer(y, direction) + line)
    assert spike.total_variation == pytest.approx(uv.interpolate(x, np.outer(y, direction) + line).objective)


@examples(60)
@given(points(3, 6), st.integers(2, 3))
def test_several_tasks_are_unique_unless_neighbours_are_aligned(data, T):
    x, y = data
    Y = np.column_stack([y, *(np.roll(y, k) for k in range(1, T))])
    order = np.argsort(x)
    delta = np.diff(np.diff(Y[order], axis=0) / np.diff(x[order])[:, None], axis=0)
    size = np.linalg.norm(delta, axis=1)
    aligned = [
        size[k] * size[k + 1] > 1e-9 and delta[k] @ delta[k + 1] > (1 - 1e-12) * size[k] * size[k + 1]
        for k in range(len(delta) - 1)
    ]
    solutions = uv.solution_set(x, Y)
    assert solutions.free.tolist() == [False, *aligned, False]
    assert solutions.is_unique == (not any(aligned))
    for k in np.flatnonzero(solutions.free):
        spline = solutions.spiked([k])
        assert spline(x) == pytest.approx(Y, abs=1e-12)
        assert spline.total_variation == pytest.approx(uv.interpolate(x, Y).objective, rel=1e-12)


@examples(25)
@given(points(3, 6), st.integers(-3, 3))
def test_several_tasks_without_skip_are_known_where_a_skip_gains_nothing(data, tilt):
    x, y = data
    Y = np.column_stack([y + tilt * x, np.roll(y, 1)])
    with_skip, without = (uv.interpolate(x, Y, skip=skip).objective for skip in ("free", "none"))
    if without > with_skip * (1 + 1e-7) + 1e-9:
        with pytest.raises(UnsupportedError, match="costs more"):
            uv.solution_set(x, Y, skip="none")
    else:
        same, found = uv.solution_set(x, Y), uv.solution_set(x, Y, skip="none")
        assert found.free.tolist() == same.free.tolist()
        assert found.prediction_range([0.3, 9.0])[1] == pytest.approx(same.prediction_range([0.3, 9.0])[1])


def test_ranges_of_several_tasks_without_skip():
    # Curvature one of both signs: the slopes' sum is zero, and the spike may be anywhere in the free interval.
    x, direction = np.arange(6.0), np.array([0.6, 0.8])
    y = np.array([0.0, -1.0, -1.0, 0.0, 0.0, 0.0])
    lower, upper = uv.solution_set(x, np.outer(y, direction), skip="none").prediction_range([1.4])
    value = uv.interpolate(x, y, skip="none").objective
    assert np.column_stack([lower[0], upper[0]]) == pytest.approx(
        np.outer(direction, oracles.interpolant_range(x, y, 1.4, value, "none", n_grid=9)), abs=1e-6
    )


def test_a_few_tasks_without_skip_are_refused():
    with pytest.raises(UnsupportedError, match="costs more"):
        uv.solution_set([0, 1], np.eye(2), skip="none")


@examples(80)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 5))
def test_shares_of_a_sum(seed, T, k):
    rng = np.random.default_rng(seed)
    delta, theta = rng.integers(-3, 4, (k, T)).astype(float), rng.uniform(-1, 1, k)
    # On the boundary where shares are one.
    for shares in (theta, np.sign(theta)):
        found = shares_of(delta, shares @ delta, 1e-12)
        assert found is not None
        assert np.abs(found).max(initial=0.0) <= 1
        assert found @ delta == pytest.approx(shares @ delta, abs=1e-11)
    direction = rng.standard_normal(T)
    outside = (1.001 * np.abs(delta @ direction).sum() + 0.001) * direction / (direction @ direction)
    assert shares_of(delta, outside, 1e-12) is None
