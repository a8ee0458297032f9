"""Networks of several tasks have no more neurons than their dual variable's rank allows."""

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
