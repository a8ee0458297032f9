"""Networks have no more neurons than their samples, or the rank of several tasks' dual variable, allow."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.width import narrowed, width_bound


@pytest.mark.parametrize(("n", "T"), [(4, 2), (5, 3), (4, 8)])
@pytest.mark.parametrize("modes", [{"bias": "penalized"}, {"bias": "none", "output_bias": "free"}])
def test_solutions_keep_the_bound(n, T, modes):
    rng = np.random.default_rng(n)
    problem = cr.TrainingProblem(rng.standard_normal((n, 2)), rng.standard_normal((n, T)), 0.1, **modes)
    result = cr.solve(problem, tol=1e-6)
    assert result.status is cr.Status.OPTIMAL
    assert result.network.n_neurons <= width_bound(problem, result.certificate.dual)


@pytest.mark.parametrize(
    ("seed", "loss", "n", "d"), [(12, "quantile", 27, 2), (25, "absolute", 24, 2), (27, "hinge", 12, 4)]
)
def test_losses_with_kinks_keep_no_more_neurons_than_samples(seed, loss, n, d):
    # Interior point methods leave a little of every neuron; copies of one in cells that touch; dependent ones.
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-3, 4, (n, d)).astype(float), rng.integers(-3, 4, n).astype(float)
    y = np.where(y > 0, 1.0, -1.0) if loss == "hinge" else y
    largest = cr.TrainingProblem(X, y, loss=loss, bias="free").max_weight_decay()
    result = cr.solve(cr.TrainingProblem(X, y, 0.03 * largest, loss, bias="free"))
    assert result.status is cr.Status.OPTIMAL
    assert result.network.n_neurons <= n


def test_the_free_part_makes_up_for_what_a_neuron_took_of_it():
    # Two neurons that are on everywhere predict alike but for a constant.
    X = np.array([[0.0], [1.0]])
    problem = cr.TrainingProblem(X, [0.0, 1.0], 0.1, "absolute", bias="free", output_bias="free")
    network = cr.Network([[1.0], [1.0]], [0.5, 2.0], [[0.5], [0.5]], output_bias=[-1.25], bias="free")
    narrow = narrowed(problem, network, problem.objective(network) * (1 + 1e-12))
    assert narrow.n_neurons == 1
    np.testing.assert_allclose(narrow(X), network(X), atol=1e-12)


def test_a_split_neuron_is_joined_at_no_cost():
    problem = cr.TrainingProblem(np.eye(2), np.eye(2), 0.1, bias="none")
    # Half of relu(x1 + x2) as it is, half as the sum of two neurons that are linear on the data as well.
    hidden = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    network = cr.Network(hidden, None, np.array([[1.0, 2.0], [1.0, 2.0], [0.5, 1.0]]))
    narrow = narrowed(problem, network, problem.objective(network) * (1 + 1e-12))
    assert narrow.n_neurons == 1
    np.testing.assert_allclose(narrow(problem.X), network(problem.X), rtol=1e-12)


def test_a_network_that_would_become_dearer_is_left_alone():
    problem = cr.TrainingProblem(np.eye(2), np.eye(2), 0.1, bias="none")
    network = cr.Network([[1.0, 1.0], [1.0, 1.0]], None, [[1.0, 2.0], [1.0, 2.0]])
    assert narrowed(problem, network, 0.0) is network


def test_bound_counts_samples_tasks_and_free_columns():
    N = np.random.default_rng(0).standard_normal((5, 3))
    X = np.random.default_rng(1).standard_normal((5, 2))
    assert width_bound(cr.TrainingProblem(X, N), N) == 5 * 3 - 3
    assert width_bound(cr.TrainingProblem(X, N, output_bias="free"), N) == 4 * 3 - 3
    assert width_bound(cr.TrainingProblem(X, N[:, :1]), N[:, :1]) == 5
