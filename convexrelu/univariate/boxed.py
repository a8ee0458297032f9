"""Training with losses whose dual variables lie in boxes, with knots at samples: `train_boxed`.

    minimise   sum_i loss(f(x_i), y_i) + lam sum_k |delta_k(f)|

and the same without a free skip, where sigma is the sign of the sum of the outer slopes.

Letters as in `convexrelu.univariate.interior_point`. Each round trains the spline with the current candidates and adds
the worst point of each stretch where |G| exceeds lam; candidates clearly below it leave. For one optimum of many, as
losses with kinks have them, this takes few knots; the dual variable in the middle of the best ones is what the
interior point method ends with. Large problems start from the candidates of a subsample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray
from convexrelu.losses import LogisticLoss
from convexrelu.losses.piecewise import PiecewiseLoss
from convexrelu.univariate.box_problem import BoxProblem, EntropyProblem
from convexrelu.univariate.interior_point import Centred, centre
from convexrelu.univariate.trend_filter import peaks

# Above this many distinct points a sample of them, one in GROUP, comes first; below it, START candidates do.
SMALL, GROUP, START = 4000, 8, 64
# Relative gap of subsamples, and of a round relative to the gap before it.
COARSE_TOL, NEXT = 1e-4, 0.03
# Up to this many samples the first round is asked for all.
TINY = 500
# Of the tolerance: what is asked of a round at most.
ASK = 0.3
# A candidate leaves where |G| is below this share of lam.
IDLE = 0.98
# Shares of the objective: what curvature of this size costs is dropped from the answer, if the objective agrees.
NEGLIGIBLE = (1e-5, 1e-7, 1e-9)


@dataclass(frozen=True, eq=False)
class BoxedFit:
    """A spline by its values z (m,) at the samples `nodes` and slopes s between them, and a dual variable nu (n,).

    The objective and the lower bound are those of the two, up to rounding.
    """

    nodes: IntArray
    z: Array
    s: Array
    nu: Array
    objective: float
    bound: float
    negligible: float
    rounds: int

    @property
    def gap(self) -> float:
        """Relative, as far as it is known; infinite before the first round."""
        return (self.objective - self.bound) / max(abs(self.objective), self.negligible) if self.rounds else math.inf

    def improved(self, nodes: IntArray, found: Centred, bound: float, rounds: int) -> BoxedFit:
        """The better spline and the better dual variable of this and another round."""
        fit = replace(self, rounds=rounds)
        if found.objective < self.objective:
            fit = replace(fit, nodes=nodes, z=found.z, s=found.s, objective=found.objective)
        return replace(fit, nu=found.nu, bound=bound) if bound > self.bound or not self.rounds else fit


def train_boxed(
    x: Array,
    Y: Array,
    weight: Array,
    loss: PiecewiseLoss | LogisticLoss,
    lam: float,
    tol: float,
    rounds: int,
    sigma: float = 0.0,
    relief: float = 0.0,
) -> BoxedFit:
    """The best spline and dual variable for samples of positive weight in order, up to a relative gap of tol.

    Parameters
    ----------
    x, Y, weight : float64 (n,)
        With two distinct points at least.
    """
    columns = Y[:, None]
    lower, upper = loss.domain(columns, weight)
    if isinstance(loss, LogisticLoss):
        problem: BoxProblem = EntropyProblem(x, Y, lower[:, 0], upper[:, 0], np.zeros(len(x)), lam, sigma, relief)
    else:
        g = np.broadcast_to(loss.compliance(weight), columns.shape)[:, 0]
        problem = BoxProblem(x, Y, lower[:, 0], upper[:, 0], g, lam, sigma, relief)
    scaled, span, unit, heavy = _scaled(problem, weight)
    points = _points(x)
    found = _rounds(scaled, points, _start(scaled, points), tol, rounds)
    # No numbers whose squares are not representable.
    z, s = (np.where(np.abs(part) < EPS**3, 0.0, part) for part in (found.z, found.s))
    return replace(found, z=z * unit, s=s * (unit / span), nu=found.nu * heavy)


def _scaled(problem: BoxProblem, weight: Array) -> tuple[BoxProblem, float, float, float]:
    """The problem in other units, and those of x, z and nu. Powers of two leave all digits as they are."""
    span = _power(float(problem.x[-1] - problem.x[0]))
    unit, heavy = _power(float(np.abs(problem.Y).max())), _power(float(weight.mean()))
    scaled = replace(
        problem,
        x=problem.x / span,
        Y=problem.Y / unit,
        lower=problem.lower / heavy,
        upper=problem.upper / heavy,
        g=problem.g * heavy / unit,
        lam=problem.lam / (span * heavy),
        relief=problem.relief * span / unit,
    )
    return scaled, span, unit, heavy


def _power(size: float) -> float:
    """The power of two just below a number, one for zero."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if size > 0 else 1.0


