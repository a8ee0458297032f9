"""A loss of a user's own that returns what it must not is refused by name, before anything is computed with it."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.losses import AbsoluteLoss, HuberLoss, LogisticLoss, SoftmaxLoss, SquaredLoss

X = np.random.default_rng(0).standard_normal((8, 2))
y = np.random.default_rng(1).standard_normal(8)


def own(base, **methods):
    return type("Own", (base,), {"name": "own", **methods})()


@pytest.mark.parametrize("base", [HuberLoss, SquaredLoss, AbsoluteLoss, LogisticLoss, SoftmaxLoss])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_sound_losses_pass(base, scale):
    targets = {LogisticLoss: np.sign(y), SoftmaxLoss: np.arange(8) % 3}.get(base, scale * y)
    cr.TrainingProblem(X, targets, 0.1, own(base), sample_weight=scale * np.linspace(0.0, 2.0, 8))


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        ("targets", lambda self, Y: None),
        ("targets", lambda self, Y: Y[:, 0]),
        ("targets", lambda self, Y: Y[:3]),
        ("targets", lambda self, Y: Y * np.nan),
        ("value", lambda self, F, Y, w: np.nan),
        ("value", lambda self, F, Y, w: np.abs(F)),
        ("value", lambda self, F, Y, w: -1.0),
        ("gradient", lambda self, F, Y, w: None),
        ("gradient", lambda self, F, Y, w: F[:, 0]),
        ("gradient", lambda self, F, Y, w: F * np.inf),
        ("curvature", lambda self, F, Y, w: F[:2]),
        ("curvature", lambda self, F, Y, w: F - 1),
        ("dual_value", lambda self, nu, Y, w: 1.0),
        ("dual_value", lambda self, nu, Y, w: (np.nan, 0.0)),
        ("dual_value", lambda self, nu, Y, w: (1e3, 0.0)),
        ("dual_value", lambda self, nu, Y, w: (0.0, -1.0)),
        ("domain", lambda self, Y, w: None),
        ("domain", lambda self, Y, w: (np.ones_like(Y), -np.ones_like(Y))),
        ("fit_radius", lambda self, value, Y, w: np.nan),
        ("cone_form", lambda self, Y, w: None),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_broken_losses_are_refused_by_the_method(method, broken):
    with pytest.raises(InvalidInputError, match=rf"`loss`: {method}\(\) of Own"):
        cr.TrainingProblem(X, y, 0.1, own(SquaredLoss, **{method: broken}))


def test_a_gradient_of_the_wrong_sign_is_refused():
    flipped = own(SquaredLoss, gradient=lambda self, F, Y, w: -SquaredLoss().gradient(F, Y, w))
    with pytest.raises(InvalidInputError, match="dual_value"):
        cr.TrainingProblem(X, y, 0.1, flipped)
