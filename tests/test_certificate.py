"""A certificate is never optimistic: lower bounds against exact optima in rational arithmetic, with no tolerance."""

import math
from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LEGAL_MODES, examples, interpolation_problems, kinds_of, networks, problems, vectors

import convexrelu as cr
from convexrelu.certificate import Certificate, certificate
from convexrelu.errors import InvalidInputError
from convexrelu.monitor import Monitor
from convexrelu.pricing.dual_norm import DualNorm, dual_norm_over_patterns
from convexrelu.result import Status, judge


def solve(problem, patterns="enumerate", **options):
    return cr.solve(problem, patterns=patterns, backend="clarabel", **options)


def bound(problem, nu, patterns=None):
    """The lower bound that any vector nu (n,) proves, after the projection that makes it feasible."""
    patterns = cr.enumerate_patterns(problem.X, bias=problem.bias) if patterns is None else patterns
    direction = problem.feasible_direction(np.asarray(nu, dtype=float).reshape(-1, 1))
    return problem.lower_bound(direction, dual_norm_over_patterns(problem.arrangement, patterns, direction))[0]


def assert_tight_but_not_above(lower, optimum, rel):
    """lower <= optimum exactly (rational numbers: not even rounding is forgiven), and close to it."""
    assert Fraction(lower) <= optimum
    assert lower >= float(optimum) * (1 - rel)


# -- closed forms -----------------------------------------------------------------------------------------------------


def one_sample_optimum(norm, y, decay):
    """min_t 1/2 (t norm - |y|)^2 + decay t over t >= 0, exactly: `norm` and the others are Fractions or integers."""
    y = abs(Fraction(y))
    norm, decay = Fraction(norm), Fraction(decay)
    return y**2 / 2 if decay >= norm * y else decay * y / norm - decay**2 / (2 * norm**2)


# Rows whose norm is an integer in floating point and on paper; the last entry is 1 where the bias is to be penalised.
ROWS = [([3.0, 4.0], "none", 5), ([2.0, 2.0], "penalized", 3), ([1e8], "none", 10**8), ([4.0, 8.0], "penalized", 9)]


@pytest.mark.parametrize("decay", [2.0**-20, 0.25, 3.0, 4096.0])
@pytest.mark.parametrize(("row", "bias", "norm"), ROWS, ids=str)
@pytest.mark.parametrize("y", [7.0, -1e-8, 1e8])
def test_one_sample_exactly(row, bias, norm, y, decay):
    problem = cr.TrainingProblem([row], [y], decay, bias=bias)
    optimum = one_sample_optimum(norm, y, decay)
    # The best dual variable there is, and larger ones, which must be scaled back: 1e-13 is the slack for rounding.
    best = math.copysign(min(abs(y), decay / norm), y)
    for factor in (1.0, 1 + 1e-9, 3.0, 1e9):
        assert_tight_but_not_above(bound(problem, [factor * best]), optimum, rel=1e-13)
    for nu in (-best, best / 2, 1e-12 * best):
        assert Fraction(bound(problem, [nu])) <= optimum
    assert Fraction(solve(problem).certificate.lower_bound) <= optimum


def test_weight_decay_above_the_largest_exactly():
    # The optimum is half the squared targets; nu = y is feasible.
    rng = np.random.default_rng(0)
    for seed in range(20):
        X, y = rng.integers(-3, 4, (5, 2)) * 1.0, rng.integers(-9, 10, 5) * 1.0
        decay = 1.5 * oracles.dual_norm(X, y, "penalized") + 1.0
        problem = cr.TrainingProblem(X, y, decay)
        optimum = sum(Fraction(t) ** 2 for t in y) / 2
        assert_tight_but_not_above(bound(problem, y), optimum, rel=1e-13)
        assert Fraction(solve(problem).certificate.lower_bound) <= optimum, seed


