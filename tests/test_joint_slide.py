"""Sliding by L-BFGS: derivatives, and that it goes down and stops when told."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from convexrelu.losses import DataLoss, SoftmaxLoss, SquaredLoss
from convexrelu.native.joint import JointIterate, JointProblem, evaluate
from convexrelu.native.joint_slide import _activate, _derivatives, slide


def joint_problem(loss, n_free=1, n_penalized=3):
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((30, 3))
    Y = np.eye(3)[rng.integers(3, size=30)] if isinstance(loss, SoftmaxLoss) else rng.standard_normal((30, 3))
    free, penalized = np.ones((30, n_free)), rng.standard_normal((30, 2))
    return JointProblem(Z, n_penalized, 0.5, DataLoss(loss, Y, np.linspace(0.5, 2.0, 30)), free, penalized)


def some_network(problem, m=6):
    rng = np.random.default_rng(1)
    return JointIterate.of(problem, rng.standard_normal((m, 3)), rng.standard_normal((m, 3)))


@pytest.mark.parametrize("loss", [SquaredLoss(), SoftmaxLoss()])
@pytest.mark.parametrize("n_penalized", [2, 3])
@pytest.mark.parametrize("width", [0.0, 0.3])
def test_derivatives_are_those_of_the_objective(loss, n_penalized, width):
    problem = joint_problem(loss, n_penalized=n_penalized)
    it = some_network(problem)
    beta = np.random.default_rng(2).standard_normal(it.beta.shape)
    theta = np.concatenate([it.U.ravel(), it.V.ravel(), beta.ravel()])

    def at(theta):
        U, V, beta = theta[:18].reshape(6, 3), theta[18:36].reshape(6, 3), theta[36:].reshape(3, 3)
        value, gradients = _derivatives(problem, problem.Z, np.full(6, width), U, V, beta)
        return value, np.concatenate([g.ravel() for g in gradients])

    assert check_grad(lambda x: at(x)[0], lambda x: at(x)[1], theta) < 1e-4 * np.linalg.norm(at(theta)[1])


def test_kinks_are_rounded_between_minus_h_and_h():
    t, h = np.linspace(-2.0, 2.0, 401)[:, None], np.array([0.5, 1e-3])
    slopes, values = _activate(t * np.ones(2), h)
    assert (np.abs(values - np.maximum(t, 0.0)) <= h / 4 + 1e-12).all()
    assert ((values == np.maximum(t, 0.0)) == (np.abs(t) >= h)).all()
    assert slopes[200] == pytest.approx([0.5, 0.5]) and values[200] == pytest.approx(h / 4)


def test_sliding_over_rounded_kinks_ends_near_an_optimum_of_the_network_itself():
    problem = joint_problem(SquaredLoss())
    start = some_network(problem, 30)
    soft = slide(problem, start, rate=1e-5, softness=0.03)
    hard = evaluate(problem, slide(problem, soft, rate=1e-7))
    assert hard.objective <= evaluate(problem, soft).objective
    assert hard.objective < 1.01 * evaluate(problem, slide(problem, start, rate=1e-9)).objective


def test_neurons_without_cost_do_no_harm_to_rounded_kinks():
    problem = joint_problem(SquaredLoss())
    start = some_network(problem)
    start.U[0] = 0.0
    slid = slide(problem, start, rate=1e-4, softness=0.03)
    assert np.isfinite(slid.U).all() and np.isfinite(slid.V).all()


def test_slides_down_as_far_as_it_gets():
    problem = joint_problem(SquaredLoss())
    start = some_network(problem)
    slid = evaluate(problem, slide(problem, start, rate=1e-6))
    assert slid.objective < 0.9 * evaluate(problem, start).objective
    again = evaluate(problem, slide(problem, slid.iterate, rate=1e-6))
    assert 0.99 * slid.objective < again.objective <= slid.objective * (1 + 1e-12)


def test_a_lower_rate_goes_further_and_a_stop_ends_it():
    problem = joint_problem(SoftmaxLoss())
    start = some_network(problem)
    values = [evaluate(problem, slide(problem, start, rate=rate)).objective for rate in (1e-2, 1e-10)]
    assert values[1] < values[0]
    calls = []
    slide(problem, start, rate=0.0, should_stop=lambda: len(calls) >= 5 or calls.append(None))
    assert len(calls) == 5
