"""The interpolant of least norm among all with neurons of one input, and what it costs: `made_interpolant`.

Letters: `x` (n,) increasing points, `Y` (n, T) targets, `t` (k,) knots of neurons, `delta` (k, T) their curvature, `G`
(n, T) dual variable of the curvature at the points.

The sum of many neurons of large curvature holds few digits of the targets. So the spline is made of the targets and
the knots between the points, interval by interval, and whatever its curvature at the points and its line at the first
one differ from the neurons' by is added to the cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.targets import onto_targets
from convexrelu.univariate.growth import Task, best_candidates, network_of
from convexrelu.univariate.joined import joined_by_interval
from convexrelu.univariate.line_certificate import norm_on_line, objective_on_line
from convexrelu.univariate.spline import Spline

# Of the whole norm: all that the smallest neurons may make up, which are what an interior point leaves of zeros; the
# first with which the sum over neurons still meets the targets, if it does with any.
NOTHING = (1e-10, 1e-12, 0.0)
# A bend is none if it is at most so many times the rounding of the slopes, for which several roundings are behind it.
ROUNDING = 64
# Up to so many points a network may be moved onto its targets, by dense systems.
FEW = 100


@dataclass(frozen=True, eq=False)
class Made:
    """An interpolant with the network that makes it up to rounding, its objective, and a dual variable (n, T)."""

    spline: Spline
    network: Network
    objective: float
    nu: Array


def made_interpolant(problem: TrainingProblem, tol: float, rounds: int) -> Made:
    """The best interpolant found for a problem of two points at least, with biases."""
    task = Task.of(problem)
    found = best_candidates(task, tol, rounds)
    x, Y = task.x, problem.Y[task.order]
    whole = network_of(task, found)
    candidates = [_used(whole, x, share) for share in (NOTHING if _is_needed(whole, x, Y) else (2.0,))]
    if len(x) <= FEW:
        candidates.append(onto_targets(problem, candidates[0]))
    network = next((one for one in candidates if math.isfinite(objective_on_line(problem, one))), candidates[0])
    snapped = _snapped(network, x)
    spline = _spline(network, snapped, x, Y)
    objective = norm_on_line(problem, network) + _rest(problem, network, snapped, spline, x, Y)
    nu = np.zeros_like(problem.Y)
    nu[task.order] = found.nu
    return Made(_without_rounding(spline), network.balanced(), objective, nu)


def _is_needed(network: Network, x: Array, Y: Array) -> bool:
    """Whether the neurons are more than the rounding of the targets' slopes could make."""
    steepest = float(row_norms(np.diff(Y, axis=0) / np.diff(x)[:, None]).max())
    size = float(network.neuron_norms() @ row_norms(network.output))
    return size > 16 * EPS * steepest * float(np.hypot(1.0, x).max())


def _used(network: Network, x: Array, share: float) -> Network:
    """Without neurons that are nothing, those around one knot joined."""
    size = network.neuron_norms() * row_norms(network.output)
    order = np.argsort(size)
    keep = np.ones(len(size), dtype=bool)
    keep[order[np.cumsum(size[order]) <= share * float(size.sum())]] = False
    fewer = replace(
        network, hidden=network.hidden[keep], hidden_bias=network.hidden_bias[keep], output=network.output[keep]
    )
    return joined_by_interval(fewer, x)


def _snapped(network: Network, x: Array) -> Array:
    """Knots (k,), those on a point up to rounding exactly there; infinite where there are none."""
    w, b = network.hidden[:, 0], network.hidden_bias
    t = np.where(w != 0, -b / np.where(w != 0, w, 1.0), np.inf)
    right = np.clip(np.searchsorted(x, t), 1, len(x) - 1)
    near = np.where(t - x[right - 1] < x[right] - t, x[right - 1], x[right])
    snapped: Array = np.where(np.abs(near - t) <= 8 * EPS * (np.abs(near) + 1e-300), near, t)
    return snapped


def _spline(network: Network, t: Array, x: Array, Y: Array) -> Spline:
    """The spline through the targets with the network's knots between the points and beyond them."""
    w, delta = network.hidden[:, 0], np.abs(network.hidden) * network.output
    before, beyond = t < x[0], (t > x[-1]) & np.isfinite(t)
    inside = (t > x[0]) & (t < x[-1]) & ~np.isin(t, x)
    # Next to the data, where knots beyond it have done their part.
    first = network.skip[0] - delta[w < 0].sum(axis=0) + delta[before].sum(axis=0)
    last = network.skip[0] + delta[w > 0].sum(axis=0) - delta[beyond].sum(axis=0)
    spline = interpolant(x, Y, t[inside], delta[inside], np.vstack([first, last]))
    outside = (before | beyond) & delta.any(axis=1)
    return _extended(spline, t[outside], delta[outside])


