"""Training without a skip as training with one, tilted: `train`.

For one task the norm without a skip is max(TV, |S|) with S the sum of the two outer slopes, or (TV + |S|) / 2 if the
slope may change beyond the data (theory D.2). So the optimum is that of

    L + lam ((1 - theta / 2) TV + (theta / 2) sigma S)        for one theta in [0, 1], sigma = sign S:

theta = 0 if that gives TV >= |S|, theta = 1 if that gives TV <= |S|, otherwise the root of |S| - TV, which falls with
theta. The term in S is linear: a tilt of trend filtering.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from convexrelu.arrays import Array
from convexrelu.univariate.spline import Spline
from convexrelu.univariate.trend_filter import TrendProblem, correction_values, trend_filter


@dataclass(frozen=True, eq=False)
class Trained:
    """A spline with what its dual variable lacks.

    Attributes
    ----------
    spline : Spline
    correction : Spline
        To subtract from the residual (times the weights) so that it satisfies the conditions of optimality to rounding.
    rounds : int
    """

    spline: Spline
    correction: Spline
    rounds: int


def train(x: Array, Y: Array, weight: Array, lam: float, skip: str, tol: float, rounds: int) -> Trained:
    """The spline that is best for increasing points x (k,) of positive weight, up to tol."""
    if len(x) == 1:
        return Trained(Spline(x, Y, np.zeros((2, Y.shape[1]))), Spline(x, 0 * Y, np.zeros((2, Y.shape[1]))), 0)
    trained = _trend(TrendProblem(x, Y, weight, lam), tol, rounds)
    S, variation = _slopes_and_variation(trained.spline)
    if skip == "free" or abs(S) <= variation:
        return trained
    return _tilted(TrendProblem(x, Y, weight, lam), math.copysign(1.0, S), tol, rounds)


def _trend(problem: TrendProblem, tol: float, rounds: int) -> Trained:
    knots, done = trend_filter(problem, tol, rounds)
    x = problem.x[knots.nodes]
    spline = Spline.through(x, knots.z)
    # Of the residual that the certificate will see, last bits included.
    correction = correction_values(problem, knots, problem.residual(spline(problem.x)))
    return Trained(spline, Spline.through(x, correction), done)


def _slopes_and_variation(spline: Spline) -> tuple[float, float]:
    return float(spline.slopes[0, 0] + spline.slopes[-1, 0]), spline.total_variation


def _tilted(plain: TrendProblem, sigma: float, tol: float, rounds: int) -> Trained:
    """The optimum without a skip where |S| > TV with one."""
    trained: dict[float, Trained] = {}

    def excess(theta: float) -> float:
        tilted = plain.tilted(theta, sigma)
        trained[theta] = _trend(tilted, tol, rounds)
        S, variation = _slopes_and_variation(trained[theta].spline)
        return sigma * S - variation

    extra = excess(1.0)
    if extra >= 0:
        return _with_outer_knot(trained[1.0], sigma * extra / 2)
    brentq(excess, 0.0, 1.0, xtol=1e-15, rtol=1e-14)
    return _between(trained, sigma)


def _between(trained: dict[float, Trained], sigma: float) -> Trained:
    """The blend of the two nearest optima, one with |S| > TV and one with |S| <= TV, that has |S| = TV.

    Where a knot can bend much for a little change of theta neither of the two would do.
    """
    excesses = {}
    for theta, candidate in trained.items():
        S, variation = _slopes_and_variation(candidate.spline)
        excesses[theta] = sigma * S - variation
    low = max(theta for theta, excess in excesses.items() if excess > 0)
    high = min(theta for theta, excess in excesses.items() if excess <= 0)
    share = excesses[low] / (excesses[low] - excesses[high])
    one, other = trained[low], trained[high]
    return Trained(one.spline.blended(other.spline, share), one.correction.blended(other.correction, share), one.rounds)


def _with_outer_knot(trained: Trained, change: float) -> Trained:
    """The slope left of the first point lowered by `change`, which saves half of |S| - TV."""
    spline = trained.spline
    slopes = spline.slopes.copy()
    slopes[0] -= change
    return Trained(Spline(spline.knots, spline.values, slopes), trained.correction, trained.rounds)
