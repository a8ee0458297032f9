"""Losses against their definitions: values, gradients, conjugates, cone forms."""

import math
from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors

from convexrelu.errors import InvalidInputError
from convexrelu.losses import ExactFit, Loss, SquaredLoss, get_loss

ONE = np.ones(1)


def columns(*values):
    return np.array(values, dtype=float)[:, None]


def test_losses_are_found_by_name_or_passed_through():
    assert isinstance(get_loss("squared"), SquaredLoss)
    own = SquaredLoss()
    assert get_loss(own) is own


@pytest.mark.parametrize("value", ["mse", "interpolation", "", None, 3, SquaredLoss], ids=repr)
def test_unknown_losses_are_named(value):
    with pytest.raises(InvalidInputError, match=r"`loss` must be one of .*'squared'.*got "):
        get_loss(value)


def test_squared_by_hand():
    loss, F, Y, weight = SquaredLoss(), columns(1, 2, 3), columns(0, 2, 7), np.array([1.0, 5.0, 0.5])
    assert loss.value(F, Y, weight) == 0.5 * 1 + 0.5 * 0.5 * 16
    np.testing.assert_array_equal(loss.gradient(F, Y, weight), columns(1, 0, -2))
    assert loss.dual_value(columns(1, 0, 2), Y, weight)[0] == 14 - 0.5 - 4 / (2 * 0.5)
    assert loss.value(np.ones((2, 2)), np.zeros((2, 2)), np.ones(2)) == 2.0  # summed over tasks


def test_squared_off_its_domain():
    weight = np.array([1.0, 0.0])
    assert SquaredLoss().dual_value(columns(1, 1), columns(0, 0), weight)[0] == -math.inf
    assert SquaredLoss().dual_value(columns(1, 0), columns(1, 9), weight)[0] == 0.5


def test_exact_fit_by_hand():
    loss, Y = ExactFit(), columns(1, -2, 3)
    assert loss.value(Y, Y, np.ones(3)) == 0.0
    assert loss.value(Y + 1e-11, Y, np.ones(3)) == 0.0
    assert loss.value(Y + 1e-6, Y, np.ones(3)) == math.inf
    assert loss.dual_value(columns(1, 1, 1), Y, np.ones(3))[0] == 2.0


def test_exact_fit_forgives_rounding_only():
    # An offset must not make real differences look like rounding: the spread counts, not the size.
    loss, Y = ExactFit(), 1e9 + columns(0, 1, 2)
    assert loss.value(np.full((3, 1), Y.mean()), Y, np.ones(3)) == math.inf
    assert loss.value(Y * (1 + 1e-15), Y, np.ones(3)) == 0.0
    zero = np.zeros((2, 1))
    assert loss.value(zero, zero, np.ones(2)) == 0.0 and loss.value(zero + 1e-300, zero, np.ones(2)) == math.inf


@examples(50)
@given(st.data(), st.integers(1, 4))
def test_gradient_is_the_slope(draw, n):
    F, Y = draw.draw(vectors(n))[:, None], draw.draw(vectors(n))[:, None]
    weight, step = np.abs(draw.draw(vectors(n))) + 0.5, draw.draw(vectors(n))[:, None]
    loss = SquaredLoss()
    # Central differences of a quadratic are exact: small integers and halves, no rounding.
    difference = (loss.value(F + step, Y, weight) - loss.value(F - step, Y, weight)) / 2
    assert np.sum(loss.gradient(F, Y, weight) * step) == difference


@examples(50)
@given(st.data(), st.integers(1, 4))
def test_fenchel_young(draw, n):
    """L(F) >= D(nu) - <nu, F> for every F and nu, with equality at nu = -dL/dF."""
    F, Y = draw.draw(vectors(n))[:, None], draw.draw(vectors(n))[:, None]
    weight, nu = np.array([0.5, 1.0, 2.0, 4.0])[:n], draw.draw(vectors(n))[:, None]
    loss = SquaredLoss()
    assert loss.value(F, Y, weight) >= loss.dual_value(nu, Y, weight)[0] - np.sum(nu * F)
    tight = -loss.gradient(F, Y, weight)
    # Weights are powers of two and the rest small integers: exact.
    assert loss.value(F, Y, weight) == loss.dual_value(tight, Y, weight)[0] - np.sum(tight * F)
    assert ExactFit().dual_value(nu, Y, weight)[0] - np.sum(nu * Y) == 0.0


