"""From a point of the program to a network: pruned and merged as far as the objective allows, no further."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.recovery import network_of, program_value
from convexrelu.result import Solution

TOL = 1e-6


def solution_of(problem, network):
    """The point of the program that a network stands for."""
    network = network.balanced()
    size = np.abs(network.output[:, 0])
    U = problem.arrangement.from_weights(network.hidden, network.hidden_bias) * size[:, None]
    empty = Solution.empty(problem, "")
    return replace(empty, neurons=U, outputs=np.sign(network.output))


@examples(60)
@given(st.data())
def test_the_way_there_and_back(draw):
    problem = draw.draw(problems(max_n=5))
    kinds = kinds_of(problem)
    network = draw.draw(networks(problem.X.shape[1], 4, bias=kinds["bias"]))
    network = network.balanced()
    network = replace(network, output_bias=np.zeros(1))  # what constant neurons with a free bias left there
    solution = solution_of(problem, network)
    value = program_value(problem, solution)
    # The rank reduction may shorten neurons; nothing else changes.
    assert value <= problem.objective(network) * (1 + 1e-12)
    back = network_of(problem, solution, TOL)
    assert problem.objective(back) <= value * (1 + 0.01 * TOL + 1e-12)
    assert back.n_neurons <= network.n_neurons


@pytest.fixture
def problem():
    return cr.TrainingProblem([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [1.0, 0.0, 3.0], 0.1, bias="none")


def test_what_solvers_leave_where_zeros_belong_is_dropped(problem):
    noise = 1e-9 * np.random.default_rng(0).standard_normal((20, 2))
    solution = Solution.empty(problem, "")
    solution = replace(solution, neurons=np.vstack([[[1.0, 1.0]], noise]), outputs=np.ones((21, 1)))
    assert network_of(problem, solution, TOL).n_neurons == 1


def test_small_neurons_that_matter_are_kept():
    # The second neuron is 1e-5 of the first, but it sees a sample of size 1e5.
    problem = cr.TrainingProblem([[1.0, 0.0], [0.0, 1e5]], [1.0, 1.0], 1e-7, bias="none")
    neurons = np.array([[1.0, 0.0], [0.0, 1e-5]])
    solution = replace(Solution.empty(problem, ""), neurons=neurons, outputs=np.ones((2, 1)))
    network = network_of(problem, solution, TOL)
    assert network.n_neurons == 2
    assert problem.objective(network) <= program_value(problem, solution) * (1 + 0.01 * TOL)


def test_copies_in_neighbouring_cones_are_merged(problem):
    neurons = np.array([[0.5, 0.5], [0.5, 0.5 + 1e-9], [0.1, -1.0]])
    solution = replace(Solution.empty(problem, ""), neurons=neurons, outputs=np.ones((3, 1)))
    assert network_of(problem, solution, TOL).n_neurons == 2


def test_the_empty_network_is_a_candidate(problem):
    above = problem.with_weight_decay(100.0)
    noise = 1e-12 * np.random.default_rng(0).standard_normal((5, 2))
    solution = replace(Solution.empty(above, ""), neurons=noise, outputs=np.ones((5, 1)))
    network = network_of(above, solution, TOL)
    assert network.n_neurons == 0 and above.objective(network) == 5.0


def test_nothing_gives_the_best_linear_network():
    X, y = np.array([[0.0], [1.0], [2.0], [4.0]]), np.array([1.0, 3.0, 4.0, 9.0])
    problem = cr.TrainingProblem(X, y, 0.5, skip="free", output_bias="penalized")
    network = network_of(problem, Solution.empty(problem, ""), TOL)
    assert network.n_neurons == 0
    # The normal equations by hand: slope and constant, a ridge of 0.5 on the constant.
    A = np.column_stack([X, np.ones(4)])
    expected = np.linalg.solve(A.T @ A + np.diag([0.0, 0.5]), A.T @ y)
    np.testing.assert_allclose([network.skip[0, 0], network.output_bias[0]], expected, rtol=1e-12)


def test_interpolating_networks_meet_their_targets():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    for kinds in ({}, {"bias": "free"}, {"bias": "free", "skip": "free"}, {"output_bias": "penalized"}):
        problem = cr.TrainingProblem.interpolation(X, y, **kinds)
        network = cr.solve(problem, patterns="enumerate", backend="clarabel").network
        # Moved onto the targets: far below the 1e-9 that counts as interpolating.
        assert np.abs(network(X)[:, 0] - y).max() <= 1e-12 * np.abs(y).max()
