"""The certificate of a function of one variable: its objective and a proven lower bound, both in O(n).

Letters: `nu` (n, T) dual variable, `G` (n, T) its double sum g(t) = sum_{x_i <= t} nu_i (t - x_i) at the points, `a`
the sum of nu, `lam` weight decay.

    sum_i nu_i . F_i  =  a . c  -  G_n . b  +  sum over neurons of (output . g at the knot)

for a function with the constant c and, with a skip, the slope b; so L(F) + lam |neurons| is at least D(nu) if
|g| <= lam, less what a and G_n leave. A penalised slope takes G_n^2 / (2 lam) from that. Between the points g is
affine: its maximum is at a point (theory F.2).

Sums run in extended precision where the platform has it; every bound holds with whatever precision there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import EPS, Array
from convexrelu.certificate import TINY, Certificate
from convexrelu.losses import Loss
from convexrelu.univariate.label_radius import label_radius
from convexrelu.univariate.penalized_skip import best_skip, without_line
from convexrelu.univariate.running_sums import WIDE, WIDE_EPS, Wide, double_sum, rounded_alike, sizes
from convexrelu.univariate.samples import Samples
from convexrelu.univariate.sectors import sector_bounds
from convexrelu.univariate.spline import Spline


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
        Upper bound on |G_n|, the double sum at the last point; for penalised biases on |sum_i nu_i x_i|.
    """

    largest: float
    total: float
    moment: float


def certified(
    data: Samples, objective: float, nu: Array | Wide, lam: float, loss: Loss, bias: str, skip: str
) -> Certificate:
    """The certificate that a dual variable gives a function with the given objective.

    Parameters
    ----------
    data : Samples
    objective : float
    nu : float64 or longdouble (n, T)
        Any dual variable, in the order of `data.x`: minus the gradient of the loss at the optimum.
    lam : float > 0
        One for interpolation.
    loss : Loss
    bias : {"free", "penalized"}
    skip : {"free", "penalized", "none"}
    """
    # A view where all samples count: copies of large arrays cost as much as sums.
    heavy = slice(None) if data.weight.all() else data.weight > 0
    x, Y, weight = data.x[heavy], data.Y[heavy], data.weight[heavy]
    constraint = _Constraint(x, weight, lam, bias, skip)
    feasible, sums = constraint.feasible(nu[heavy], Y, loss)
    value, error = loss.dual_value(feasible, Y, weight)
    leak = constraint.leak(constraint.radius(objective, Y, loss), objective / lam, sums) + constraint.slope_cost(sums)
    # Every loss and penalty is at least zero, whatever nu; the leak is bounded for functions below `objective` only.
    bound = min(max(value - error - leak, 0.0), objective) if math.isfinite(value + leak) else 0.0
    dual = np.zeros_like(data.Y)
    dual[data.order[heavy]] = feasible
    size = loss.value(np.zeros_like(Y), Y, weight)
    # Without a parabola at its minimum a loss is as large as the rounding of the predictions.
    rounding = math.sqrt(EPS) if loss.is_shift_invariant and not loss.is_smooth and math.isfinite(size) else EPS
    negligible = max(rounding * (size if math.isfinite(size) else float(np.abs(Y).max())), TINY)
    dual.flags.writeable = False
    return Certificate(float(objective), float(bound), "global", dual, float(sums.largest), negligible)


def norm(spline: Spline, skip: str) -> float:
    """The least norm sum_j |w_j| |v_j| of a network with free bias that computes the spline, up to its output bias.

    With a penalised skip: the least sum of the norm and half the square of the skip.

    References
    ----------
    P. Savarese, I. Evron, D. Soudry, N. Srebro, "How do infinite width bounded norm networks look in function space?",
    COLT 2019, Theorem 3.1, for one task without a skip.
    """
    if skip == "penalized":
        A = best_skip(spline)
        return norm(without_line(spline, A), "none") + A**2 / 2
    variation = spline.total_variation
    if skip == "free":
        return variation
    return max(variation, float(abs(spline.slopes[0, 0] + spline.slopes[-1, 0])))


