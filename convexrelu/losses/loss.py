"""What a loss must provide: `Loss` and its cone form `LossCone`.

Letters: `F` (n, T) predictions, `Y` (n, T) targets, `weight` (n,) sample weights, `nu` (n, T) dual variable.

The loss of a data set is L(F) = sum_i weight_i loss(f_i, y_i). Its dual value is D(nu) = -L*(-nu), minus infinity
outside the domain; every domain is star-shaped about zero, so nu may always be shrunk. At an optimum nu = -dL/dF.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import scipy.sparse as sp

from convexrelu.arrays import Array


@dataclass(frozen=True, eq=False)
class LossCone:
    """A loss as a small cone program in its predictions f (n * T, row by row) and auxiliary variables a.

    minimise 1/2 f' diag(quadratic) f + linear . f + auxiliary . a
    subject to rhs - (fit_rows f + auxiliary_rows a) in a product of zero (first `n_zero` rows), non-negative (next
    `n_nonneg` rows) and exponential cones (the rest, three rows each).
    """

    quadratic: Array
    linear: Array
    auxiliary: Array
    fit_rows: sp.csc_array
    auxiliary_rows: sp.csc_array
    rhs: Array
    n_zero: int = 0
    n_nonneg: int = 0
    n_exponential: int = 0


class Loss(ABC):
    """A convex loss. Subclasses are stateless; targets and weights are passed in, already validated as arrays."""

    name: str

    @abstractmethod
    def check_targets(self, Y: Array) -> None:
        """Raise InvalidInputError if the targets (n, T) are of the wrong kind for this loss."""

    @abstractmethod
    def value(self, F: Array, Y: Array, weight: Array) -> float:
        """L(F)."""

    @abstractmethod
    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        """A (sub)gradient dL/dF (n, T)."""

    @abstractmethod
    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        """D(nu) = -L*(-nu), and a bound on the rounding error of the number returned."""

    @abstractmethod
    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        """The loss as a cone program."""

    @abstractmethod
    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        """Bound on |F| over the samples of positive weight for all F with L(F) <= value; infinite if there is none."""

    def unit(self, Y: Array) -> float:
        """The size of predictions to expect: what a solver takes for one."""
        return 1.0

    def best_scale(self, nu: Array, curvature: float, Y: Array, weight: Array, upper: float) -> float:
        """A good s in [0, upper] for maximising D(s nu) - curvature s^2 / 2; any s in [0, 1] is valid."""
        return min(1.0, upper)
