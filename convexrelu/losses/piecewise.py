"""Losses made of a parabola and two straight arms, or of two arms only: `PiecewiseLoss`.

Letters as in `convexrelu.losses.loss`, and `c` (n, T) centers, `lower` <= nu <= `upper` the domain of the dual
variable, `g` (n, 1) compliance: the inverse curvature of the parabola, zero where there is none.

    loss(f) = max of nu (c - f) - g nu^2 / 2  over  lower <= nu <= upper,   D(nu) = sum of nu c - g nu^2 / 2
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import EPS, Array
from convexrelu.losses.loss import Loss, LossCone

# Predictions this near a kink, in units of the targets, are on it: what an interior-point solver leaves is 1e-9.
ON_KINK = 1e-7


class PiecewiseLoss(Loss):
    """Absolute, quantile, Huber, hinge and squared hinge losses: subclasses give the domain and say what is smooth.

    The domain holds zero, and is zero where the sample weight is; infinite bounds need a parabola.
    """

    @abstractmethod
    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        """Bounds (n, T) on each entry of nu, computed so that rounding does not enlarge them."""

    def compliance(self, weight: Array) -> Array:
        """`g` (n, 1): for smooth losses the inverse sample weight, for losses with kinks zero."""
        heavy = weight > 0
        inverse = np.where(heavy, 1 / np.where(heavy, weight, 1.0), 0.0)
        return inverse[:, None] * float(self.is_smooth)

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        nu = -self.gradient(F, Y, weight)
        return float(np.sum(nu * (Y - F) - self.compliance(weight) * nu**2 / 2))

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        """Where a loss has a kink, the entry of least size."""
        lower, upper = self.domain(Y, weight)
        return -np.clip(self._slope(Y - F, self.compliance(weight)), lower, upper)

    def dual_box(self, F: Array, Y: Array, weight: Array) -> tuple[Array, Array]:
        """Bounds (n, T), (n, T) on the dual variables of predictions F; of losses with kinks equal away from these."""
        lower, upper = self.domain(Y, weight)
        residual = Y - F
        on_kink = np.abs(residual) <= ON_KINK * self.unit(Y)
        end = np.where(residual > 0, upper, lower)
        return np.where(on_kink, lower, end), np.where(on_kink, upper, end)

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        lower, upper = self.domain(Y, weight)
        nu = self._slope(Y - F, self.compliance(weight))
        return np.where((nu > lower) & (nu < upper), weight[:, None], 0.0)

    @staticmethod
    def _slope(residual: Array, g: Array) -> Array:
        """The dual variable without its bounds: residual / g."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(residual == 0, 0.0, residual / g)

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        lower, upper = self.domain(Y, weight)
        if not ((nu >= lower) & (nu <= upper)).all():
            return -math.inf, 0.0
        linear, square = (nu * Y).ravel(), (self.compliance(weight) * nu**2 / 2).ravel()
        # Each term carries at most four roundings; fsum adds them without further error.
        size = math.fsum(np.abs(linear)) + math.fsum(square)
        return math.fsum(np.concatenate([linear, -square])), 4 * EPS * size

    def best_scale(self, nu: Array, curvature: float, Y: Array, weight: Array, upper: float) -> float:
        slope = float(np.sum(nu * Y))
        curvature += float(np.sum(self.compliance(weight) * nu**2))
        upper = min(upper, self.largest_scale(nu, Y, weight))
        return min(max(slope / curvature, 0.0), upper) if curvature > 0 else upper * (slope > 0)

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        """From loss >= arm |c - f| - g arm^2 / 2 with the lesser of the two arms; infinite if that is zero."""
        heavy = weight > 0
        lower, upper = self.domain(Y[heavy], weight[heavy])
        arm = np.minimum(-lower, upper)
        least = float(arm.min())
        if least == 0 or not np.isfinite(arm).all():
            return math.inf
        offset = float(np.sum(self.compliance(weight[heavy]) * arm**2 / 2))
        return float(np.linalg.norm(Y[heavy])) + (max(value, 0.0) + offset) / least

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        """Split c - f = e + p - m: the parabola costs e^2 / (2 g), the arms upper p and -lower m with p, m >= 0."""
        lower, upper = (bound.ravel() for bound in self.domain(Y, weight))
        g = np.broadcast_to(self.compliance(weight), Y.shape).ravel()
        heavy = np.broadcast_to(weight[:, None] > 0, Y.shape).ravel()
        parabola, above, below = heavy & (g > 0), heavy & np.isfinite(upper), heavy & np.isfinite(lower)
        unit = sp.eye_array(Y.size, format="csr")
        parts = [unit[:, parabola], unit[:, above], -unit[:, below]]
        n_arms = int(above.sum() + below.sum())
        positive = sp.hstack([sp.csr_array((n_arms, int(parabola.sum()))), -sp.eye_array(n_arms)])
        arms = np.concatenate([np.zeros(int(parabola.sum())), upper[above], -lower[below]])
        return LossCone(
            quadratic=np.zeros(Y.size),
            linear=np.zeros(Y.size),
            auxiliary=arms,
            fit_rows=sp.csc_array(sp.vstack([unit[heavy], sp.csr_array((n_arms, Y.size))])),
            auxiliary_rows=sp.csc_array(sp.vstack([sp.hstack(parts).tocsr()[heavy], positive])),
            rhs=np.concatenate([Y.ravel()[heavy], np.zeros(n_arms)]),
            n_zero=int(heavy.sum()),
            n_nonneg=n_arms,
            auxiliary_quadratic=np.concatenate([1 / g[parabola], np.zeros(n_arms)]),
            auxiliary_unit=self.unit(Y),
        )


def bounds(arms: Array, weight: Array) -> Array:
    """Products of bounds (n, T) and sample weights, rounded towards zero."""
    return np.where(weight[:, None] == 1, arms, np.nextafter(arms * weight[:, None], 0.0))
