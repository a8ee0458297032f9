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
    """The gated optimum by cvxpy: weights and biases of every gate, the nuclear norm of the weights."""
    X, (n, T) = problem.X, problem.Y.shape
    A = X if problem.bias == "none" else np.column_stack([X, np.ones(n)])
    p = A.shape[1] - (problem.bias == "free")
    W = [cp.Variable((A.shape[1], T)) for _ in range(len(gates))]
    fit = np.zeros((n, T))
    for on, w in zip(gates.active, W, strict=True):
        fit = fit + cp.multiply(on[:, None] * np.ones(T), A @ w)
    if problem.output_bias == "free":
        fit = fit + np.ones((n, 1)) @ cp.Variable((1, T))
    loss = cp.sum(cp.logistic(-cp.multiply(problem.Y, fit))) if problem.loss.name == "logistic" else None
    loss = 0.5 * cp.sum_squares(fit - problem.Y) if loss is None else loss
    cost = sum(cp.normNuc(w[:p]) if T > 1 else cp.norm(w[:p]) for w in W)
    return float(cp.Problem(cp.Minimize(loss + problem.weight_decay * cost)).solve(solver="CLARABEL"))


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("T", [1, 2])
def test_optimum_is_that_of_cvxpy(bias, loss, T):
    rng = np.random.default_rng(0)
    n = 40 if bias == "free" else 9  # so many that the constants of two gates do not separate labels
    X, Y = rng.standard_normal((n, 2)), rng.standard_normal((n, T))
    Y = Y if loss == "squared" else (Y > 0).astype(float)
    for output_bias in ("free",) if bias == "free" else ("none", "free"):
        problem = cr.TrainingProblem(X, Y, 0.1, loss, bias=bias, output_bias=output_bias)
        for patterns in (2,) if bias == "free" or T > 1 else ("enumerate", 5):
            gated = cr.solve(problem, patterns, activation="gated")
            assert gated.status is cr.Status.PATTERN_OPTIMAL
            assert gated.certificate.scope == "gates"
            assert gated.bounds_relu is (patterns == "enumerate")
            assert gated.objective == pytest.approx(gated_value(problem, gated.gates), rel=2e-6)
            relu = gated.to_relu()
            assert problem.objective(relu) <= gated.relu_bound * (1 + 1e-6)
            np.testing.assert_allclose(relu(X), gated.fitted(), atol=1e-7)


@given(data(5, 2), st.sampled_from([1, 2]), st.sampled_from(["none", "penalized"]), st.data())
@examples(10)
def test_all_gates_bound_relu_and_decompose_into_it(X, T, bias, draw):
    Y = draw.draw(vectors(len(X) * T)).reshape(len(X), T)
    problem = cr.TrainingProblem(X, Y, 0.2, bias=bias)
    gated = cr.solve(problem, "enumerate", activation="gated")
    relu = cr.solve(problem)
    network = gated.to_relu()
    slack = 1e-7 * max(relu.objective, 1e-9)
    assert gated.bounds_relu and gated.certificate.lower_bound <= relu.objective + slack
    assert relu.certificate.lower_bound - slack <= problem.objective(network)
    assert problem.objective(network) <= gated.relu_bound * (1 + 1e-6) + slack
    scale = max(np.abs(problem.Y).max(), 1.0)
    np.testing.assert_allclose(network(problem.X), gated.fitted(), atol=1e-7 * scale)


def test_the_split_is_the_cheapest():
    # One sample at 1, bias none: the cone of the gate is the half line, w = -1 splits into u = 0, v = 1.
    problem = cr.TrainingProblem([[1.0]], [-3.0], 1.0, bias="none")
    gated = cr.solve(problem, "enumerate", activation="gated")
    assert gated.objective == pytest.approx(2.5, rel=1e-6)
    assert problem.objective(gated.to_relu()) == pytest.approx(2.5, rel=1e-6)
    # The half line is as wide as a cone can be: |u| + |v| <= 3 |w|.
    assert gated.kappa == pytest.approx([1.0], rel=1e-6)
    assert gated.relu_bound == pytest.approx(2.5 + 2 * 2.0, rel=1e-6)


def test_gates_with_free_biases_meet_any_targets():
    rng = np.random.default_rng(1)
    problem = cr.TrainingProblem(rng.standard_normal((6, 2)), rng.standard_normal(6), 0.1, bias="free")
    gated = cr.solve(problem, "enumerate", activation="gated")
    assert gated.status is cr.Status.PATTERN_OPTIMAL
    assert gated.objective <= problem.negligible and gated.certificate.lower_bound == 0.0
    # As a ReLU network they cost what they cost.
    relu = cr.solve(problem)
    assert relu.certificate.lower_bound <= problem.objective(gated.to_relu()) <= gated.relu_bound * (1 + 1e-6)


def test_a_gate_that_no_neuron_has_is_not_decomposed():
    X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0]
    problem = cr.TrainingProblem(X, y, 0.01)
    gates = cr.Patterns.from_active(X, np.array([[False, True, False]]))
    gated = cr.solve(problem, gates, activation="gated")
    assert gated.status is cr.Status.PATTERN_OPTIMAL and np.isinf(gated.relu_bound)
    with pytest.raises(UnsupportedError, match=r"gate 0 .* no neuron"):
        gated.to_relu()


def test_what_it_does_not_take_is_refused_by_name():
    X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0]
    problem = cr.TrainingProblem(X, y)
    with pytest.raises(InvalidInputError, match=r"patterns='generate'.*patterns=100"):
        cr.solve(problem, activation="gated")
    with pytest.raises(InvalidInputError, match="activation"):
        cr.solve(problem, activation="tanh")
    with pytest.raises(InvalidInputError, match="`callback` is for pattern generation"):
        cr.solve(problem, 3, callback=print, activation="gated")
    with pytest.raises(UnsupportedError, match="interpolation"):
        cr.solve(cr.TrainingProblem.interpolation(X, y), 3, activation="gated")
    with pytest.raises(InvalidInputError, match=r"constant at no cost.*separate labels"):
        labels = cr.TrainingProblem(X, [0, 1, 0], loss="logistic", bias="free")
        cr.solve(labels, "enumerate", activation="gated")


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_columns_of_very_different_size(loss, T):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((10, 3)) * np.array([1e-8, 1e8, 1.0]), rng.standard_normal((10, T))
    problem = cr.TrainingProblem(X, np.sign(Y) if loss == "hinge" else Y, 1e6, loss)
    result = cr.solve(problem, 30, activation="gated")
    assert result.status is cr.Status.PATTERN_OPTIMAL
    # The tiny column is worth nothing: without it, the same.
    without = cr.TrainingProblem(X * np.array([0.0, 1.0, 1.0]), problem.Y, 1e6, loss)
    gates = cr.Patterns.from_active(without.X, result.gates.active)
    same = cr.solve(without, gates, activation="gated")
    assert same.objective == pytest.approx(result.objective, rel=1e-6)


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber"])
def test_targets_that_constants_meet_cost_nothing(loss):
    # Solvers call what is left unbounded.
    rng = np.random.default_rng(5)
    problem = cr.TrainingProblem(rng.standard_normal((10, 2)), rng.standard_normal(10), 0.1, loss, bias="free")
    result = cr.solve(problem, 30, activation="gated")
    assert result.status is cr.Status.PATTERN_OPTIMAL and result.objective < 1e-12
