"""The subgradient of losses with kinks: always a subgradient, and at an optimum minus the dual variable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, modes, networks, vectors

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.subgradient import subgradient, unbalanced_decay

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 2))
TARGETS = {"absolute": np.abs(X[:, 0]) + X[:, 1], "hinge": np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)}


@examples(40)
@given(data(), st.data(), modes(), st.sampled_from(["absolute", "quantile", "hinge"]), st.booleans())
def test_a_subgradient(X, draws, kinds, loss, known):
    y = draws.draw(vectors(len(X)))
    try:
        problem = cr.TrainingProblem(X, np.where(y > 0, 1.0, -1.0) if loss == "hinge" else y, 0.5, loss=loss, **kinds)
    except InvalidInputError:
        return  # labels that the unpenalised part separates
    network = draws.draw(networks(X.shape[1], **kinds))
    G, F = subgradient(problem, network, known_decay=known), network(X)
    loss_at = lambda F: problem.loss.value(F, problem.Y, problem.sample_weight)  # noqa: E731
    for other in (F + 1, F - 1, np.zeros_like(F), 3 * F):
        assert loss_at(other) >= loss_at(F) + np.sum(G * (other - F)) - 1e-9


@pytest.mark.parametrize("loss", TARGETS)
@pytest.mark.parametrize("bias", ["penalized", "free"])
@pytest.mark.parametrize("known", [True, False])
def test_the_dual_variable_of_an_optimum(loss, bias, known):
    problem = cr.TrainingProblem(X, TARGETS[loss], 1.0, loss=loss, bias=bias)
    problem = problem.with_weight_decay(0.1 * problem.max_weight_decay())
    result = cr.solve(problem, tol=1e-8)
    G = subgradient(problem, result.network, known_decay=known)
    active = np.maximum(X @ result.network.hidden.T + result.network.hidden_bias, 0.0)
    decay = -float(np.sum((active.T @ G) * result.network.output)) / float(np.sum(result.network.output**2))
    # The network is within 1e-8 of the objective: 1e-4 of the weights.
    np.testing.assert_allclose(active.T @ G, -decay * result.network.output, atol=2e-3 * problem.weight_decay)
    if known:
        assert decay == pytest.approx(problem.weight_decay, rel=1e-3)
        plain = problem.loss.gradient(result.network(X), problem.Y, problem.sample_weight)
        assert np.abs(active.T @ plain + decay * result.network.output).max() > 0.01 * problem.weight_decay


def test_smooth_losses_have_one():
    problem = cr.TrainingProblem(X, TARGETS["absolute"], 1.0)
    network = cr.Network([[1.0, 0.0]], [0.0], [[1.0]])
    np.testing.assert_array_equal(subgradient(problem, network), network(X) - problem.Y)


def kinked(weight_decay):
    x = np.linspace(-1, 2, 21)
    return cr.TrainingProblem(x[:, None], np.sin(2 * x) + (x > 1), weight_decay, loss="absolute")


def test_what_samples_on_kinks_can_balance():
    """Targets that are met tell an upper bound of the weight decay: that at which the first would be given up."""
    network = cr.solve(kinked(1e-3), tol=1e-8).network
    rests = [unbalanced_decay(kinked(decay), network) for decay in (1e-5, 1e-3, 1e-2, 1.0, 100.0)]
    assert max(rests[:2]) < 1e-5
    assert rests[2] < rests[3] < rests[4]
    assert rests[3] > 0.03 and 0.9 < rests[4] <= 1


def test_without_kinks_nothing_is_balanced_and_without_pull_nothing_is_known():
    problem = kinked(1.0)
    flat = cr.Network([[1.0]], [0.0], [[0.0]])
    assert unbalanced_decay(problem, cr.Network(flat.hidden, flat.hidden_bias, [[3.0]])) == np.inf
    far = cr.TrainingProblem([[1.0], [-1.0]], [1.0, -1.0], 0.1, loss="hinge")
    assert unbalanced_decay(far, cr.Network([[1.0], [-1.0]], None, [[5.0], [-5.0]])) == 0
    squared = cr.TrainingProblem([[1.0], [-1.0]], [1.0, -1.0], 0.1)
    assert unbalanced_decay(squared, flat) == np.inf
