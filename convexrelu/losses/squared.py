"""The squared loss 1/2 (f - y)^2, summed over samples and tasks."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import EPS, Array
from convexrelu.losses.loss import Loss, LossCone


class SquaredLoss(Loss):
    """L(F) = sum_i weight_i |f_i - y_i|^2 / 2;  D(nu) = <nu, Y> - sum_i |nu_i|^2 / (2 weight_i).

    A sample of weight zero has nu_i = 0.
    """

    name = "squared"

    is_smooth = True
    is_shift_invariant = True

    def targets(self, Y: Array) -> Array:
        """Any real targets will do."""
        return Y

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        return float(0.5 * np.sum(weight[:, None] * (F - Y) ** 2))

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        return weight[:, None] * (F - Y)

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        return weight[:, None] * np.ones(F.shape[1])

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        heavy = weight > 0
        if nu[~heavy].any():
            return -math.inf, 0.0
        nu, Y = nu[heavy], Y[heavy]
        half = nu / (2 * weight[heavy, None])
        # Each term carries at most three roundings, half an EPS each; fsum adds them without further error.
        size = float(np.sum(np.abs(nu) * (np.abs(Y) + np.abs(half))))
        return math.fsum((nu * (Y - half)).ravel()), 4 * EPS * size

    def unit(self, Y: Array) -> float:
        return float(np.abs(Y).max()) or 1.0

    def best_scale(self, nu: Array, curvature: float, Y: Array, weight: Array, upper: float) -> float:
        heavy = weight > 0
        slope = float(np.sum(nu * Y))
        curvature += float(np.sum(nu[heavy] ** 2 / weight[heavy, None]))
        return min(max(slope / curvature, 0.0), upper) if curvature > 0 else upper

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        quadratic = np.repeat(weight, Y.shape[1])
        none = np.zeros(0)
        rows = sp.csc_array((0, Y.size)), sp.csc_array((0, 0))
        return LossCone(quadratic, -quadratic * Y.ravel(), none, *rows, none)

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        heavy = weight > 0
        return float(np.linalg.norm(Y[heavy])) + math.sqrt(2 * max(value, 0.0) / weight[heavy].min())
