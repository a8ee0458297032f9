"""All optimal networks (theory B): invariants of G.3 and G.4, examples with known vertices, ranges against programs."""

import itertools
from dataclasses import replace

import cvxpy as cp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, interpolation_problems, kinds_of, problems, vectors, with_data

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.optimal_set import permute, split

SOLVER = 1e-6  # what cvxpy programs with default tolerances leave, relative
TIGHT = 1e-10  # polished optima are exact to about 1e-14; linear programs are corrected to the same


def solve(problem):
    return cr.solve(problem, patterns="enumerate")  # milliseconds: small data have few patterns


def optimal_set(problem):
    return solve(problem).optimal_set()


def polygon(k):
    angle = 2 * np.pi * np.arange(k) / k
    X = np.column_stack([np.cos(angle), np.sin(angle)])
    return cr.TrainingProblem(X, np.ones(k), 0.1, bias="none")


def size_of(problem):
    """What objectives are compared with: that of the empty network, or the optimum of interpolation."""
    if problem.is_interpolation:
        return 1.0
    return max(0.5 * float(problem.sample_weight @ (problem.Y**2).sum(axis=1)), 1e-300)


def some_networks(optimal):
    yield optimal.center()
    yield optimal.minimal_network()
    yield from optimal.sample(2)
    yield from itertools.islice(optimal.vertices(), 10)


def assert_all_optimal(problem, optimal, result):
    allowed = result.objective + TIGHT * size_of(problem)
    for network in some_networks(optimal):
        assert problem.objective(network) <= allowed
        assert optimal.contains(network), optimal.contains(network).reason
    heavy = problem.sample_weight > 0
    free = np.linalg.matrix_rank(problem.linear.free[heavy]) if problem.linear.free.size else 0
    assert optimal.minimal_network().n_neurons <= max(heavy.sum() - free, 0)


# -- properties -------------------------------------------------------------------------------------------------------


@examples(60)
@given(problems(max_n=5))
def test_every_network_of_the_set_is_optimal(problem):
    result = solve(problem)
    optimal = result.optimal_set()
    assert optimal.complete
    assert_all_optimal(problem, optimal, result)
    assert optimal.contains(result.network, tol=1e-2), optimal.contains(result.network, tol=1e-2).reason


@examples(40)
@given(interpolation_problems(max_n=5))
def test_every_network_of_an_interpolation_set_is_optimal(problem):
    result = solve(problem)
    optimal = result.optimal_set()
    assert_all_optimal(problem, optimal, result)


@examples(25)
@given(problems(max_n=5))
def test_correlations_are_at_most_the_weight_decay_and_equal_it_on_the_set(problem):
    optimal = optimal_set(problem)
    nu, bias = optimal.optimum.nu[:, 0], problem.bias
    assert oracles.dual_norm(optimal.problem.X, nu, bias) <= problem.weight_decay * (1 + 1e-8)
    hidden, hidden_bias = optimal.problem.arrangement.to_weights(optimal.directions.neurons)
    features = np.maximum(optimal.problem.X @ hidden.T + hidden_bias, 0.0)
    np.testing.assert_allclose(optimal.directions.signs * (nu @ features), problem.weight_decay, rtol=1e-8)


@examples(25)
@given(st.data())
def test_predictions_lie_in_their_range(draw):
    problem = draw.draw(st.one_of(problems(max_n=5), interpolation_problems()))
    optimal = optimal_set(problem)
    points = draw.draw(data(max_n=3, max_d=2))
    points = np.resize(points, (3, problem.X.shape[1])) / 2
    lower, upper = optimal.prediction_range(points)
    size = 1e-9 * max(np.abs(problem.Y).max(), np.abs(np.where(np.isfinite(lower), lower, 0)).max(), 1e-12)
    for network in (*some_networks(optimal), *[s.network for s in [optimal.smallest_network()]]):
        assert (lower <= network(points)[:, 0] + size).all() and (network(points)[:, 0] <= upper + size).all()
    if optimal.is_unique:
        np.testing.assert_allclose(lower, upper, rtol=0, atol=100 * size)


@examples(30)
@given(st.one_of(problems(max_n=5), interpolation_problems()))
def test_no_optimal_network_is_smaller_than_the_smallest(problem):
    optimal = optimal_set(problem)
    smallest = optimal.smallest_network()
    assert smallest.lower_bound <= smallest.network.n_neurons
    assert optimal.contains(smallest.network), optimal.contains(smallest.network).reason
    if not len(optimal.directions.segments):
        assert smallest.network.n_neurons == min(network.n_neurons for network in optimal.vertices())


