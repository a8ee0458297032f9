"""Gated networks: their optimum against cvxpy, what they bound, and the ReLU networks they decompose into."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError


def gated_value(problem, gates):
    """The gated optimum by cvxpy."""
    n, Z = len(problem.X), problem.arrangement.Z
    W = [cp.Variable(Z.shape[1]) for _ in range(len(gates))]
    fit = sum((cp.multiply(gates.active[i].astype(float), Z @ w) for i, w in enumerate(W)), np.zeros(n))
    if problem.output_bias == "free":
        fit = fit + cp.Variable()
    y = problem.Y[:, 0]
    logistic = problem.loss.name == "logistic"
    loss = cp.sum(cp.logistic(-cp.multiply(y, fit))) if logistic else 0.5 * cp.sum_squares(fit - y)
    cost = sum(cp.norm(w) for w in W)
    return float(cp.Problem(cp.Minimize(loss + problem.weight_decay * cost)).solve(solver="CLARABEL"))


@pytest.mark.parametrize("bias", ["none", "penalized"])
@pytest.mark.parametrize("output_bias", ["none", "free"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_optimum_is_that_of_cvxpy(bias, output_bias, loss):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 2)), rng.standard_normal(8)
    y = y if loss == "squared" else (y > 0).astype(float)
    problem = cr.TrainingProblem(X, y, 0.1, loss, bias=bias, output_bias=output_bias)
    for patterns in ("enumerate", 5):
        gated = cr.solve_gated(problem, patterns)
        assert gated.status is cr.Status.PATTERN_OPTIMAL
        assert gated.certificate.scope == "gates"
        assert gated.bounds_relu is (patterns == "enumerate")
        assert gated.objective == pytest.approx(gated_value(problem, gated.gates), rel=2e-6)
    assert len(gated.gates) == 5


@given(data(5, 2), st.data())
@examples(10)
def test_all_gates_bound_relu_and_decompose_into_it(X, draw):
    problem = cr.TrainingProblem(X, draw.draw(vectors(len(X))), 0.2, bias="penalized")
    gated = cr.solve_gated(problem, "enumerate")
    relu = cr.solve(problem)
    network = gated.to_relu()
    slack = 1e-7 * max(relu.objective, 1e-9)
    assert gated.bounds_relu and gated.certificate.lower_bound <= relu.objective + slack
    assert problem.objective(network) >= relu.certificate.lower_bound - slack
    scale = max(np.abs(problem.Y).max(), 1.0)
    assert np.abs(network(problem.X) - gated.fitted()).max() <= 1e-3 * scale  # root of what pruning may cost


def test_the_split_is_the_cheapest():
    # One sample at 1, bias none: the cone of the gate is the half line, w = -1 splits into u = 0, v = 1.
    problem = cr.TrainingProblem([[1.0]], [-3.0], 1.0, bias="none")
    gated = cr.solve_gated(problem, "enumerate")
    assert gated.objective == pytest.approx(2.5, rel=1e-6)
    assert problem.objective(gated.to_relu()) == pytest.approx(2.5, rel=1e-6)


def test_what_it_does_not_take_is_refused_by_name():
    X = [[0.0], [1.0], [2.0]]
    with pytest.raises(InvalidInputError, match="patterns"):
        cr.solve_gated(cr.TrainingProblem(X, [0.0, 1.0, 0.0]), "generate")
    with pytest.raises(UnsupportedError, match="several tasks"):
        cr.solve_gated(cr.TrainingProblem(X, np.eye(3)))
    with pytest.raises(UnsupportedError, match="free hidden biases"):
        cr.solve_gated(cr.TrainingProblem(X, [0.0, 1.0, 0.0], bias="free"))
    with pytest.raises(UnsupportedError, match="interpolation"):
        cr.solve_gated(cr.TrainingProblem.interpolation(X, [0.0, 1.0, 0.0]))
