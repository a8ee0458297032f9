"""Penalised training in one variable: agreement with other ways to compute it, and proofs that never overshoot."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError
from convexrelu.losses import SquaredLoss
from convexrelu.univariate.lower_bound import double_sum_bounds
from convexrelu.univariate.running_sums import differences, double_sum, rounded_alike, running_sum
from convexrelu.univariate.samples import samples
from convexrelu.univariate.tilted import train

SKIPS = st.sampled_from(["free", "none"])


@st.composite
def weighted_points(draw, most=8, tasks=1):
    """Points in any order, often repeated, with weights that may vanish."""
    n = draw(st.integers(1, most))
    x = draw(vectors(n, 4))
    weight = np.abs(draw(vectors(n, 2))) / 2
    weight[draw(st.integers(0, n - 1))] = 1.0
    return x, draw(vectors(n * tasks)).reshape(n, tasks), weight


def problem_of(x, Y, lam, skip, weight):
    return cr.TrainingProblem(x[:, None], Y, lam, bias="free", skip=skip, sample_weight=weight)


@examples(150)
@given(weighted_points(), weight_decays(), SKIPS)
def test_certified_optimum_of_the_training_problem(data, lam, skip):
    x, y, weight = data
    result = uv.fit(x, y, lam, skip=skip, sample_weight=weight)
    assert result.status is cr.Status.OPTIMAL
    problem = problem_of(x, y, lam, skip, weight)
    objective = problem.objective(result.network)
    assert objective == pytest.approx(result.objective, rel=1e-11, abs=1e-13)
    exact = oracles.exact_objective(
        x[:, None], y[:, 0], lam, result.network, bias="free", output_bias="free", skip=skip, sample_weight=weight
    )
    assert Fraction(result.certificate.lower_bound) <= exact
    assert result.certificate.dual_norm <= lam
    assert problem.dual_value(result.certificate.dual) == pytest.approx(result.objective, rel=1e-7, abs=1e-12)


@examples(40)
@given(weighted_points(6), weight_decays(), SKIPS)
def test_agrees_with_the_convex_program(data, lam, skip):
    x, y, weight = data
    value = oracles.convex_value(
        x[:, None], y[:, 0], lam, bias="free", output_bias="free", skip=skip, sample_weight=weight
    )
    result = uv.fit(x, y, lam, skip=skip, sample_weight=weight)
    assert result.objective == pytest.approx(value, rel=1e-7, abs=1e-7)
    assert result.certificate.lower_bound <= value + 1e-7 * (1 + abs(value))


@examples(40)
@given(st.integers(2, 3).flatmap(lambda T: weighted_points(7, T)), weight_decays())
def test_several_tasks_agree_with_group_trend_filtering(data, lam):
    x, Y, weight = data
    result = uv.fit(x, Y, lam, sample_weight=weight)
    assert result.status is cr.Status.OPTIMAL
    assert result.objective == pytest.approx(oracles.group_trend_value(x, Y, lam, weight), rel=1e-7, abs=1e-7)
    problem = problem_of(x, Y, lam, "free", weight)
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-11, abs=1e-13)


def ill_spaced(rng, n):
    return np.cumsum(10 ** rng.uniform(-12, 0, n))


@pytest.mark.parametrize(("T", "skip"), [(1, "free"), (1, "none"), (3, "free")])
@pytest.mark.parametrize("design", [ill_spaced, lambda rng, n: rng.random(n), lambda rng, n: np.arange(n) + 0.0])
def test_hard_designs_are_certified(design, T, skip):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 200))
        x, lam = design(rng, n), 10 ** rng.uniform(-3, 1)
        Y = rng.standard_normal((n, T)) + 3 * x[:, None] * (seed % 2)
        result = uv.fit(x, Y, lam, skip=skip, sample_weight=rng.integers(0, 4, n).astype(float))
        assert result.status is cr.Status.OPTIMAL, (seed, result)


def test_the_coarse_start_changes_nothing():
    rng = np.random.default_rng(0)
    x = rng.random(100_000)  # above the size at which averages come first
    y = np.sin(8 * x) + 0.3 * rng.standard_normal(len(x))
    result = uv.fit(x, y, 1.0)
    assert result.certificate.gap <= 1e-10
    assert 5 < result.spline.n_knots < 60
    data = samples(x, y)
    assert np.isin(result.spline.knots, data.x).all()


@pytest.mark.slow
def test_thousands_of_knots_are_certified():
    # Weight decay so small that the last bits of a hundred thousand residuals add up to a share of it.
    rng = np.random.default_rng(0)
    x = rng.random(300_000)
    result = uv.fit(x, np.sin(8 * x) + 0.3 * rng.standard_normal(len(x)), 1e-6)
    assert result.spline.n_knots > 20_000
    assert result.certificate.gap <= 1e-9


def test_above_the_largest_weight_decay_there_are_no_knots():
    x, y = np.arange(5.0), np.array([0, 1, 3, 1, 0.0])
    largest = 2.0  # the double sum of the residual (-1, 0, 2, 0, -1) of the best line, at the middle
    assert uv.fit(x, y, largest * (1 + 1e-6)).spline.n_knots == 0
    assert uv.fit(x, y, largest * (1 - 1e-3)).spline.n_knots > 0


@examples(60)
@given(weighted_points(), weight_decays())
def test_translation_and_scaling_of_points(data, lam):
    x, y, weight = data
    value = uv.fit(x, y, lam, sample_weight=weight).objective
    assert uv.fit(x + 7, y, lam, sample_weight=weight).objective == pytest.approx(value, rel=1e-7, abs=1e-10)
    assert uv.fit(-x, y, lam, sample_weight=weight).objective == pytest.approx(value, rel=1e-7, abs=1e-10)
    assert uv.fit(2 * x, y, 2 * lam, sample_weight=weight).objective == pytest.approx(value, rel=1e-7, abs=1e-10)


@examples(60)
@given(vectors(6), vectors(6), st.integers(-3, 6))
def test_double_sum_bounds_hold_in_exact_arithmetic(points, numbers, power):
    # Irrational steps, so that every sum is rounded.
    x, nu = np.sort(points) * np.pi * 10.0**power, np.outer(numbers, [np.e])
    exact_x, exact_nu = oracles.fractions(x), [row[0] for row in oracles.fractions(nu)]
    right = [sum((v * max(t - s, 0) for v, s in zip(exact_nu, exact_x, strict=True)), Fraction(0)) for t in exact_x]
    bounds = double_sum_bounds(x, nu, "free")
    assert Fraction(bounds.largest) >= max(map(abs, right))
    assert Fraction(bounds.total) >= abs(sum(exact_nu, Fraction(0)))
    assert Fraction(bounds.moment) >= abs(right[-1])
    assert bounds.largest <= float(max(map(abs, right))) * (1 + 1e-13) + 1e-15 * float(np.abs(nu).sum() * np.ptp(x))


@examples(25)
@given(st.integers(0, 10**6), st.integers(1, 700), st.integers(0, 30))
def test_running_sums_do_not_lose_digits(seed, n, spread):
    rng = np.random.default_rng(seed)
    nu = rng.standard_normal((n, 1)) * 10.0 ** rng.uniform(-spread, 0, (n, 1))
    c, error = running_sum(nu)
    exact = np.cumsum([Fraction(v) for v in nu[:, 0]])
    wide = [Fraction(float(v)) + Fraction(float(v - float(v))) for v in c[:, 0]]
    eps = Fraction(float(np.finfo(np.longdouble).eps))
    assert all(abs(a - b) <= Fraction(error) + eps * abs(b) for a, b in zip(exact, wide, strict=True))
    # One half of the last place of the largest, however many there are.
    third = nu.astype(np.longdouble) / 3
    drift = np.cumsum([Fraction(v) for v in rounded_alike(np.arange(n) * 1.0, third, 1.0)[:, 0]]) - exact / 3
    assert max(map(abs, drift)) <= np.abs(nu).max() * 2.0**-52


def test_rounding_keeps_the_double_sum():
    # A double sum of about one whose slopes are up to 1e9, next to steps 1e4 times as long.
    rng = np.random.default_rng(0)
    x = np.cumsum(10 ** rng.choice([-9.0, -5.0], 2000, p=[0.1, 0.9]))
    G = np.sign(rng.standard_normal((2000, 2))).astype(np.longdouble)
    c = np.concatenate([np.diff(G, axis=0) / np.diff(x.astype(np.longdouble))[:, None], np.zeros_like(G[:1])])
    nu = differences(x, c)
    _, _, found, _ = double_sum(x, nu)
    wanted = G[1:] - G[:1]
    # One coarse step by itself, 1e-5 times half the last place of 2e9; not their sum.
    assert np.abs(found - wanted).max() < 1.1e-5 * 2.0**-22
    assert np.abs(found - wanted)[-1].max() < 1e-5 * 2.0**-22
    assert np.median(np.abs(found - wanted)) < 1e-12


def test_certificate_of_a_bad_dual_variable_is_low_not_wrong():
    from convexrelu.univariate.lower_bound import certified, norm

    rng = np.random.default_rng(0)
    x, y = rng.random(50), rng.standard_normal(50)
    data, best = samples(x, y), uv.fit(x, y, 0.1)
    for skip in ("free", "none"):
        best = uv.fit(x, y, 0.1, skip=skip).objective
        spline = train(data, SquaredLoss(), 0.2, skip, 1e-9, 50).spline
        for nu in (rng.standard_normal((50, 1)), 1e3 * data.Y, np.zeros((50, 1)), data.Y - spline(data.x)):
            objective = SquaredLoss().value(spline(data.x), data.Y, data.weight) + 0.1 * norm(spline, skip)
            bound = certified(data, objective, nu, 0.1, SquaredLoss(), "free", skip)
            assert 0 <= bound.lower_bound <= best <= bound.objective


def test_solutions_of_a_fit_share_its_objective():
    x, y = np.arange(6.0), np.array([0, 1, 2.5, 2.5, 1, 0])
    result = uv.fit(x, y, 0.05)
    solutions = result.solution_set()
    assert solutions.free.any()
    spline = solutions.spiked([int(np.argmax(solutions.free))])
    objective = 0.5 * np.sum((spline(x)[:, 0] - y) ** 2) + 0.05 * spline.total_variation
    assert objective == pytest.approx(result.objective, rel=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"weight_decay": 0}, InvalidInputError, "interpolate"),
        ({"tol": -1}, InvalidInputError, "tol"),
        ({"max_rounds": 0}, InvalidInputError, "max_rounds"),
        ({"loss": "nonsense"}, InvalidInputError, "loss"),
        ({"sample_weight": [1.0]}, InvalidInputError, "sample_weight"),
        ({"output_bias": "none"}, InvalidInputError, "output_bias"),
        ({"output_bias": "maybe"}, InvalidInputError, "output_bias"),
        ({"skip": "maybe"}, InvalidInputError, "skip"),
    ],
)
def test_bad_options_are_named(options, error, match):
    with pytest.raises(error, match=match):
        uv.fit([0, 1, 2], [0, 1, 0], **options)


def test_ten_tasks_are_proved():
    # The residual of Newton's method for several tasks is more than rounding, and must not end the rounds.
    rng = np.random.default_rng(0)
    x = rng.random(100_000)
    Y = np.sin(np.outer(x, 8 + np.arange(10))) + 0.3 * rng.standard_normal((len(x), 10))
    assert uv.fit(x, Y, 30.0).status is cr.Status.OPTIMAL
