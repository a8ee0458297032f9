"""The subgradient of losses with kinks: always a subgradient, and at an optimum minus the dual variable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, modes, networks, vectors

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.subgradient import subgradient

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
