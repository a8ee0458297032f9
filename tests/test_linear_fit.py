"""The best predictions without neurons, against cvxpy."""

import cvxpy as cp
import numpy as np
import oracles
import pytest

from convexrelu.linear_fit import SmoothFit, fit_by_cones, fit_linear
from convexrelu.losses import DataLoss, LogisticLoss, get_loss
from convexrelu.problem import TrainingProblem
from convexrelu.solve import solve

BINARY = ("logistic", "hinge", "squared_hinge")


def case(name, seed, q=2):
    rng = np.random.default_rng(seed)
    Q, y = rng.standard_normal((9, q)), rng.standard_normal(9)
    Q[:, :1] *= 100.0
    y = rng.choice([-1.0, 1.0], 9) if name in BINARY else y
    weight = rng.choice([0.5, 1.0, 2.0], 9)
    return DataLoss(get_loss(name), y[:, None], weight), Q, np.array([0.0, 0.7])[:q]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", oracles.LOSSES)
def test_linear_fits_are_the_best(name, seed):
    data, Q, ridge = case(name, seed)
    beta = cp.Variable(2)
    loss = data.weight @ oracles.LOSSES[name](Q @ beta, data.Y[:, 0]) + 0.5 * ridge[1] * cp.square(beta[1])
    best = cp.Problem(cp.Minimize(loss)).solve(solver=cp.CLARABEL)
    for fit in (fit_linear(data, Q, ridge), fit_by_cones(data, Q, ridge)):
        value = data.value(Q @ fit.beta) + 0.5 * float(ridge @ fit.beta[:, 0] ** 2)
        assert value == pytest.approx(best, rel=1e-7)  # what cvxpy's defaults reach
        dual = data.dual_value(fit.nu * (1 - 1e-8)) - float((Q[:, 1] @ fit.nu[:, 0]) ** 2) / (2 * ridge[1])
        assert dual == pytest.approx(best, rel=1e-6)
        # The columns are as large as a hundred, the dual variable is good to 1e-9.
        assert abs(Q[:, 0] @ fit.nu[:, 0]) <= 1e-6


@pytest.mark.parametrize("name", oracles.LOSSES)
def test_without_columns_nothing_is_fitted(name):
    data, Q, ridge = case(name, 0, q=0)
    fit = fit_linear(data, Q, ridge)
    assert fit.beta.shape == (0, 1) and fit.nu.shape == (9, 1)
    np.testing.assert_allclose(data.dual_value(fit.nu * (1 - 1e-9)), data.value(0 * data.Y), rtol=1e-6)


def test_softmax_without_neurons_gives_the_frequencies():
    loss = get_loss("softmax")
    Y = loss.targets(np.array([[0.0], [1.0], [1.0], [2.0]]))
    fit = fit_linear(DataLoss(loss, Y, np.ones(4)), np.ones((4, 1)), np.zeros(1))
    np.testing.assert_allclose(Y - fit.nu, np.tile([0.25, 0.5, 0.25], (4, 1)), rtol=1e-12)


def test_targets_far_out_of_a_huber_box():
    # Every sample is on a straight arm at the start: no curvature to go by.
    data = DataLoss(get_loss("huber"), 1e6 + np.arange(5.0)[:, None], np.ones(5))
    assert fit_linear(data, np.ones((5, 1)), np.zeros(1)).beta[0, 0] == pytest.approx(1e6 + 2, abs=1e-6)


def test_a_fit_from_where_the_loss_saturates_comes_back():
    # Here the second derivative is all but zero, and the trust region method divides by it.
    Q = np.array([[0.5, 0.72, -0.3, 1], [0.5, -0.36, 0, 1], [0, 0, 0, 1], [0.5, 0.36, -0.6, 1], [-0.5, -0.72, -0.6, 1]])
    Q = np.vstack([Q, [[1, 1.08, -0.3, 1], [-1, 0.36, 0.9, 1], [-1, 0, 0.6, 1], [0, 1.08, -0.6, 1]]])
    offset = -np.array([474541.4313959123, 0, 0, 603115.6626813579, 84147.42625989899, 647530.8437586112, 0, 0, 949094])
    labels = np.array([1.0, -1, 1, -1, 1, 1, 1, -1, -1])[:, None]
    start = np.array([229778.0843473783, 323623.4270244863, 113672.51161489789, 161571.83834337088])[:, None]
    fit = SmoothFit(DataLoss(LogisticLoss(), labels, np.ones(9)), Q, np.zeros(4), offset[:, None])
    assert fit.value(fit.minimise(start).ravel()) <= fit.value(start.ravel())


def test_steps_that_go_too_far_for_numbers_do_not_warn():
    options = {"bias": "penalized", "output_bias": "free", "skip": "penalized"}
    certificate = solve(TrainingProblem([[0.0], [-1e97]], [-1, 2], 1.0, "huber", **options)).certificate
    assert certificate.lower_bound <= certificate.objective


def test_second_derivatives_without_a_factor_leave_the_newton_steps():
    options = {"bias": "none", "output_bias": "free", "skip": "penalized", "sample_weight": [1e9]}
    y = [-0.18876348546595332]
    certificate = solve(TrainingProblem([[100000593.0]], y, 1e-8, "huber", **options), canonical=False).certificate
    assert certificate.lower_bound <= certificate.objective
