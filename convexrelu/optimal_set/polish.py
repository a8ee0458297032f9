"""From a solved problem to its optimum to rounding: `polish`.

Letters as in `convexrelu.optimal_set.stationary`. A solver leaves errors of 1e-6 in neurons and dual variable; which
directions are active, and how many, can only be told after they are gone (theory B.1, its second trap).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Protocol, Self, TypeVar

import numpy as np

from convexrelu.arrays import Array
from convexrelu.backends.native import generate as native_generate
from convexrelu.errors import InvalidInputError
from convexrelu.monitor import Monitor
from convexrelu.native.bridge import iterate_of, reduced_problem
from convexrelu.native.reduced import Iterate
from convexrelu.network import Network
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.dual_norm import dual_norm_over_patterns
from convexrelu.pricing.search import find_neurons
from convexrelu.problem import TrainingProblem
from convexrelu.pruning import independent_weights
from convexrelu.result import Result, Status

# How far (relative) a solver may have left a neuron from the kink it belongs on, and how large (relative to the
# largest) a neuron it may have left where none belongs: tried in this order, the best is kept.
KINKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-9)
NEGLIGIBLE = (1e-9, 1e-6, 1e-4)
GOOD = 1e-11
SHARP = 1e-10
ROUNDS = 20
POLISHING = "bringing the optimum to rounding"
S = TypeVar("S", bound="State")
USABLE = (Status.OPTIMAL, Status.UNPROVEN, Status.PATTERN_OPTIMAL)


def check_usable(result: Result) -> None:
    """Raise InvalidInputError unless the result is optimal, as far as its solver can tell."""
    if result.status not in USABLE:
        raise InvalidInputError(
            f"`result` is {result.status.name} with a gap of {result.certificate.gap:.1g}: the optimal set needs the "
            f"optimum. {result.status.advice}"
        )


def without_idle_samples(problem: TrainingProblem) -> TrainingProblem:
    """The same problem without samples of weight zero: they neither cost nor restrict anything."""
    heavy = problem.sample_weight > 0
    if heavy.all():
        return problem
    kinds = problem.loss, problem.bias, problem.output_bias, problem.skip
    return TrainingProblem(
        problem.X[heavy], problem.Y[heavy], problem.weight_decay, *kinds, problem.sample_weight[heavy]
    )


def polish(
    result: Result, problem: TrainingProblem, patterns: Patterns | None, monitor: Monitor, sharpen: bool = True
) -> tuple[Stationary, float]:
    """The optimum to rounding, its neurons' predictions independent, and how far from optimal it still is.

    Parameters
    ----------
    result : Result
        Optimal within a tolerance.
    problem : TrainingProblem
        That of the result `without_idle_samples`.
    patterns : Patterns or None
        Those that neurons may have, if they are at hand: what the optimality is restricted to, or all there are.
    monitor : Monitor
        Keeps the time.
    sharpen : bool
        Whether to solve again, more accurately, where the result is not near enough to the optimum.

    Returns
    -------
    Stationary
    float
        Largest of its residual and its violation of the dual constraint, both relative to the price of norm.

    Raises
    ------
    InvalidInputError
        If the result is not optimal within its tolerance.
    """
    check_usable(result)
    best = best_attempt(problem, patterns, *_start_of(result, problem), monitor=monitor)
    if sharpen and best[1] > GOOD and not problem.is_interpolation:
        again = best_attempt(problem, patterns, *_sharpened(problem, result.network, monitor), monitor=monitor)
        best = min(best, again, key=lambda attempt: attempt[1])
    return best


def best_attempt(
    problem: TrainingProblem,
    patterns: Patterns | None,
    network: Network,
    nu: Array,
    n_random: int | None = None,
    most: int | None = None,
    monitor: Monitor | None = None,
) -> tuple[Stationary, float]:
    """The best of at most `most` attempts from a network and a dual variable, and its error."""
    guesses = itertools.islice(itertools.product(KINKS, NEGLIGIBLE), most)
    starts = (_start(problem, network, nu, kink, negligible) for kink, negligible in guesses)
    return best_of(starts, lambda state: violation(state, patterns, n_random), monitor or Monitor())


class State(Protocol):
    """A network on which Newton's method works."""

    @property
    def key(self) -> bytes:
        """What tells it from others of the same problem."""

    @property
    def error(self) -> float:
        """How far from optimal it is, as far as its equations tell."""

    def polished(self) -> Self:
        """Where Newton's method ends."""


