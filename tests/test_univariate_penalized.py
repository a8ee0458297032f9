"""Penalised biases on one input: agreement with the convex program, proofs in exact arithmetic, knots off the data."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.univariate.growth import Task, _priced
from convexrelu.univariate.interval_pricing import Sums, best_of_intervals
from convexrelu.univariate.neuron_interior_point import trained
from convexrelu.univariate.running_sums import differences
from convexrelu.univariate.sectors import sector_bounds

SKIPS = st.sampled_from(["free", "none"])


@st.composite
def points(draw, most=6):
    """Distinct integers in any order, and integer targets."""
    x = draw(st.lists(st.integers(-6, 6), min_size=1, max_size=most, unique=True))
    return np.array(x, dtype=float), draw(vectors(len(x)))


def kinds(skip):
    return {"bias": "penalized", "output_bias": "free" if skip == "free" else "none", "skip": skip}


@examples(30)
@given(points(), weight_decays(), SKIPS)
def test_fit_agrees_with_the_convex_program(data, lam, skip):
    x, y = data
    result = uv.fit(x, y, lam, bias="penalized", skip=skip)
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem(x[:, None], y, lam, **kinds(skip))
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-9, abs=1e-12)
    exact = oracles.exact_objective(x[:, None], y, lam, result.network, **kinds(skip))
    assert Fraction(result.certificate.lower_bound) <= exact
    value = oracles.convex_value(x[:, None], y, lam, **kinds(skip))
    assert result.objective == pytest.approx(value, rel=1e-7, abs=1e-7)


@examples(20)
@given(points(), SKIPS)
def test_interpolation_agrees_with_the_convex_program(data, skip):
    x, y = data
    result = uv.interpolate(x, y, bias="penalized", skip=skip)
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem.interpolation(x[:, None], y, **kinds(skip))
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-9, abs=1e-9)
    value = oracles.convex_value(x[:, None], y, None, **kinds(skip))
    assert result.objective == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert result.certificate.lower_bound <= value * (1 + 1e-6) + 1e-6


def test_fewest_knots_are_not_always_cheapest():
    # theory D.5: a knot in the first interval makes two knots cheaper than one.
    result = uv.interpolate([-1, 2, 3, 4], [0, 0, 1, 8], bias="penalized", skip="free")
    assert result.objective == pytest.approx(21.0950, abs=1e-4)
    assert result.spline.knots == pytest.approx([1.0, 3.0], abs=1e-4)
    assert uv.sparsest([-1, 2, 3, 4], [0, 0, 1, 8]).n_knots == 1


def test_repeated_samples_and_weights():
    x, y = np.array([0, 1, 1, 2, 3.0]), np.array([0, 1, 2, 0, 5.0])
    weight = np.array([1, 2, 1, 1, 0.0])
    result = uv.fit(x, y, 0.1, bias="penalized", skip="none", sample_weight=weight)
    value = oracles.convex_value(x[:, None], y, 0.1, sample_weight=weight, **kinds("none"))
    assert result.objective == pytest.approx(value, rel=1e-7)
    assert result.status is cr.Status.OPTIMAL


def test_a_thousand_points():
    rng = np.random.default_rng(0)
    x = rng.random(1000)
    y = np.sin(8 * x) + 0.3 * rng.standard_normal(1000)
    result = uv.fit(x, y, 1.0, bias="penalized", skip="free")
    assert result.status is cr.Status.OPTIMAL
    assert not np.isin(result.spline.knots, x).all()


@examples(60)
@given(vectors(5, 4), vectors(5), SKIPS, st.integers(-2, 4))
def test_sector_bounds_hold(x, nu, skip, power):
    x = np.sort(x) * np.pi * 10.0**power
    nu = nu * np.e
    if skip == "free":
        nu = nu - np.polyval(np.polyfit(x, nu, 1), x) if np.ptp(x) > 0 else nu - nu.mean()
    largest, total, moment = sector_bounds(x, nu[:, None], skip)
    exact_nu, exact_x = oracles.fractions(nu), oracles.fractions(x)
    assert Fraction(total) >= abs(sum(exact_nu, Fraction(0)))
    origin = exact_x[0] if skip == "free" else 0
    assert Fraction(moment) >= abs(sum((v * (t - origin) for v, t in zip(exact_nu, exact_x, strict=True)), Fraction(0)))
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 3000)
    W = np.column_stack([np.cos(angles), np.sin(angles)])
    if skip == "free":
        between = -W[:, 1] / W[:, 0]
        W = W[(between >= x[0]) & (between <= x[-1]) & (W[:, 0] > 0)]
    if len(W):
        correlations = np.abs(np.maximum(np.outer(W[:, 0], x) + W[:, 1:], 0) @ nu)
        assert correlations.max() <= largest * (1 + 1e-12) + 1e-12 * np.abs(nu * (1 + np.abs(x))).sum()
    if skip == "none":
        exact = oracles.dual_norm(x[:, None], nu, "penalized")
        assert largest == pytest.approx(exact, rel=1e-9, abs=1e-9 * (1 + float(np.abs(nu * x).sum())))


@examples(40)
@given(points(), weight_decays(), SKIPS, st.sampled_from(["free", "penalized"]))
def test_several_tasks_are_certified(data, lam, skip, bias):
    x, y = data
    Y = np.column_stack([y, np.roll(y, 1), y[::-1] - 1])
    result = uv.fit(x, Y, lam, bias=bias, skip=skip)
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem(x[:, None], Y, lam, bias=bias, output_bias=result_output_bias(bias, skip), skip=skip)
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-9, abs=1e-12)
    twice = uv.fit(x, np.repeat(y[:, None], 2, axis=1) / np.sqrt(2), lam, bias=bias, skip=skip)
    assert twice.objective == pytest.approx(uv.fit(x, y, lam, bias=bias, skip=skip).objective, rel=1e-7, abs=1e-9)


def result_output_bias(bias, skip):
    return "none" if bias == "penalized" and skip == "none" else "free"


def test_dependent_candidates():
    # Three neurons are missing at once, on two points.
    result = uv.fit([0.0, 1.0], [2.0, 1.0], 0.03, bias="penalized", skip="none")
    assert result.status is cr.Status.OPTIMAL


def test_neurons_of_several_tasks_are_not_merged_for_ever():
    rng = np.random.default_rng(15)
    n = int(rng.integers(1, 9))
    x, Y = rng.integers(-4, 5, n) + 0.0, rng.integers(-3, 4, (n, 3)) + 0.0
    assert uv.fit(x, Y, 0.03, bias="penalized", skip="none").status is cr.Status.OPTIMAL


def test_small_weight_decay():
    # Large curvatures of both signs: the sum over neurons lacks the digits that the dual variable needs.
    rng = np.random.default_rng(0)
    x = rng.random(300)
    result = uv.fit(x, np.sin(8 * x) + 0.3 * rng.standard_normal(300), 1e-4, bias="penalized")
    assert result.certificate.gap <= 1e-9
    assert result.network.n_neurons > 80


@pytest.mark.parametrize(("T", "seed"), [(1, 2), (3, 1)])
def test_spacings_from_1e_12_to_1(T, seed):
    # Neurons trained one by one end at gaps of 4e-4 and 5e-3 here.
    rng = np.random.default_rng(seed)
    x, lam = np.cumsum(10 ** rng.uniform(-12, 0, 500)), 10 ** rng.uniform(-3, 1)
    Y = rng.standard_normal((500, T)) + 3 * x[:, None] * (seed % 2)
    result = uv.fit(x, Y, lam, bias="penalized", skip="none")
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem(x[:, None], Y, lam)
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-10)


@pytest.mark.parametrize("skip", ["free", "none"])
def test_the_dual_variable_falls_where_it_violates(skip):
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem.interpolation(
        rng.random((200, 1)), rng.standard_normal(200), output_bias=kinds(skip)["output_bias"], skip=skip
    )
    task = Task.of(problem)
    outputs = trained(task.program(task.start()), 0.0)
    sums = task.sums(outputs)
    before = best_of_intervals(sums, 1e-9)[1]
    _, found, nu = _priced(task, outputs, 1e-9)
    lower = Sums.of(task.line, nu)
    after = best_of_intervals(lower, 1e-9)[1]
    assert before > 1 + 1e-6
    assert after <= 1 + 1e-9
    assert found == pytest.approx(after, rel=1e-12)
    for side in task.line.sides:
        assert (np.abs(lower.at_points(side)) <= np.abs(sums.at_points(side)) + 1e-12).all()
    # Less is lost than by the same factor everywhere.
    assert task.slopes.dual(nu) > task.slopes.dual(differences(task.x, sums.c)) / before


def noisy_sine(n):
    rng = np.random.default_rng(0)
    x = rng.random(n)
    return x, np.sin(8 * x) + 0.3 * rng.standard_normal(n)


BOTH = [("penalized", "free"), ("penalized", "none"), ("penalized", "penalized"), ("free", "penalized")]


@pytest.mark.parametrize(("bias", "skip"), BOTH)
@pytest.mark.parametrize("n", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_interpolation_of_many_points(n, bias, skip):
    # Neighbours as close as 1e-8: curvature and dual variable up to 1e8, whose sums need all digits; then as close as
    # 1e-11, where a position in units of the span has five digits of the spacing left.
    x, y = noisy_sine(n)
    result = uv.interpolate(x, y, bias=bias, skip=skip)
    assert result.status is cr.Status.OPTIMAL
    assert result.spline(x)[:, 0] == pytest.approx(y, rel=1e-13, abs=1e-13)


def test_a_smaller_tolerance_tells_functions_among_close_points_apart():
    # Connecting the dots is within 1e-8 of the least norm; the best interpolant has spikes (theory D.7).
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.random(4000)), rng.standard_normal(4000)
    sizes = [uv.interpolate(x, y, bias="penalized", tol=tol) for tol in (1e-7, 1e-9)]
    assert [one.status for one in sizes] == [cr.Status.OPTIMAL] * 2
    loose, strict = (uv.integral(one.spline, p=3.0, lower=0.0, upper=1.0) for one in sizes)
    assert strict > 10 * loose


def test_interpolation_of_several_tasks_on_close_points():
    # Two neurons between points 6e-4 apart, whose outputs are parallel to 1e-6 but not what they bend at either end.
    rng = np.random.default_rng(3)
    for _ in range(5):
        x, Y = rng.random(3000), rng.standard_normal((3000, 3))
    result = uv.interpolate(x, Y, bias="penalized")
    assert result.status is cr.Status.OPTIMAL


@pytest.mark.parametrize("skip", ["free", "none"])
@pytest.mark.parametrize("T", [1, 2])
def test_sector_bounds_are_tight_between_close_points(T, skip):
    # Correlations of one where their slopes are 1e11.
    rng = np.random.default_rng(1)
    x = np.cumsum(10 ** rng.uniform(-11, -1, 300))
    left = rng.standard_normal((300, T))
    left /= np.hypot(1, x)[:, None] ** -1 * np.linalg.norm(left, axis=1)[:, None]
    left[[0, -1]] = 0.0
    steps = np.diff(left.astype(np.longdouble), axis=0) / np.diff(x.astype(np.longdouble))[:, None]
    nu = differences(x, np.vstack([steps, 0 * steps[:1]]))
    largest, _, _ = sector_bounds(x, nu, skip)
    assert 1 - 1e-6 < largest < 1 + 1e-3
    exact_x, exact_nu = oracles.fractions(x), [oracles.fractions(column) for column in nu.T]
    for t, k in zip(exact_x[1:-1:20], range(1, 299, 20), strict=True):
        g = [
            sum((v * (t - s) for v, s in zip(column[:k], exact_x[:k], strict=True)), Fraction(0)) for column in exact_nu
        ]
        assert sum(v**2 for v in g) <= Fraction(largest) ** 2 * (1 + t * t)
