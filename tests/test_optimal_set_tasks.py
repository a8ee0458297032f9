"""Optimal sets of several tasks: theory C.3 and C.4 against closed forms in the plane, and sets that are not finite."""

import itertools

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from strategies import data, examples, modes, vectors, weight_decays

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.optimal_set import permute, split

TIGHT = 1e-9  # what polished optima and corrected linear programs leave, with room


def optimal_set(problem):
    return cr.solve(problem, tol=1e-5).optimal_set()  # polishing does the rest


@st.composite
def joint_problems(draw, max_n=5, max_d=2, kinds=None, tasks=(2, 3)):
    X = draw(data(max_n, max_d))
    T = draw(st.sampled_from(tasks))
    Y = draw(vectors(len(X) * T)).reshape(len(X), T)
    return cr.TrainingProblem(X, Y, draw(weight_decays()), **(draw(modes()) if kinds is None else kinds))


def some_networks(optimal):
    yield optimal.center()
    yield optimal.minimal_network()
    yield optimal.smallest_network().network
    yield from optimal.sample(2)
    yield from itertools.islice(optimal.vertices(), 5)


@examples(25)
@given(joint_problems(), st.data())
def test_every_network_of_the_set_is_optimal_and_in_its_range(problem, draw):
    result = cr.solve(problem, tol=1e-5)
    optimal = result.optimal_set()
    size = max(problem.loss.value(np.zeros_like(problem.Y), problem.Y, problem.sample_weight), 1e-12)
    points = np.resize(draw.draw(data(max_n=2, max_d=2)), (2, problem.X.shape[1])) / 2
    lower, upper = optimal.prediction_range(points)
    for network in some_networks(optimal):
        assert problem.objective(network) <= result.objective + TIGHT * size
        assert abs(problem.objective(network) - optimal.objective) <= TIGHT * size
        assert optimal.contains(network), optimal.contains(network).reason
        reach = 1e-8 * max(1.0, np.abs(problem.Y).max())
        assert (lower - reach <= network(points)).all() and (network(points) <= upper + reach).all()
    assert result.certificate.lower_bound <= optimal.objective + TIGHT * size
    assert optimal.contains(result.network, tol=0.1), optimal.contains(result.network, tol=0.1).reason


@examples(20)
@given(joint_problems(max_d=2, kinds={"bias": "none"}))
def test_directions_are_those_of_the_plane(problem):
    if problem.X.shape[1] != 2 or np.linalg.matrix_rank(problem.X) < 2:
        return
    optimal = optimal_set(problem)
    N = optimal.optimum.nu
    expected, filled = oracles.planar_maximisers(problem.X, N, problem.weight_decay)
    assert optimal.is_finite is not filled or not expected.size
    if filled:
        assert not optimal.complete and "infinitely many" in optimal.completeness
        return
    found = optimal.directions.neurons @ problem.arrangement.basis.T
    assert len(found) == len(expected)
    for u in expected:
        assert np.linalg.norm(found - u, axis=1).min() <= 1e-7


def test_one_task_as_two_is_one_task():
    # A task that is zero changes nothing.
    angle = 2 * np.pi * np.arange(5) / 5
    X, y = np.column_stack([np.cos(angle), np.sin(angle)]), np.ones(5)
    one = cr.solve(cr.TrainingProblem(X, y, 0.1, bias="none")).optimal_set()
    two = optimal_set(cr.TrainingProblem(X, np.column_stack([0 * y, y]), 0.1, bias="none"))
    assert two.complete and two.is_unique is False and two.dimension == one.dimension
    assert len(list(two.vertices())) == len(list(one.vertices())) == 22
    points = [[1.0, 1.0], [0.3, -0.2]]
    np.testing.assert_allclose([end[:, 1] for end in two.prediction_range(points)], one.prediction_range(points))
    np.testing.assert_allclose([end[:, 0] for end in two.prediction_range(points)], 0.0, atol=1e-12)
    assert two.smallest_network().network.n_neurons == 4
    network = two.center()
    assert two.contains(permute(split(network, 0, [0.5, 0.5]), range(network.n_neurons + 1)[::-1]))
    a, *_, b = two.vertices()
    assert two.path_between(a, b, 6).objective_spread <= 1e-12


