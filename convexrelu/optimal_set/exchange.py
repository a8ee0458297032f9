"""The optimum and the directions that are active at it, each found from the other: `exchanged`.

Letters as in `convexrelu.optimal_set.optimum`. Where predictions of neurons are nearly dependent, as on integer data,
Newton's method may end at an optimum of the neurons that it began with: another one, next to one of them, is above the
price of norm by 1e-8, which no solver sees. Directions are exact wherever the dual variable is. So those above the
price enter, as in the exchange methods of semi-infinite programming, and Newton's method begins anew from all that are
active.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.monitor import Monitor
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.optimal_set.newton import NewtonState
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.polish import GOOD, NEGLIGIBLE, best_of
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
from convexrelu.problem import TrainingProblem
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
        try:
            again = _restarted(optimum, met.directions, listed, monitor)
        except RuntimeError:  # the least squares in _fitted took too long
            break
        if again.accuracy >= optimum.accuracy:
            break
        optimum = again
    return optimum, met


def _restarted(optimum: Optimum, directions: Directions, patterns: Patterns | None, monitor: Monitor) -> Optimum:
    """The best that Newton's method reaches from the directions."""
    starts = _starts(optimum, directions)
    state, error = best_of(starts, lambda state: violation(_optimum(state), patterns), monitor)
    return replace(_optimum(state), accuracy=error)


def _starts(optimum: Optimum, directions: Directions) -> Iterator[Stationary | NewtonState]:
    """States next to an optimum in the active directions: guesses of the kinks that they and the predictions are on."""
    problem = optimum.problem
    arms = ARMS[:1] if problem.loss.is_smooth else ARMS
    for start in _entered(optimum, directions):
        for kink, arm in itertools.product((ON_KINK, NEARLY), arms):
            if is_one_smooth_task(problem):
                signs, linear, nu = start.outputs[:, 0], start.linear[:, 0], start.nu[:, 0]
                yield Stationary.of(problem, start.neurons, signs, linear, nu, kink)
            else:
                yield NewtonState.of(start, kink, *exact_samples(problem, start.nu, arm))


def _optimum(state: Stationary | NewtonState) -> Optimum:
    return state.optimum() if isinstance(state, NewtonState) else Optimum.of_stationary(state, state.error)


def _entered(optimum: Optimum, directions: Directions) -> Iterator[Optimum]:
    """Starts from directions: weights next to the predictions of an optimum, also of those above the price of norm."""
    problem = optimum.problem
    Q, A = free_vectors(problem), vectors(problem, directions.neurons, directions.outputs)
    wanted = (optimum.fit - problem.linear.penalized @ optimum.penalized).reshape(-1, 1)
    A, wanted = off_columns(Q, A), off_columns(Q, wanted)[:, 0]
    weights = _fitted(A, wanted)
    excess = np.where(weights > 0, 0.0, row_norms(optimum.correlations(directions.neurons)) / problem.penalty - 1.0)
    for entering in _entering_weights(problem, A, weights, np.where(excess > GOOD, excess, 0.0)):
        kept = entering > 0
        neurons, outputs = entering[kept, None] * directions.neurons[kept], directions.outputs[kept]
        yield with_neurons(problem, neurons, outputs, optimum.fit, optimum.nu)


def _entering_weights(problem: TrainingProblem, A: Array, weights: Array, excess: Array) -> Iterator[Array]:
    """Weights (m,) with some for the columns of positive `excess` (m,), relative to the price of norm."""
    if not excess.any():
        yield weights
    elif not problem.loss.is_smooth:
        yield _pivoted(int(excess.argmax()), A, weights)
    else:
        # Of small ones Newton's method tells which are to grow, unless they are to stay next to nothing.
        yield np.where(excess > 0, ENTERING * weights.max(initial=0.0), weights)
        stiffness = np.repeat(problem.loss.stiffness(problem.sample_weight), problem.Y.shape[1])
        yield weights + problem.penalty * excess / np.maximum(stiffness @ A**2, 1e-300)


def _fitted(A: Array, wanted: Array) -> Array:
    """Weights (m,), at least zero, whose predictions A alpha are nearest to the wanted (n,)."""
    from scipy.optimize import nnls  # a tenth of a second

    size = row_norms(A.T)
    used = size > DEPENDENT * size.max(initial=0.0)
    weights = np.zeros(len(size))
    weights[used] = nnls(A[:, used] / size[used], wanted)[0] / size[used]
    return np.where(weights > NEGLIGIBLE[0] * weights.max(initial=0.0), weights, 0.0)


def _pivoted(e: int, A: Array, weights: Array) -> Array:
    """Weights of column e instead of others with the same predictions until the first of these has none left.

    As in the simplex method: a loss with kinks is straight in the weights, and Newton's method cannot tell from
    equations which of them are to vanish.
    """
    others, weights = np.flatnonzero(weights), weights.copy()
    traded = np.linalg.lstsq(A[:, others], A[:, e], rcond=None)[0]
    lengths = np.where(traded > 0, weights[others] / np.where(traded > 0, traded, 1.0), np.inf)
    left = np.linalg.norm(A[:, e] - A[:, others] @ traded)
    if left > TRADED * np.linalg.norm(A[:, e]) or not lengths.min(initial=np.inf) < np.inf:
        weights[e] = ENTERING * weights.max(initial=0.0)
        return weights
    weights[others] = np.maximum(weights[others] - lengths.min() * traded, 0.0)
    weights[others[lengths.argmin()]] = 0.0
    weights[e] = lengths.min()
    return weights
