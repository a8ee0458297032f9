"""What a loss must provide: `Loss`, its cone form `LossCone`, and a loss with its data, `DataLoss`.

Letters: `F` (n, T) predictions, `Y` (n, T) targets, `weight` (n,) sample weights, `nu` (n, T) dual variable.

The loss of a data set is L(F) = sum_i weight_i loss(f_i, y_i). Its dual value is D(nu) = -L*(-nu), minus infinity
outside the domain; every domain is star-shaped about zero, so nu may always be shrunk. At an optimum nu = -dL/dF.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize_scalar

from convexrelu.arrays import EPS, Array
from convexrelu.errors import UnsupportedError


@dataclass(frozen=True, eq=False)
class LossCone:
    """A loss as a small cone program in its predictions f (n * T, row by row) and auxiliary variables a.

    minimise 1/2 f' diag(quadratic) f + linear . f + 1/2 a' diag(auxiliary_quadratic) a + auxiliary . a
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
    auxiliary_quadratic: Array | None = None
    #: The size of auxiliary variables to expect: what a solver takes for one.
    auxiliary_unit: float = 1.0


class Loss(ABC):
    """A convex loss, at least zero. Targets and weights are passed in, already validated as arrays.

    To add a loss of your own subclass this, pass an instance as `loss`, and run `convexrelu.testing.check_loss` on it.
    A smooth loss needs `targets`, `value`, `gradient`, `curvature`, `dual_value`, `fit_radius`, `cone_form` (for other
    backends than the native one) and, if nu is bounded, `domain`. Every certificate rests on `dual_value`.

    Attributes
    ----------
    name : str
        What users write for it.
    is_smooth : bool
        Whether the loss has a gradient everywhere; then `curvature` is needed too. The dual variable of a network is
        minus its gradient; of a loss with kinks it is not determined by the network.
    is_shift_invariant : bool
        Whether the loss depends on f - y only.
    is_classification : bool
        Whether the targets are labels. Such a loss may vanish far on the label's side, and then has an optimum only
        where the free columns alone cannot separate the classes.
    reaches_zero : bool
        Whether it does vanish there (hinge) instead of only tending to zero (logistic).
    couples_tasks : bool
        Whether rows of nu must sum to zero (softmax); otherwise the domain of D is a box.
    """

    name: ClassVar[str]
    is_smooth: ClassVar[bool] = False
    is_shift_invariant: ClassVar[bool] = False
    is_classification: ClassVar[bool] = False
    reaches_zero: ClassVar[bool] = False
    couples_tasks: ClassVar[bool] = False

    @abstractmethod
    def targets(self, Y: Array) -> Array:
        """The targets (n, T) as the other methods take them, from what a user gives as a column or a matrix.

        What it returns it also accepts, and returns unchanged. Raises InvalidInputError if the targets are of the
        wrong kind for this loss.
        """

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

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        """Diagonal (n, T) of the second derivative, at least zero; at a jump either side's. Of smooth losses only."""
        raise UnsupportedError(f"the loss {self.name!r} has no second derivative; solve it with another backend.")

    def hessian(self, F: Array, Y: Array, weight: Array) -> Array:
        """Second derivative (n, T, T) by rows of F; diagonal but for losses that couple the tasks (softmax)."""
        diagonal = self.curvature(F, Y, weight)
        return diagonal[:, :, None] * np.eye(diagonal.shape[1])

    def stiffness(self, weight: Array) -> Array:
        """The curvature (n,) to expect where the loss is curved: what a solver counts on where it is straight."""
        return weight

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        """Bounds (n, T), (n, T) on each entry of nu within the domain of D; infinite where there are none."""
        heavy = np.where(weight > 0, np.inf, 0.0)[:, None] * np.ones(Y.shape[1])
        return -heavy, heavy

    def unit(self, Y: Array) -> float:
        """The size of predictions to expect: what a solver takes for one."""
        return 1.0

    def largest_scale(self, nu: Array, Y: Array, weight: Array) -> float:
        """The largest s that keeps s nu within `domain`, rounding included; one for a nu well inside is not a limit."""
        lower, upper = self.domain(Y, weight)
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(nu > 0, upper / nu, np.where(nu < 0, lower / nu, np.inf))
        least = float(room.min(initial=np.inf))
        return least * (1 - 4 * EPS) if math.isfinite(least) else least

    def best_scale(self, nu: Array, curvature: float, Y: Array, weight: Array, upper: float) -> float:
        """A good s in [0, upper] for maximising D(s nu) - curvature s^2 / 2, within the domain.

        Losses whose best s has no formula find it by a search in one dimension.
        """
        upper = min(upper, self.largest_scale(nu, Y, weight))
        if not nu.any() or upper <= 0 or not math.isfinite(upper):
            return min(1.0, max(upper, 0.0))

        def negative(s: float) -> float:
            value = curvature * s * s / 2 - self.dual_value(s * nu, Y, weight)[0]
            return value if math.isfinite(value) else 1e300

        inner = float(minimize_scalar(negative, bounds=(0.0, upper), method="bounded", options={"xatol": 1e-9}).x)
        return min((inner, min(1.0, upper), upper), key=negative)


@dataclass(frozen=True, eq=False)
class DataLoss:
    """A loss with its targets and sample weights inside.

    Predictions and dual variables may have the shape (n, T) or, of one task, (n,); what comes back has the same.

    Parameters
    ----------
    loss : Loss
    Y : float64 (n, T)
        As `Loss.targets` returns them.
    weight : float64 (n,)
    """

    loss: Loss
    Y: Array
    weight: Array

    def value(self, F: Array) -> float:
        """L(F)."""
        return self.loss.value(F.reshape(self.Y.shape), self.Y, self.weight)

    def gradient(self, F: Array) -> Array:
        """dL/dF."""
        return self.loss.gradient(F.reshape(self.Y.shape), self.Y, self.weight).reshape(F.shape)

    def curvature(self, F: Array) -> Array:
        """Diagonal of the second derivative."""
        return self.loss.curvature(F.reshape(self.Y.shape), self.Y, self.weight).reshape(F.shape)

    def hessian(self, F: Array) -> Array:
        """Second derivative (n, T, T) by rows."""
        return self.loss.hessian(F.reshape(self.Y.shape), self.Y, self.weight)

    @property
    def stiffness(self) -> Array:
        """The curvature (n,) to expect where the loss is curved."""
        return self.loss.stiffness(self.weight)

    def dual_value(self, nu: Array) -> float:
        """D(nu), minus infinity outside the domain."""
        return self.loss.dual_value(nu.reshape(self.Y.shape), self.Y, self.weight)[0]