def test_a_neuron_next_to_a_kink_is_not_put_on_it():
    # One is 2e-6 off a kink; on it, it would have the same correlation to 3e-12 and other predictions.
    X = np.array([[-2, 0, 1, -2, 0, 0, 1, -2, 1, -1, -1, 0, 0], [0, -2, 0, -2, -2, 0, -1, 1, 0, 2, 1, -2, 2]]).T
    y = np.array([-2, -2, 2, 0, 1, 2, 0, 2, 1, -3, -2, -1, -2])
    optimal = cr.solve(cr.TrainingProblem(X, y, 0.005, bias="penalized"), tol=1e-10).optimal_set()
    assert optimal.network(optimal.polytope.center)(X)[:, 0] == pytest.approx(optimal.fit, abs=1e-9)


# -- known sets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "vertices"), [(4, 2), (5, 22), (6, 2), (8, 10)])
def test_vertices_of_polygons(k, vertices):
    optimal = optimal_set(polygon(k))
    found = [tuple(np.round(network.merged().hidden, 6).ravel()) for network in optimal.vertices()]
    assert len(set(found)) == len(found) == vertices
    assert optimal.is_unique is False and "weight can be traded" in optimal.reason


@pytest.mark.parametrize("weight_decay", [None, 0.01, 0.1])
@pytest.mark.parametrize("kinds", [{"bias": "free", "skip": "free"}, {"output_bias": "free", "skip": "free"}])
def test_two_squares_have_two_vertices(weight_decay, kinds):
    # One on the corners of the inner square, zero on those of the outer: a ridge along either axis (Nakhleh, Shenouda
    # and Nowak, Figure 4; theory B.3).
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    X, y = np.vstack([square, 2 * square]), np.repeat([1.0, 0.0], 4)
    if weight_decay is None:
        problem = cr.TrainingProblem.interpolation(X, y, **kinds)
    else:
        problem = cr.TrainingProblem(X, y, weight_decay, **kinds)
    optimal = optimal_set(problem)
    assert optimal.complete and optimal.dimension == 1 and optimal.is_unique is False
    one, other = optimal.vertices()
    ends = [[2.0, 0.0], [0.0, 2.0]]
    lower, upper = optimal.prediction_range(ends)
    for axis in (0, 1):
        (ridge,) = (network for network in (one, other) if np.abs(network.hidden[:, axis]).max() < 1e-12)
        along, across = ridge(ends)[axis, 0], ridge(ends)[1 - axis, 0]
        assert (
            along > across + 0.5 and across == pytest.approx(lower[1 - axis], abs=1e-9) and along <= upper[axis] + 1e-9
        )


def test_a_square_on_its_diagonals_has_two_vertices():
    # The square of `polygon(4)`, turned by 45 degrees.
    X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    optimal = optimal_set(cr.TrainingProblem(X, np.ones(4), 0.1, bias="none"))
    assert len(list(optimal.vertices())) == 2 and optimal.dimension == 1


def test_the_pentagon_needs_four_neurons():
    # Theory A.2: gradient descent with one neuron fewer is strictly worse, .30295 against .2994678.
    problem = polygon(5)
    optimal = optimal_set(problem)
    smallest = optimal.smallest_network()
    assert smallest.is_proven and smallest.network.n_neurons == 4
    narrow, wide = (
        oracles.gradient_descent(problem.X, np.ones(5), 0.1, bias="none", widths=(m,), seeds=4) for m in (3, 6)
    )
    assert narrow > optimal.objective + 1e-3 > 0.3
    assert wide == pytest.approx(optimal.objective, abs=1e-6)


