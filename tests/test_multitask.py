"""Several tasks that share their neurons: the optimum of theory C.2, and what rotating or repeating tasks must keep."""

import importlib

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.losses import DataLoss, SoftmaxLoss
from convexrelu.multitask import task_basis
from convexrelu.native import joint_generation
from convexrelu.native.joint import JointProblem, refit

TOL = 1e-6
RANDOM = [
    (5, 2, 2, {"bias": "penalized"}),
    (6, 2, 3, {"bias": "none"}),
    (5, 2, 12, {"bias": "penalized"}),
    (5, 3, 5, {"bias": "none", "output_bias": "free"}),
    (5, 2, 2, {"bias": "free", "output_bias": "free"}),
    (6, 1, 3, {"bias": "free", "output_bias": "free", "skip": "free"}),
    (5, 1, 2, {"bias": "penalized", "output_bias": "free", "skip": "free"}),
]


def random_data(n, d, T, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((n, T))


def check_optimal(result, problem, tol):
    assert result.status is cr.Status.OPTIMAL
    assert result.certificate.scope == "global"
    assert result.certificate.gap <= tol
    assert result.objective == problem.objective(result.network)


@pytest.mark.parametrize(("n", "d", "T", "modes"), RANDOM)
def test_generation_meets_the_exact_program(n, d, T, modes):
    X, Y = random_data(n, d, T)
    for decay in (0.5, 0.05) if T < 5 else (0.3,):
        problem = cr.TrainingProblem(X, Y, decay, **modes)
        result = cr.solve(problem, tol=TOL)
        check_optimal(result, problem, TOL)
        # The gap, and Clarabel's last digits on semidefinite programs.
        assert result.objective == pytest.approx(oracles.joint_convex_value(X, Y, decay, **modes), rel=1.1 * TOL)


@given(data(5, 2), st.integers(2, 4), st.data())
@examples(12)
def test_generation_meets_the_exact_program_on_ties(X, T, draw):
    Y = draw.draw(vectors(len(X) * T)).reshape(len(X), T)
    kinds = [("none", "none"), ("none", "free"), ("penalized", "none"), ("penalized", "free"), ("free", "free")]
    bias, output_bias = draw.draw(st.sampled_from(kinds))
    modes = {"bias": bias, "output_bias": output_bias}
    problem = cr.TrainingProblem(X, Y, 0.3, **modes)
    result = cr.solve(problem, tol=1e-6)
    check_optimal(result, problem, 1e-6)
    A = oracles.hidden_data(X, bias)
    if A.shape[1] in (2, 3) and np.linalg.matrix_rank(A) == A.shape[1]:
        value = oracles.joint_convex_value(X, Y, 0.3, **modes)
        assert result.objective == pytest.approx(value, rel=2e-6, abs=1e-9)  # the gap of one, the solver of the other


@pytest.mark.parametrize(("n", "d", "T", "modes"), RANDOM)
def test_interpolation_meets_the_exact_program(n, d, T, modes):
    X, Y = random_data(n, d, T)
    problem = cr.TrainingProblem.interpolation(X, Y, **modes)
    result = cr.solve(problem, tol=1e-6)
    check_optimal(result, problem, 1e-6)
    assert result.objective == pytest.approx(oracles.joint_convex_value(X, Y, None, **modes), rel=2e-6)
    assert np.abs(result.network(X) - Y).max() <= 1e-9 * np.abs(Y).max()


def test_one_task_has_the_optimum_of_the_solver_for_one_task():
    X, Y = random_data(12, 2, 1)
    problem = cr.TrainingProblem(X, Y, 0.1)
    joint = JointProblem(
        problem.arrangement.Z,
        problem.arrangement.n_penalized,
        0.1,
        DataLoss(problem.loss, Y, problem.sample_weight),
        problem.linear.free,
        problem.linear.penalized,
    )
    found = joint_generation.generate(joint, rng=np.random.default_rng(0), tol=1e-8)
    assert found.converged
    assert found.state.objective == pytest.approx(cr.solve(problem, tol=1e-8).objective, rel=1e-7)


@pytest.mark.parametrize("modes", [{"bias": "free"}, {"bias": "none", "skip": "penalized"}])
def test_rotating_permuting_and_repeating_tasks_keeps_the_optimum(modes):
    X, Y = random_data(6, 2, 3)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    value = cr.solve(cr.TrainingProblem(X, Y, 0.2, **modes), tol=TOL).objective
    for other in (Y @ rotation, Y[:, [2, 0, 1]], np.hstack([Y, Y, Y]) / np.sqrt(3)):
        result = cr.solve(cr.TrainingProblem(X, other, 0.2, **modes), tol=TOL)
        assert result.objective == pytest.approx(value, rel=2 * TOL)


def test_joint_optimum_lies_between_the_tasks_own():
    X, Y = random_data(6, 2, 2)
    own = [cr.solve(cr.TrainingProblem(X, y, 0.2), tol=TOL).objective for y in Y.T]
    joint = cr.solve(cr.TrainingProblem(X, Y, 0.2), tol=TOL).objective
    assert max(own) * (1 - TOL) <= joint <= sum(own) * (1 + TOL)


def test_a_task_of_zeros_changes_nothing():
    X, Y = random_data(8, 2, 1)
    value = cr.solve(cr.TrainingProblem(X, Y, 0.2), tol=TOL).objective
    problem = cr.TrainingProblem(X, np.hstack([Y, np.zeros_like(Y)]), 0.2)
    assert task_basis(problem).shape == (2, 1)
    result = cr.solve(problem, tol=TOL)
    check_optimal(result, problem, TOL)
    assert result.objective == pytest.approx(value, rel=2 * TOL)


def test_sample_weights_repeat_samples():
    X, Y = random_data(6, 2, 2)
    doubled = cr.TrainingProblem(np.vstack([X, X[:2]]), np.vstack([Y, Y[:2]]), 0.2)
    weighted = cr.TrainingProblem(X, Y, 0.2, sample_weight=[2, 2, 1, 1, 1, 1])
    values = [cr.solve(problem, tol=TOL).objective for problem in (doubled, weighted)]
    assert values[0] == pytest.approx(values[1], rel=2 * TOL)


def test_same_seed_same_network():
    problem = cr.TrainingProblem(*random_data(6, 2, 2), 0.2)
    one, other = cr.solve(problem, tol=1e-4), cr.solve(problem, tol=1e-4)
    assert np.array_equal(one.network.hidden, other.network.hidden)
    assert one.objective == other.objective


def test_warm_start_and_certify():
    problem = cr.TrainingProblem(*random_data(6, 2, 2), 0.2)
    result = cr.solve(problem)
    assert cr.solve(problem, warm_start=result.network).objective == pytest.approx(result.objective, rel=2e-6)
    certificate = cr.certify(problem, result.network)
    assert certificate.scope == "global" and certificate.gap <= 1e-3
    worse = cr.Network(result.network.hidden[:1], result.network.hidden_bias[:1], result.network.output[:1])
    bound = cr.certify(problem, worse).lower_bound
    assert bound <= result.objective and bound >= result.objective * (1 - 2e-3)


def test_large_weight_decay_needs_no_neurons():
    X, Y = random_data(8, 2, 3)
    largest = cr.TrainingProblem(X, Y).max_weight_decay()
    assert cr.solve(cr.TrainingProblem(X, Y, 1.01 * largest)).network.n_neurons == 0
    assert cr.solve(cr.TrainingProblem(X, Y, 0.99 * largest)).network.n_neurons > 0


def test_what_several_tasks_do_not_have_is_refused():
    problem = cr.TrainingProblem(*random_data(6, 4, 2), 0.1)
    with pytest.raises(UnsupportedError, match=r"rank at most 4.*backend='native'"):
        cr.solve(problem, backend="clarabel")
    with pytest.raises(InvalidInputError, match="options"):
        cr.solve(problem, options={"max_iter": 3})


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
@pytest.mark.parametrize("loss", ["squared", "absolute", "softmax"])
def test_generation_by_the_exact_program_agrees_with_the_native_one(loss, bias):
    X, Y = random_data(7, 2, 2, seed=4)
    problem = cr.TrainingProblem(X, np.arange(7) % 3 if loss == "softmax" else Y, 0.3, loss, bias=bias)
    conic = cr.solve(problem, backend="clarabel")
    assert conic.status is cr.Status.OPTIMAL and conic.solution.message != "native"
    assert conic.objective == pytest.approx(cr.solve(problem).objective, rel=1e-6)


def test_interpolation_by_the_exact_program_whose_neurons_rounding_hides():
    # Asked for 1e-10, Clarabel leaves matrices whose neurons cost 4 % more than its dual variable is worth.
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((6, 2)), rng.standard_normal((6, 3))
    problem = cr.TrainingProblem.interpolation(X, Y)
    assert cr.solve(problem, backend="clarabel").status is cr.Status.OPTIMAL


@pytest.mark.parametrize("loss", ["absolute", "quantile", "hinge"])
def test_losses_with_kinks_natively(loss, monkeypatch):
    X, Y = random_data(5, 2, 2)
    Y = np.sign(Y) if loss == "hinge" else Y
    problem = cr.TrainingProblem(X, Y, 0.1, loss)
    listed = cr.solve(problem)
    assert listed.effort["cones"] > 0  # small: the exact program is faster
    monkeypatch.setattr(importlib.import_module("convexrelu.solve"), "FEW_NUMBERS", 0)
    result = cr.solve(problem)
    for one in (listed, result):
        check_optimal(one, problem, TOL)
    assert result.solution.message == "native"
    assert result.objective == pytest.approx(listed.objective, rel=TOL)


def test_two_classes_of_softmax_are_logistic():
    X = random_data(8, 2, 1)[0]
    labels = np.array([0, 1, 0, 0, 1, 1, 1, 0])
    # With centred outputs (a, -a) a neuron costs sqrt(2) |a| and moves the margin by 2 a.
    joint = cr.solve(cr.TrainingProblem(X, labels, 0.2, loss="softmax"), tol=TOL)
    scalar = cr.solve(cr.TrainingProblem(X, labels, 0.2 / np.sqrt(2), loss="logistic"), tol=TOL)
    assert joint.status is cr.Status.OPTIMAL
    assert joint.objective == pytest.approx(scalar.objective, rel=2 * TOL)


def test_three_classes_close_the_gap():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((10, 2)), rng.integers(0, 3, 10), 0.3, loss="softmax")
    check_optimal(cr.solve(problem, tol=1e-5), problem, 1e-5)


def test_the_linear_part_of_saturated_softmax_stays_finite():
    # Three samples, two of them far on the wrong side: the second derivative is nothing, and Newton steps run away.
    labels, hidden = np.eye(2)[[0, 1, 0]], np.array([[40.0, 0.0], [40.0, 0.0], [0.0, 40.0]])
    loss = DataLoss(SoftmaxLoss(), labels, np.ones(3))
    problem = JointProblem(np.ones((3, 1)), 1, 0.1, loss, np.ones((3, 1)), np.zeros((3, 0)))
    beta, F = refit(problem, hidden, np.array([[-100.0, 100.0]]))
    assert np.abs(beta).max() <= 1e3
    np.testing.assert_allclose(loss.gradient(F).sum(axis=0), 0.0, atol=1e-12)
