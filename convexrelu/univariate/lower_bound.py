"""The certificate of a function of one variable: its objective and a proven lower bound, both in O(n).

Letters: `nu` (n, T) dual variable, `G` (n, T) its double sum g(t) = sum_{x_i <= t} nu_i (t - x_i) at the points, `a`
the sum of nu, `lam` weight decay.

    sum_i nu_i . F_i  =  a . c  -  G_n . b  +  sum over neurons of (output . g at the knot)

for a function with the constant c and, with a free skip, the slope b; so L(F) + lam |neurons| is at least D(nu) if
|g| <= lam, less what a and G_n leave. Between the points g is affine: its maximum is at a point (theory F.2).

Sums run in extended precision where the platform has it; every bound holds with whatever precision there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import EPS, Array, frozen, row_norms
from convexrelu.certificate import TINY, Certificate
from convexrelu.losses import Loss
from convexrelu.univariate.samples import Samples
from convexrelu.univariate.spline import Spline

WIDE = np.longdouble
WIDE_EPS = float(np.finfo(WIDE).eps)


@dataclass(frozen=True, eq=False)
class DoubleSum:
    """Bounds on the double sum of a dual variable.

    Attributes
    ----------
    largest : float
        Upper bound on the dual norm.
    total : float
        Upper bound on |a|.
    moment : float
        Upper bound on |G_n|, the double sum at the last point.
    """

    largest: float
    total: float
    moment: float


def certified(data: Samples, spline: Spline, nu: Array, lam: float, loss: Loss, skip: str) -> Certificate:
    """The certificate of a spline for penalised training with free bias.

    Parameters
    ----------
    data : Samples
    spline : Spline
    nu : float64 (n, T)
        Any dual variable, in the order of `data.x`: minus the gradient of the loss at the optimum.
    lam : float > 0
    loss : Loss
    skip : {"free", "none"}
    """
    heavy = data.weight > 0
    x, Y, weight = data.x[heavy], data.Y[heavy], data.weight[heavy]
    objective = loss.value(spline(x), Y, weight) + lam * norm(spline, skip)
    nu, sums = _feasible(x, Y, weight, nu[heavy], lam, loss, skip)
    value, error = loss.dual_value(nu, Y, weight)
    leak = _leak(x, loss.fit_radius(objective, Y, weight), objective / lam, sums, skip)
    # Every loss and penalty is at least zero, whatever nu; the leak is bounded for functions below `objective` only.
    bound = min(max(value - error - leak, 0.0), objective) if math.isfinite(value) else 0.0
    dual = np.zeros_like(data.Y)
    dual[data.order[heavy]] = nu
    negligible = max(EPS * loss.value(np.zeros_like(Y), Y, weight), TINY)
    return Certificate(float(objective), float(bound), "global", frozen(dual), float(sums.largest), negligible)


def norm(spline: Spline, skip: str) -> float:
    """The least norm sum_j |w_j| |v_j| of a network with free bias that computes the spline, up to its output bias.

    References
    ----------
    P. Savarese, I. Evron, D. Soudry, N. Srebro, "How do infinite width bounded norm networks look in function space?",
    COLT 2019, Theorem 3.1, for one task without a skip.
    """
    variation = spline.total_variation
    if skip == "free":
        return variation
    return max(variation, float(abs(spline.slopes[0, 0] + spline.slopes[-1, 0])))


def _feasible(
    x: Array, Y: Array, weight: Array, nu: Array, lam: float, loss: Loss, skip: str
) -> tuple[Array, DoubleSum]:
    """The best multiple of nu whose dual norm is proven to be at most lam, and its sums."""
    nu = _centred(x, weight, nu, skip)
    sums = double_sum_bounds(x, nu, skip)
    scale = loss.best_scale(nu, 0.0, Y, weight, lam / sums.largest if sums.largest > 0 else math.inf)
    nu = nu * scale if math.isfinite(scale) else np.zeros_like(nu)
    for attempt in range(8):
        sums = double_sum_bounds(x, nu, skip)
        if sums.largest <= lam:
            return nu, sums
        # The rounded product may miss again where sums cancel: aim a little lower each time.
        nu = nu * (lam / sums.largest * (1 - 4 * EPS * 10**attempt))
    return np.zeros_like(nu), DoubleSum(0.0, 0.0, 0.0)


def _centred(x: Array, weight: Array, nu: Array, skip: str) -> Array:
    """Nu less what keeps it from being orthogonal to the constant and, with a skip, to x: a matter of rounding."""
    columns = [np.ones(len(x))]
    span = x[-1] - x[0]
    if skip == "free" and span > 0:
        center = float(weight @ (x - x[0]) / weight.sum())
        columns.append((x - x[0] - center) / span)
    for _ in range(2):
        for column in columns:
            heavy = weight * column
            nu = nu - heavy[:, None] * (column @ nu / float(column @ heavy))
    return nu


def double_sum_bounds(x: Array, nu: Array, skip: str) -> DoubleSum:
    """Bounds that account for every rounding of two running sums (`skip`: which neurons face left)."""
    c = np.cumsum(nu, axis=0, dtype=WIDE)
    h = np.diff(x.astype(WIDE))[:, None]
    steps = h * c[:-1]
    G = np.cumsum(steps, axis=0, dtype=WIDE)
    # A running sum errs by half a unit in the last place of each partial sum; three roundings make a step.
    c_error = WIDE_EPS * _size(c).sum()
    G_error = float(x[-1] - x[0]) * (1 + EPS) * c_error + 2 * WIDE_EPS * (_size(steps).sum() + _size(G).sum())
    # The errors themselves are sums of rounded numbers; norms are rounded too.
    c_error, G_error = 1.01 * c_error, 1.01 * G_error
    safety = 1 + 8 * (nu.shape[1] + 4) * EPS
    total = (_norm(c[-1]) + c_error) * safety
    if not len(G):
        return DoubleSum(0.0, total, 0.0)
    largest, last = _size(G).max(), G[-1]
    if skip == "none":
        # Neurons that face right see g(t) - G_n, up to a (t - x_n).
        largest = max(largest, _size(G - last).max(), _norm(last)) + 2 * total * float(x[-1] - x[0]) + G_error
    return DoubleSum((largest + G_error) * safety, total, (_norm(last) + G_error) * safety)


def _size(A: NDArray[np.longdouble]) -> Array:
    """Norms of the rows in double precision."""
    return np.abs(A[:, 0]).astype(np.float64) if A.shape[1] == 1 else row_norms(A.astype(np.float64))


def _norm(v: NDArray[np.longdouble]) -> float:
    return float(np.linalg.norm(v.astype(np.float64)))


def _leak(x: Array, radius: float, hidden: float, sums: DoubleSum, skip: str) -> float:
    """Bound on |a . c - G_n . b| over functions with |F| <= radius and neurons of norm <= hidden."""
    span = float(x[-1] - x[0])
    if skip == "none":
        return sums.total * (radius + hidden * span)
    slope = 2 * radius / span + hidden if span > 0 else 0.0
    return (sums.total * radius + sums.moment * slope) * (1 + 8 * EPS)