def test_generic_data_have_one_optimum():
    rng = np.random.default_rng(0)
    for bias in ("none", "penalized"):
        optimal = optimal_set(cr.TrainingProblem(rng.standard_normal((8, 2)), rng.standard_normal(8), 0.1, bias=bias))
        assert optimal.is_unique is True and "one choice of weights" in optimal.reason


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("bias", "rank"), [("none", 2), ("penalized", 3)])
def test_noisy_data_have_many_networks_and_one_function(bias, rank, seed):
    # Small weight decay: nu is orthogonal to linear functions, so that with u also -u is active. Trading weight between
    # them adds a linear function, and as many trades as dimensions must cancel. (Theory B.3 has this data unique.)
    rng = np.random.default_rng(seed)
    problem = cr.TrainingProblem(rng.standard_normal((12, 2)), rng.standard_normal(12), 0.01, bias=bias)
    optimal = optimal_set(problem)
    U = optimal.directions.neurons
    assert np.linalg.norm(U[:, None] + U, axis=2).min(axis=1) == pytest.approx(0.0, abs=1e-9)
    assert optimal.dimension == len(U) // 2 - rank > 0
    assert optimal.is_unique is False and optimal.is_function_unique is True and "staying the same" in optimal.reason
    lower, upper = optimal.prediction_range(3 * rng.standard_normal((5, 2)))
    np.testing.assert_allclose(lower, upper, atol=1e-9)


@examples(25)
@given(st.one_of(problems(max_n=5), interpolation_problems()))
def test_one_function_is_one_prediction_everywhere(problem):
    optimal = optimal_set(problem)
    points = 2 * np.random.default_rng(0).standard_normal((10, problem.X.shape[1]))
    lower, upper = optimal.prediction_range(points)
    size = 1e-8 * max(np.abs(problem.Y).max(), 1e-6)
    same = np.isfinite(lower).all() and (upper - lower <= size).all()
    assert optimal.is_function_unique is bool(same)


@examples(20)
@given(st.one_of(problems(max_n=5), interpolation_problems()))
def test_pruning_keeps_predictions_and_cost_and_ends_independent(problem):
    # G.3; and G.4: the neurons that are left are projections of the gradient of their pattern on its cone, scaled.
    optimal = optimal_set(problem)
    center, minimal = optimal.center(), optimal.minimal_network()
    size = 1e-10 * max(np.abs(problem.Y).max(), 1e-12)
    X = optimal.problem.X
    np.testing.assert_allclose(center(X), minimal(X), atol=10 * size)
    np.testing.assert_allclose(problem.objective(minimal), problem.objective(center), rtol=1e-10, atol=size)
    features = np.maximum(X @ minimal.hidden.T + minimal.hidden_bias, 0.0) * minimal.output[:, 0]
    columns = np.hstack([features, optimal.problem.linear.free])
    scaled = columns / np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    assert np.linalg.matrix_rank(scaled, tol=1e-8) >= minimal.n_neurons
    if problem.bias == "free":
        return
    arrangement, nu = optimal.problem.arrangement, optimal.optimum.nu[:, 0]
    for u, sign in zip(optimal.directions.neurons, optimal.directions.signs, strict=True):
        pre = arrangement.Z @ u
        tied = np.abs(pre) <= 1e-9
        gradient = sign * ((pre > 1e-9) * nu) @ arrangement.Z
        # On ties either side: their multipliers have any sign, those of the others none (Moreau).
        rest = problem.penalty * u - gradient
        if tied.any():
            rest = rest - arrangement.Z[tied].T @ np.linalg.lstsq(arrangement.Z[tied].T, rest, rcond=None)[0]
        assert np.linalg.norm(rest) <= 1e-7 * problem.penalty


def test_nothing_is_optimal_above_the_largest_weight_decay():
    problem = polygon(5)
    optimal = optimal_set(problem.with_weight_decay(1.01 * problem.max_weight_decay()))
    assert optimal.is_unique and optimal.minimal_network().n_neurons == 0
    lower, upper = optimal.prediction_range([[1.0, 2.0]])
    assert lower == upper == 0.0


def test_an_undetermined_skip_is_said():
    problem = cr.TrainingProblem([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]], [0.0, 1.0, 0.0], 0.1, skip="free")
    optimal = optimal_set(problem)
    assert optimal.is_unique is False and "undetermined" in optimal.reason
    lower, upper = optimal.prediction_range([[1.0, 1.0], [1.0, 2.0]])
    assert np.isfinite(lower[0]) and np.isinf([lower[1], upper[1]]).all()


def test_given_patterns_have_an_optimal_set_of_their_own():
    problem = polygon(5)
    result = cr.solve(problem, patterns=4)
    optimal = result.optimal_set()
    assert result.certificate.scope == "patterns" and "given patterns" in optimal.completeness
    assert problem.objective(optimal.minimal_network()) == pytest.approx(result.objective, rel=1e-6)
    assert len(optimal.directions) <= 8


