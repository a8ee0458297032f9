"""The hinge loss (1 - y f)_+ and its square, for labels -1 and 1."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.losses.labels import signs
from convexrelu.losses.piecewise import PiecewiseLoss


class HingeLoss(PiecewiseLoss):
    """L(F) = sum_i weight_i max(1 - y_i f_i, 0);  D(nu) = <nu, Y> for 0 <= y_i nu_i <= weight_i."""

    name = "hinge"
    is_classification = True
    reaches_zero = True

    def targets(self, Y: Array) -> Array:
        """Labels -1 and 1; 0 is taken for -1."""
        return signs(Y, self.name)

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        return np.where(Y > 0, 0.0, -weight[:, None]), np.where(Y > 0, weight[:, None], 0.0)


class SquaredHingeLoss(PiecewiseLoss):
    """L(F) = sum_i weight_i max(1 - y_i f_i, 0)^2 / 2.

    D(nu) = <nu, Y> - sum_i nu_i^2 / (2 weight_i) for y_i nu_i >= 0. A sample of weight zero has nu_i = 0.
    scikit-learn's squared hinge has no factor 1/2.
    """

    name = "squared_hinge"
    is_smooth = True
    is_classification = True
    reaches_zero = True

    def targets(self, Y: Array) -> Array:
        """Labels -1 and 1; 0 is taken for -1."""
        return signs(Y, self.name)

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        arm = np.where(weight > 0, np.inf, 0.0)[:, None]
        return np.where(Y > 0, 0.0, -arm), np.where(Y > 0, arm, 0.0)