@dataclass(frozen=True, eq=False)
class _Constraint:
    """What makes a dual variable feasible: a dual norm of at most lam, and no correlation with the free part."""

    x: Array
    weight: Array
    lam: float
    bias: str
    skip: str

    def bounds(self, nu: Array) -> DoubleSum:
        """Bounds on the dual norm and on the correlations with the free part."""
        if self.bias == "penalized":
            return DoubleSum(*sector_bounds(self.x, nu, self.skip))
        return double_sum_bounds(self.x, nu, self.skip)

    def used(self, sums: DoubleSum) -> float:
        """What of lam the neurons need: with a skip also for the slope at an end, which is not quite free (`leak`)."""
        return sums.largest + sums.moment if self.skip == "free" else sums.largest

    def feasible(self, nu: Array | Wide, Y: Array, loss: Loss) -> tuple[Array, DoubleSum]:
        """The best multiple of nu whose dual norm is proven to be at most lam, and its bounds."""
        box = loss.domain(Y, self.weight)
        wide = self._in_box(nu, *box) if loss.is_classification else self._centred(nu.astype(WIDE), self.weight)
        rounded = self._rounded(wide, 1.0, *box)
        sums = self.bounds(rounded)
        largest, curvature = self.used(sums), 2 * self.slope_cost(sums)
        # Just below the largest multiple, which rounding would often make too large.
        upper = self.lam / largest * (1 - 16 * EPS) if largest > 0 else math.inf
        scale = loss.best_scale(rounded, curvature, Y, self.weight, upper)
        scale = scale if math.isfinite(scale) else 0.0
        for attempt in range(8):
            rounded = self._rounded(wide, scale, *box)
            sums = self.bounds(rounded)
            if self.used(sums) <= self.lam:
                return rounded, sums
            # The rounded product may miss again where sums cancel: aim a little lower each time.
            scale *= self.lam / self.used(sums) * (1 - 4 * EPS * 10**attempt)
        return np.zeros_like(rounded), DoubleSum(0.0, 0.0, 0.0)

    def _rounded(self, wide: Wide, scale: float, lower: Array, upper: Array) -> Array:
        """A multiple in double precision, within bounds; where there are none by its sums, which lose nothing by it."""
        if np.isinf(lower).all() and np.isinf(upper).all():
            return rounded_alike(self.x, wide, scale)
        return np.clip((wide * scale).astype(np.float64), lower, upper)

    def _in_box(self, nu: Array | Wide, lower: Array, upper: Array) -> Wide:
        """A dual variable near nu, orthogonal to the free columns.

        Where zero is on the boundary of the loss's box shrinking does not bring back what has left it: there every
        entry moves in proportion to its distance to the boundary.
        """
        wide = nu.astype(WIDE)
        for _ in range(3):
            room = np.minimum(np.minimum(wide - lower, upper - wide), self.weight[:, None])[:, 0]
            wide = np.clip(self._centred(wide, np.maximum(room, 0.0).astype(np.float64)), lower, upper)
        return wide

    def _centred(self, wide: Wide, weight: Array) -> Wide:
        """Made orthogonal to the free columns, in place: in that metric the nearest, up to rounding."""
        if not weight.any():
            return wide
        if self.bias == "penalized" and self.skip != "free":
            return wide
        columns, span = [np.ones(len(self.x))], self.x[-1] - self.x[0]
        if self.skip == "free" and span > 0:
            offset = self.x - self.x[0]
            columns.append((offset - float(weight @ offset / weight.sum())) / span)
        for column in 2 * columns:
            heavy = weight * column
            if column @ heavy > 0:
                seen = np.einsum("i,it->t", column, wide).astype(np.float64)
                # Where large numbers cancel the sum's own rounding would do more harm than good.
                rounding = WIDE_EPS * math.sqrt(len(wide)) * float(np.abs(column) @ sizes(wide))
                if float(np.abs(seen).max()) > rounding:
                    wide -= heavy[:, None] @ seen[None] / (column @ heavy)
        return wide

    def radius(self, objective: float, Y: Array, loss: Loss) -> float:
        """Bound on |F| for functions below an objective."""
        radius = loss.fit_radius(objective, Y, self.weight)
        if math.isfinite(radius) or not loss.is_classification or Y.shape[1] > 1:
            return radius
        hidden = objective / self.lam + self._slope(objective / self.lam)
        return label_radius(self.x, Y[:, 0], float(self.weight.min()), objective, hidden, self.skip) * (1 + 16 * EPS)

    def _slope(self, hidden: float) -> float:
        """Bound on a penalised slope."""
        return math.sqrt(2 * hidden) if self.skip == "penalized" else 0.0

    def slope_cost(self, sums: DoubleSum) -> float:
        """What a penalised slope can take from the dual value."""
        return sums.moment**2 / (2 * self.lam) * (1 + 4 * EPS) if self.skip == "penalized" else 0.0

    def leak(self, radius: float, hidden: float, sums: DoubleSum) -> float:
        """Bound on what nu sees of the free part of functions with |F| <= radius and neurons of norm <= hidden.

        With a skip the function is its value and slope at one end and neurons with their knots between the ends; the
        slope differs from that between the ends by no more than the norm of the neurons, for which `used` accounts.
        """
        span = float(self.x[-1] - self.x[0])
        if self.skip != "free":
            reach = (hidden + self._slope(hidden)) * span
            return 0.0 if self.bias == "penalized" else sums.total * (radius + reach) * (1 + 8 * EPS)
        slope = 2 * radius / span if span > 0 else 0.0
        return (sums.total * radius + sums.moment * slope) * (1 + 8 * EPS)


def double_sum_bounds(x: Array, nu: Array, skip: str) -> DoubleSum:
    """Bounds that account for every rounding of two running sums (`skip`: which neurons face left)."""
    c, c_error, G, G_error = double_sum(x, nu)
    # Norms are rounded too.
    safety = 1 + 8 * (nu.shape[1] + 4) * EPS
    total = (_norm(c[-1]) * (1 + 2 * WIDE_EPS) + c_error) * safety
    if not len(G):
        return DoubleSum(0.0, total, 0.0)
    largest, last = sizes(G).max(), G[-1]
    if skip != "free":
        # Neurons that face right see g(t) - G_n, up to a (t - x_n).
        largest = max(largest, sizes(G - last).max(), _norm(last)) + 2 * total * float(x[-1] - x[0]) + G_error
    return DoubleSum((largest + G_error) * safety, total, (_norm(last) + G_error) * safety)


def _norm(v: NDArray[np.longdouble]) -> float:
    return float(np.linalg.norm(v.astype(np.float64)))