def test_weight_decay_above_the_largest_with_a_free_output_bias():
    X, y = np.arange(8.0).reshape(4, 2), np.array([1.0, 2.0, 4.0, 8.0])
    for bias in ("none", "penalized", "free"):
        problem = cr.TrainingProblem(X, y, 1e4, bias=bias, output_bias="free")
        optimum = sum((Fraction(t) - Fraction(15, 4)) ** 2 for t in y) / 2
        assert_tight_but_not_above(bound(problem, y - 3.75), optimum, rel=1e-12)
        # A vector that is not orthogonal to the constants proves less, never more.
        assert Fraction(bound(problem, y)) <= optimum


def test_identity_data_exactly():
    # One neuron per sign: f_+ = relu(w) with w = f_+, so the value is g(|y_+|) + g(|y_-|), g as for one sample.
    y = np.array([3.0, 4.0, -5.0, -12.0])
    for decay in (0.5, 4.5, 7.0, 20.0):
        problem = cr.TrainingProblem(np.eye(4), y, decay, bias="none")
        optimum = one_sample_optimum(1, 5, decay) + one_sample_optimum(1, 13, decay)
        shrink = np.where(y > 0, min(1.0, decay / 5), min(1.0, decay / 13))
        # Sixteen cones and a sum over four samples: a dozen roundings of 1e-16 on each of two norms.
        assert_tight_but_not_above(bound(problem, shrink * y), optimum, rel=1e-13)
        result = solve(problem)
        assert Fraction(result.certificate.lower_bound) <= optimum
        assert result.objective == pytest.approx(float(optimum), rel=1e-6)


@examples(30)
@given(st.lists(st.integers(-9, 9), min_size=3, max_size=6, unique=True), st.data(), st.sampled_from(["none", "free"]))
def test_univariate_interpolation_exactly(points, draw, skip):
    x = np.array(sorted(points), dtype=float)
    y = draw.draw(vectors(len(x), 9))
    problem = cr.TrainingProblem.interpolation(x[:, None], y, bias="free", skip=skip)
    optimum = oracles.univariate_interpolation_value(x, y, skip)
    result = solve(problem)
    assert Fraction(result.certificate.lower_bound) <= optimum
    assert result.objective == pytest.approx(float(optimum), rel=1e-6, abs=1e-9)  # the gap asked for; zero for lines


def test_univariate_interpolation_by_a_hand_made_dual_variable():
    # x = 0, 1, 2, y = 0, 0, 1 with free skip: |delta| = 1, and nu = (1, -2, 1) has correlation one with relu(x - 1).
    problem = cr.TrainingProblem.interpolation([[0.0], [1.0], [2.0]], [0.0, 0.0, 1.0], bias="free", skip="free")
    for factor in (1.0, 0.3, 1e6):
        assert_tight_but_not_above(bound(problem, factor * np.array([1.0, -2.0, 1.0])), Fraction(1), rel=1e-12)
    assert bound(problem, [-1.0, 2.0, -1.0]) <= 0


# -- any dual variable, any network -----------------------------------------------------------------------------------


def exact_objective(problem, network):
    return oracles.exact_objective(
        problem.X,
        problem.Y[:, 0],
        problem.weight_decay,
        network,
        **kinds_of(problem),
        sample_weight=problem.sample_weight,
    )


@examples(60)
@given(problems(), st.data())
def test_no_dual_variable_proves_more_than_a_network_attains(problem, draw):
    # The rational objective of any network is at least the optimum; the solver's network is within 1e-8 of it.
    best = exact_objective(problem, solve(problem).network)
    nu = draw.draw(vectors(len(problem.X), 3))
    wrong = bound(problem, nu)
    assert math.isfinite(wrong) and Fraction(wrong) <= best


@examples(40)
@given(problems())
def test_the_bound_is_below_the_exact_objective_of_the_returned_network(problem):
    result = solve(problem, tol=1e-9)
    assert Fraction(result.certificate.lower_bound) <= exact_objective(problem, result.network)


