"""Optimal sets of losses other than the squared one: predictions are unique where these are strictly convex only."""

import itertools
from dataclasses import replace

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, kinds_of, vectors, weight_decays

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.optimal_set.fits import fits_of

TIGHT = 1e-9  # what polished optima and corrected linear programs leave, with room
MODES = [("none", "none", "none"), ("penalized", "none", "none"), ("free", "free", "none"), ("free", "free", "free")]
REGRESSION, LABELS = ("absolute", "quantile", "huber"), ("hinge", "squared_hinge", "logistic")


def optimal_set(problem):
    return cr.solve(problem).optimal_set()


@st.composite
def problems(draw, losses=REGRESSION + LABELS, max_n=5):
    X, loss = draw(data(max_n, 2)), draw(st.sampled_from(losses))
    y = draw(vectors(len(X)))
    if loss in LABELS:
        y = np.where(y > 0, 1.0, -1.0)
    kinds = dict(zip(("bias", "output_bias", "skip"), draw(st.sampled_from([*MODES, ("penalized",) * 3])), strict=True))
    try:
        return cr.TrainingProblem(X, y, draw(weight_decays()), loss, **kinds)
    except InvalidInputError:  # labels that the free part alone separates
        return cr.TrainingProblem(X, y, 0.1, loss)


def some_networks(optimal):
    yield optimal.center()
    yield optimal.minimal_network()
    yield optimal.smallest_network().network
    yield from optimal.sample(2)
    yield from itertools.islice(optimal.vertices(), 6)


@examples(40)
@given(problems(), st.data())
def test_every_network_of_the_set_is_optimal_and_in_its_range(problem, draw):
    result = cr.solve(problem)
    if problem.dual_domain.n_separated:
        with pytest.raises(UnsupportedError, match="unbounded"):
            result.optimal_set()
        return
    optimal = result.optimal_set()
    assert optimal.complete
    size = problem.loss.value(np.zeros_like(problem.Y), problem.Y, problem.sample_weight) or 1e-12
    points = np.resize(draw.draw(data(max_n=2, max_d=2)), (2, problem.X.shape[1])) / 2
    lower, upper = optimal.prediction_range(points)
    for network in some_networks(optimal):
        assert abs(problem.objective(network) - optimal.objective) <= TIGHT * size
        assert optimal.contains(network), optimal.contains(network).reason
        f, reach = network(points)[:, 0], 1e-8 * max(1.0, np.abs(problem.Y).max())
        assert (lower - reach <= f).all() and (f <= upper + reach).all()
    assert result.certificate.lower_bound - TIGHT * size <= optimal.objective <= result.objective + TIGHT * size
    assert optimal.contains(result.network, tol=1e-2), optimal.contains(result.network, tol=1e-2).reason
    assert optimal.smallest_network().network.n_neurons <= optimal.minimal_network().n_neurons


