"""The best lengths of given neurons: the conditions of an optimum, and nothing better in sight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, modes, vectors

from convexrelu.losses import get_loss
from convexrelu.native.bridge import reduced_problem
from convexrelu.native.lengths import with_best_lengths
from convexrelu.native.reduced import Iterate, evaluate
from convexrelu.problem import TrainingProblem
from convexrelu.solve import solve


@st.composite
def networks(draw, loss="squared"):
    """A reduced problem and some of its neurons, of both signs, duplicates among them."""
    X, mode = draw(data(max_n=6)), draw(modes())
    y = draw(vectors(len(X)))
    problem = TrainingProblem(X, y, draw(st.sampled_from([0.03, 0.5, 3.0])), loss, **mode)
    reduced = reduced_problem(problem)
    m, k = draw(st.integers(1, 8)), reduced.Z.shape[1]
    neurons = np.array([draw(vectors(k, size=2)) for _ in range(m)])
    neurons[-1] = neurons[0]
    signs = np.array(draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=m, max_size=m)))
    return reduced, Iterate.of(reduced, neurons, signs)


@examples(60)
@given(networks())
def test_conditions_of_the_optimum(drawn):
    problem, iterate = drawn
    state = evaluate(problem, with_best_lengths(problem, iterate, np.ones(len(iterate.neurons))))
    activations = iterate.signs[:, None] * np.maximum(iterate.neurons @ problem.Z.T, 0)
    slack = problem.weight_decay * problem.costs(iterate.neurons) - activations @ state.nu
    size = np.abs(activations).sum(axis=1) * np.abs(problem.loss.Y).max(initial=1.0) + problem.weight_decay
    # No neuron would gain by growing; by homogeneity those that are there do not gain by any change of length.
    assert (slack >= -1e-6 * size).all()
    kept = state.iterate
    own = kept.signs[:, None] * np.maximum(kept.neurons @ problem.Z.T, 0)
    assert own @ state.nu == pytest.approx(problem.weight_decay * problem.costs(kept.neurons), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["huber", "squared_hinge", "logistic"])
def test_other_losses_are_lowered_to_the_optimum(name):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    y = np.sign(X[:, 0] + 0.3) if get_loss(name).is_classification else 3 * X[:, 0] + rng.standard_normal(30)
    problem = reduced_problem(TrainingProblem(X, y, 0.5, name, output_bias="free"))
    iterate = Iterate.of(problem, rng.standard_normal((12, problem.Z.shape[1])), np.sign(rng.standard_normal(12)))
    best = evaluate(problem, with_best_lengths(problem, iterate, np.zeros(12)))
    assert 0 < len(best.iterate.neurons) < 12
    for _ in range(200):
        scale = np.exp(0.1 * rng.standard_normal(len(best.iterate.neurons)))[:, None]
        other = Iterate.of(problem, scale * best.iterate.neurons, best.iterate.signs)
        assert evaluate(problem, other).objective > best.objective * (1 - 1e-9)


def test_lengths_of_nearly_linear_neurons_have_a_factor():
    # Sample weights of 1e-4 and 1e7: what the linear part leaves of the neurons is rounding next to what they are.
    X = np.array([[0.0, -165978000.0], [0.0, 123293000.0], [1.0, 121190000.0]])
    options = {"bias": "none", "skip": "penalized", "output_bias": "free", "sample_weight": [1e-4, 1e-3, 1e7]}
    certificate = solve(TrainingProblem(X, [130.0, -64.0, -25.0], 1.0, **options)).certificate
    assert certificate.lower_bound <= certificate.objective
    assert certificate.gap < 1e-4
