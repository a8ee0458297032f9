"""Losses of one task as boxes and parabolas, for the interior point methods on one input: `BoxProblem`.

Letters as in `convexrelu.univariate.interior_point`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import entr, expit

from convexrelu.arrays import EPS, Array, BoolArray


@dataclass(frozen=True, eq=False)
class BoxProblem:
    """Samples in order, their loss as boxes and parabolas, and the penalties; in units in which all are about one.

    Attributes
    ----------
    x, Y : float64 (n,)
        Points in increasing order, repeated ones allowed, and centers of the loss.
    lower, upper, g : float64 (n,)
        Bounds (infinite ones need g > 0) and compliance of the dual variable.
    lam : float > 0
    sigma : float
        Sign of the sum of the outer slopes; 0 for a free skip.
    relief : float
        One for a penalised skip, in these units; 0 without one.
    """

    x: Array
    Y: Array
    lower: Array
    upper: Array
    g: Array
    lam: float
    sigma: float = 0.0
    relief: float = 0.0

    @cached_property
    def strictly(self) -> tuple[BoolArray, BoolArray]:
        """Where nu has an upper and a lower bound (n,), (n,)."""
        return np.isfinite(self.upper), np.isfinite(self.lower)

    @property
    def arms(self) -> tuple[BoolArray, BoolArray]:
        """Where the loss has an arm p beyond the upper and an arm q beyond the lower bound (n,), (n,)."""
        return self.strictly

    @property
    def blocking(self) -> tuple[BoolArray, BoolArray]:
        """Where steps end at the upper and at the lower bound (n,), (n,)."""
        return self.strictly

    @property
    def is_curved(self) -> bool:
        """Whether the dual variable follows the predictions along a curve."""
        return False

    def settled(self, nu: Array, F: Array) -> tuple[Array, Array]:
        """The dual variable to go on with at predictions F, and what these are missing."""
        return nu, self.missing(nu, F)

    @cached_property
    def negligible(self) -> float:
        """Objectives below this are rounding."""
        return 8 * EPS * self.loss(np.zeros_like(self.Y)) + 1e-300

    def missing(self, nu: Array, F: Array) -> Array:
        """What predictions lack of those at which nu is the slope, arms apart: Y - F - g nu."""
        return self.Y - F - self.g * nu

    def compliance(self, nu: Array) -> Array:
        """How fast those predictions fall with nu (n,)."""
        return self.g

    def loss(self, F: Array) -> float:
        """The loss of predictions F (n,)."""
        missing = self.Y - F
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(missing == 0, 0.0, missing / self.g)
        nu = np.clip(slope, self.lower, self.upper)
        return float(nu @ missing - 0.5 * self.g @ nu**2)

    def penalty(self, slopes: Array) -> float:
        """What the spline's curvature and outer slopes cost."""
        variation = float(np.abs(np.diff(slopes)).sum())
        excess = self.sigma * float(slopes[0] + slopes[-1]) - variation
        if not self.sigma or excess <= 0:
            return self.lam * variation
        t = self.lam / 2 * min(1.0, excess / (2 * self.relief) if self.relief else 1.0)
        return self.lam * variation + t * excess - self.split_cost(t)

    def split_cost(self, t: float) -> float:
        """What the dual objective pays for t."""
        return 2 * self.relief * t**2 / self.lam

    def dual(self, nu: Array) -> float:
        """D(nu), for nu within the bounds."""
        return float(nu @ self.Y - 0.5 * self.g @ nu**2)


class EntropyProblem(BoxProblem):
    """The logistic loss: nu = sign w a with 0 < a < 1 goes with f = sign log((1 - a) / a), and there are no arms."""

    @cached_property
    def _sign(self) -> Array:
        return np.sign(self.upper + self.lower)

    @cached_property
    def _weight(self) -> Array:
        return self.upper - self.lower

    @property
    def arms(self) -> tuple[BoolArray, BoolArray]:
        """None."""
        none = np.zeros(len(self.x), dtype=bool)
        return none, none

    @property
    def blocking(self) -> tuple[BoolArray, BoolArray]:
        """Nowhere: nu follows the predictions, and so stays inside."""
        return self.arms

    @property
    def is_curved(self) -> bool:
        """Yes."""
        return True

    def settled(self, nu: Array, F: Array) -> tuple[Array, Array]:
        """The slope at the predictions, which miss nothing: steps of nu itself would end at zero again and again."""
        return self._sign * self._weight * expit(-self._sign * F), np.zeros_like(F)

    def missing(self, nu: Array, F: Array) -> Array:
        """Sign log((1 - a) / a) - F."""
        size = np.abs(nu)
        return self._sign * np.log((self._weight - size) / size) - F

    def compliance(self, nu: Array) -> Array:
        """The inverse curvature of the loss."""
        size = np.abs(nu)
        return self._weight / (size * (self._weight - size))

    def loss(self, F: Array) -> float:
        """The loss of predictions F (n,)."""
        return float(self._weight @ np.logaddexp(0.0, -self._sign * F))

    def dual(self, nu: Array) -> float:
        """D(nu), an entropy."""
        share = np.abs(nu) / self._weight
        return float(self._weight @ (entr(share) + entr(1 - share)))