@examples(25)
@given(st.data())
def test_certificates_of_other_networks_hold_as_well(draw):
    problem = draw.draw(problems())
    network = draw.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    patterns = cr.enumerate_patterns(problem.X, bias=problem.bias)
    nu = problem.feasible_direction(-problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight))
    proof = certificate(problem, network, nu, dual_norm_over_patterns(problem.arrangement, patterns, nu))
    assert proof.scope == "global"
    assert proof.objective == problem.objective(network)
    assert Fraction(proof.lower_bound) <= exact_objective(problem, solve(problem).network)
    # The bound can be recomputed by hand from what the certificate shows.
    assert proof.lower_bound <= problem.dual_value(proof.dual)
    true_norm = oracles.dual_norm(problem.X, proof.dual[:, 0], problem.bias)
    assert true_norm <= proof.dual_norm
    assert proof.dual_norm <= problem.penalty * (1 + 1e-15)  # one rounding of the product


@examples(20)
@given(interpolation_problems(), st.data())
def test_interpolation_bounds_from_any_dual_variable(problem, draw):
    value = oracles.convex_value(problem.X, problem.Y[:, 0], None, **kinds_of(problem))
    nu = draw.draw(vectors(len(problem.X), 3))
    # The oracle's own accuracy; its exact counterpart is the 1-D test above.
    assert bound(problem, nu) <= value * (1 + 1e-7) + 1e-9 * np.abs(problem.Y).max()


@examples(25)
@given(problems(), st.integers(1, 6), st.integers(0, 99))
def test_bounds_over_some_patterns_speak_of_these_only(problem, count, seed):
    every = cr.enumerate_patterns(problem.X, bias=problem.bias)
    some = every.take(np.random.default_rng(seed).permutation(len(every))[:count])
    result = solve(problem, patterns=some)
    assert result.certificate.scope == "patterns"
    # More patterns, lower value: the bound over some may exceed the optimum over all, but not its own network.
    assert Fraction(result.certificate.lower_bound) <= exact_objective(problem, result.network)


# -- data that make rounding visible ----------------------------------------------------------------------------------


