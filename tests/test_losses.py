"""Losses against their definitions: values, gradients, conjugates, cone forms."""

import decimal
import math
from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors

from convexrelu.errors import InvalidInputError
from convexrelu.losses import (
    AbsoluteLoss,
    ExactFit,
    HingeLoss,
    HuberLoss,
    LogisticLoss,
    Loss,
    QuantileLoss,
    SoftmaxLoss,
    SquaredHingeLoss,
    SquaredLoss,
    get_loss,
)
from convexrelu.testing import check_loss

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


class Searched(SquaredLoss):
    """A loss that keeps the defaults of the interface."""

    best_scale = Loss.best_scale


def test_the_default_scale_is_searched_for():
    # The search stops within 1e-9 of the range, or 1e-8 (relative) of the best.
    assert Searched().best_scale(columns(1), 0.0, columns(2), ONE, 7.0) == pytest.approx(2.0, abs=1e-7)
    assert Searched().best_scale(columns(1), 0.0, columns(2), ONE, 0.5) == 0.5
    assert Searched().best_scale(columns(0), 0.0, columns(2), ONE, 7.0) == 1.0


# -- the others -------------------------------------------------------------------------------------------------------

OTHERS = ("absolute", "huber", "quantile", "logistic", "hinge", "squared_hinge", "softmax")
BINARY = ("logistic", "hinge", "squared_hinge")


def some_targets(name, rng, n=6):
    if name == "softmax":
        return get_loss(name).targets(columns(0, 1, 2, *rng.integers(0, 3, n - 3)))
    return rng.choice([-1.0, 1.0], (n, 1)) if name in BINARY else rng.standard_normal((n, 1))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("seed", range(3))
def test_losses_keep_the_promises_of_the_interface(name, seed):
    check_loss(get_loss(name), some_targets(name, np.random.default_rng(seed)), random_state=seed)


@pytest.mark.parametrize(
    "loss",
    [HuberLoss(0.3), QuantileLoss(0.1), LogisticLoss(), HingeLoss(), AbsoluteLoss(), SquaredHingeLoss()],
    ids=repr,
)
def test_losses_take_several_tasks(loss):
    rng = np.random.default_rng(0)
    check_loss(loss, rng.choice([-1.0, 1.0], (4, 3)) if loss.is_classification else rng.standard_normal((4, 3)))


@pytest.mark.parametrize(
    ("loss", "f", "y", "value", "slope"),
    [
        (AbsoluteLoss(), 3, 1, 2, 1),
        (AbsoluteLoss(), 1, 1, 0, 0),
        (QuantileLoss(0.25), 3, 1, 1.5, 0.75),
        (QuantileLoss(0.25), 1, 3, 0.5, -0.25),
        (HuberLoss(2.0), 2, 1, 0.5, 1),
        (HuberLoss(2.0), 6, 1, 8, 2),
        (HingeLoss(), 0.5, 1, 0.5, -1),
        (HingeLoss(), -2, -1, 0, 0),
        (SquaredHingeLoss(), -1, 1, 2, -2),
        (SquaredHingeLoss(), -1, -1, 0, 0),
        (LogisticLoss(), 0, -1, math.log(2), 0.5),
        (LogisticLoss(), -1000, 1, 1000, -1),
        (LogisticLoss(), 1000, 1, 0, 0),
    ],
    ids=str,
)
def test_losses_by_hand(loss, f, y, value, slope):
    for weight in (1.0, 2.0):
        data = columns(f), columns(y), np.array([weight])
        assert loss.value(*data) == pytest.approx(weight * value, rel=1e-15, abs=0)
        assert loss.gradient(*data)[0, 0] == pytest.approx(weight * slope, rel=1e-15, abs=1e-300)


def test_softmax_by_hand():
    loss, F = SoftmaxLoss(), np.array([[0.0, 0.0], [3.0, 3.0], [1000.0, 0.0]])
    Y = loss.targets(columns(0, 1, 1))
    weight = np.array([1.0, 2.0, 1.0])
    assert loss.value(F, Y, weight) == pytest.approx(3 * math.log(2) + 1000, rel=1e-15)
    np.testing.assert_allclose(loss.gradient(F, Y, weight), [[-0.5, 0.5], [1, -1], [1, -1]])
    assert loss.dual_value(-loss.gradient(0 * F, Y, weight), Y, weight)[0] == pytest.approx(4 * math.log(2))
    # Two classes are the logistic loss of their difference.
    signs = np.where(Y[:, 1:] == 1, 1.0, -1.0)
    assert loss.value(F, Y, weight) == pytest.approx(LogisticLoss().value(F[:, 1:] - F[:, :1], signs, weight))


