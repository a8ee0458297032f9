"""The least dual norm over a polytope of dual variables: against a cvxpy program, and what it means for training."""

import cvxpy as cp
import numpy as np
import oracles
import pytest

import convexrelu as cr
from convexrelu.losses import get_loss
from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing.least_norm import least_dual_norm


def tied(n=8, seed=0):
    """Two thirds of the samples are positive, so that the constant alone meets these."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)), np.where(np.arange(n) % 3 < 2, 1.0, -1.0)


def oracle(A, lower, upper):
    """min over nu, sum nu = 0, of the largest projected gradient over all patterns, by their multipliers."""
    nu, t, constraints = cp.Variable(len(A)), cp.Variable(), []
    for bits in oracles.exact_patterns(A):
        K = np.where(bits, 1.0, -1.0)[:, None] * A
        for sign in (1.0, -1.0):
            rho = cp.Variable(len(A), nonneg=True)
            constraints.append(cp.norm(sign * A[bits].T @ nu[np.flatnonzero(bits)] + K.T @ rho) <= t)
    constraints += [nu >= lower, nu <= upper, cp.sum(nu) == 0]
    return cp.Problem(cp.Minimize(t), constraints).solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("seed", range(3))
def test_the_bounds_meet_at_the_optimum(seed):
    X, y = tied(8, seed)
    arrangement = arrange(X, "penalized")
    # Of the hinge loss at the constant one: positive samples are on their kink.
    lower, upper = np.where(y > 0, 0.0, -1.0)[:, None], np.where(y > 0, 1.0, -1.0)[:, None]
    start = np.where(y > 0, (y < 0).sum() / (y > 0).sum(), -1.0)[:, None]
    found = least_dual_norm(arrangement, start, lower, upper, np.ones((8, 1)))
    assert found.bound <= found.norm <= found.bound * (1 + 1e-8)
    assert found.norm == pytest.approx(oracle(arrangement.Z, lower[:, 0], upper[:, 0]), rel=1e-6)
    assert (found.nu >= lower - 1e-9).all() and (found.nu <= upper + 1e-9).all()
    assert abs(found.nu.sum()) <= 1e-9


def test_a_determined_dual_variable_is_returned():
    X, y = tied()
    nu = np.where(y > 0, 0.5, -1.0)[:, None]
    found = least_dual_norm(arrange(X, "none"), nu, nu, nu, np.zeros((8, 0)))
    assert np.array_equal(found.nu, nu) and found.norm == found.bound


@pytest.mark.parametrize("loss", ["hinge", "absolute", "quantile"])
@pytest.mark.parametrize("T", [1, 2])
def test_the_empty_network_is_optimal_from_there_on_and_not_before(loss, T):
    X, y = tied(7)
    Y = np.column_stack([y, np.roll(y, 1)])[:, :T]
    options = {"bias": "penalized", "output_bias": "free" if T == 1 else "penalized"}
    problem = cr.TrainingProblem(X, Y, loss=loss, **options)
    largest = problem.max_weight_decay()
    over, under = (cr.solve(problem.with_weight_decay(s * largest), patterns="enumerate") for s in (1.001, 0.99))
    assert over.status is under.status is cr.Status.OPTIMAL
    assert over.network.n_neurons == 0 < under.network.n_neurons


def test_one_dual_variable_says_too_much():
    X, y = tied(9)
    problem = cr.TrainingProblem(X, y, loss="hinge", output_bias="free")
    one = oracles.dual_norm(X, problem.feasible_direction(problem._linear_fit(np.inf).nu)[:, 0], "penalized")
    assert problem.max_weight_decay() < 0.99 * one


def test_where_the_predictions_are_on_a_kink():
    Y, F = np.array([[1.0], [1.0], [-1.0]]), np.array([[1.0 + 1e-9], [0.0], [-2.0]])
    lower, upper = get_loss("hinge").dual_box(F, Y, np.ones(3))
    np.testing.assert_array_equal(lower, [[0.0], [1.0], [0.0]])
    np.testing.assert_array_equal(upper, [[1.0], [1.0], [0.0]])
