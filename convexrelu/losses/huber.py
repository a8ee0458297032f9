"""The Huber loss: squared near the target, absolute far from it."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.losses.piecewise import PiecewiseLoss, bounds
from convexrelu.validation import check_number


class HuberLoss(PiecewiseLoss):
    """L(F) = sum_i weight_i h(f_i - y_i) with h(r) = r^2 / 2 up to |r| = delta and delta (|r| - delta / 2) beyond.

    D(nu) = <nu, Y> - sum_i nu_i^2 / (2 weight_i) for |nu_i| <= delta weight_i. It is PyTorch's HuberLoss, summed.

    Parameters
    ----------
    delta : float > 0, default 1.0
    """

    name = "huber"
    is_smooth = True
    is_shift_invariant = True

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = check_number(delta, "delta", above=0.0)

    def __repr__(self) -> str:
        return f"HuberLoss(delta={self.delta:g})"

    def targets(self, Y: Array) -> Array:
        """Any real targets will do."""
        return Y

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        arm = bounds(self.delta * np.ones(Y.shape), weight)
        return -arm, arm

    def unit(self, Y: Array) -> float:
        return float(np.abs(Y).max()) or 1.0
