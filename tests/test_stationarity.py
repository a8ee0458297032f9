"""Stationarity residuals against finite differences, a quadratic program per neuron, and optima."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from strategies import LEGAL_MODES, examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.stationarity import TOLERANCES, stationarity
from convexrelu.subgradient import KINK

PARTS = ("hidden", "hidden_bias", "output", "skip", "output_bias")


def neuron_size(problem, network):
    """Norm of the decayed weights of the neurons: the unit of the residual."""
    decayed = [network.hidden, network.output] + ([network.hidden_bias] if problem.bias == "penalized" else [])
    return problem.weight_decay * np.sqrt(sum(np.sum(w**2) for w in decayed))


def numerical_gradient(problem, network, name, step=1e-6):
    """Central differences of the objective in one kind of weights."""
    weights = getattr(network, name)
    gradient = np.zeros(weights.shape)
    for index in np.ndindex(weights.shape):
        values = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[index] += sign * step
            arrays = {part: getattr(network, part) for part in PARTS} | {name: moved}
            values.append(problem.objective(cr.Network(**arrays, bias=problem.bias)))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("kinds", LEGAL_MODES, ids=str)
def test_plain_gradient_is_that_of_the_objective(kinds):
    rng = np.random.default_rng(0)
    bias, output_bias, skip = kinds
    X, y = rng.standard_normal((8, 2)), rng.standard_normal(8)
    problem = cr.TrainingProblem(X, y, 0.7, bias=bias, output_bias=output_bias, skip=skip)
    network = cr.Network(
        rng.standard_normal((4, 2)),
        rng.standard_normal(4) if bias != "none" else None,
        rng.standard_normal((4, 1)),
        rng.standard_normal((2, 1)) if skip != "none" else None,
        rng.standard_normal(1) if output_bias != "none" else None,
        bias,
    )
    names = ["hidden", "output"] + (["hidden_bias"] if bias != "none" else [])
    squares = sum(np.sum(numerical_gradient(problem, network, name) ** 2) for name in names)
    neurons = np.sqrt(squares) / neuron_size(problem, network)
    measured = stationarity(problem, network).gradient
    # Differences of order 1e-6 of a function of size 10. A skip or output bias may be the worse part.
    assert measured >= neurons * (1 - 1e-6)
    if skip == output_bias == "none":
        assert measured == pytest.approx(neurons, rel=1e-6)


@examples(30)
@given(problems(), st.data())
def test_residual_is_the_smallest_over_the_slopes(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    assume(network.n_neurons and network.hidden.any())
    if problem.skip != "none" or problem.output_bias != "none":
        return
    Xt = problem.X if problem.bias == "none" else np.column_stack([problem.X, np.ones(len(problem.X))])
    Wt = network.hidden if problem.bias == "none" else np.column_stack([network.hidden, network.hidden_bias])
    G = problem.sample_weight[:, None] * (network(problem.X) - problem.Y)
    total = np.sum((np.maximum(Wt @ Xt.T, 0) @ G + problem.weight_decay * network.output) ** 2)
    for w, v in zip(Wt, network.output, strict=True):
        a, t = G @ v, Xt @ w
        base = Xt.T @ (a * (t > 0)) + problem.weight_decay * w
        ties = t == 0
        A = (Xt[ties] * a[ties, None]).T
        rest = lsq_linear(A, -base, bounds=(0, 1), method="bvls").cost if ties.any() and A.any() else 0.5 * base @ base
        total += 2 * rest
    curve = dict(stationarity(problem, network).curve)
    # A few hundred steps of a first-order method.
    assert curve[0.0] == pytest.approx(np.sqrt(total) / neuron_size(problem, network), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_slopes_stay_between_zero_and_one(seed):
    rng = np.random.default_rng(seed)
    # The last six samples sit on the kink of the neuron (1, 0, 0).
    X = np.vstack([rng.standard_normal((2, 3)), np.hstack([np.zeros((6, 1)), rng.standard_normal((6, 2))])])
    problem = cr.TrainingProblem(X, rng.standard_normal(8), 0.5, bias="none")
    network = cr.Network([[1.0, 0.0, 0.0]], None, [[1.0]], bias="none")
    a = (network(X) - problem.Y)[:, 0]
    base = X.T @ (a * (X[:, 0] > 0)) + 0.5 * network.hidden[0]
    rest = 2 * lsq_linear((X[2:] * a[2:, None]).T, -base, bounds=(0, 1), method="bvls").cost
    outer = (np.maximum(X[:, 0], 0) @ a + 0.5) ** 2
    expected = np.sqrt(rest + outer) / neuron_size(problem, network)
    assert stationarity(problem, network).curve[0][1] == pytest.approx(expected, rel=1e-4)


@examples(40)
@given(problems())
def test_optima_are_stationary_once_kinks_are_resolved(problem):
    result = cr.solve(problem, patterns="enumerate", tol=1e-7)
    assume(result.status is cr.Status.OPTIMAL and result.network.n_neurons)
    state = stationarity(problem, result.network)
    # The residual goes with the square root of the gap.
    assert state.residual <= 1e-2
    assert state.directional <= 1e-2
    assert state.implied_weight_decay == pytest.approx(problem.weight_decay, rel=1e-2)


def test_plain_gradient_is_no_test_of_optimality():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-2, 2, 60))
    problem = cr.TrainingProblem(x[:, None], np.sin(3 * x) + 0.3 * rng.standard_normal(60), 0.05)
    state = stationarity(problem, cr.solve(problem, tol=1e-9).network)
    assert state.gradient > 1 and state.residual < 1e-4


def counterexample():
    """Theory B.7: Clarke stationary with slope 0.2 on the concave kink of the second sample."""
    problem = cr.TrainingProblem([[1.0, -1.0], [0.0, 1.0]], [1.1, 0.5], 0.1, bias="none")
    return problem, cr.Network([[1.0, 0.0]], None, [[1.0]], bias="none")


def test_clarke_stationary_is_not_directionally_stationary():
    problem, network = counterexample()
    assert problem.objective(network) == pytest.approx(0.23)
    state = stationarity(problem, network)
    assert state.curve[0][1] < 1e-6
    # With slope 1 the gradient in w is (0, 0.1 - 0.5), and the weights are (1, 0) and 1 at a decay of 0.1.
    assert state.directional == pytest.approx(0.4 / (0.1 * np.sqrt(2)))
    # ... and indeed, leaving the kink descends.
    moved = cr.Network([[1.0, 0.1]], None, [[1.0]], bias="none")
    assert problem.objective(moved) < problem.objective(network)


def test_a_concave_kink_nearby_gives_no_choice_of_slope():
    problem, _ = counterexample()
    beside = cr.Network([[1.0, 1e-5]], None, [[1.0]], bias="none")  # on the descending side of the kink
    state = stationarity(problem, beside)
    assert state.residual < 1e-3
    assert state.directional > 1


def test_curve_falls_with_the_tolerance():
    rng = np.random.default_rng(1)
    problem = cr.TrainingProblem(rng.standard_normal((30, 2)), rng.standard_normal(30), 0.1)
    network = cr.Network(rng.standard_normal((5, 2)), rng.standard_normal(5), rng.standard_normal((5, 1)))
    state = stationarity(problem, network)
    assert [tol for tol, _ in state.curve] == list(TOLERANCES)
    residuals = [residual for _, residual in state.curve]
    assert residuals == sorted(residuals, reverse=True)
    assert state.residual == dict(state.curve)[KINK]


def test_a_network_without_neurons_is_stationary_but_for_its_linear_part():
    problem = cr.TrainingProblem([[0.0], [1.0]], [1.0, 3.0], 1.0, output_bias="free")
    empty = {"hidden": np.zeros((0, 1)), "hidden_bias": None, "output": np.zeros((0, 1)), "skip": None}
    assert stationarity(problem, cr.Network(**empty, output_bias=[2.0])).residual == 0
    assert stationarity(problem, cr.Network(**empty, output_bias=[0.0])).residual == 1


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_another_weight_decay_is_recognised(factor):
    x = np.linspace(-1, 2, 21)
    problem = cr.TrainingProblem(x[:, None], np.sin(2 * x), 0.1)
    network = cr.solve(problem, tol=1e-9).network
    state = stationarity(problem.with_weight_decay(0.1 * factor), network)
    assert state.implied_weight_decay == pytest.approx(0.1, rel=1e-3)
    assert state.explanation.weight_decay == pytest.approx(0.1, rel=1e-3)
    assert state.explanation.decayed == ("hidden_bias",)
    assert state.explanation.residual < 1e-3 < state.explanation.stated_residual


def test_other_decayed_parameters_are_recognised():
    x = np.linspace(-1, 2, 21)
    options = {"bias": "penalized", "output_bias": "penalized"}
    decayed = cr.TrainingProblem(x[:, None], np.sin(2 * x) + 1, 0.1, **options)
    free = cr.TrainingProblem(x[:, None], np.sin(2 * x) + 1, 0.1, bias="free")
    for trained, stated in ((decayed, free), (free, decayed)):
        explanation = stationarity(stated, cr.solve(trained, tol=1e-9).network).explanation
        assert bool(explanation.decayed) == (trained is decayed)
        assert explanation.weight_decay == pytest.approx(0.1, rel=1e-2)
        assert explanation.residual < 1e-2 < explanation.stated_residual


def test_targets_met_on_kinks_do_not_tell_the_weight_decay():
    x = np.linspace(-1, 2, 7)
    stated = cr.TrainingProblem(x[:, None], np.sin(2 * x), 1e-3, loss="absolute")
    network = cr.solve(stated, tol=1e-8).network
    # As training on the stated objective leaves it when the loss is at its minimum, before the decay has balanced it.
    unfinished = replace(
        network, hidden=3 * network.hidden, hidden_bias=3 * network.hidden_bias, output=network.output / 3
    )
    for decay, undecided in ((1e-3, True), (30.0, False)):
        explanation = stationarity(stated.with_weight_decay(decay), unfinished).explanation
        assert explanation.residual < 1e-6 < 0.3 < explanation.stated_residual
        assert explanation.is_undecided == undecided
        assert explanation.is_another == (not undecided)


@pytest.mark.parametrize("size", [1e-150, 1e-200])
def test_residuals_of_tiny_networks(size):
    """At the origin loss and decay are of second order: their shares stay the same."""
    problem = cr.TrainingProblem([[1.0], [-1.0]], [1.0, 2.0], 0.1)
    seen = [stationarity(problem, cr.Network([[s]], [0.3 * s], [[-0.5 * s]])) for s in (1e-10, size)]
    for pair in zip(*[(s.gradient, s.residual, s.directional, s.implied_weight_decay) for s in seen], strict=True):
        assert pair[0] == pytest.approx(pair[1], rel=1e-8)


def test_residuals_of_huge_networks():
    """Where the data no longer count, the gradient is of third order."""
    problem = cr.TrainingProblem([[1.0], [-1.0]], [1.0, 2.0], 0.1)
    few, many = (stationarity(problem, cr.Network([[s]], [0.3 * s], [[-0.5]])) for s in (1e40, 1e120))
    assert many.gradient / few.gradient == pytest.approx(1e80, rel=1e-8)
    assert many.residual / few.residual == pytest.approx(1e80, rel=1e-8)


@pytest.mark.parametrize("sample_weight", [None, [1.0, 0.0]])
def test_one_weight_always_fits_some_decay(sample_weight):
    """A neuron that no sample that counts switches on, and an output bias of 0.1 that a decay of 9 would explain."""
    problem = cr.TrainingProblem([[1.0], [5.0]], [1.0, 0.1], 0.1, bias="free", sample_weight=sample_weight)
    network = cr.Network([[1.0]], [-6.0 if sample_weight is None else -2.0], [[1.0]], None, [0.1], "free")
    assert not stationarity(problem, network).explanation.is_another
