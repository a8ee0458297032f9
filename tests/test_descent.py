"""Further training: gradients against differences, and only ever down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LEGAL_MODES, examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.descent import around_kinks, descended, gradients
from convexrelu.stationarity import directional_residual


def rounded(problem, network, radius):
    """Predictions with relu's kinks rounded off, in so many words."""
    pre = problem.X @ network.hidden.T + network.hidden_bias
    active = (pre + np.sqrt(pre**2 + radius**2)) / 2
    return active @ network.output + problem.X @ network.skip + network.output_bias


@pytest.mark.parametrize("radius", [0.0, 0.3])
@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_gradients(loss, radius):
    rng = np.random.default_rng(0)
    Y = np.eye(3)[rng.integers(3, size=9)]
    problem = cr.TrainingProblem(
        rng.standard_normal((9, 2)), Y, 1.0, loss=loss, output_bias="penalized", skip="penalized"
    )
    parts = {
        "hidden": rng.standard_normal((4, 2)),
        "hidden_bias": rng.standard_normal(4),
        "output": rng.standard_normal((4, 3)),
        "skip": rng.standard_normal((2, 3)),
        "output_bias": rng.standard_normal(3),
    }
    step, (F, found) = 1e-6, gradients(problem, cr.Network(**parts), radius)
    np.testing.assert_allclose(F, rounded(problem, cr.Network(**parts), radius), atol=1e-12)
    for name, weights in parts.items():
        for index in np.ndindex(weights.shape):
            values = []
            for sign in (1, -1):
                moved = weights.copy()
                moved[index] += sign * step
                F = rounded(problem, cr.Network(**parts | {name: moved}), radius)
                values.append(problem.loss.value(F, problem.Y, problem.sample_weight))
            # Differences over 1e-6 of values of size ten.
            assert found[name][index] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-7)


@examples(20)
@given(problems(), st.data())
def test_it_never_rises_and_keeps_to_the_parts_of_the_problem(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    further = descended(problem, network, 30)
    assert problem.objective(further) <= problem.objective(network) * (1 + 1e-12)


@pytest.mark.parametrize("kinds", LEGAL_MODES, ids=str)
def test_it_descends(kinds):
    rng = np.random.default_rng(0)
    bias, output_bias, skip = kinds
    problem = cr.TrainingProblem(
        rng.standard_normal((20, 2)), rng.standard_normal(20), 0.1, bias=bias, output_bias=output_bias, skip=skip
    )
    hidden_bias = None if bias == "none" else rng.standard_normal(5)
    network = cr.Network(rng.standard_normal((5, 2)), hidden_bias, rng.standard_normal((5, 1)), bias=bias)
    assert problem.objective(descended(problem, network, 50)) < 0.9 * problem.objective(network)


def test_rounding_kinks_off_goes_on_where_they_stop_gradient_descent():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((20, 3)), rng.standard_normal((20, 3)), 0.3)
    network = cr.Network(rng.standard_normal((10, 3)), rng.standard_normal(10), rng.standard_normal((10, 3)))
    stopped = descended(problem, network, 3000)
    further = around_kinks(problem, stopped, 100)
    assert directional_residual(problem, stopped) > 0.03 > directional_residual(problem, further)
    assert problem.objective(further) < problem.objective(stopped)