def test_ranges_are_those_of_a_linear_program_over_the_directions_of_the_plane():
    # Two tasks on a square, turned to each other: two pairs of opposite neurons share both.
    X = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    Y = np.column_stack([np.ones(4), 2 * np.ones(4)])
    optimal = optimal_set(cr.TrainingProblem(X, Y, 0.1, bias="none"))
    N = optimal.optimum.nu
    U, filled = oracles.planar_maximisers(X, N, 0.1)
    assert optimal.is_finite and optimal.complete and not filled and optimal.dimension == 1
    outputs = np.maximum(U @ X.T, 0) @ N / 0.1
    A = np.einsum("mn,mt->ntm", np.maximum(U @ X.T, 0), outputs).reshape(8, len(U))
    point = np.array([1.0, 0.4])
    features = (np.maximum(U @ point, 0)[:, None] * outputs).T
    lower, upper = optimal.prediction_range(point[None])
    for t in range(2):
        limits = {"A_eq": A, "b_eq": optimal.fit.ravel(), "bounds": (0, None)}
        assert lower[0, t] == pytest.approx(linprog(features[t], **limits).fun, abs=1e-6)
        assert upper[0, t] == pytest.approx(-linprog(-features[t], **limits).fun, abs=1e-6)
    assert (upper - lower > 0.1).all()
    found = optimal.minimize(lambda F: F[0, 1], point[None])
    assert found.value == pytest.approx(lower[0, 1], abs=1e-6)


def test_a_repeated_singular_value_is_not_finite():
    # A linear map with two equal singular values: in the cell that sees all samples every direction is active.
    X = np.array([[2.0, 1.0], [1.0, 2.0]])
    optimal = optimal_set(cr.TrainingProblem(X, X, 0.1, bias="none"))
    assert not optimal.is_finite and not optimal.complete and "infinitely many" in optimal.completeness
    assert "of infinitely many" in repr(optimal)
    assert optimal.is_unique in (False, None)
    assert optimal.contains(optimal.minimal_network())


@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_interpolation_of_two_tasks(bias):
    x, Y = np.arange(4.0)[:, None], np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 2.0]])
    problem = cr.TrainingProblem.interpolation(x, Y, bias=bias)
    optimal = cr.solve(problem).optimal_set()
    for network in some_networks(optimal):
        np.testing.assert_allclose(network(x), Y, atol=1e-9)
        assert problem.objective(network) == pytest.approx(optimal.objective, rel=1e-9)


def test_softmax():
    X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [1.0, 1.0]])
    problem = cr.TrainingProblem(X, [0, 1, 2, 1], 0.2, "softmax", output_bias="none")
    optimal = optimal_set(problem)
    assert optimal.accuracy <= 1e-10 and optimal.contains(optimal.center())
    lower, upper = optimal.prediction_range(X)
    np.testing.assert_allclose(lower, optimal.fit, atol=1e-8)
    np.testing.assert_allclose(upper, optimal.fit, atol=1e-8)


def test_softmax_does_not_determine_a_free_output_bias():
    X = np.array([[0.0], [1.0], [2.0], [3.0]])
    problem = cr.TrainingProblem(X, [0, 1, 1, 0], 0.2, "softmax", output_bias="free")
    optimal = cr.solve(problem).optimal_set()
    assert optimal.is_unique is False and "undetermined" in optimal.reason
    assert np.isinf(optimal.prediction_range(X)).all()
    with pytest.raises(InvalidInputError, match="softmax"):
        optimal.minimize(lambda F: F[0, 0], X)


def test_without_a_list_of_patterns_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr("convexrelu.optimal_set.proof.FEW", 2)
    X, Y = np.arange(5.0)[:, None], np.column_stack([np.ones(5), np.arange(5.0) ** 2])
    optimal = optimal_set(cr.TrainingProblem(X, Y, 0.1))
    assert not optimal.complete and "by listing only" in optimal.completeness
    assert optimal.is_unique in (False, None)
