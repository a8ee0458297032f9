"""`interpolate`: the interpolant of least norm in one variable, in closed form.

Letters: `s` slopes between neighbours, `delta` curvature at the inner points, `TV` the sum of |delta|, `S` the sum of
the first and the last slope, `nu` dual variable, `G` (n, T) its double sum: g(t) = sum_{x_i <= t} nu_i (t - x_i) at the
points.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convexrelu.arrays import EPS, Array, frozen, row_norms
from convexrelu.certificate import TINY, Certificate
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.chords import Chords
from convexrelu.univariate.grown_result import interpolate_grown
from convexrelu.univariate.modes import output_bias_of
from convexrelu.univariate.no_bias import interpolate_no_bias
from convexrelu.univariate.result import UnivariateResult, judged
from convexrelu.univariate.samples import Samples, check_points, samples
from convexrelu.univariate.spline import Spline
from convexrelu.validation import check_number

# Far above the rounding of the closed forms, which is all that separates the value from its bound.
TOL = 1e-9
# The limit on rounds of training neuron by neuron.
ROUNDS = 100


def interpolate(
    x: Any, Y: Any, bias: str = "free", skip: str = "free", *, output_bias: str | None = None, tol: float = 1e-8
) -> UnivariateResult:
    """The interpolating network of least norm sum_j |w_j| |v_j|, with its value and proof.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order; repeated ones must have equal targets.
    Y : array (n,) or (n, T)
        Targets.
    bias : {"free", "penalized", "none"}
        Penalised biases make the norm that of (w_j, b_j).
    skip : {"free", "penalized", "none"}
        Half the square of a penalised skip (and output bias) is added to the norm.
    output_bias : {"free", "penalized", "none"} or None
        None stands for "free" if the bias or the skip is free, else for "none"; with a free bias it must be free.
    tol : float > 0
        Relative gap to stop at, for the cases that are solved neuron by neuron; the others are exact up to rounding.

    Returns
    -------
    UnivariateResult
        With free biases, a free skip or one task its spline connects the dots: the only interpolant of least norm, or
        one of many (see `solution_set`).

    Raises
    ------
    InvalidInputError
        For data that cannot be used or interpolated.

    Notes
    -----
    With a skip the least norm is TV = sum_k |delta_k|, for one task without a skip max(TV, (TV + |S|) / 2). In the
    second case the slope changes by (|S| - TV) / 2 at the first point. Cost O(n log n), O(n) for sorted points. All
    other cases are solved neuron by neuron, as `fit` does (a hundred thousand random points: 10 s); with penalised
    biases knots then leave the data. The spline meets the targets exactly; the sum over the network's neurons does so
    to rounding, which for many close points is that of their large curvature.

    With penalised biases and spacings h connecting the dots costs about a share of h^2 / 8 more than the least norm, so
    among close points functions that differ much cost almost the same: a smaller `tol` tells them apart. Proofs have
    gaps down to some 1e-9; where points are close and others next to them far apart (spacings from 1e-12 to 1) the
    rounding of the dual variable leaves larger ones, and the status says so.

    References
    ----------
    P. Savarese, I. Evron, D. Soudry, N. Srebro, "How do infinite width bounded norm networks look in function space?",
    COLT 2019, Theorem 3.1; B. Hanin, "Ridgeless interpolation with shallow ReLU networks in 1D is nearest neighbor
    curvature extrapolation and provably generalizes on Lipschitz functions", 2021; for several tasks J. Nakhleh,
    J. Shenouda, R. Nowak, "The effects of multi-task learning on ReLU neural network functions", 2024.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> result = univariate.interpolate([0, 1, 2, 3], [0, 1, 1, 0])
    >>> result.objective, result.network.n_neurons
    (2.0, 2)
    """
    constant, tol = output_bias_of(output_bias, bias, skip), check_number(tol, "tol", above=0.0)
    usual = constant == output_bias_of(None, bias, skip)
    data = samples(x, Y)
    data.check_single_valued()
    if (bias, skip, usual) == ("none", "none", True):
        return interpolate_no_bias(data, TOL)
    if not usual or bias != "free" or skip == "penalized" or (data.Y.shape[1] > 1 and skip == "none"):
        problem = TrainingProblem.interpolation(check_points(x)[:, None], Y, bias=bias, output_bias=constant, skip=skip)
        return interpolate_grown(problem, tol, ROUNDS)
    chords = Chords(data.points, data.Y[data.first])
    spline, cost, bound, G = _optimum(chords, skip)
    found = Certificate(cost, bound, "global", _dual(data, chords.h, G), 1.0, _negligible(chords))
    return UnivariateResult(spline, found, judged(found, TOL), bias, skip, chords.x)


def _optimum(chords: Chords, skip: str) -> tuple[Spline, float, float, Array]:
    """Spline, its norm, a proven lower bound on the least norm, and the optimal G (n, T).

    The unit vectors delta_k / |delta_k| are a feasible G, whatever its rounding; it pairs with Y to sum |delta_k|.
    """
    x, Y = chords.x, chords.Y
    G = np.zeros_like(Y)
    if len(x) < 3:
        spline, variation, bound = Spline.through(x, Y), 0.0, 0.0
    else:
        size = row_norms(chords.delta)
        bent = size > chords.rounding
        spline = Spline.through(*(a[np.concatenate([[True], bent, [True]])] for a in (x, Y)))
        variation = spline.total_variation
        bound = math.fsum((size - chords.rounding)[bent]) * (1 - 4 * EPS)
        G[1:-1][bent] = chords.delta[bent] / size[bent, None]
    if skip == "free" or len(x) < 2:
        return spline, variation, bound, G
    S = float(chords.s[0, 0] + chords.s[-1, 0])
    if abs(S) <= variation:
        return spline, variation, bound, G
    # theory D.2: at the optimum half of the sign of S joins each inner G, all of it the last one.
    G = G / 2 - np.sign(S) / 2
    G[[0, -1]] = [[0.0], [-np.sign(S)]]
    extra = (abs(S) - variation) / 2
    slopes = spline.slopes.copy()
    slopes[0] -= math.copysign(extra, S)
    error = 4 * EPS * float(np.abs(chords.s[[0, -1]]).sum())
    return Spline(spline.knots, spline.values, slopes), variation + extra, (bound + abs(S) - error) / 2, G


def _dual(data: Samples, h: Array, G: Array) -> Array:
    """The dual variable (n, T) with double sum G, in the order given; zero at repeated points but the first."""
    steps = np.vstack([np.zeros((1, G.shape[1])), np.diff(G, axis=0) / h[:, None], np.zeros((1, G.shape[1]))])
    nu = np.zeros_like(data.Y)
    nu[data.order[data.first]] = np.diff(steps, axis=0)
    return frozen(nu)


def _negligible(chords: Chords) -> float:
    """Norms below this are rounding: the curvature that the last bits of the targets can make."""
    if len(chords.x) < 2:
        return TINY
    return max(float(EPS * row_norms(chords.s).max()), TINY)
