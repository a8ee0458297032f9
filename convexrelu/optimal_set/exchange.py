"""The optimum and the directions that are active at it, each found from the other: `exchanged`.

Letters as in `convexrelu.optimal_set.optimum`. Where predictions of neurons are nearly dependent, as on integer data,
Newton's method may end at an optimum of the neurons that it began with: another one, next to one of them, is above the
price of norm by 1e-8, which no solver sees. Directions are exact wherever the dual variable is. So those above the
price enter, as in the exchange methods of semi-infinite programming, and Newton's method begins anew from all that are
active, where it drops those that do not belong.
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
from convexrelu.optimal_set.pruning import DEPENDENT, off_columns
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
from convexrelu.result import Result

# Relative: a direction is active when its correlation reaches the price of norm up to this, or up to ten times what
# polishing leaves. Polished correlations are exact to about 1e-14.
ACTIVE = 1e-11
# A sample this near (relative) to the kink of a direction lies on it; tried after that.
ON_KINK, NEARLY = 1e-9, 1e-7
# How often Newton's method begins anew.
RESTARTS = 4
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
    """Weights of directions next to the predictions of an optimum, those above the price of norm with some as well."""
    problem = optimum.problem
    weights = _fitted(optimum, directions)
    largest = weights.max(initial=0.0)
    above = row_norms(optimum.correlations(directions.neurons)) > problem.penalty * (1 + GOOD)
    weights[above] = np.maximum(weights[above], ENTERING * largest)
    kept = weights > NEGLIGIBLE[0] * largest
    neurons, outputs = weights[kept, None] * directions.neurons[kept], directions.outputs[kept]
    return with_neurons(problem, neurons, outputs, optimum.fit, optimum.nu)


def _fitted(optimum: Optimum, directions: Directions) -> Array:
    """Weights (m,), at least zero, whose predictions are nearest to those of an optimum, modulo the free columns."""
    problem = optimum.problem
    Q, A = free_vectors(problem), vectors(problem, directions.neurons, directions.outputs)
    wanted = (optimum.fit - problem.linear.penalized @ optimum.penalized).reshape(-1, 1)
    A = off_columns(Q, A)
    size = row_norms(A.T)
    used = size > DEPENDENT * size.max(initial=0.0)
    weights = np.zeros(len(size))
    from scipy.optimize import nnls  # a tenth of a second

    weights[used] = nnls(A[:, used] / size[used], off_columns(Q, wanted)[:, 0])[0] / size[used]
    return weights