def hard_data():
    """Data sets whose rounding errors are as large as they get, by name."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    near = np.vstack([X[:4], X[:3] + 1e-9 * rng.standard_normal((3, 2))])
    parallel = np.vstack([X[:4], 3 * X[:3] * (1 + 1e-10 * rng.standard_normal((3, 2)))])
    return {
        "columns": (X * [1e-6, 1e6], y),
        "tiny columns": (X * [1.0, 1e-18], y),
        "tiny column and a constant": (np.column_stack([1e8 * X[:, 0], 1e-10 * X[:, 1], np.ones(6)]), y),
        "small targets": (X, 1e-8 * y),
        "large targets": (X, 1e8 * y),
        "offset": (X + 1e6, y),
        "large offset": (X + 1e8, y),
        "offset targets": (X, 1e8 + y),
        "near duplicates": (near, rng.standard_normal(7)),
        "near parallel": (parallel, rng.standard_normal(7)),
        "wide": (rng.standard_normal((4, 9)), rng.standard_normal(4)),
    }


HARD = hard_data()
CHOSEN_MODES = [m for m in LEGAL_MODES if m[1:] in (("none", "none"), ("free", "none"), ("free", "free"))] + [
    ("penalized", "penalized", "penalized"),
    ("none", "none", "free"),
    ("none", "none", "penalized"),
]


@pytest.mark.parametrize("modes", CHOSEN_MODES, ids="-".join)
@pytest.mark.parametrize("name", HARD)
def test_hard_data_do_not_make_a_bound_optimistic(name, modes):
    X, y = HARD[name]
    kinds = dict(zip(("bias", "output_bias", "skip"), modes, strict=True))
    size = float(np.abs(y - y.mean()).max())
    patterns = None
    for decay in (1e-3 * size, size):
        problem = cr.TrainingProblem(X, y, decay, **kinds)
        patterns = cr.enumerate_patterns(X, bias=problem.bias) if patterns is None else patterns
        result = solve(problem, patterns)
        best = min(exact_objective(problem, candidate) for candidate in candidates(problem, result))
        assert not math.isnan(result.certificate.lower_bound)
        assert Fraction(result.certificate.lower_bound) <= best
        for nu in dual_candidates(problem, result):
            assert Fraction(bound(problem, nu, patterns)) <= best


def candidates(problem, result):
    """Networks whose exact objectives bound the optimum from above: the one returned, and the best linear one."""
    yield result.network
    (n, d), T = problem.X.shape, 1
    scale = np.abs(problem.X).max(axis=0)
    columns, places = [], []
    if problem.skip == "free":
        columns, places = list((problem.X / scale).T), list(range(d))
    if problem.output_bias == "free":
        columns, places = [*columns, np.ones(n)], [*places, d]
    if not columns:
        return
    beta = np.zeros(d + 1)
    beta[places] = np.linalg.lstsq(np.column_stack(columns), problem.Y[:, 0])[0]
    skip = (beta[:d] / scale)[:, None]
    yield cr.Network(np.zeros((0, d)), np.zeros(0), np.zeros((0, T)), skip, beta[d:], problem.bias)


def dual_candidates(problem, result):
    rng = np.random.default_rng(3)
    yield result.solution.dual
    yield problem.Y
    yield problem.Y - result.network(problem.X)
    yield from rng.standard_normal((3, len(problem.X))) * np.abs(problem.Y).max()


def test_a_free_column_in_tiny_units_is_still_free():
    # A free skip makes the first four samples exact whatever the units of the second column.
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    ordinary = solve(cr.TrainingProblem(X * [1, 1e-6], y, 0.05, bias="none", output_bias="free", skip="free"))
    for scale in (1e-12, 1e-15, 1e-18, 1e-24):
        problem = cr.TrainingProblem(X * [1, scale], y, 0.05, bias="none", output_bias="free", skip="free")
        # Hidden weights on that column are too dear to matter: 1e-6 squared, relative to the first column's.
        assert solve(problem).certificate.lower_bound <= ordinary.objective * (1 + 1e-4)


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
def test_near_duplicates_with_opposite_targets(distance):
    # Between the twins lies a cell as thin as their distance; whoever misses it must say so in the bound.
    X = np.array([[1.0, 1.0], [1.0, 1.0 + distance], [-1.0, 2.0], [0.5, -1.0]])
    y = np.array([1.0, -1.0, 0.5, 0.25])
    for bias in ("none", "penalized", "free"):
        problem = cr.TrainingProblem(X, y, 0.01, bias=bias)
        result = solve(problem)
        assert Fraction(result.certificate.lower_bound) <= exact_objective(problem, result.network)
        spike = spike_network(bias, distance)
        assert Fraction(result.certificate.lower_bound) <= exact_objective(problem, spike)


def spike_network(bias, distance):
    """One steep neuron that tells the twins apart, if there is a bias."""
    slope = math.sqrt(2 / max(distance, 1e-3))
    shift = 0.0 if bias == "none" else -slope
    return cr.Network([[0.0, slope]], [shift], [[-slope]], bias=bias, output_bias=[1.0] if bias == "free" else None)


def test_the_gap():
    proof = cr.Certificate(2.0, 1.5, "global", np.zeros((2, 1)), 0.0)
    assert proof.gap == 0.25
    assert cr.Certificate(math.inf, 1.0, "global", np.zeros((2, 1)), 0.0).gap == math.inf
    assert cr.Certificate(0.0, 0.0, "global", np.zeros((2, 1)), 0.0).gap == 0.0
    assert "gap=0.25" in repr(proof) and "scope='global'" in repr(proof)


def test_feasible_dual_variables_are_what_the_program_asks_for():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((7, 2)), rng.standard_normal(7)
    weight = np.array([1.0, 0.0, 2.0, 1.0, 0.0, 1.0, 0.5])
    for bias, output_bias, skip in LEGAL_MODES:
        problem = cr.TrainingProblem(X, y, 0.1, bias=bias, output_bias=output_bias, skip=skip, sample_weight=weight)
        nu = problem.feasible_direction(rng.standard_normal((7, 1)))
        assert not nu[weight == 0].any()
        # Two passes of an orthogonal projection: a few roundings.
        assert np.abs(problem.linear.free.T @ nu).max(initial=0.0) <= 1e-14


def test_a_dual_variable_that_underflows_proves_nothing():
    # Found by fuzzing: two samples that a free affine skip fits exactly; what the solver leaves is of size 1e-200.
    X, y = [[0.0, -2.0, -1.0], [3.0, -3.0, 3.0]], [0.0, 3.0]
    problem = cr.TrainingProblem(X, y, 0.02385560364985755, bias="none", skip="free")
    nu = 1e-200 * np.array([[1.0], [1.0]])
    norm = DualNorm(problem.weight_decay, 0.0, np.zeros(2), "global")
    assert problem.lower_bound(nu, norm)[0] == 0.0
    assert cr.solve(problem).certificate.lower_bound == 0.0


def test_parallel_penalised_columns_leave_the_dual_variable_small():
    # Two features that are parallel once the free constant is taken out, up to rounding: one direction, not two.
    X = [[0.8395478179882214, 1.7885905489508331], [0.8924786355427977, 0.8994783299805037]]
    X.append(X[0])
    problem = cr.TrainingProblem.interpolation(X, [5.0, 6.0, 5.0], bias="none", output_bias="free", skip="penalized")
    nu = problem.feasible_direction(np.array([[1.0], [2.0], [1.0]]))
    # Coefficients as a solver leaves them: off by 1e-9, in the direction that does not exist as well.
    beta = problem.linear.penalized.T @ nu + 1e-9 * np.array([[1.0], [1.0]])
    np.testing.assert_allclose(problem.feasible_direction(nu, beta), nu, atol=1e-7)


def test_a_dual_variable_that_underflows_is_bounded_by_its_own_norm():
    # Data for which a solver returned such a dual variable: the certificate said "optimal" with a gap of -2e6.
    X = [[2, -2000], [1, 0], [-3, -2000], [2, -2000], [0, 0], [2, 0], [0, 1000], [-1, 3000]]
    y = [1, -1, -1, 1, -1, 1, 1, 1]
    problem = cr.TrainingProblem(
        1e3 * np.array(X, dtype=float), y, 4.6e-4, loss="logistic", bias="none", output_bias="free", skip="free"
    )
    best = cr.solve(problem).objective
    rng = np.random.default_rng(0)
    for unit in (1e-150, 1e-170, 1e-200, 1e-300):
        nu = problem.feasible_direction(unit * np.array(y)[:, None] * rng.random((8, 1)))
        norm = dual_norm_over_patterns(problem.arrangement, cr.enumerate_patterns(problem.X, bias="none"), nu)
        assert problem.lower_bound(nu, norm)[0] <= best


def test_a_bound_that_a_network_contradicts_is_not_reported():
    problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    network = cr.solve(problem).network
    nu = problem.feasible_direction(-problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight))
    wrong = DualNorm(1e-3 * problem.penalty, 0.0, np.zeros(2), "global")  # as if the dual norm were a thousandth
    assert problem.lower_bound(nu, wrong)[0] > 1.001 * problem.objective(network)
    assert certificate(problem, network, nu, wrong).lower_bound == 0.0


@pytest.mark.parametrize("objective", [-1.0, math.nan])
def test_a_gap_that_contradicts_itself_supports_no_optimum(objective):
    proof = Certificate(objective, 0.0, "global", np.zeros((1, 1)), 0.0)
    assert judge(proof, 1e-6, Monitor()) is Status.FAILED


def test_what_is_no_network_is_not_certified():
    problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    with pytest.raises(
        InvalidInputError, match=r"`network` must be a convexrelu.Network, got Result; write result.net"
    ):
        cr.certify(problem, cr.solve(problem))
