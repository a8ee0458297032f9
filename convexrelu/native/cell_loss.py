"""The loss in the interior point method over cells: its dual variable, and how that follows the predictions.

Letters: `f` (n,) predictions, `nu` (n,) dual variable, `p`, `q` arms of a loss beyond the upper and the lower bound of
nu, `g` compliance, all as in `convexrelu.univariate.slopes`, with one column. Each step has dnu = K (pull - df).

Where the curvature of a loss jumps, steps that count on it may circle. Such losses, parabolas with straight arms, have
their dual variable as a variable of its own, inside its box; of the others it is the derivative at the predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array
from convexrelu.losses import DataLoss, PiecewiseLoss
from convexrelu.native.proximal import ProximalLoss
from convexrelu.univariate.box_problem import BoxProblem
from convexrelu.univariate.slopes import BoxSlopes, Slopes, WithoutArms

# Least curvature of the loss, relative to what is usual, that steps count on.
_FLOOR = 1e-6
# Compliance of samples without weight, in units of the targets: their dual variable stays zero.
_LOOSE = 1e30
# Halvings of an interval that finds a dual variable: few enough that rounding does not put it on a bound.
_HALVINGS = 45


def box_of(loss: DataLoss) -> BoxSlopes | None:
    """The loss as a box and a parabola for each sample; None if it is not one."""
    kind, Y, weight = loss.loss, loss.Y, loss.weight
    if isinstance(kind, ProximalLoss):
        centers, g = kind.centers(Y, weight), kind.compliance(weight)
    elif isinstance(kind, PiecewiseLoss):
        centers, g = Y, kind.compliance(weight)
    else:
        return None
    lower, upper = (bound[:, 0] for bound in kind.domain(Y, weight))
    heavy = upper > lower
    parts = np.where(heavy, lower, -np.inf), np.where(heavy, upper, np.inf), np.where(heavy, g[:, 0], _LOOSE)
    return BoxSlopes(BoxProblem(np.zeros(len(Y)), centers[:, 0], *parts, lam=1.0), 1)


def centred(box: BoxSlopes, f: Array, mu: float) -> Slopes:
    """The point at which predictions f miss nothing, and arms times what nu is away from its bounds are mu.

    Y - f - g nu - mu / (upper - nu) + mu / (nu - lower) falls with nu; its zero is found by halving.
    """
    boxes = box.boxes
    g = np.maximum(boxes.g, 1e-300)
    parabola = (boxes.Y - f) / g
    reach = np.sqrt(mu / g)
    low = np.where(np.isfinite(boxes.lower), boxes.lower, np.minimum(parabola, boxes.upper) - reach)
    high = np.where(np.isfinite(boxes.upper), boxes.upper, np.maximum(parabola, boxes.lower) + reach)
    for _ in range(_HALVINGS):
        nu = 0.5 * (low + high)
        p, q = _arms(boxes, nu, mu)
        rises = boxes.missing(nu, f) - p + q > 0
        low, high = np.where(rises, nu, low), np.where(rises, high, nu)
    return Slopes(*(part[:, None] for part in (nu, *_arms(boxes, nu, mu))))


def _arms(boxes: BoxProblem, nu: Array, mu: float) -> tuple[Array, Array]:
    """Arms whose products are mu."""
    return mu / np.maximum(boxes.upper - nu, 1e-300), mu / np.maximum(nu - boxes.lower, 1e-300)


@dataclass(frozen=True)
class Following(WithoutArms):
    """A smooth loss at some predictions, in the terms of `convexrelu.univariate.slopes.LossSlopes`."""

    slopes: Slopes
    curvature: Array

    @classmethod
    def of(cls, loss: DataLoss, f: Array) -> Following:
        """Where nu is the derivative."""
        nu = -loss.gradient(f)[:, None]
        curvature = np.maximum(loss.curvature(f), _FLOOR * loss.stiffness)
        return cls(Slopes(nu, np.zeros_like(nu), np.zeros_like(nu)), curvature[:, None])

    def stiffness(self, s: Slopes) -> Array:
        """The curvature."""
        return self.curvature