# -- prediction ranges ------------------------------------------------------------------------------------------------


@examples(12)
@given(st.integers(3, 7).flatmap(lambda n: st.tuples(vectors(n, 3), vectors(n, 4))))
def test_ranges_of_univariate_interpolants_have_a_closed_form(xy):
    gaps, y = np.abs(xy[0]) + 0.5, xy[1]
    x = np.cumsum(gaps)
    optimal = optimal_set(cr.TrainingProblem.interpolation(x[:, None], y, bias="free", skip="free"))
    points = np.unique(np.concatenate([x, (x[:-1] + x[1:]) / 2, x[:-1] + 0.3 * np.diff(x)]))
    lower, upper = optimal.prediction_range(points[:, None])
    expected = oracles.univariate_range(x, y, points)
    np.testing.assert_allclose(lower, expected[0], atol=1e-8 * (1 + np.abs(y).max()))
    np.testing.assert_allclose(upper, expected[1], atol=1e-8 * (1 + np.abs(y).max()))


def test_penalized_univariate_ranges_are_those_of_interpolating_the_optimal_predictions():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0, 10, 12))
    y = np.sin(x) + 0.1 * rng.standard_normal(12)
    optimal = optimal_set(cr.TrainingProblem(x[:, None], y, 0.05, bias="free", skip="free"))
    points = (x[:-1] + x[1:]) / 2
    changes = np.diff(np.diff(optimal.fit) / np.diff(x))
    fit = optimal.fit.copy()
    # Kinks of rounding size are none: straighten them, or their signs would decide.
    assert (np.abs(changes[np.abs(changes) < 1e-6]) < 1e-11).all()
    lower, upper = optimal.prediction_range(points[:, None])
    slopes = np.where(np.abs(changes) < 1e-9, 0.0, changes)
    fit = fit[0] + np.concatenate(
        [
            [0.0],
            np.cumsum((np.diff(fit[:2]) / np.diff(x[:2]) + np.concatenate([[0.0], np.cumsum(slopes)])) * np.diff(x)),
        ]
    )
    rounded = [np.sign(s) * (abs(s) > 0) for s in slopes]
    expected = oracles.univariate_range(x, fit, points)
    for k in range(len(points)):
        if 0 < k < len(points) - 1 and rounded[k - 1] * rounded[k] > 0:
            assert upper[k] - lower[k] > 1e-6
            np.testing.assert_allclose([lower[k], upper[k]], [expected[0][k], expected[1][k]], atol=1e-7)
        else:
            assert upper[k] - lower[k] <= 1e-9


def random_problem(seed):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(2, 6)), int(rng.integers(1, 3))
    X = rng.integers(-2, 3, (n, d)).astype(float)
    modes = [
        ("none", "none", "none"),
        ("penalized", "none", "none"),
        ("free", "free", "none"),
        ("free", "free", "free"),
    ]
    kinds = dict(zip(("bias", "output_bias", "skip"), modes[seed % 4], strict=True))
    return cr.TrainingProblem(X, rng.integers(-2, 3, n).astype(float), float(rng.choice([0.03, 0.1, 0.5])), **kinds)


def range_at_a_point(seed):
    problem = random_problem(seed)
    optimal = optimal_set(problem)
    point = np.random.default_rng([seed, 1]).integers(-3, 4, problem.X.shape[1]) / 2
    lower, upper = (float(end[0]) for end in optimal.prediction_range(point[None]))
    return problem, optimal, point, lower, upper, max(1.0, np.abs(problem.Y).max())


def check_range_directly(seed):
    """The range against an oracle that knows the dual variable, after proving it optimal."""
    problem, optimal, point, lower, upper, scale = range_at_a_point(seed)
    nu, fit = optimal.optimum.nu[:, 0], optimal.fit
    norm, low, high = oracles.sharp_range(problem.X, nu, (fit, fit), problem.weight_decay, point, **kinds_of(problem))
    assert norm <= problem.weight_decay * (1 + 1e-9)
    assert problem.dual_value(nu) == pytest.approx(optimal.objective, rel=1e-10, abs=1e-12)
    np.testing.assert_allclose([lower, upper], [low, high], rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("seed", range(30))
def test_ranges_agree_with_a_direct_program(seed):
    check_range_directly(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 200))