def _extended(spline: Spline, t: Array, delta: Array) -> Spline:
    """The spline with knots t beyond its own, whose curvature delta leaves it as it is between its own."""
    for j in np.argsort(np.abs(t - spline.knots.mean()), kind="stable"):
        value, knots, slopes = spline(t[j : j + 1]), spline.knots, spline.slopes
        if t[j] < knots[0]:
            slopes = np.vstack([slopes[:1] - delta[j], slopes])
            spline = Spline(np.append(t[j], knots), np.vstack([value, spline.values]), slopes)
        else:
            slopes = np.vstack([slopes, slopes[-1:] + delta[j]])
            spline = Spline(np.append(knots, t[j]), np.vstack([spline.values, value]), slopes)
    return spline


def _without_rounding(spline: Spline) -> Spline:
    """The spline without the curvature, and the knots, that only rounding makes."""
    slopes, sizes = spline.slopes.copy(), row_norms(spline.slopes)
    none = ROUNDING * EPS * (sizes[1:] + sizes[:-1])
    for j in np.flatnonzero(row_norms(spline.curvature) <= none):
        # Next to the last slope kept: many roundings must not add up to a bend that is lost.
        if np.linalg.norm(slopes[j + 1] - slopes[j]) <= none[j]:
            slopes[j + 1] = slopes[j]
    return Spline(spline.knots, spline.values, slopes).pruned()


def _rest(problem: TrainingProblem, network: Network, t: Array, spline: Spline, x: Array, Y: Array) -> float:
    """What it costs to make the network the spline on the data."""
    w, delta = network.hidden[:, 0], np.abs(network.hidden) * network.output
    at = np.searchsorted(spline.knots, x)
    curvature = (spline.slopes[at + 1] - spline.slopes[at])[1:-1]
    place = np.searchsorted(x, t)
    on = np.flatnonzero((t > x[0]) & (t < x[-1]) & np.isin(t, x))
    np.subtract.at(curvature, place[on] - 1, delta[on])
    # Less than the rounding of the slopes is none.
    sizes = row_norms(spline.slopes[at]) + row_norms(spline.slopes[at + 1])
    curvature[row_norms(curvature) <= 4 * EPS * sizes[1:-1]] = 0.0
    active = np.where(w > 0, t <= x[0], (w == 0) | (t > x[0]))
    slope = network.skip[0] + (network.hidden * network.output)[active].sum(axis=0)
    pre = np.where(t == x[0], 0.0, np.maximum(w * x[0] + network.hidden_bias, 0.0))
    level = pre @ network.output + network.skip[0] * x[0] + network.output_bias
    missing, tilt = Y[0] - level, spline.slopes[at[0] + 1] - slope
    size = float(np.linalg.norm(Y[0]) + sizes[0] * (abs(x[0]) + np.ptp(x)))
    if np.linalg.norm(missing) + np.linalg.norm(tilt) * np.ptp(x) <= 8 * EPS * size:
        missing, tilt = 0 * missing, 0 * tilt
    return cost_of_rest(problem, x, curvature, missing, tilt)


def interpolant(x: Array, Y: Array, t: Array, delta: Array, outer: Array) -> Spline:
    """The spline with the values Y at x, curvature delta at knots t between them, and slopes `outer` (2, T) outside."""
    t, group = np.unique(t, return_inverse=True)
    bends, delta = delta, np.zeros((len(t), Y.shape[1]))
    np.add.at(delta, group, bends)  # two neurons may bend at one knot
    k = np.searchsorted(x, t, side="right") - 1
    bent = np.zeros((len(x) - 1, Y.shape[1]))
    np.add.at(bent, k, delta * (x[k + 1] - t)[:, None])
    leaving = (np.diff(Y, axis=0) - bent) / np.diff(x)[:, None]
    knots = np.concatenate([x, t])
    place = np.argsort(knots, kind="stable")
    # Slopes right of each knot: those that leave a point, and the sums of the knots since.
    whole = np.concatenate([leaving, outer[1:], np.zeros_like(delta)])
    since = np.cumsum(delta, axis=0)
    before = np.concatenate([np.zeros((1, Y.shape[1])), since])[np.searchsorted(t, x[k], side="right")]
    whole[len(x) :] = leaving[k] + since - before
    values = np.concatenate([Y, np.zeros_like(delta)])
    steps = np.diff(np.concatenate([x[k], t]).reshape(2, -1), axis=0)[0][:, None]
    values[len(x) :] = Y[k] + leaving[k] * steps
    for j in np.flatnonzero(np.diff(k, prepend=-1) == 0):  # a second knot of an interval
        values[len(x) + j] = values[len(x) + j - 1] + whole[len(x) + j - 1] * (t[j] - t[j - 1])
    return Spline(knots[place], values[place], np.vstack([outer[:1], whole[place]]))


def cost_of_rest(problem: TrainingProblem, x: Array, rest: Array, level: Array, slope: Array) -> float:
    """What curvature `rest` (n - 2, T) at the inner points and a line from the first one cost, at most."""
    unit = np.hypot(1.0, x) if problem.bias == "penalized" else np.ones(len(x))
    cost = float(unit[1:-1] @ row_norms(rest))
    if problem.skip == "free" and problem.output_bias == "free":
        return cost
    # Two neurons that are on at all points make up any line.
    span = float(x[-1] - x[0]) or 1.0
    last = level + slope * span
    return cost + float(np.linalg.norm(level) * unit[-1] + np.linalg.norm(last) * unit[0]) / span