def best_of(starts: Iterable[S], violation: Callable[[S], float], monitor: Monitor) -> tuple[S, float]:
    """The first start from which Newton's method reaches a good end, or the best: that end and its error.

    `violation` is what the equations do not tell.
    """
    best: tuple[S, float] | None = None
    seen: set[bytes] = set()
    for start in starts:
        if start.key in seen:  # most guesses agree
            continue
        seen.add(start.key)
        monitor.check_time(POLISHING)
        state = start.polished()
        if best is not None and state.error >= best[1]:
            continue  # whatever its violation, it is no better
        error = max(state.error, violation(state))
        if best is None or error < best[1]:
            best = state, error
        if error <= GOOD:
            break
    assert best is not None
    return best


def violation(state: Stationary, patterns: Patterns | None, n_random: int | None = None) -> float:
    """How far the correlation of the best neuron found is above the price of norm, relative; at least zero.

    `n_random` random starts of the search besides the state's own neurons.
    """
    problem = state.problem
    nu = problem.feasible_direction(state.nu[:, None])
    if patterns is None:
        found = float(correlations(problem.arrangement, nu[:, 0], state.neurons, 0.0, n_random)[2].max(initial=0.0))
    else:
        found = met_over_patterns(problem.arrangement, patterns, nu)
    return max(found / problem.penalty - 1.0, 0.0)


def met_over_patterns(arrangement: Arrangement, patterns: Patterns, nu: Array) -> float:
    """The largest correlation over patterns: its bound where the dual norm is that over them, else what attains it.

    The bound over complete patterns allows for cells too small to be listed, which is more than `GOOD`.
    """
    norm = dual_norm_over_patterns(arrangement, patterns, nu)
    return norm.lower if patterns.complete else norm.upper


def correlations(
    arrangement: Arrangement, nu: Array, starts: Array, threshold: float, n_random: int | None = None
) -> tuple[Array, Array, Array]:
    """Neurons of cost one that a search finds above a threshold, the signs and the sizes of their correlations."""
    Z, p = arrangement.Z, arrangement.n_penalized
    if p == 0 or not nu.any():
        return np.zeros((0, Z.shape[1])), np.zeros(0), np.zeros(0)
    rng, count = np.random.default_rng(0), _n_starts(arrangement) if n_random is None else n_random
    found = find_neurons(Z, nu, p, threshold=threshold, starts=starts, rng=rng, n_random=count)
    return found.neurons, found.signs, found.values


def _n_starts(arrangement: Arrangement) -> int:
    """Random starts of a search; two weights, each with its best bias, are all there is on a line with free biases."""
    return 10 if arrangement.n_penalized == 1 else 100 + 50 * arrangement.Z.shape[1]


def _start_of(result: Result, problem: TrainingProblem) -> tuple[Network, Array]:
    heavy = result.problem.sample_weight > 0
    if problem.is_interpolation:
        return result.network, result.solution.dual[heavy, 0]
    return result.network, _residual(problem, result.network)


def _residual(problem: TrainingProblem, network: Network) -> Array:
    nu = -problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight)
    return np.asarray(problem.feasible_direction(nu)[:, 0])


def _sharpened(problem: TrainingProblem, network: Network, monitor: Monitor) -> tuple[Network, Array]:
    """The native solver's answer at its finest tolerance, from the network on."""
    rng = np.random.default_rng(0)
    start = iterate_of(problem, network)
    reduced, stop = reduced_problem(problem), monitor.should_stop
    found = native_generate(reduced, rng=rng, tol=SHARP, warm_start=start, max_rounds=ROUNDS, should_stop=stop)
    return network_of_iterate(problem, found.iterate), found.nu