def random_problem(seed):
    rng = np.random.default_rng(seed)
    loss = (*REGRESSION, *LABELS)[seed % 6]
    n, d = int(rng.integers(2, 6)), int(rng.integers(1, 3))
    X = rng.integers(-2, 3, (n, d)).astype(float)
    y = rng.choice([-1.0, 1.0], n) if loss in LABELS else rng.integers(-2, 3, n).astype(float)
    kinds = dict(zip(("bias", "output_bias", "skip"), MODES[seed // 6 % 4], strict=True))
    return cr.TrainingProblem(X, y, float(rng.choice([0.03, 0.1, 0.5])), loss, **kinds)


def check_range_directly(seed):
    """The range against an oracle that knows the dual variable, after proving it optimal."""
    try:
        optimal = optimal_set(random_problem(seed))
    except (InvalidInputError, UnsupportedError):  # separated labels: no optimum, or an unbounded set
        return
    problem, nu = optimal.problem, optimal.optimum.nu[:, 0]
    point = np.random.default_rng([seed, 1]).integers(-3, 4, problem.X.shape[1]) / 2
    lower, upper = (float(end[0]) for end in optimal.prediction_range(point[None]))
    fits = optimal.fits.lower[:, 0], optimal.fits.upper[:, 0]
    norm, low, high = oracles.sharp_range(problem.X, nu, fits, problem.weight_decay, point, **kinds_of(problem))
    assert norm <= problem.weight_decay * (1 + 1e-9)
    assert problem.dual_value(nu) == pytest.approx(optimal.objective, rel=1e-10, abs=1e-12)
    np.testing.assert_allclose([lower, upper], [low, high], rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(24))
def test_ranges_agree_with_a_direct_program(seed):
    check_range_directly(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24, 200))
def test_ranges_agree_with_a_direct_program_at_length(seed):
    check_range_directly(seed)


def test_a_median_is_an_interval():
    optimal = optimal_set(cr.TrainingProblem([[0.0], [0.0]], [0.0, 1.0], 0.1, "absolute", output_bias="free"))
    lower, upper = optimal.prediction_range([[0.0], [7.0]])
    np.testing.assert_allclose([lower, upper], [[0, 0], [1, 1]], atol=1e-12)
    assert optimal.is_unique is False and "predictions on samples" in optimal.reason
    assert optimal.minimal_network().n_neurons == 0 and len(list(optimal.vertices())) == 2
    assert optimal.minimize(lambda f: (f[0] - 0.3) ** 2, [[0.0]]).network([[0.0]])[0, 0] == pytest.approx(0.3, abs=1e-4)


def test_a_price_equal_to_the_gain_leaves_the_size_of_a_neuron_open():
    # |1 - w v| + lam w v with lam = 1: every prediction from 0 to 1 is worth one.
    optimal = optimal_set(cr.TrainingProblem([[1.0]], [1.0], 1.0, "absolute", bias="none"))
    lower, upper = optimal.prediction_range([[1.0], [-1.0]])
    np.testing.assert_allclose([lower, upper], [[0, 0], [1, 0]], atol=1e-12)
    assert sorted(network.n_neurons for network in optimal.vertices()) == [0, 1]
    assert optimal.minimal_network().n_neurons == optimal.smallest_network().network.n_neurons == 0
    one, none = (cr.Network([[w]], None, [[w]], bias="none") for w in (0.8, 1.2))
    assert optimal.contains(one) and not optimal.contains(none)
    assert "every optimal network at most 1" in optimal.contains(none).reason
    path = optimal.path_between(one, optimal.minimal_network(), 1)
    assert path and path.objective_spread <= 1e-12


def test_labels_on_their_side_leave_predictions_open():
    # The middle sample is met with room to spare: its prediction is free, within what the other two allow.
    problem = cr.TrainingProblem([[1.0], [2.0], [-1.0]], [1.0, 1.0, -1.0], 0.1, "squared_hinge", output_bias="free")
    optimal = optimal_set(problem)
    assert (optimal.fits.open[:, 0] == [False, True, False]).all() and optimal.complete


def test_a_loss_that_is_flat_and_not_ours_is_refused():
    class Flat(cr.losses.SquaredLoss):
        name = "flat"

        def curvature(self, F, Y, weight):
            return np.zeros_like(F)

    optimum = optimal_set(cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0], 0.1)).optimum
    flat = cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0], 0.1, Flat())
    with pytest.raises(UnsupportedError, match="no curvature"):
        fits_of(replace(optimum, problem=flat), 1e-9)


def test_a_set_lost_in_rounding_is_refused():
    # Columns of sizes 1e-3 to 200: equations that tell the neurons apart are below what counts as dependent.
    columns = [0, -1, 1, -1, 0, 2, 2, 2, 1, -2, -1, 2], [-1, 0, 2, 2, 0, -2, 2, -2, -1, 2, -1, 2]
    X = np.column_stack([*columns, [0, 2, -2, -2, 1, -2, 2, -2, 2, 1, -2, -1]]) * [1e-3, 1.0, 100.0]
    y = np.array([2.0, -1, 0, 2, 2, 2, 1, 0, -1, -1, 1, -2])
    kinds = {"loss": "absolute", "bias": "none", "output_bias": "free", "skip": "penalized"}
    result = cr.solve(cr.TrainingProblem(X, y, 0.001, **kinds))
    assert result.status is cr.Status.OPTIMAL
    assert not result.canonical
    with pytest.raises(InvalidInputError, match="lost in rounding"):
        result.optimal_set()
