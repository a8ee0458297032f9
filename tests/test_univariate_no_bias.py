"""One input without biases: two slopes in closed form, against `solve`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.losses import HuberLoss, QuantileLoss

LABELS = ("logistic", "hinge", "squared_hinge")
LOSSES = ("squared", "absolute", HuberLoss(0.7), QuantileLoss(0.8), *LABELS)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@examples(25)
@given(st.integers(1, 7), st.data(), weight_decays())
def test_is_the_optimum_of_the_training_problem(loss, n, data, lam):
    x, y, weight = data.draw(vectors(n, 3)), data.draw(vectors(n, 2)), np.abs(data.draw(vectors(n, 3))) / 2
    weight[0] = 1.0
    y = np.where(y > 0, 1.0, -1.0) if loss in LABELS else y
    problem = cr.TrainingProblem(x[:, None], y, lam, loss, bias="none", sample_weight=weight)
    result = uv.fit(x, y, lam, loss, bias="none", skip="none", sample_weight=weight)
    assert result.status is cr.Status.OPTIMAL
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-12, abs=1e-13)
    assert np.allclose(result.network(x[:, None]), result.spline(x))
    # By trust in nothing of this module: the dual variable's own correlations, and weak duality.
    nu = result.certificate.dual[:, 0]
    seen = max(abs(np.maximum(x, 0) @ nu), abs(np.maximum(-x, 0) @ nu))
    assert seen <= lam * (1 + 1e-14)
    # The norm that is reported is this one, rounding added.
    assert seen * (1 - 1e-14) <= result.certificate.dual_norm <= min(lam, seen + 1e-12 * (1 + np.abs(x) @ np.abs(nu)))
    assert problem.dual_value(nu) >= result.certificate.lower_bound


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_agrees_with_solve(loss):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(30), rng.standard_normal(30)
    y = np.sign(y) if loss in LABELS else y
    problem = cr.TrainingProblem(x[:, None], y, 0.5, loss, bias="none")
    result = uv.fit(x, y, 0.5, loss, bias="none", skip="none")
    assert result.objective == pytest.approx(cr.solve(problem).objective, rel=1e-6)


def test_several_tasks_shrink_together():
    x, Y = np.array([1.0, 2.0, -1.0]), np.array([[1.0, 0.0], [2.0, 4.0], [0.0, 3.0]])
    result = uv.fit(x, Y, 0.5, bias="none", skip="none")
    assert result.status is cr.Status.OPTIMAL
    problem = cr.TrainingProblem(x[:, None], Y, 0.5, bias="none")
    assert result.objective == pytest.approx(cr.solve(problem).objective, rel=1e-6)


@examples(40)
@given(vectors(6, 4), vectors(2, 3))
def test_interpolates_what_two_slopes_can(x, slopes):
    y = slopes[0] * np.maximum(x, 0) + slopes[1] * np.maximum(-x, 0)
    result = uv.interpolate(x, y, bias="none", skip="none")
    used = np.array([(x > 0).any(), (x < 0).any()])
    assert result.objective == np.abs(slopes[used]).sum()
    assert result.status is cr.Status.OPTIMAL
    assert np.array_equal(result.spline(x)[:, 0], y)


def test_refusals_are_by_name():
    with pytest.raises(InvalidInputError, match="ray"):
        uv.interpolate([1.0, 2.0], [1.0, 1.0], bias="none", skip="none")
    with pytest.raises(UnsupportedError, match="one interpolant"):
        uv.solution_set([1.0, 2.0], [1.0, 2.0], bias="none", skip="none")