@pytest.mark.parametrize("name", BINARY)
def test_labels_zero_and_one_are_minus_one_and_one(name):
    loss = get_loss(name)
    np.testing.assert_array_equal(loss.targets(columns(0, 1, 1)), columns(-1, 1, 1))
    np.testing.assert_array_equal(loss.targets(columns(-1, 1, 1)), columns(-1, 1, 1))
    for bad in (columns(-1, 0, 1), columns(1, 2), columns(0.5, 1), columns(3, 4)):
        with pytest.raises(InvalidInputError, match=rf"`Y` must hold the labels -1 and 1, or 0 and 1.*{name}.*got"):
            loss.targets(bad)


def test_classes_become_rows():
    targets = SoftmaxLoss().targets
    np.testing.assert_array_equal(targets(columns(0, 2, 1)), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(targets(np.eye(3)), np.eye(3))
    for bad in (columns(0, 0), columns(-1, 1), columns(0.5, 1), columns(0, 1e9)):
        with pytest.raises(InvalidInputError, match=r"`Y` must hold the classes 0, 1, .*got"):
            targets(bad)
    with pytest.raises(InvalidInputError, match=r"`Y` of shape \(2, 2\) must have a single 1 in each row"):
        targets(np.array([[1.0, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize("value", [0, 1, -0.5, math.nan, "0.5", None])
def test_quantiles_lie_between_zero_and_one(value):
    with pytest.raises(InvalidInputError, match="`quantile` must"):
        QuantileLoss(value)
    if value != 1:
        with pytest.raises(InvalidInputError, match="`delta` must be a finite number greater than 0"):
            HuberLoss(value if value != 0.5 else 0)


def test_one_half_of_the_absolute_loss_is_the_median():
    F, Y, weight = columns(1, 5, 2), columns(2, 2, 2), np.array([1.0, 2.0, 3.0])
    # Bounds of the domain are rounded towards zero.
    assert QuantileLoss().value(F, Y, weight) == pytest.approx(0.5 * AbsoluteLoss().value(F, Y, weight), rel=1e-15)


def exact_dual_value(name, nu, Y, weight):
    """D(nu) in two hundred digits: enough for differences of doubles to be exact."""
    with decimal.localcontext(decimal.Context(prec=200)):
        D = decimal.Decimal

        def entropy(part, whole):
            return -part * (part / whole).ln() if part else D(0)

        total = D(0)
        for row, target, w in zip(nu, Y, weight, strict=True):
            if name == "softmax":
                mean = sum(map(D, row)) / len(row)
                parts = [D(w) * int(y) - D(v) + mean for v, y in zip(row, target, strict=True)]
            elif name == "logistic":
                parts = [D(row[0]) * int(target[0]), D(w) - D(row[0]) * int(target[0])]
            else:
                g = 1 / D(w) if name in ("huber", "squared_hinge") else D(0)
                total += D(row[0]) * D(target[0]) - g * D(row[0]) ** 2 / 2
                continue
            total += sum(entropy(part, D(w)) for part in parts)
        return total


@pytest.mark.parametrize("name", OTHERS)
def test_the_rounding_error_of_other_dual_values_is_bounded(name):
    rng, loss = np.random.default_rng(0), get_loss(name)
    for _ in range(60):
        Y = some_targets(name, rng)
        weight = rng.choice([0.3, 1.0, 700.0], len(Y))
        F = rng.standard_normal(Y.shape) * 10.0 ** rng.uniform(-3, 1.5)
        nu = -loss.gradient(F, Y, weight)
        value, error = loss.dual_value(nu, Y, weight)
        if name == "softmax" and value == -math.inf:
            continue  # an entry of a probability so small that centring its row may make it negative
        exact = exact_dual_value(name, nu.tolist(), Y.tolist(), weight.tolist())
        assert abs(decimal.Decimal(value) - exact) <= decimal.Decimal(error)
        assert error <= 1e-12 * weight.sum() * (1 + np.abs(Y).max())


@pytest.mark.parametrize("name", OTHERS)
def test_bounds_of_the_domain_are_sharp(name):
    loss, weight = get_loss(name), np.array([1.0, 1.0, 2.0])
    Y = loss.targets(columns(0, 1, 1))
    lower, upper = loss.domain(Y, weight)
    for bound, way in ((lower, -np.inf), (upper, np.inf)):
        if name != "softmax" and np.isfinite(bound).all():
            assert math.isfinite(loss.dual_value(bound, Y, weight)[0])
            assert loss.dual_value(np.nextafter(bound, way), Y, weight)[0] == -math.inf


def test_zero_weights_leave_no_trace():
    weight = np.array([0.0, 1.0, 1.0])
    for name in OTHERS:
        loss = get_loss(name)
        Y = loss.targets(columns(0, 1, 1))
        F = np.full(Y.shape, 0.5)
        assert not loss.gradient(F, Y, weight)[0].any()
        nu = 0 * F
        nu[0, 0] = 1e-3
        assert loss.dual_value(nu, Y, weight)[0] == -math.inf


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
