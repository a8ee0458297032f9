"""Repairs of a network: what they may change, what they gain, and that they never cost anything."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.improvements import RESOLVING, improvements, merged_by_pattern

ELSEWHERE = np.random.default_rng(0).standard_normal((20, 2)) * 3


@examples(60)
@given(problems(), st.data())
def test_each_step_keeps_what_it_says_and_costs_nothing(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    before, objective = network, problem.objective(network)
    elsewhere = ELSEWHERE[:, : problem.X.shape[1]]
    for step in improvements(problem, network, 1e-6):
        scale = 1 + np.abs(before(problem.X)).max()
        if step.changes != "the fit":
            np.testing.assert_allclose(step.network(problem.X), before(problem.X), atol=1e-12 * scale)
        if step.changes == "nothing":
            np.testing.assert_allclose(step.network(elsewhere), before(elsewhere), atol=1e-6 * scale)
        assert step.objective == pytest.approx(problem.objective(step.network), rel=1e-12, abs=1e-300)
        assert step.gain >= 0 and step.objective == pytest.approx(objective - step.gain, rel=1e-9, abs=1e-12)
        before, objective = step.network, step.objective


@examples(20)
@given(problems(weighted=False), st.data())
def test_resolving_reaches_the_optimum_over_the_patterns(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    steps = improvements(problem, network, 1e-8)
    before, after = steps[3].network, steps[4]
    assert after.name == RESOLVING
    A = problem.X if problem.bias == "none" else np.column_stack([problem.X, np.ones(len(problem.X))])
    W = before.hidden if problem.bias == "none" else np.column_stack([before.hidden, before.hidden_bias])
    pre = W @ A.T
    if (np.abs(pre) < 1e-9).any() or not len(W):
        return  # a neuron on a kink belongs to several cells
    value = oracles.convex_value(
        problem.X, problem.Y[:, 0], problem.weight_decay, patterns=np.unique(pre > 0, axis=0), **kinds_of(problem)
    )
    # Not above the optimum over its patterns; merging may have given a pattern up that was worth less.
    assert after.objective <= value * (1 + 1e-6) + 1e-9


def wide():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((12, 2)), rng.standard_normal(12), 0.5)
    network = cr.Network(rng.standard_normal((3, 2)), rng.standard_normal(3), rng.standard_normal((3, 1)))
    return problem, network.balanced()


def gains(problem, network):
    return {step.name.split()[0]: step.gain for step in improvements(problem, network, 1e-6)[:3]}


def test_unbalanced_neurons():
    problem, network = wide()
    spoiled = replace(
        network, hidden=3 * network.hidden, hidden_bias=3 * network.hidden_bias, output=network.output / 3
    )
    squares = np.sum(network.output**2)
    assert gains(problem, spoiled)["rebalancing"] == pytest.approx(0.25 * squares * (9 + 1 / 9 - 2))
    assert gains(problem, network)["rebalancing"] == pytest.approx(0, abs=1e-12)


def test_dead_and_duplicated_neurons():
    problem, network = wide()
    dead = replace(
        network,
        hidden=np.vstack([network.hidden, [[1.0, 0.0]]]),
        hidden_bias=np.append(network.hidden_bias, -10.0),
        output=np.vstack([network.output, [[np.sqrt(101.0)]]]),
    )
    assert gains(problem, dead)["removing"] == pytest.approx(0.5 * 101)
    # Two halves of a neuron, at the same scale of the hidden weights, are unbalanced; balanced, they cost the same.
    double = replace(
        network,
        hidden=np.vstack([network.hidden, network.hidden]),
        hidden_bias=np.tile(network.hidden_bias, 2),
        output=np.vstack([network.output, network.output]) / 2,
    )
    steps = improvements(problem, double, 1e-6)
    assert steps[2].network.n_neurons == 3
    assert steps[2].objective == pytest.approx(problem.objective(network))


def test_neurons_of_one_pattern_become_one():
    problem = cr.TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, 1.0], 0.1, bias="none")
    network = cr.Network([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]], None, [[1.0], [1.0], [-1.0]], bias="none")
    merged = merged_by_pattern(problem, network)
    assert merged.n_neurons == 2  # the signs stay apart
    np.testing.assert_allclose(merged(problem.X), network(problem.X))


def test_several_tasks_merge_along_their_outputs():
    X = np.eye(2)
    problem = cr.TrainingProblem(X, np.ones((2, 2)), 0.1, bias="none")
    network = cr.Network([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]], None, [[1.0, 2.0], [2.0, 4.0], [1.0, 0.0]], bias="none")
    merged = merged_by_pattern(problem, network)
    assert merged.n_neurons == 2
    np.testing.assert_allclose(merged(X), network(X))
    assert problem.objective(merged) < problem.objective(network)


def test_no_neurons_are_fine():
    problem, network = wide()
    assert improvements(problem, network.alive(problem.X - 1000 * np.sign(1.0)), 1e-6)
    empty = cr.Network(np.zeros((0, 2)), None, np.zeros((0, 1)))
    assert [step.gain for step in improvements(problem, empty, 1e-6)] == [0.0] * 6


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_time_limit_cuts_the_last_steps_short(loss):
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((30, 2)), rng.standard_normal(30), 0.1, loss=loss)
    network = cr.Network(rng.standard_normal((5, 2)), rng.standard_normal(5), rng.standard_normal((5, 1)))
    steps = improvements(problem, network, 1e-6, time_limit=1e-9)
    assert [step.finished for step in steps] == [True] * 4 + [False] * (len(steps) - 4)
    objectives = [problem.objective(network), *(step.objective for step in steps)]
    assert max(np.diff(objectives)) <= 1e-12 * objectives[0]
    assert all(step.finished for step in improvements(problem, network, 1e-6))
