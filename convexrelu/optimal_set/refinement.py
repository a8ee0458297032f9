"""From a solved problem of any kind to its optimum to rounding: `optimum_of`.

One task with a smooth loss, and interpolation of one task, have `convexrelu.optimal_set.polish`; losses with kinks and
several tasks are brought to rounding here. Letters as in `convexrelu.optimal_set.newton`.

A loss with kinks leaves open which samples sit on a kink: those whose dual variable is strictly between the slopes of
the two arms. A solver knows that up to its accuracy only, so several guesses are tried, and the best one is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.errors import UnsupportedError
from convexrelu.generation import NativeMethod, ProximalMethod
from convexrelu.losses import ExactFit
from convexrelu.losses.piecewise import PiecewiseLoss
from convexrelu.monitor import Monitor
from convexrelu.multitask import joint_method
from convexrelu.network import Network
from convexrelu.optimal_set.newton import NewtonState
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.polish import (
    GOOD,
    NEGLIGIBLE,
    SHARP,
    anchored,
    best_of,
    check_usable,
    correlations,
    met_over_patterns,
    polish,
)
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.task_search import find_joint_neurons
from convexrelu.problem import TrainingProblem
from convexrelu.pruning import independent_weights
from convexrelu.recovery import network_of
from convexrelu.result import Result, Solution

# How far (relative) a solver may have left a neuron from the kink it belongs on.
KINKS = (1e-6, 1e-4, 1e-8)
# How near (relative to the distance between the two) the slope of an arm a solver leaves the dual variable of a sample
# on that arm.
ARMS = (1e-6, 1e-4, 1e-8)


def optimum_of(
    result: Result, problem: TrainingProblem, patterns: Patterns | None, monitor: Monitor, sharpen: bool = True
) -> Optimum:
    """The optimum of a result to rounding, and how far from optimal it still is.

    Parameters
    ----------
    result : Result
        Optimal within a tolerance.
    problem : TrainingProblem
        That of the result without samples of weight zero.
    patterns : Patterns or None
        Those that neurons may have, if they are at hand: what the optimality is restricted to, or all there are.
    monitor : Monitor
        Keeps the time.
    sharpen : bool
        Whether to solve again, more accurately, where the result is not near enough to the optimum.

    Raises
    ------
    InvalidInputError
        If the result is not optimal within its tolerance.
    UnsupportedError
        For a loss with kinks of the user's own.
    TimeLimitError
        If the time is over first.
    """
    check_usable(result)
    _check_loss(problem)
    heavy = result.problem.sample_weight > 0
    refined = partial(_refined, problem, patterns, monitor)
    if is_one_smooth_task(problem):
        best = Optimum.of_stationary(*polish(result, problem, patterns, monitor, sharpen))
        if best.accuracy <= GOOD:
            return best
        # Slower steps, in other coordinates.
        return min(best, refined(result.network, result.solution.dual[heavy]), key=_accuracy)
    best = refined(result.network, result.solution.dual[heavy])
    if sharpen and best.accuracy > GOOD:
        solution = _sharpened(problem, result.network, monitor)
        best = min(best, refined(network_of(problem, solution, SHARP), solution.dual), key=_accuracy)
    return best


def is_one_smooth_task(problem: TrainingProblem) -> bool:
    """Whether `convexrelu.optimal_set.stationary` has the equations: for interpolation, too."""
    return problem.Y.shape[1] == 1 and (problem.loss.is_smooth or problem.is_interpolation)


def _accuracy(optimum: Optimum) -> float:
    return optimum.accuracy


def _check_loss(problem: TrainingProblem) -> None:
    if not (problem.loss.is_smooth or isinstance(problem.loss, PiecewiseLoss | ExactFit)):
        raise UnsupportedError(
            f"`loss={problem.loss.name!r}` has kinks that only it knows of; the optimal set takes smooth losses and "
            "those with a parabola and two arms."
        )


def _refined(
    problem: TrainingProblem, patterns: Patterns | None, monitor: Monitor, network: Network, dual: Array
) -> Optimum:
    """The best attempt from a network and a dual variable."""
    starts = _starts(problem, network, dual)
    state, error = best_of(starts, lambda state: violation(state.optimum(), patterns), monitor)
    return replace(state.optimum(), accuracy=error)


def _starts(problem: TrainingProblem, network: Network, dual: Array) -> Iterator[NewtonState]:
    """States next to a network: guesses of the kinks that its neurons and its predictions are on."""
    smooth = problem.loss.is_smooth
    if smooth:
        dual = problem.feasible_direction(-problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight))
    for kink, negligible, arm in itertools.product(KINKS, NEGLIGIBLE, ARMS[:1] if smooth else ARMS):
        start = _start(problem, network, dual, kink, negligible)
        yield NewtonState.of(start, kink, *exact_samples(problem, dual, arm))


def exact_samples(problem: TrainingProblem, dual: Array, near: float) -> tuple[BoolArray, Array]:
    """Samples on the kink of the loss (n, T), and the slope of the nearer arm."""
    if problem.is_interpolation or problem.loss.is_smooth:
        return np.full(dual.shape, problem.is_interpolation), np.zeros(dual.shape)
    lower, upper = problem.loss.domain(problem.Y, problem.sample_weight)
    width = upper - lower
    exact = (dual > lower + near * width) & (dual < upper - near * width)
    return exact, np.where(dual - lower < upper - dual, lower, upper)


def _start(problem: TrainingProblem, network: Network, dual: Array, kink: float, negligible: float) -> Optimum:
    """An independent part of a network."""
    arrangement, predictions = problem.arrangement, network(problem.X)
    network = network.merged(kink)
    size = row_norms(network.output)
    neurons = arrangement.from_weights(network.hidden, network.hidden_bias) * size[:, None]
    outputs = network.output / size[:, None]
    if problem.bias == "free":
        neurons, outputs = anchored(arrangement, neurons, outputs)
    cost = arrangement.cost(neurons)
    weights = independent_weights(vectors(problem, neurons, outputs), np.ones(len(cost)), free_vectors(problem))
    weights[weights * cost <= negligible * cost.max(initial=0.0)] = 0.0
    kept = weights > 0
    neurons, outputs = (weights[:, None] * neurons)[kept], outputs[kept]
    return with_neurons(problem, neurons, outputs, predictions, dual)


def with_neurons(problem: TrainingProblem, neurons: Array, outputs: Array, fit: Array, dual: Array) -> Optimum:
    """A start: neurons (m, k), outputs (m, T) and the linear part nearest to what they leave of the predictions."""
    columns = np.hstack([problem.linear.free, problem.linear.penalized])
    rest = fit - np.maximum(problem.arrangement.Z @ neurons.T, 0.0) @ outputs
    linear = np.asarray(np.linalg.lstsq(columns, rest, rcond=None)[0])
    return Optimum(problem, neurons, outputs, linear, dual, np.inf)


def vectors(problem: TrainingProblem, neurons: Array, outputs: Array) -> Array:
    """Predictions (n T, m) of neurons (m, k) with outputs (m, T), all tasks in one column."""
    features = np.maximum(problem.arrangement.Z @ neurons.T, 0.0)
    return np.asarray(np.einsum("nm,mt->ntm", features, outputs).reshape(problem.Y.size, len(neurons)))


def free_vectors(problem: TrainingProblem) -> Array:
    """The free columns of all tasks (n T, q T)."""
    return np.asarray(np.kron(problem.linear.free, np.eye(problem.Y.shape[1])))


def violation(optimum: Optimum, patterns: Patterns | None) -> float:
    """How far (relative) the dual variable is from feasible, and the predictions from what it asks; at least zero."""
    problem = optimum.problem
    return max(_excess(optimum, patterns) / problem.penalty - 1.0, _loss_violation(optimum), 0.0)


def _excess(optimum: Optimum, patterns: Patterns | None) -> float:
    """The largest correlation found."""
    problem, nu = optimum.problem, optimum.problem.feasible_direction(optimum.nu)
    arrangement = problem.arrangement
    if nu.shape[1] > 1:
        Z, p, rng = arrangement.Z, arrangement.n_penalized, np.random.default_rng(0)
        return find_joint_neurons(Z, nu, p, threshold=0.0, starts=optimum.neurons, rng=rng, n_random=200).best
    if patterns is not None:
        return met_over_patterns(arrangement, patterns, nu)
    return float(correlations(arrangement, nu[:, 0], optimum.neurons, 0.0)[2].max(initial=0.0))


def _loss_violation(optimum: Optimum) -> float:
    """Of a loss with kinks: dual variables beyond the slopes of the arms, predictions on the wrong side."""
    problem, nu = optimum.problem, optimum.nu
    if problem.loss.is_smooth or problem.is_interpolation:
        return 0.0
    lower, upper = problem.loss.domain(problem.Y, problem.sample_weight)
    beyond = np.maximum(lower - nu, nu - upper) / (upper - lower)
    over = np.where(nu >= upper, optimum.fit - problem.Y, np.where(nu <= lower, problem.Y - optimum.fit, 0.0))
    return float(max(beyond.max(), over.max() / problem.loss.unit(problem.Y)))


def _sharpened(problem: TrainingProblem, network: Network, monitor: Monitor) -> Solution:
    """The native solver's answer at its finest tolerance, from the network on."""
    if problem.Y.shape[1] > 1:
        return joint_method(problem, SHARP, 0, monitor, network).run(None, None)
    if problem.loss.is_smooth:
        return NativeMethod(problem, SHARP, 0, monitor, network).run(None, None)
    return ProximalMethod(problem, SHARP, 0, monitor, network).run(None, None)
