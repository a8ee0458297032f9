"""The limit of vanishing weight decay: predictions must equal the targets."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import EPS, Array
from convexrelu.losses.loss import Loss, LossCone

# A network counts as interpolating when it misses no target by more than this, relative to the spread of the targets:
# far above the rounding of evaluating a network, far below anything a plot or a table shows.
TOLERANCE = 1e-9
# ... or by the rounding of evaluating it, relative to the largest target.
ROUNDING = 1e-13


class ExactFit(Loss):
    """Zero if f = y and infinity otherwise;  D(nu) = <nu, Y>."""

    name = "interpolation"

    is_shift_invariant = True

    def targets(self, Y: Array) -> Array:
        """Any real targets; whether a network can meet them is checked with the data."""
        return Y

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        allowed = TOLERANCE * np.abs(Y - Y.mean(axis=0)).max() + ROUNDING * np.abs(Y).max()
        return 0.0 if np.abs(F - Y).max() <= allowed else math.inf

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        """The direction to the targets; any vector is a subgradient where f = y."""
        return F - Y

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        terms = (nu * Y).ravel()
        return math.fsum(terms), 2 * EPS * math.fsum(np.abs(terms))

    def unit(self, Y: Array) -> float:
        return float(np.abs(Y).max()) or 1.0

    def best_scale(self, nu: Array, curvature: float, Y: Array, weight: Array, upper: float) -> float:
        slope = float(np.sum(nu * Y))
        if slope <= 0:
            return 0.0
        return min(slope / curvature, upper) if curvature > 0 else upper

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        n, none = Y.size, np.zeros(0)
        rows = sp.eye_array(n, format="csc"), sp.csc_array((n, 0))
        return LossCone(np.zeros(n), np.zeros(n), none, *rows, Y.ravel(), n_zero=n)

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        return float(np.linalg.norm(Y))