def network_of_iterate(problem: TrainingProblem, iterate: Iterate) -> Network:
    """The network of a state of the native solver."""
    q = problem.linear.free.shape[1]
    return network_of_neurons(problem, iterate.neurons, iterate.signs, iterate.beta[:q], iterate.beta[q:])


def network_of_neurons(
    problem: TrainingProblem, neurons: Array, outputs: Array, free: Array, penalized: Array
) -> Network:
    """The balanced network of neurons (m, k), with their unit outputs (m, T) or (m,)."""
    arrangement, T = problem.arrangement, problem.Y.shape[1]
    root = np.sqrt(arrangement.cost(neurons))[:, None]
    kept = root[:, 0] > 0
    hidden, hidden_bias = arrangement.to_weights(neurons[kept] / root[kept])
    q, r = problem.linear.free.shape[1], problem.linear.penalized.shape[1]
    skip, output_bias = problem.linear.to_weights(free.reshape(q, T), penalized.reshape(r, T))
    output = outputs.reshape(len(neurons), T)[kept] * root[kept]
    return Network(hidden, hidden_bias, output, skip, output_bias, problem.bias)


def _start(problem: TrainingProblem, network: Network, nu: Array, kink: float, negligible: float) -> Stationary:
    """An independent part of the network, from which Newton's method starts."""
    predictions = network(problem.X)[:, 0]
    arrangement, network = problem.arrangement, network.merged(kink)
    neurons = arrangement.from_weights(network.hidden, network.hidden_bias) * np.abs(network.output)
    signs = np.sign(network.output[:, 0])
    if problem.bias == "free":
        neurons, signs = anchored(arrangement, neurons, signs)
    cost = arrangement.cost(neurons)
    kept = cost > negligible * cost.max(initial=0.0)
    neurons, signs, cost = neurons[kept], signs[kept], cost[kept]
    columns = signs * np.maximum(arrangement.Z @ neurons.T, 0.0)
    weights = independent_weights(columns, np.ones(len(cost)), problem.linear.free)
    kept = weights > negligible
    neurons, signs = (weights[:, None] * neurons)[kept], signs[kept]
    linear = _linear_coefficients(problem, predictions, neurons, signs)
    return Stationary.of(problem, neurons, signs, linear, nu, kink)


def _linear_coefficients(problem: TrainingProblem, predictions: Array, neurons: Array, signs: Array) -> Array:
    """Free and penalised coefficients (q + q',) that fit what the neurons leave: a start for Newton's method."""
    rest = predictions - np.maximum(problem.arrangement.Z @ neurons.T, 0.0) @ signs
    Q = np.hstack([problem.linear.free, problem.linear.penalized])
    return np.asarray(np.linalg.lstsq(Q, rest, rcond=None)[0])


def anchored(arrangement: Arrangement, neurons: Array, signs: Array) -> tuple[Array, Array]:
    """Neurons with a free bias moved onto samples, predictions and cost unchanged up to a constant.

    A kink strictly between two samples is split into neurons with kinks on both; one outside the data moves to the
    nearest sample (the anchoring theorem).
    """
    pieces: list[Array] = []
    owner: list[int] = []
    for e, u in enumerate(neurons):
        for piece in _anchored(arrangement, u):
            pieces.append(piece)
            owner.append(e)
    return np.array(pieces).reshape(len(pieces), neurons.shape[1]), signs[owner]


def _anchored(arrangement: Arrangement, u: Array) -> list[Array]:
    p = arrangement.n_penalized
    kinks = np.unique(-(arrangement.Z[:, :p] @ u[:p]))
    above = int(np.searchsorted(kinks, u[p]))
    if above == len(kinks):
        return [np.append(u[:p], kinks[-1])]
    if above == 0:
        return []
    low, high = kinks[above - 1], kinks[above]
    share = (u[p] - low) / (high - low)
    return [np.append(u[:p], low) * (1 - share), np.append(u[:p], high) * share]