def test_ranges_agree_with_a_direct_program_at_length(seed):
    check_range_directly(seed)


@pytest.mark.parametrize("seed", range(4))
def test_ranges_are_within_those_of_a_program_without_dual_variable(seed):
    problem, optimal, point, lower, upper, scale = range_at_a_point(seed)
    low, high = oracles.direct_range(problem.X, optimal.fit, optimal.polytope.total, point, **kinds_of(problem))
    # It has the slack of a solver, and may reach further by about the root of that.
    assert low <= lower + SOLVER * scale and high >= upper - SOLVER * scale
    if np.isfinite(lower):
        assert lower - low <= 2e-2 * scale and high - upper <= 2e-2 * scale


def test_minimize_meets_the_range_and_convex_objectives():
    optimal = optimal_set(polygon(5))
    points = np.array([[1.0, 1.0], [0.3, 0.2]])
    lower, upper = optimal.prediction_range(points)
    for sign, end in ((1.0, lower), (-1.0, -upper)):
        found = optimal.minimize(lambda f, sign=sign: sign * f[0], points)
        assert found.value == pytest.approx(end[0], abs=SOLVER)
        assert sign * found.network(points)[0, 0] == pytest.approx(end[0], abs=SOLVER)
    middle = (lower + upper) / 2
    found = optimal.minimize(lambda f: cp.sum_squares(f - middle), points)
    assert optimal.contains(found.network) and found.value >= -SOLVER


# -- membership -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pentagon():
    return optimal_set(polygon(5))


def test_splitting_and_permuting_stays_inside(pentagon):
    network = pentagon.center()
    half = np.sqrt(0.5)
    order = np.random.default_rng(0).permutation(2 * network.n_neurons)
    split = replace(
        network,
        hidden=np.vstack([half * network.hidden] * 2)[order],
        hidden_bias=np.zeros(2 * network.n_neurons),
        output=np.vstack([half * network.output] * 2)[order],
    )
    assert pentagon.contains(split)


def test_reasons_for_a_no(pentagon):
    network = pentagon.center()
    cases = {
        "predicts": replace(network, output=1.01 * network.output),
        "norm": replace(network, hidden=2 * network.hidden, output=network.output / 2),
        "not active": cr.Network(
            np.vstack([network.hidden, [[1.0, 0.0], [1.0, 0.0]]]),
            None,
            np.vstack([network.output, [[1.0], [-1.0]]]),
            bias="none",
        ),
    }
    for words, wrong in cases.items():
        answer = pentagon.contains(wrong)
        assert not answer and words in answer.reason


def test_penalized_linear_parts_are_compared():
    problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], 0.1, output_bias="penalized")
    optimal = optimal_set(problem)
    inside = optimal.center()
    assert optimal.contains(inside)
    # The same predictions with another constant: two neurons that are constant on the data.
    moved = replace(inside, output_bias=inside.output_bias + 0.1)
    assert not optimal.contains(moved)


# -- connectivity -----------------------------------------------------------------------------------------------------


def connected_from(optimal, widths):
    """The smallest of some widths at which all vertices that fit are connected."""
    vertices = list(optimal.vertices())
    for width in widths:
        fitting = [network for network in vertices if network.n_neurons <= width]
        joined = all(optimal.path_between(fitting[0], other, width) for other in fitting[1:])
        if len(fitting) == len(vertices) and joined:
            return width
    return None


@pytest.mark.parametrize(("k", "width"), [(4, 4), (5, 6), (6, 6)])
def test_polygons_connect_at_known_widths(k, width):
    # Theory B.8, found by an independent search.
    optimal = optimal_set(polygon(k))
    assert connected_from(optimal, range(1, 9)) == width


def test_the_objective_is_constant_along_a_path(pentagon):
    a, *_, b = list(pentagon.vertices())
    path = pentagon.path_between(a, b, 6)
    assert path and path.objective_spread <= 1e-13
    for one, other in itertools.pairwise(path.networks):
        assert len(np.unique(np.vstack([one.hidden / one.output, other.hidden / other.output]).round(8), axis=0)) <= 6
    assert not pentagon.path_between(a, b, max(a.n_neurons, b.n_neurons)).networks or a.n_neurons >= 5


