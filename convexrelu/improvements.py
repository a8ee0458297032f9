"""What a network gains without new patterns: rebalancing, pruning, merging, re-solving over its own ones, descending.

Letters: `D` (m, n) activation patterns of the neurons, one row each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import row_norms
from convexrelu.descent import descended
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.own_patterns import resolved
from convexrelu.patterns.patterns import Patterns, neuron_patterns, patterns_of_cells
from convexrelu.problem import TrainingProblem
from convexrelu.solve import solve

# Directions of neurons that float32 cannot tell apart are one.
SAME_DIRECTION = 1e-7
ROUNDING = 1e-12
# Nearer to a sample's kink than this, relative to both norms, a neuron does not tell the side.
INSIDE = 1e-9
# Neurons that cost less than this part of the whole have died: gradient descent shrinks them without end and, at such
# a length, does not see that another sign or scale of theirs might help. Their patterns are not the network's own.
NEGLIGIBLE = 1e-6
# Losses with kinks: samples and facets times coordinates, over all patterns, up to which the program over a network's
# own patterns is solved. Measured with 500 samples: two to three seconds.
MOST_ENTRIES = 200_000
# Smooth losses: products in a Newton step of output weights, up to which the same is done.
MOST_PRODUCTS = 5_000_000_000
# Steps of L-BFGS; measured on width 1000, 500 samples of 10 features: 0.7 s.
DESCENT_STEPS = 100
# What a program that is solved again gets at least, of limited time.
LEAST_SECONDS = 0.1
RESOLVING, DESCENDING = "re-solving over its own patterns", "training on with L-BFGS"


@dataclass(frozen=True, eq=False)
class Improvement:
    """One step down from the network as it was, and what it gains.

    Attributes
    ----------
    name : str
    network : Network
        After this step and those before it.
    objective : float
    gain : float
        By which this step lowers the objective.
    changes : str
        What of the function the step may change: "nothing", "off the data" or "the fit".
    finished : bool
        False where the time limit cut it short: it may gain more.
    """

    name: str
    network: Network
    objective: float
    gain: float
    changes: str
    finished: bool = True


def improvements(
    problem: TrainingProblem, network: Network, tol: float, time_limit: float | None = None
) -> tuple[Improvement, ...]:
    """Balance, drop dead neurons, merge collinear ones, merge those of one pattern, re-solve over these, train on.

    Each step starts from the one before. Programs over too many patterns are not solved again, and where the loss has
    kinks nothing is trained on. When the time is over these two end with what they have.
    """
    monitor = Monitor(time_limit=time_limit)
    steps: list[tuple[str, str, Callable[[Network], Network | None]]] = [
        ("rebalancing", "nothing", lambda net: net.balanced()),
        ("removing dead neurons", "off the data", lambda net: net.alive(problem.X)),
        ("merging collinear neurons", "nothing", lambda net: net.merged(SAME_DIRECTION)),
        ("merging neurons of one pattern", "off the data", lambda net: merged_by_pattern(problem, net)),
        (RESOLVING, "the fit", lambda net: _resolved(problem, _living(problem, net), tol, monitor)),
    ]
    if problem.loss.is_smooth:
        steps.append((DESCENDING, "the fit", lambda net: descended(problem, net, DESCENT_STEPS, monitor.should_stop)))
    taken, objective = [], problem.objective(network)
    for name, changes, step in steps:
        candidate = step(network)
        if candidate is None:
            continue
        value = problem.objective(candidate)
        # Steps can only lower the objective, up to rounding; only a solver's answer may be worse than what there was.
        if value <= objective * (1 + ROUNDING):
            network, gain = candidate, max(objective - value, 0.0)
        else:
            value, gain = objective, 0.0
        finished = name not in (RESOLVING, DESCENDING) or not monitor.should_stop()
        taken.append(Improvement(name, network, value, gain, changes, finished))
        objective = value
    return tuple(taken)


def merged_by_pattern(problem: TrainingProblem, network: Network) -> Network:
    """Neurons of one activation pattern and output direction added up: the same fit, no higher norm.

    A sum of neurons of one cell stays in it, and the triangle inequality does the rest (theory A.1).
    """
    network = network.balanced()
    if not network.n_neurons:
        return network
    size = row_norms(network.output)
    units = network.output / size[:, None]
    pre = network.hidden @ problem.X.T + network.hidden_bias[:, None]
    bits = np.packbits(pre > 0, axis=1)
    # Adding zero turns -0.0 into 0.0, so that equal rows are equal bytes.
    rows = np.hstack([bits.astype(float), np.round(units, 7) + 0.0])
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    hidden, hidden_bias = np.zeros((len(first), network.hidden.shape[1])), np.zeros(len(first))
    np.add.at(hidden, group.ravel(), network.hidden * size[:, None])
    np.add.at(hidden_bias, group.ravel(), network.hidden_bias * size)
    return replace(network, hidden=hidden, hidden_bias=hidden_bias, output=units[first]).balanced()


def _is_solvable(problem: TrainingProblem, network: Network) -> bool:
    """Whether a step on the output weights of all neurons takes a second or so."""
    return bool(len(problem.X) * (network.n_neurons * problem.Y.shape[1]) ** 2 <= MOST_PRODUCTS)


def _is_small(problem: TrainingProblem, network: Network) -> bool:
    """Whether the program over the network's own patterns takes seconds, not minutes."""
    if problem.Y.shape[1] > 1 or problem.is_interpolation:
        return False
    patterns = _patterns(problem, network)
    rows = len(patterns) * len(problem.X) + len(patterns.facet_rows)
    return bool(rows * problem.arrangement.Z.shape[1] <= MOST_ENTRIES)


def _living(problem: TrainingProblem, network: Network) -> Network:
    """The neurons that count."""
    network = network.balanced()
    cost = network.neuron_norms() * row_norms(network.output)
    some = cost > NEGLIGIBLE * cost.sum()
    return replace(
        network, hidden=network.hidden[some], hidden_bias=network.hidden_bias[some], output=network.output[some]
    )


def _patterns(problem: TrainingProblem, network: Network) -> Patterns:
    """Patterns of the neurons; one inside its cell tells its facets."""
    arrangement = problem.arrangement
    U = arrangement.from_weights(network.hidden, network.hidden_bias)
    pre = U @ arrangement.Z.T
    reach = row_norms(U)[:, None] * row_norms(arrangement.Z)
    inside = ((np.abs(pre) > INSIDE * reach) | (reach == 0)).all(axis=1)
    own = patterns_of_cells(arrangement, pre[inside] > 0, U[inside])
    return own.union(neuron_patterns(arrangement, U[~inside]))


def _resolved(problem: TrainingProblem, network: Network, tol: float, monitor: Monitor) -> Network | None:
    """The best network found over the patterns of a network whose neurons all count; None if they are too many."""
    if problem.loss.is_smooth:
        return resolved(problem, network, tol, None, monitor.should_stop) if _is_solvable(problem, network) else None
    if not _is_small(problem, network):
        return None
    patterns = _patterns(problem, network)
    if not len(patterns):
        return problem.linear_network()
    left = None if math.isinf(monitor.time_limit) else max(monitor.seconds_left, LEAST_SECONDS)
    return solve(problem, patterns=patterns, tol=tol, time_limit=left, canonical=False).network
