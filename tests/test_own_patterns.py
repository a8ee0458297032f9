"""The optimum over a network's own patterns by generating directions, against the conic program over them."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.own_patterns import resolved


def pre_activations(problem, network):
    return network.hidden @ problem.X.T + network.hidden_bias[:, None]


@examples(25)
@given(problems(weighted=False), st.data())
def test_against_the_conic_program(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    pre = pre_activations(problem, network)
    found = resolved(problem, network, 1e-7)
    if not len(pre) or (np.abs(pre) < 1e-9).any() or not network.output.all() or (pre > 0).all(axis=1).any():
        return  # a neuron on a kink belongs to several cells; one that is on everywhere is a constant, with a free bias
    patterns = np.unique(pre > 0, axis=0)
    value = oracles.convex_value(
        problem.X, problem.Y[:, 0], problem.weight_decay, patterns=patterns, **kinds_of(problem)
    )
    assert problem.objective(found) == pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
def test_neurons_stay_in_their_cells(bias):
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((15, 2)), rng.standard_normal((15, 3)), 0.3, bias=bias)
    hidden_bias = None if bias == "none" else rng.standard_normal(5)
    network = cr.Network(rng.standard_normal((5, 2)), hidden_bias, rng.standard_normal((5, 3)), bias=bias)
    found = resolved(problem, network, 1e-6)
    own = pre_activations(problem, network) > 0
    for t in pre_activations(problem, found):
        small = 1e-6 * np.abs(t).max()
        assert any(((t > -small) | ~cell).all() and ((t < small) | cell).all() for cell in own)
    assert problem.objective(found) < problem.objective(network)


def test_several_tasks_over_all_patterns_reach_the_optimum():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((8, 2))
    problem = cr.TrainingProblem(X, rng.standard_normal((8, 2)), 0.3, bias="none")
    angles = np.linspace(0, 2 * np.pi, 200)
    everywhere = cr.Network(np.column_stack([np.cos(angles), np.sin(angles)]), None, np.ones((200, 2)), bias="none")
    optimum = cr.solve(problem)
    assert problem.objective(resolved(problem, everywhere, 1e-5)) == pytest.approx(optimum.objective, rel=1e-4)


@examples(15)
@given(problems(max_d=1, weighted=True))
def test_over_all_patterns_it_is_the_global_optimum(problem):
    everything = cr.enumerate_patterns(problem.X, bias=problem.bias).active
    found = resolved(problem, problem.linear_network(), 1e-7, everything)
    optimum = cr.solve(problem, tol=1e-8)
    assert problem.objective(found) == pytest.approx(optimum.objective, rel=1e-6, abs=1e-7)
