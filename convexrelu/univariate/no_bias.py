"""Networks of one input without biases, skip and output bias: `fit_no_bias`, `interpolate_no_bias`, in closed form.

Letters: `f(x) = p relu(x) + q relu(-x)`, `t` (k,) the distances |x| of the samples on one side of zero, `nu` (n, T)
dual variable. The two sides are problems of their own,

    minimise   sum_i loss(p t_i, y_i) + lam |p|,

whose optimum has sum_i t_i nu_i = lam p / |p| or, for p = 0, at most lam in size.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from convexrelu.arrays import EPS, Array, frozen, row_norms
from convexrelu.certificate import TINY, Certificate
from convexrelu.interpolation import check_interpolable
from convexrelu.losses import DataLoss, ExactFit, Loss, SquaredLoss
from convexrelu.network import Network
from convexrelu.univariate.result import UnivariateResult, judged
from convexrelu.univariate.samples import Samples
from convexrelu.univariate.spline import Spline

SIDES = (1.0, -1.0)


def fit_no_bias(data: Samples, loss: Loss, lam: float, tol: float) -> UnivariateResult:
    """The best network without biases, of one task unless the loss is the squared one; cost O(n log n)."""
    nu = -loss.gradient(np.zeros_like(data.Y), data.Y, data.weight)
    slopes = np.zeros((2, data.Y.shape[1]))
    for k, side in enumerate(SIDES):
        on = (side * data.x > 0) & (data.weight > 0)
        if on.any():
            slopes[k], nu[on] = _side(side * data.x[on], DataLoss(loss, data.Y[on], data.weight[on]), lam)
    return _result(data, slopes, nu, loss, lam, tol)


def interpolate_no_bias(data: Samples, tol: float) -> UnivariateResult:
    """The only interpolant without biases; raises InvalidInputError where there is none."""
    check_interpolable(data.x[:, None], data.Y, "none", "none")
    nu, slopes = np.zeros_like(data.Y), np.zeros((2, data.Y.shape[1]))
    for k, side in enumerate(SIDES):
        far = int(np.argmax(side * data.x))
        t = side * data.x[far]
        if t > 0:
            slopes[k] = data.Y[far] / t
            size = float(np.linalg.norm(slopes[k]))
            nu[far] = slopes[k] / (size * t) if size > 0 else 0.0
    return _result(data, slopes, nu, ExactFit(), 1.0, tol)


def _side(t: Array, data: DataLoss, lam: float) -> tuple[Array, Array]:
    """The slope p (T,) and the dual variable (k, T) of one side."""
    if isinstance(data.loss, SquaredLoss):
        seen = (data.weight * t) @ data.Y
        size = float(np.linalg.norm(seen))
        p = seen * (max(1 - lam / size, 0.0) if size > 0 else 0.0) / float(data.weight @ t**2)
        return p, -data.gradient(t[:, None] * p)
    if data.loss.is_smooth:
        p = np.array([_smooth_slope(t, data, lam)])
        return p, -data.gradient(t[:, None] * p)
    slope, nu = _kinked_slope(t, data, lam)
    return np.array([slope]), nu[:, None]


def _smooth_slope(t: Array, data: DataLoss, lam: float) -> float:
    def seen(p: float) -> float:
        return -float(t @ data.gradient(p * t))

    start = seen(0.0)
    if abs(start) <= lam:
        return 0.0
    sign = math.copysign(1.0, start)
    end = sign * data.loss.unit(data.Y) / float(t.max())
    while sign * seen(end) > lam:
        end *= 2
    return float(brentq(lambda p: seen(p) - sign * lam, 0.0, end, xtol=TINY, rtol=4 * EPS))


def _kinked_slope(t: Array, data: DataLoss, lam: float) -> tuple[float, Array]:
    """The slope and nu: what is seen of nu falls with p at the kinks y / t: by t (upper - lower) each."""
    lower, upper = (bound[:, 0] for bound in data.loss.domain(data.Y, data.weight))
    kinks = data.Y[:, 0] / t
    # Zero is a candidate as well: there the wanted value jumps from lam down to -lam.
    places = np.append(kinks, 0.0)
    order = np.argsort(places, kind="stable")
    falls = np.append(t * (upper - lower), 2 * lam)[order]
    after = lam + float(t @ upper) - np.cumsum(falls)
    k = min(int(np.searchsorted(-after, 0.0)), len(order) - 1)
    p = float(places[order[k]])
    nu = np.where(kinks > p, upper, np.where(kinks < p, lower, 0.0))
    tied = kinks == p
    wanted = math.copysign(lam, p) if p else 0.0
    rest, least, most = wanted - float(t @ nu), float(t[tied] @ lower[tied]), float(t[tied] @ upper[tied])
    share = min(max((rest - least) / (most - least), 0.0), 1.0) if most > least else 0.0
    nu[tied] = lower[tied] + share * (upper[tied] - lower[tied])
    return p, nu


def _result(data: Samples, slopes: Array, nu: Array, loss: Loss, lam: float, tol: float) -> UnivariateResult:
    """The network with the given slopes (2, T) and what nu proves."""
    network = _network(slopes)
    spline = Spline(np.zeros(1), np.zeros((1, slopes.shape[1])), np.vstack([-slopes[1], slopes[0]]))
    objective = loss.value(spline(data.x), data.Y, data.weight) + lam * float(row_norms(slopes).sum())
    largest = _dual_norm(data.x, nu)
    scale = loss.best_scale(nu, 0.0, data.Y, data.weight, lam / largest * (1 - 4 * EPS) if largest > 0 else math.inf)
    scaled, norm = (nu * scale, min(largest * scale, lam)) if math.isfinite(scale) else (0 * nu, 0.0)
    value, error = loss.dual_value(scaled, data.Y, data.weight)
    bound = min(max(value - error, 0.0), objective) if math.isfinite(value) else 0.0
    dual = np.zeros_like(data.Y)
    dual[data.order] = scaled
    size = loss.value(np.zeros_like(data.Y), data.Y, data.weight)
    negligible = max(EPS * size if math.isfinite(size) else 0.0, TINY)
    found = Certificate(objective, bound, "global", frozen(dual), norm, negligible)
    return UnivariateResult(spline, found, judged(found, tol), "none", "none", data.points, 0, network, "none")


def _dual_norm(x: Array, nu: Array) -> float:
    """The larger |sum t nu| of the two sides, rounding added: products and sums of n terms, twice for scaling nu."""
    sums = [np.linalg.norm(np.maximum(side * x, 0.0) @ nu) for side in SIDES]
    return float(max(sums)) + (len(x) + 8) * EPS * float(np.abs(x) @ row_norms(nu))


def _network(slopes: Array) -> Network:
    """One neuron for each side with a slope."""
    size = row_norms(slopes)
    on = size > 0
    root = np.sqrt(size[on])[:, None]
    T = slopes.shape[1]
    hidden = root * np.array(SIDES)[on, None]
    return Network(hidden, np.zeros(len(hidden)), slopes[on] / root, np.zeros((1, T)), np.zeros(T), "none")
