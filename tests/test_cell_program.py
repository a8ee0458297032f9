"""The interior point method over given cells against a conic solver on the same program."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.native.bridge import reduced_problem
from convexrelu.native.cell_program import _bits, _Cells, _State, in_cells, minimise_in_cells
from convexrelu.native.proximal import ProximalLoss
from convexrelu.native.reduced import Iterate, evaluate

BIASES = ["none", "penalized", "free"]
LOSSES = {
    "squared": lambda f, y: 0.5 * cp.sum_squares(f - y),
    "absolute": lambda f, y: cp.norm1(f - y),
    "huber": lambda f, y: 0.5 * cp.sum(cp.huber(f - y, 1)),
    "hinge": lambda f, y: cp.sum(cp.pos(1 - cp.multiply(y, f))),
    "squared_hinge": lambda f, y: 0.5 * cp.sum_squares(cp.pos(1 - cp.multiply(y, f))),
}


def program_value(problem, iterate):
    """Optimal value of the finite convex program over the cells of an iterate."""
    Z, p, lam, y = problem.Z, problem.n_penalized, problem.weight_decay, problem.loss.Y[:, 0]
    bits = iterate.neurons @ Z.T > 0
    U = [cp.Variable(Z.shape[1]) for _ in bits]
    beta = cp.Variable(max(problem.linear.shape[1], 1))
    f = sum(s * cp.multiply(D, Z @ u) for s, D, u in zip(iterate.signs, bits, U, strict=True))
    if problem.linear.shape[1]:
        f = f + problem.linear @ beta
    cost = lam * sum(cp.norm(u[:p]) for u in U) + LOSSES[problem.loss.loss.name](f, y)
    cost = cost + 0.5 * problem.ridge @ cp.square(beta) if len(problem.ridge) else cost
    cones = [cp.multiply(np.where(D, 1.0, -1.0), Z @ u) >= 0 for D, u in zip(bits, U, strict=True)]
    return cp.Problem(cp.Minimize(cost), cones).solve(solver=cp.CLARABEL)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("seed", range(2))
def test_it_solves_the_program_over_its_cells(bias, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    problem = reduced_problem(cr.TrainingProblem(X, y, bias=bias, weight_decay=0.1))
    neurons = rng.standard_normal((8, problem.Z.shape[1]))
    iterate = Iterate.of(problem, neurons, rng.choice([-1.0, 1.0], 8))
    reached = evaluate(problem, minimise_in_cells(problem, iterate, tol=1e-9, first_gap=0.1, max_steps=60))
    assert reached.objective == pytest.approx(program_value(problem, iterate), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_whose_curvature_jumps(name):
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((12, 2)), rng.standard_normal(12)
    y = np.sign(y) if "hinge" in name else 2 * y
    problem = reduced_problem(cr.TrainingProblem(X, y, loss=name, weight_decay=0.1))
    iterate = Iterate.of(problem, rng.standard_normal((8, 3)), rng.choice([-1.0, 1.0], 8))
    reached = evaluate(problem, minimise_in_cells(problem, iterate, tol=1e-9, first_gap=0.1, max_steps=60))
    assert reached.objective == pytest.approx(program_value(problem, iterate), rel=1e-6)


def test_neurons_on_opposite_kinks_get_cells_with_interiors():
    # Rows 1 and 2 are opposite: no neuron is strictly on, or off, both, whatever its slopes there say.
    problem = reduced_problem(cr.TrainingProblem([[1.0, 2.0], [-2.0, -2.0], [2.0, 2.0]], [3.0, -1.0, 2.0], bias="none"))
    neuron = problem.Z[1] @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    for slopes in np.ndindex(2, 2):
        iterate = Iterate(neuron[None], np.ones(1), np.array([[0.0, *slopes]]), np.zeros(0))
        bits = _bits(problem, iterate)[0]
        assert bits[1] != bits[2]
        assert slopes[0] == slopes[1] or bits[1] == slopes[0]


def test_a_start_near_the_boundary_is_left():
    # From here steps with little room ran away to 3e13.
    X, y = [[1.0, 2.0], [-2.0, -2.0], [2.0, 2.0], [-1.0, -1.0]], [3.0, -1.0, -2.0, 2.0]
    training = cr.TrainingProblem(X, y, 0.105438, "absolute", bias="none", skip="penalized")
    problem = reduced_problem(training, ProximalLoss(training.loss, np.zeros((4, 1)), 0.15))
    neurons, on = np.array([[2.90632268, -1.45316134], [-1.57778371, 1.57851567]]), [1.0, 0.0, 1.0, 0.0]
    iterate = Iterate(neurons, np.array([-1.0, 1.0]), np.array([on, on]), np.zeros(2))
    reached = evaluate(problem, minimise_in_cells(problem, iterate, tol=1e-6, first_gap=0.01))
    assert reached.objective <= evaluate(problem, iterate).objective


@given(data(6, 2), vectors(6), st.sampled_from(BIASES))
@examples(25)
def test_it_is_never_far_above_its_start(X, y, bias):
    y = y[: len(X)]
    if not y.any():
        return
    training = cr.TrainingProblem(X, y, bias=bias, weight_decay=1.0)
    lam = training.max_weight_decay()
    if lam <= 1e-9:
        return
    problem = reduced_problem(cr.TrainingProblem(X, y, bias=bias, weight_decay=0.1 * lam))
    neurons = np.random.default_rng(0).standard_normal((6, problem.Z.shape[1]))
    iterate = in_cells(problem, Iterate.of(problem, neurons, np.array([1.0, -1.0] * 3)))
    before = evaluate(problem, iterate).objective
    after = evaluate(problem, minimise_in_cells(problem, iterate, tol=1e-6, first_gap=0.1))
    assert after.objective <= before + 1e-5 * abs(before)


def test_neurons_of_one_cell_are_added_up():
    problem = reduced_problem(cr.TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], bias="none", weight_decay=0.1))
    pre = np.array([[1.0, 2.0], [3.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    neurons = np.linalg.solve(problem.Z, pre.T).T
    joined = in_cells(problem, Iterate.of(problem, neurons, np.array([1.0, 1.0, 1.0, -1.0])))
    assert sorted(map(tuple, np.round(joined.neurons @ problem.Z.T, 9))) == [(1.0, -1.0), (1.0, 1.0), (4.0, 3.0)]


def test_a_stop_at_rounding_is_the_end(monkeypatch):
    # Steps end where rounding lets them go no further, far nearer than the start: to begin anew gains nothing.
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    problem = reduced_problem(cr.TrainingProblem(X, y, bias="none", weight_decay=0.1))
    iterate = Iterate.of(problem, rng.standard_normal((20, 4)), rng.choice([-1.0, 1.0], 20))
    starts = []
    begin = _Cells.start
    monkeypatch.setattr(_Cells, "start", lambda cells, *args: starts.append(args) or begin(cells, *args))
    reached = evaluate(problem, minimise_in_cells(problem, iterate, tol=1e-30, first_gap=0.1))
    assert len(starts) == 1
    assert reached.objective == pytest.approx(program_value(problem, iterate), rel=1e-6)


def test_steps_in_single_precision_differ_little():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4)), rng.standard_normal(30)
    problem = reduced_problem(cr.TrainingProblem(X, y, bias="none", skip="free", weight_decay=0.1))
    iterate = in_cells(problem, Iterate.of(problem, rng.standard_normal((20, 4)), rng.choice([-1.0, 1.0], 20)))
    cells = _Cells.of(problem, iterate)
    point = cells.start(iterate, 0.1)
    exact, near = (_State.of(cells, point, single).step() for single in (False, True))
    assert not np.array_equal(near.u, exact.u)
    np.testing.assert_allclose(near.u, exact.u, rtol=1e-4, atol=1e-4 * np.abs(exact.u).max())
    np.testing.assert_allclose(near.rho, exact.rho, rtol=1e-3, atol=1e-4 * exact.rho.max())
