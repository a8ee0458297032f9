"""Sensitivities against finite differences of problems solved again, and the conditions they need."""

import numpy as np
import pytest
from strategies import kinds_of

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError

STEP = 1e-5
ERROR = 1e-6  # of central differences with that step, for data of size one


def random_problem(seed, loss="squared"):
    rng = np.random.default_rng(seed)
    bias, skip = ("none", "penalized", "free")[seed % 3], ("none", "free", "penalized")[seed // 3 % 3]
    X, y, weight = rng.standard_normal((7, 2)), rng.standard_normal(7), rng.uniform(0.5, 2, 7)
    if loss in ("logistic", "squared_hinge"):
        # A free skip separates so few samples.
        y, skip = np.sign(y), "none" if skip == "free" else skip
    return cr.TrainingProblem(X, y, 0.1, loss, bias=bias, skip=skip, sample_weight=weight)


def solved(problem, *, decay=0.0, target=0.0, weight=0.0):
    """Fit and optimal value after a change of the weight decay, of target 2 and of sample weight 2."""
    third = np.eye(len(problem.X))[2]
    Y, w = problem.Y + target * third[:, None], problem.sample_weight + weight * third
    moved = cr.TrainingProblem(
        problem.X, Y, problem.weight_decay + decay, problem.loss, sample_weight=w, **kinds_of(problem)
    )
    optimal = cr.solve(moved, patterns="enumerate").optimal_set()
    return optimal.fit, optimal.objective


def difference(problem, name):
    ends = [solved(problem, **{name: sign * STEP}) for sign in (1, -1)]
    return (ends[0][0] - ends[1][0]) / (2 * STEP), (ends[0][1] - ends[1][1]) / (2 * STEP)


@pytest.mark.parametrize("seed", range(9))
def test_derivatives_are_those_of_finite_differences(seed):
    problem = random_problem(seed)
    s = cr.sensitivity(cr.solve(problem, patterns="enumerate"))
    assert s.complete
    for name, fit, objective in (
        ("decay", s.fit_by_weight_decay, s.objective_by_weight_decay),
        ("target", s.fit_by_targets[:, 2], s.objective_by_targets[2]),
        ("weight", s.fit_by_sample_weight[:, 2], s.objective_by_sample_weight[2]),
    ):
        expected = difference(problem, name)
        np.testing.assert_allclose(fit, expected[0], atol=ERROR)
        assert objective == pytest.approx(expected[1], abs=ERROR)


@pytest.mark.parametrize("loss", ["logistic", "huber", "squared_hinge"])
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_derivatives_of_other_losses_are_those_of_finite_differences(loss, seed):
    problem = random_problem(seed, loss)
    s = cr.sensitivity(cr.solve(problem, patterns="enumerate"))
    names = [
        ("decay", s.fit_by_weight_decay, s.objective_by_weight_decay),
        ("weight", s.fit_by_sample_weight[:, 2], s.objective_by_sample_weight[2]),
    ]
    if loss == "huber":  # labels cannot be moved a little
        names.append(("target", s.fit_by_targets[:, 2], s.objective_by_targets[2]))
    for name, fit, objective in names:
        expected = difference(problem, name)
        np.testing.assert_allclose(fit, expected[0], atol=ERROR)
        assert objective == pytest.approx(expected[1], abs=ERROR)


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_leaving_out_a_sample_is_predicted_to_first_order(loss):
    # With little sample weight leaving out is a small change: the error is the square of it.
    problem = random_problem(1, loss)
    weight = problem.sample_weight.copy()
    weight[4] = 1e-3
    small = cr.TrainingProblem(problem.X, problem.Y, 0.1, problem.loss, sample_weight=weight, **kinds_of(problem))
    s = cr.sensitivity(cr.solve(small, patterns="enumerate"))
    weight[4] = 0.0
    left = cr.TrainingProblem(problem.X, problem.Y, 0.1, problem.loss, sample_weight=weight, **kinds_of(problem))
    truth = cr.solve(left, patterns="enumerate").optimal_set().minimal_network()(problem.X[4:5])[0, 0]
    fit = cr.solve(small, patterns="enumerate").optimal_set().fit[4]
    assert abs(s.leave_one_out[4] - truth) <= 0.02 * abs(fit - truth) + 1e-7


def test_what_is_not_differentiable_is_said():
    X, y = [[0.0], [1.0], [3.0]], [0.0, 1.0, 0.5]
    with pytest.raises(UnsupportedError, match=r"'absolute'.*'huber'"):
        cr.sensitivity(cr.solve(cr.TrainingProblem(X, y, 0.1, loss="absolute")))
    with pytest.raises(InvalidInputError, match="must be a Result, got str"):
        cr.sensitivity("result")
    with pytest.raises(UnsupportedError, match="2 tasks"):
        cr.sensitivity(cr.solve(cr.TrainingProblem(X, np.column_stack([y, y]), 0.1)))


def test_a_prediction_at_a_joint_of_the_loss_is_a_failure():
    # The optimum predicts 0.75: the first sample pays 0.25 for it, the second, at the end of its parabola, 1.
    problem = cr.TrainingProblem([[1.0], [1.0]], [1.0, 1.75], 1.25, "huber", bias="none")
    s = cr.sensitivity(cr.solve(problem, patterns="enumerate"))
    assert any("straight line" in failure for failure in s.failures)


def test_generic_problems_meet_the_conditions():
    held = [not cr.sensitivity(cr.solve(random_problem(seed), patterns="enumerate")).failures for seed in range(9)]
    assert sum(held) >= 5


def test_degrees_of_freedom_count_the_free_columns_of_a_network_without_neurons():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((8, 2)), rng.standard_normal(8), 100.0, skip="free")
    s = cr.sensitivity(cr.solve(problem))
    assert s.degrees_of_freedom == pytest.approx(3.0, abs=1e-10) and s.failures == ()
    # Without neurons this is linear regression, where the formula for leaving one out is exact.
    A = np.column_stack([problem.X, np.ones(8)])
    keep = np.arange(8) != 3
    left = np.linalg.lstsq(A[keep], problem.Y[keep, 0], rcond=None)[0]
    assert s.leave_one_out[3] == pytest.approx(A[3] @ left, abs=1e-9)


