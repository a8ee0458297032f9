"""The kernel of a solution: every task is ridge regression with it, and nearly so without the task."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.errors import InvalidInputError

MODES = [
    {"bias": "penalized"},
    {"bias": "free"},
    {"bias": "none", "output_bias": "penalized", "skip": "penalized"},
    {"bias": "penalized", "output_bias": "free", "skip": "free"},
]


def problem_of(T, n=7, decay=0.2, **modes):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    Y = np.maximum(X @ rng.standard_normal((2, 4)), 0.0) @ rng.standard_normal((4, T))
    return cr.TrainingProblem(X, Y, decay, **modes)


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("T", [1, 3])
def test_every_task_is_kernel_ridge_regression(T, modes):
    problem = problem_of(T, **modes)
    result = cr.solve(problem, tol=1e-8)
    points = np.random.default_rng(1).standard_normal((20, 2))
    kernel = result.kernel()
    # A relative gap of 1e-8 leaves 1e-4 in the network.
    np.testing.assert_allclose(kernel.predict(points), result.network(points), atol=2e-4)
    K = kernel(problem.X)
    assert np.allclose(K, K.T) and np.linalg.eigvalsh(K).min() >= -1e-12


def test_value_of_the_optimum_in_terms_of_the_kernel():
    problem = problem_of(3)
    result = cr.solve(problem, tol=1e-8)
    kernel = result.kernel()
    inverse = np.linalg.inv(kernel(problem.X) + np.eye(7))
    value = 0.5 * np.trace(problem.Y.T @ inverse @ problem.Y) + 0.5 * problem.weight_decay**2 * kernel.weights.sum()
    assert value == pytest.approx(result.objective, rel=1e-6)


def test_interpolation_is_the_least_norm_interpolant():
    X, Y = problem_of(2).X, problem_of(2).Y
    problem = cr.TrainingProblem.interpolation(X, Y)
    kernel = cr.solve(problem).kernel()
    np.testing.assert_allclose(kernel.predict(X), Y, atol=1e-6)


def test_leaving_a_task_out_costs_less_with_more_tasks():
    errors = []
    for T in (2, 12):
        problem = problem_of(T)
        result = cr.solve(problem, tol=1e-6)
        F = result.network(problem.X)
        left_out = result.kernel(without_task=0).predict(problem.X)[:, 0]
        errors.append(np.linalg.norm(left_out - F[:, 0]) / np.linalg.norm(F[:, 0]))
    assert errors[1] < errors[0] < 0.5


def test_tasks_that_are_not_there():
    result = cr.solve(problem_of(2), tol=1e-3)
    with pytest.raises(InvalidInputError, match="0 to 1"):
        result.kernel(without_task=2)
