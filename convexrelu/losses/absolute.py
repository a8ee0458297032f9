"""The absolute loss |f - y| and its asymmetric kin, the quantile (pinball) loss."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError
from convexrelu.losses.piecewise import PiecewiseLoss, bounds
from convexrelu.validation import check_number


class QuantileLoss(PiecewiseLoss):
    """L(F) = sum_i weight_i max(q (y_i - f_i), (1 - q) (f_i - y_i));  D(nu) = <nu, Y> for -(1 - q) <= nu <= q.

    Its optimal constant is a q-quantile of the targets. D's domain is that of the weights one; others multiply it.

    Parameters
    ----------
    quantile : float in (0, 1), default 0.5
        `q`; one half is half the absolute loss.
    """

    name = "quantile"
    is_shift_invariant = True

    def __init__(self, quantile: float = 0.5) -> None:
        self.quantile = check_number(quantile, "quantile", above=0.0)
        if self.quantile >= 1:
            raise InvalidInputError(f"`quantile` must lie between 0 and 1, got {quantile!r}; 0.5 is the median.")

    def __repr__(self) -> str:
        return f"QuantileLoss(quantile={self.quantile:g})"

    def targets(self, Y: Array) -> Array:
        """Any real targets will do."""
        return Y

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        ones = np.ones(Y.shape)
        return -bounds((1 - self.quantile) * ones, weight), bounds(self.quantile * ones, weight)

    def unit(self, Y: Array) -> float:
        return float(np.abs(Y).max()) or 1.0


class AbsoluteLoss(QuantileLoss):
    """L(F) = sum_i weight_i |f_i - y_i|;  D(nu) = <nu, Y> for |nu_i| <= weight_i."""

    name = "absolute"

    def __init__(self) -> None:
        super().__init__()

    def __repr__(self) -> str:
        return "AbsoluteLoss()"

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        heavy = weight[:, None] * np.ones(Y.shape[1])
        return -heavy, heavy
