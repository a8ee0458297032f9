"""The predictions that optimal networks may make on the samples: `Fits`.

Letters: `nu` (n, T) dual variable, `F` (n, T) predictions. Those of optimal networks satisfy -nu in dL(F), entry by
entry (theory B.1): one number where the loss is strictly convex at F or nu is strictly between the slopes of the arms
of a loss with kinks, and every prediction further out on an arm where nu is the slope of that arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.errors import UnsupportedError
from convexrelu.losses.piecewise import PiecewiseLoss
from convexrelu.optimal_set.optimum import Optimum


@dataclass(frozen=True, eq=False)
class Fits:
    """Bounds on the predictions: equal where they are fixed.

    Attributes
    ----------
    lower, upper : float64 (n, T)
        Infinite on the side of an arm.
    """

    lower: Array
    upper: Array

    @property
    def ends(self) -> Array:
        """The finite end (n, T)."""
        return np.where(np.isfinite(self.lower), self.lower, self.upper)

    @property
    def open(self) -> BoolArray:
        """Where predictions can move (n, T)."""
        return np.asarray(~(np.isfinite(self.lower) & np.isfinite(self.upper)))

    def columns(self, X: Array, Y: Array) -> Array:
        """Columns S (n T, h): predictions are `ends` less S t with t >= 0, one for each open entry.

        Equal samples share theirs, so that counting one twice does not change what is canonical.
        """
        _, sample = np.unique(np.hstack([X, Y]), axis=0, return_inverse=True)
        T = Y.shape[1]
        entry = (T * sample.ravel()[:, None] + np.arange(T)).ravel()
        signs = np.where(self.open, np.where(np.isfinite(self.upper), 1.0, -1.0), 0.0).ravel()
        return np.asarray(signs[:, None] * (entry[:, None] == np.unique(entry[signs != 0])))

    def off(self, F: Array) -> Array:
        """How far (n, T) predictions are outside."""
        return np.maximum(np.maximum(self.lower - F, F - self.upper), 0.0)


def fits_of(optimum: Optimum, tol: float) -> Fits:
    """What -nu in dL(F) allows; nu is the slope of an arm when it is to `tol`, relative.

    Raises
    ------
    UnsupportedError
        For a loss of the user's own that is flat at the predictions.
    """
    problem, F, nu = optimum.problem, optimum.fit, optimum.nu
    if not isinstance(problem.loss, PiecewiseLoss):
        if not problem.is_interpolation and not (problem.loss.curvature(F, problem.Y, problem.sample_weight) > 0).all():
            raise UnsupportedError(
                f"`loss={problem.loss.name!r}` has no curvature at the optimal predictions, which may not be unique; "
                "the optimal set takes strictly convex losses and those with a parabola and two arms."
            )
        return Fits(F, F)
    lower, upper = problem.loss.domain(problem.Y, problem.sample_weight)
    width = upper - lower
    near = tol * np.where(np.isfinite(width), width, np.maximum(np.abs(nu).max(), problem.sample_weight[:, None]))
    low, high = nu <= lower + near, nu >= upper - near
    g = problem.loss.compliance(problem.sample_weight)
    fixed = F if problem.loss.is_smooth else problem.Y
    with np.errstate(invalid="ignore"):  # an arm at infinity is never reached
        ends = np.where(low, problem.Y - g * lower, np.where(high, problem.Y - g * upper, fixed))
    return Fits(np.where(high, -np.inf, ends), np.where(low, np.inf, ends))