def _points(x: Array) -> IntArray:
    """A sample for each distinct point, the first and the last sample among them."""
    points = np.flatnonzero(np.concatenate([[True], np.diff(x) > 0]))
    points[-1] = len(x) - 1
    return points


def _start(problem: BoxProblem, points: IntArray) -> IntArray:
    """Candidates: those of a subsample, or a few evenly chosen ones."""
    if len(points) <= SMALL:
        return points[np.unique(np.linspace(0, len(points) - 1, START).astype(np.intp))]
    n = len(problem.x)
    picks = np.unique(np.concatenate([np.arange(0, n, GROUP), [n - 1]]))
    parts = {name: getattr(problem, name)[picks] for name in ("x", "Y", "lower", "upper", "g")}
    fewer = replace(problem, **parts, lam=problem.lam / GROUP)
    distinct = _points(fewer.x)
    found = _rounds(fewer, distinct, _start(fewer, distinct), COARSE_TOL, 20)
    # A candidate at one of several equal points stands for all of them.
    return points[np.unique(np.searchsorted(problem.x[points], fewer.x[found.nodes]))]


def _rounds(problem: BoxProblem, points: IntArray, nodes: IntArray, tol: float, rounds: int) -> BoxedFit:
    """Train, price, change the candidates, until the best spline and the best dual variable are within tol."""
    blank = np.zeros(len(nodes)), np.zeros(len(nodes) - 1), np.zeros(len(problem.x))
    fit = BoxedFit(nodes, *blank, math.inf, 0.0, problem.negligible, 0)
    accuracy = 0.0 if len(problem.x) <= TINY else 0.1
    for done in range(1, rounds + 1):
        asked = max(ASK * tol, accuracy)
        found = centre(problem, nodes, asked)
        G = _double_sum(problem, found)
        before = fit.gap
        fit = fit.improved(nodes, found, _bound(problem, found, G), done)
        if fit.gap <= tol:
            break
        accuracy = NEXT * min(fit.gap, accuracy)
        # Where progress ends candidates only join: the others would come and go for ever.
        drops = fit.gap < 0.5 * before or found.gap > asked
        following = _changed(problem, points, nodes, found, G, tol, drops)
        if np.array_equal(following, nodes) and asked == ASK * tol:
            break
        nodes = following
    return _thinned(problem, fit, tol)


def _double_sum(problem: BoxProblem, found: Centred) -> Array:
    """G (n,) at the samples; at most lam - t in size where nothing is missing."""
    G, tilt = np.zeros(len(found.nu)), problem.sigma * found.t
    G[1:] = np.cumsum(np.diff(problem.x) * np.cumsum(found.nu)[:-1]) + tilt
    G[-1] += tilt
    return G


def _bound(problem: BoxProblem, found: Centred, G: Array) -> float:
    """Lower bound that a multiple of the dual variable shows, up to rounding."""
    largest = float(np.abs(G).max()) + found.t
    scale = min(1.0, problem.lam / largest) if largest > 0 else 1.0
    return problem.dual(scale * found.nu) - problem.split_cost(scale * found.t) - found.missed


def _changed(
    problem: BoxProblem, points: IntArray, nodes: IntArray, found: Centred, G: Array, tol: float, drops: bool
) -> IntArray:
    """The candidates with the peaks of the violation and, if it `drops` some, without those far from it."""
    size = np.abs(G[points])
    violating = size > (problem.lam - found.t) * (1 + 1e-3 * tol)
    violating[np.searchsorted(points, nodes)] = False
    new = points[peaks(size, violating)]
    keep = np.abs(found.G) > IDLE * (problem.lam - found.t) if drops else np.ones(len(nodes), dtype=bool)
    keep[[0, -1]] = True
    return np.union1d(nodes[keep], new)


def _thinned(problem: BoxProblem, fit: BoxedFit, tol: float) -> BoxedFit:
    """Without knots of negligible curvature, trained anew, if that costs less than the tolerance."""
    delta = np.abs(np.diff(fit.s, prepend=0.0, append=0.0))
    for share in NEGLIGIBLE:
        keep = problem.lam * delta > share * abs(fit.objective)
        keep[[0, -1]] = True
        if keep.all():
            break
        ceiling = fit.objective + 0.1 * tol * abs(fit.objective)
        found = centre(problem, fit.nodes[keep], 0.1 * tol, ceiling)
        if found.objective <= ceiling:
            return replace(fit, nodes=fit.nodes[keep], z=found.z, s=found.s, objective=found.objective)
    return fit