def test_split_and_permute_keep_function_and_objective(pentagon):
    network = pentagon.center()
    parts = permute(split(network, 3, [0.2, 0.3, 0.5]), range(network.n_neurons + 2)[::-1])
    assert pentagon.problem.objective(parts) == pytest.approx(pentagon.objective, rel=1e-14)
    assert pentagon.contains(parts) and parts.n_neurons == network.n_neurons + 2
    assert pentagon.path_between(parts, network, parts.n_neurons)
    with pytest.raises(InvalidInputError, match="`shares`"):
        split(network, 0, [0.5, 0.6])
    with pytest.raises(InvalidInputError, match="`neuron`"):
        split(network, 99, [0.5, 0.5])
    with pytest.raises(InvalidInputError, match="`order`"):
        permute(network, [0, 0])
    with pytest.raises(InvalidInputError, match="`a` has"):
        pentagon.path_between(network, network, 1)
    with pytest.raises(InvalidInputError, match="`b` is not an optimal network"):
        pentagon.path_between(network, replace(network, output=2 * network.output), 20)


# -- degenerate data --------------------------------------------------------------------------------------------------


@examples(20)
@given(problems(max_n=4), st.data())
def test_duplicates_with_half_the_weight_change_nothing(problem, draw):
    i = draw.draw(st.integers(0, len(problem.X) - 1))
    weight = problem.sample_weight.copy()
    weight[i] /= 2
    X, Y = np.vstack([problem.X, problem.X[i]]), np.vstack([problem.Y, problem.Y[i]])
    double = with_data(problem, X, Y, sample_weight=np.append(weight, weight[i]))
    one, other = optimal_set(problem), optimal_set(double)
    assert len(one.directions) == len(other.directions)
    assert one.dimension == other.dimension and one.is_unique == other.is_unique


def test_samples_without_weight_change_nothing():
    problem = polygon(5)
    X, Y = np.vstack([problem.X, [[0.3, 0.1]]]), np.append(np.ones(5), 7.0)
    idle = cr.TrainingProblem(X, Y, 0.1, bias="none", sample_weight=[1, 1, 1, 1, 1, 0])
    assert len(list(optimal_set(idle).vertices())) == 22


# -- arguments --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_said(pentagon):
    stopped = replace(solve(polygon(5)), status=cr.Status.LIMIT)
    with pytest.raises(InvalidInputError, match="needs the optimum"):
        stopped.optimal_set()
    idle = cr.TrainingProblem([[1.0], [2.0], [-1.0]], [1.0, 2.0, 0.0], 0.1, sample_weight=[1.0, 0.0, 1.0])
    with pytest.raises(UnsupportedError, match="drop the samples of weight zero"):
        cr.solve(idle, patterns=3).optimal_set()
    with pytest.raises(InvalidInputError, match="`X_new` must have 2 columns"):
        pentagon.prediction_range([[1.0]])
    with pytest.raises(InvalidInputError, match="`k` must be an integer"):
        pentagon.sample(0)
    with pytest.raises(InvalidInputError, match="`weights` must be 10 numbers"):
        pentagon.network([1.0])
    with pytest.raises(InvalidInputError, match="not in the polytope"):
        pentagon.network(np.ones(10))
    with pytest.raises(InvalidInputError, match="`objective` must return a convex"):
        pentagon.minimize(lambda f: -cp.square(f[0]), [[1.0, 1.0]])


def test_samples_are_reproducible(pentagon):
    one, same, other = (pentagon.sample(3, random_state=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.hidden, b.hidden) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0].output, other[0].output)


def test_the_center_of_a_pentagon_is_symmetric(pentagon):
    # Five directions with a kink on a sample, five between two samples: the centre weighs each kind alike.
    sizes = np.sort(np.linalg.norm(pentagon.center().hidden, axis=1))
    assert np.ptp(sizes[:5]) + np.ptp(sizes[5:]) < 1e-8


def test_equal_inputs_do_not_keep_the_proof_open():
    # Ten inputs come twice, with different targets; one by one their kinks used up the budget of the proof.
    rng = np.random.default_rng(3)
    X = rng.standard_normal((36, 4))
    X = np.vstack([X, X[:10]])
    problem = cr.TrainingProblem(X, rng.standard_normal(46))
    result = cr.solve(problem.with_weight_decay(0.1 * problem.max_weight_decay()))
    optimal = result.optimal_set()
    assert optimal.complete
    assert "branch and bound" in optimal.completeness
