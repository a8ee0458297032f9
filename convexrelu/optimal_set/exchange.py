"""The optimum and the directions that are active at it, each found from the other: `exchanged`.

Letters as in `convexrelu.optimal_set.optimum`. Where predictions of neurons are nearly dependent, as on integer data,
Newton's method may end at an optimum of the neurons that it began with: another one, next to one of them, is above the
price of norm by 1e-8, which no solver sees. Directions are exact wherever the dual variable is. So those above the
price enter, as in the exchange methods of semi-infinite programming, and Newton's method begins anew from all that are
active.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.monitor import Monitor
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.optimal_set.newton import NewtonState
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.polish import GOOD, NEGLIGIBLE, POLISHING
from convexrelu.optimal_set.proof import Proof, met_by
from convexrelu.optimal_set.refinement import (
    ARMS,
    exact_samples,
    free_vectors,
    is_one_smooth_task,
    vectors,
    violation,
    with_neurons,
)
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.patterns.patterns import Patterns
from convexrelu.pruning import DEPENDENT, off_columns
from convexrelu.result import Result

# Relative: a direction is active when its correlation reaches the price of norm up to this, or up to ten times what
# polishing leaves. Polished correlations are exact to about 1e-14.
ACTIVE = 1e-11
# A sample this near (relative) to the kink of a direction lies on it; tried after that.
ON_KINK, NEARLY = 1e-9, 1e-7
# How often Newton's method begins anew.
RESTARTS = 8
# Predictions that leave no more than this (relative) of another stand for it.
TRADED = 1e-4
# The weight of a direction that enters, relative to the largest. Less than 1e-5 is next to nothing for rounding.
ENTERING = 1e-2


def active_tol(optimum: Optimum) -> float:
    """How far below the price of norm (relative) the correlation of an active direction may be."""
    return max(ACTIVE, 10 * optimum.accuracy)


def exchanged(
    optimum: Optimum, result: Result, patterns: Patterns | None, listed: Patterns | None, monitor: Monitor
) -> tuple[Optimum, Proof]:
    """The optimum and what a search finds active at it: begun again as long as that shows it to be inexact.

    Parameters
    ----------
    optimum : Optimum
        Near enough for its active directions to be told from others.
    result : Result
        What it was found from.
    patterns : Patterns or None
        Those that neurons may have, if not all.
    listed : Patterns or None
        The same, or all there are if they are at hand.
    monitor : Monitor
        Keeps the time.
    """
    for attempt in range(RESTARTS + 1):
        met = met_by(Census(optimum, patterns, active_tol(optimum), monitor), result)
        largest = float(row_norms(optimum.correlations(met.directions.neurons)).max(initial=0.0))
        optimum = replace(optimum, accuracy=max(optimum.accuracy, largest / optimum.problem.penalty - 1.0))
        if optimum.accuracy <= GOOD or attempt == RESTARTS or not len(met.directions):
            break
        again = _restarted(optimum, met.directions, listed, monitor)
        if again.accuracy >= optimum.accuracy:
            break
        optimum = again
    return optimum, met


def _restarted(optimum: Optimum, directions: Directions, patterns: Patterns | None, monitor: Monitor) -> Optimum:
    """The best that Newton's method reaches from the directions."""
    start = _entered(optimum, directions)
    best = start
    for kink, arm in itertools.product((ON_KINK, NEARLY), ARMS[:1] if start.problem.loss.is_smooth else ARMS):
        monitor.check_time(POLISHING)
        found = _polished(start, kink, arm)
        found = replace(found, accuracy=max(found.accuracy, violation(found, patterns)))
        if found.accuracy < best.accuracy:
            best = found
        if best.accuracy <= GOOD:
            break
    return best


def _polished(start: Optimum, kink: float, arm: float) -> Optimum:
    """Where Newton's method ends, with its accuracy as far as the equations tell."""
    problem = start.problem
    if not is_one_smooth_task(problem):
        return NewtonState.of(start, kink, *exact_samples(problem, start.nu, arm)).polished().optimum()
    signs, linear, nu = start.outputs[:, 0], start.linear[:, 0], start.nu[:, 0]
    state = Stationary.of(problem, start.neurons, signs, linear, nu, kink).polished()
    return Optimum.of_stationary(state, state.error)


def _entered(optimum: Optimum, directions: Directions) -> Optimum:
    """A start from directions: weights next to the predictions of an optimum, also of those above the price of norm."""
    problem = optimum.problem
    Q, A = free_vectors(problem), vectors(problem, directions.neurons, directions.outputs)
    wanted = (optimum.fit - problem.linear.penalized @ optimum.penalized).reshape(-1, 1)
    A, wanted = off_columns(Q, A), off_columns(Q, wanted)[:, 0]
    weights = _fitted(A, wanted)
    excess = np.where(weights > 0, 0.0, row_norms(optimum.correlations(directions.neurons)) / problem.penalty - 1.0)
    if problem.loss.is_smooth:
        weights[excess > GOOD] = ENTERING * weights.max(initial=0.0)
    elif excess.max() > GOOD:
        _pivot(int(excess.argmax()), A, weights)
    kept = weights > 0
    neurons, outputs = weights[kept, None] * directions.neurons[kept], directions.outputs[kept]
    return with_neurons(problem, neurons, outputs, optimum.fit, optimum.nu)


def _fitted(A: Array, wanted: Array) -> Array:
    """Weights (m,), at least zero, whose predictions A alpha are nearest to the wanted (n,)."""
    from scipy.optimize import nnls  # a tenth of a second

    size = row_norms(A.T)
    used = size > DEPENDENT * size.max(initial=0.0)
    weights = np.zeros(len(size))
    weights[used] = nnls(A[:, used] / size[used], wanted)[0] / size[used]
    return np.where(weights > NEGLIGIBLE[0] * weights.max(initial=0.0), weights, 0.0)


def _pivot(e: int, A: Array, weights: Array) -> None:
    """Give column e weight for that of others with the same predictions until the first of these has none left.

    As in the simplex method: a loss with kinks is straight in the weights, and Newton's method cannot tell from
    equations which of them are to vanish.
    """
    others = np.flatnonzero(weights)
    traded = np.linalg.lstsq(A[:, others], A[:, e], rcond=None)[0]
    lengths = np.where(traded > 0, weights[others] / np.where(traded > 0, traded, 1.0), np.inf)
    left = np.linalg.norm(A[:, e] - A[:, others] @ traded)
    if left > TRADED * np.linalg.norm(A[:, e]) or not lengths.min() < np.inf:
        weights[e] = ENTERING * weights.max(initial=0.0)
        return
    weights[others] = np.maximum(weights[others] - lengths.min() * traded, 0.0)
    weights[others[lengths.argmin()]] = 0.0
    weights[e] = lengths.min()
