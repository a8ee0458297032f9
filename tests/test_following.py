"""Following optima: from any optimum to one nearby, the certified objective is that of a solve from scratch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.following import Follower, state_of
from convexrelu.optimal_set.sliding import independent, joined, objective, predicted, slide

TOL = 1e-6
EXACT = 1e-9  # what Newton's method leaves, with room for the condition of the equations


def problem_of(loss="squared", n=15, d=2, seed=3, **kinds):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = X[:, 0] * X[:, -1] + 0.3 * rng.standard_normal(n)
    return cr.TrainingProblem(X, np.sign(y) if loss in ("logistic", "squared_hinge") else y, 1.0, loss, **kinds)


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
@pytest.mark.parametrize("kinds", [{}, {"bias": "free"}, {"bias": "none", "skip": "penalized"}], ids=str)
def test_weight_decays_are_followed_over_events(loss, kinds):
    problem = problem_of(loss, **kinds)
    largest = problem.max_weight_decay()
    follower = Follower(TOL, 0, None)
    for share in (0.5, 0.2, 0.1):
        result = follower.solve(problem.with_weight_decay(share * largest))
        assert result.status is cr.Status.OPTIMAL
        cold = cr.solve(result.problem)
        assert result.objective == pytest.approx(cold.objective, rel=2 * TOL)
    assert result.solution.message == "followed"


def test_a_sample_left_out_is_followed():
    problem = problem_of()
    follower = Follower(TOL, 0, None)
    follower.start(cr.solve(problem, patterns="enumerate"))
    weight = np.ones(15)
    weight[4] = 0.0
    result = follower.solve(cr.TrainingProblem(problem.X, problem.Y, 1.0, sample_weight=weight))
    keep = weight > 0
    cold = cr.solve(cr.TrainingProblem(problem.X[keep], problem.Y[keep], 1.0), patterns="enumerate")
    assert result.solution.message == "followed"
    assert result.objective == pytest.approx(cold.objective, rel=2 * TOL)
    np.testing.assert_allclose(result.network(problem.X), cold.network(problem.X), atol=1e-4)


@examples(10)
@given(st.data())
def test_followed_optima_of_small_integer_data_are_optimal(draw):
    X = draw.draw(data(max_n=5))
    problem = cr.TrainingProblem(X, draw.draw(vectors(len(X))), 1.0)
    follower = Follower(TOL, 0, None)
    for decay in (2.0, 0.5):
        result = follower.solve(problem.with_weight_decay(decay))
        cold = cr.solve(result.problem, patterns="enumerate")
        assert result.objective == pytest.approx(cold.objective, rel=2 * TOL, abs=1e-9)


def test_sliding_lowers_the_objective_to_a_stationary_network():
    state = state_of(cr.solve(problem_of(), patterns="enumerate"))
    moved = predicted(state, state.problem.with_weight_decay(0.6))
    found = slide(moved, EXACT)
    assert found.error <= EXACT and objective(found) <= objective(moved)
    # Pushed off its cells it comes back: there the optimum is the only stationary network.
    pushed = replace(found, z=found.z * (1 + 0.01 * np.cos(np.arange(found.z.size))))
    assert objective(slide(pushed, EXACT)) == pytest.approx(objective(found), rel=1e-12)


def test_dependent_neurons_are_traded_away():
    state = state_of(cr.solve(problem_of(), patterns="enumerate"))
    u, signs = 0.5 * state.neurons[:1], state.signs[:1]
    double = joined(replace(state, z=np.where(state.owner == 0, 0.5 * state.z, state.z)), u, signs)
    fewer = independent(double)
    assert len(fewer.faces) == len(state.faces)
    np.testing.assert_allclose(fewer.fit, state.fit, atol=1e-9)
    assert independent(state) is state