def test_a_neuron_about_to_appear_is_a_failure():
    # At weight decay 1 the neuron relu(x) earns exactly what it costs.
    s = cr.sensitivity(cr.solve(cr.TrainingProblem([[1.0]], [1.0], 1.0, bias="none"), patterns="enumerate"))
    assert any("about to appear" in failure for failure in s.failures)


def test_sets_of_many_optima_are_said():
    angle = 2 * np.pi * np.arange(5) / 5
    problem = cr.TrainingProblem(np.column_stack([np.cos(angle), np.sin(angle)]), np.ones(5), 0.1, bias="none")
    s = cr.sensitivity(cr.solve(problem))
    assert any("not unique" in failure for failure in s.failures)
    assert s.objective_by_weight_decay == pytest.approx(difference(problem, "decay")[1], abs=ERROR)


def test_interpolation_has_none():
    problem = cr.TrainingProblem.interpolation([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(UnsupportedError, match="interpolation"):
        cr.sensitivity(cr.solve(problem))


def test_leaving_out_is_right_where_neurons_keep_their_cells():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 2))
    y = np.abs(X[:, 0]) + 0.3 * rng.standard_normal(24)
    result = cr.solve(cr.TrainingProblem(X, y, 1.0), tol=1e-9)
    s = cr.sensitivity(result)
    rest = [np.arange(24) != i for i in range(24)]
    truth = [cr.solve(cr.TrainingProblem(X[keep], y[keep], 1.0), tol=1e-8).network(X[~keep])[0, 0] for keep in rest]
    error, kept = np.abs(truth - s.leave_one_out), s.leave_one_out_in_cells
    assert 3 < kept.sum() < 21
    assert error[kept].max() < 5e-3 < 0.02 < error[~kept].max()
