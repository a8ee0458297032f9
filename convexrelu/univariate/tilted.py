"""Training without a free skip as training with one, tilted: `train`.

For one task the norm without a skip is max(TV, |S|) with S the sum of the two outer slopes, or (TV + |S|) / 2 if the
slope may change beyond the data (theory D.2). So the optimum is that of

    L + lam ((1 - theta / 2) TV + (theta / 2) sigma S)        for one theta in [0, 1], sigma = sign S:

theta = 0 if that gives TV >= |S|, theta = 1 if that gives TV <= |S|, otherwise the root of |S| - TV, which falls with
theta. The term in S is linear: a tilt of trend filtering. (For other losses than the squared one theta is a variable of
the training itself: theirs may have no optimum at a tilt too large.)

A penalised skip A takes 2 A from S and costs lam A^2 / 2, so its best size is theta: the root is that of
|S| - 2 theta - TV.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq

from convexrelu.arrays import Array
from convexrelu.losses import LogisticLoss, Loss, PiecewiseLoss, SquaredLoss
from convexrelu.univariate.boxed import train_boxed
from convexrelu.univariate.samples import Samples
from convexrelu.univariate.spline import Spline
from convexrelu.univariate.trend_filter import TrendProblem, correction_values, trend_filter


@dataclass(frozen=True, eq=False)
class Trained:
    """A spline with its dual variable, or what that lacks.

    Attributes
    ----------
    spline : Spline
    correction : Spline or None
        To subtract from the residual (times the weights) so that it satisfies the conditions of optimality to rounding.
    rounds : int
    nu : float64 (n, 1) or None
        The dual variable at the samples of positive weight, where the spline does not tell it.
    """

    spline: Spline
    correction: Spline | None
    rounds: int
    nu: Array | None = None

    def blended(self, other: Trained, share: float) -> Trained:
        """(1 - share) times this plus share times the other."""
        spline = self.spline.blended(other.spline, share)
        assert self.correction is not None and other.correction is not None
        return Trained(spline, self.correction.blended(other.correction, share), self.rounds)


def train(data: Samples, loss: Loss, lam: float, skip: str, tol: float, rounds: int) -> Trained:
    """The spline that is best for samples at two points of positive weight at least, up to tol."""
    relief = float(skip == "penalized")
    if isinstance(loss, SquaredLoss):
        plain = TrendProblem(*data.merged(), lam)
        trained = _trend(plain, tol, rounds)
    else:
        trained = _boxed(data, loss, lam, tol, rounds)
    S, variation = _slopes_and_variation(trained.spline)
    if skip == "free" or abs(S) <= variation:
        return trained
    sigma = math.copysign(1.0, S)
    if isinstance(loss, SquaredLoss):
        return _tilted(lambda theta: _trend(plain.tilted(theta, sigma), tol, rounds), sigma, 2 * relief)
    return _split(trained, _boxed(data, loss, lam, tol, rounds, sigma, relief), sigma, relief)


def _split(free: Trained, split: Trained, sigma: float, relief: float) -> Trained:
    """The optimum without a free skip: that of the split weight decay, with what it leaves open."""
    S, variation = _slopes_and_variation(split.spline)
    extra = sigma * S - 2 * relief - variation
    if extra > 0:
        return _with_outer_knot(split, sigma * extra / 2)
    if -sigma * S <= variation:
        return split
    # Both are optimal with a free skip, and S changes sign between them.
    share = _slopes_and_variation(free.spline)[0]
    return replace(split, spline=free.spline.blended(split.spline, share / (share - S)))


def _boxed(
    data: Samples, loss: Loss, lam: float, tol: float, rounds: int, sigma: float = 0.0, relief: float = 0.0
) -> Trained:
    assert isinstance(loss, PiecewiseLoss | LogisticLoss)
    heavy = data.weight > 0
    x = data.x[heavy]
    fit = train_boxed(x, data.Y[heavy, 0], data.weight[heavy], loss, lam, tol, rounds, sigma, relief)
    slopes = np.concatenate([fit.s[:1], fit.s, fit.s[-1:]])
    spline = Spline(x[fit.nodes], fit.z[:, None], slopes[:, None])
    return Trained(spline, None, fit.rounds, fit.nu[:, None])


def _trend(problem: TrendProblem, tol: float, rounds: int) -> Trained:
    knots, done = trend_filter(problem, tol, rounds)
    x = problem.x[knots.nodes]
    spline = Spline.through(x, knots.z)
    # Of the residual that the certificate will see, last bits included.
    correction = correction_values(problem, knots, problem.residual(spline(problem.x)))
    return Trained(spline, Spline.through(x, correction), done)


def _slopes_and_variation(spline: Spline) -> tuple[float, float]:
    return float(spline.slopes[0, 0] + spline.slopes[-1, 0]), spline.total_variation


def _tilted(trainer: Callable[[float], Trained], sigma: float, relief: float) -> Trained:
    """The optimum without a free skip where |S| > TV with one; `relief` theta is what a penalised one takes from S."""
    trained: dict[float, tuple[Trained, float]] = {}

    def excess(theta: float) -> float:
        found = trainer(theta)
        S, variation = _slopes_and_variation(found.spline)
        trained[theta] = found, sigma * S - relief * theta - variation
        return trained[theta][1]

    extra = excess(1.0)
    if extra >= 0:
        return _with_outer_knot(trained[1.0][0], sigma * extra / 2)
    brentq(excess, 0.0, 1.0, xtol=1e-15, rtol=1e-14)
    return _between(trained)


def _between(trained: dict[float, tuple[Trained, float]]) -> Trained:
    """The blend of the two nearest optima, one on either side of the root, that is on it.

    Where a knot can bend much for a little change of theta neither of the two would do.
    """
    low, above = trained[max(theta for theta, (_, excess) in trained.items() if excess > 0)]
    high, below = trained[min(theta for theta, (_, excess) in trained.items() if excess <= 0)]
    return low.blended(high, above / (above - below))


def _with_outer_knot(trained: Trained, change: float) -> Trained:
    """The slope left of the first point lowered by `change`, which saves half of |S| - TV."""
    spline = trained.spline
    slopes = spline.slopes.copy()
    slopes[0] -= change
    return Trained(Spline(spline.knots, spline.values, slopes), trained.correction, trained.rounds, trained.nu)