@pytest.mark.parametrize("loss", [SquaredLoss(), ExactFit()], ids=lambda loss: loss.name)
def test_the_rounding_error_of_a_dual_value_is_bounded(loss):
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = rng.integers(1, 30)
        nu, Y = rng.standard_normal((n, 1)) * 10.0 ** rng.integers(-8, 9, (n, 1)), rng.standard_normal((n, 1))
        weight = 10.0 ** rng.integers(-4, 5, n)
        value, error = loss.dual_value(nu, Y, weight)
        pairs = zip(oracles.fractions(nu[:, 0]), oracles.fractions(Y[:, 0]), oracles.fractions(weight), strict=True)
        squared = isinstance(loss, SquaredLoss)
        exact = sum((a * y - (a * a / (2 * w) if squared else 0) for a, y, w in pairs), Fraction(0))
        assert abs(Fraction(value) - exact) <= Fraction(error)


@pytest.mark.parametrize("loss", [SquaredLoss(), ExactFit()], ids=lambda loss: loss.name)
def test_the_best_scale_is_the_best(loss):
    rng = np.random.default_rng(1)
    for _ in range(100):
        nu, Y, weight = rng.standard_normal((4, 1)), rng.standard_normal((4, 1)), rng.uniform(0.5, 2, 4)
        curvature, upper = rng.uniform(0.1, 3), 10 ** rng.uniform(-2, 2)
        best = loss.best_scale(nu, curvature, Y, weight, upper)
        assert 0 <= best <= upper

        def value(s, nu=nu, Y=Y, weight=weight, curvature=curvature):
            return loss.dual_value(s * nu, Y, weight)[0] - curvature * s**2 / 2

        # A concave parabola near its maximum: 1e-12 is its rounding.
        assert all(value(s) <= value(best) + 1e-12 * (1 + abs(value(s))) for s in np.linspace(0, upper, 50))


def test_the_best_scale_without_curvature():
    assert ExactFit().best_scale(columns(1), 0.0, columns(2), ONE, 7.0) == 7.0
    assert ExactFit().best_scale(columns(-1), 0.0, columns(2), ONE, 7.0) == 0.0
    assert SquaredLoss().best_scale(columns(0), 0.0, columns(2), ONE, 7.0) == 7.0
    assert SquaredLoss().best_scale(columns(-1), 0.0, columns(2), ONE, 7.0) == 0.0


class Halved(SquaredLoss):
    """A loss that keeps the defaults of the interface."""

    best_scale = Loss.best_scale


def test_the_default_scale_only_shrinks():
    assert Halved().best_scale(columns(1), 0.0, columns(2), ONE, 7.0) == 1.0
    assert Halved().best_scale(columns(1), 0.0, columns(2), ONE, 0.5) == 0.5


def test_fit_radius():
    rng = np.random.default_rng(2)
    for _ in range(100):
        Y, weight = rng.standard_normal((5, 1)), np.array([0.0, 0.5, 1.0, 2.0, 3.0])
        F = Y + rng.standard_normal((5, 1))
        value = SquaredLoss().value(F, Y, weight)
        assert np.linalg.norm(F[weight > 0]) <= SquaredLoss().fit_radius(value, Y, weight)
        assert np.linalg.norm(Y) <= ExactFit().fit_radius(0.0, Y, weight)


@pytest.mark.parametrize("T", [1, 2])
def test_cone_forms(T):
    """The cone program at its best auxiliary variables is the loss, up to the constant 1/2 weight |Y|^2 for squares."""
    rng = np.random.default_rng(3)
    F, Y, weight = rng.standard_normal((4, T)), rng.standard_normal((4, T)), rng.uniform(0, 2, 4)
    cone = SquaredLoss().cone_form(Y, weight)
    f = F.ravel()
    value = 0.5 * f @ (cone.quadratic * f) + cone.linear @ f
    constant = 0.5 * np.sum(weight[:, None] * Y**2)
    assert value + constant == pytest.approx(SquaredLoss().value(F, Y, weight), rel=1e-13)  # sums of eight terms
    assert cone.fit_rows.shape == (0, 4 * T) and len(cone.rhs) == len(cone.auxiliary) == 0
    exact = ExactFit().cone_form(Y, weight)
    np.testing.assert_array_equal(exact.rhs - exact.fit_rows @ Y.ravel(), np.zeros(4 * T))
    assert exact.n_zero == 4 * T and not exact.quadratic.any() and not exact.linear.any()
