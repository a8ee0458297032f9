"""Losses with kinks, smoothed about a dual variable: `ProximalLoss`.

Letters as in `convexrelu.losses.piecewise`, and `ref` (n, T) the dual variable of the last solve, `mu` (n, 1) the
price of moving it.

    loss(f) = max of nu (c - f) - mu (nu - ref)^2 / 2  over  lower <= nu <= upper

is smooth, and at an optimum with nu = ref it has the same value, and the same subgradient -nu, as the loss itself. So
solving again with ref = nu converges to a solution of the original problem, whatever mu (R. T. Rockafellar, "Augmented
Lagrangians and applications of the proximal point algorithm in convex programming", Math. Oper. Res. 1976, Theorem 4).
"""

from __future__ import annotations

import math

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import UnsupportedError
from convexrelu.losses import Loss, LossCone, PiecewiseLoss


class ProximalLoss(Loss):
    """The smoothed loss of a piecewise one; for the native solver only, so without cone form and rounding bounds."""

    name = "proximal"
    is_smooth = True

    def __init__(self, loss: PiecewiseLoss, reference: Array, price: float) -> None:
        self.loss, self.reference, self.price = loss, reference, price

    def targets(self, Y: Array) -> Array:
        """Those of the loss."""
        return self.loss.targets(Y)

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        """That of the loss."""
        return self.loss.domain(Y, weight)

    def stiffness(self, weight: Array) -> Array:
        """One over the price, smaller where the box is."""
        return weight / self.price

    def compliance(self, weight: Array) -> Array:
        """The price (n, 1) of moving each entry of nu."""
        heavy = weight > 0
        return np.where(heavy, self.price / np.where(heavy, weight, 1.0), 1.0)[:, None]

    def centers(self, Y: Array, weight: Array) -> Array:
        """Where nu is zero, but for its bounds."""
        return Y + self.compliance(weight) * self.reference

    def _free(self, F: Array, Y: Array, weight: Array) -> Array:
        """The maximiser nu without its bounds."""
        return self.reference + (Y - F) / self.compliance(weight)

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        nu = -self.gradient(F, Y, weight)
        return float(np.sum(nu * (Y - F) - self.compliance(weight) * (nu - self.reference) ** 2 / 2))

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        lower, upper = self.domain(Y, weight)
        return -np.clip(self._free(F, Y, weight), lower, upper)

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        lower, upper = self.domain(Y, weight)
        nu = self._free(F, Y, weight)
        return np.where((nu > lower) & (nu < upper), 1 / self.compliance(weight), 0.0)

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        lower, upper = self.domain(Y, weight)
        if not ((nu >= lower) & (nu <= upper)).all():
            return -math.inf, 0.0
        return float(np.sum(nu * Y - self.compliance(weight) * (nu - self.reference) ** 2 / 2)), 0.0

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        return self.loss.fit_radius(value, Y, weight)

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        raise UnsupportedError("a smoothed loss has no cone form; that of the loss itself is exact.")
