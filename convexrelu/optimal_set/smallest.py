"""The optimal network with the fewest neurons, by mixed-integer programming: `smallest`.

Letters: `B alpha = b` the polytope of weights; `x` (c + h,) the weights of columns, in its units, and of the h samples
whose predictions can move; `y` (g,) 0 or 1: whether a group of columns is used. A group is what one neuron can be: a
direction, or the two ends of a segment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, IntArray
from convexrelu.network import Network
from convexrelu.optimal_set.polish import network_of_neurons

if TYPE_CHECKING:
    from convexrelu.optimal_set.optimal_set import OptimalSet

# Slack for the solver's integrality when its bound on the count is rounded up.
INTEGRAL = 1e-6


@dataclass(frozen=True, eq=False)
class Smallest:
    """A smallest optimal network, as far as was found and proven.

    Attributes
    ----------
    network : Network
    lower_bound : int
        No optimal network with the directions listed has fewer neurons.
    """

    network: Network
    lower_bound: int

    @property
    def is_proven(self) -> bool:
        """Whether no optimal network has fewer neurons."""
        return self.network.n_neurons <= self.lower_bound


def smallest(optimal: OptimalSet, time_limit: float) -> Smallest:
    """Minimise the number of groups that carry weight; see `OptimalSet.smallest_network`."""
    start = optimal.minimal_network()
    if optimal.polytope.total == 0 or start.n_neurons <= 1:
        return Smallest(start, start.n_neurons)
    column, group = _groups(optimal)
    answer = _solve(optimal, column, group, time_limit)
    bound = math.ceil(float(answer.mip_dual_bound or 0.0) - INTEGRAL)
    if answer.x is None:
        return Smallest(start, max(bound, 1))
    x, spare, used = np.split(np.asarray(answer.x), [len(column), len(answer.x) - int(group.max()) - 1])
    network = _network(optimal, column, group, np.where(used[group] > 0.5, x, 0.0), spare)
    return Smallest(min(network, start, key=lambda candidate: candidate.n_neurons), max(bound, 1))


def _groups(optimal: OptimalSet) -> tuple[IntArray, IntArray]:
    """Direction and group of each column."""
    segments = optimal.directions.segments
    alone = np.setdiff1d(np.arange(len(optimal.directions)), segments)
    column = np.concatenate([alone, segments.ravel()])
    group = np.concatenate([np.arange(len(alone)), len(alone) + np.repeat(np.arange(len(segments)), 2)])
    return column.astype(np.intp), group.astype(np.intp)


def _solve(optimal: OptimalSet, column: IntArray, group: IntArray, time_limit: float) -> Any:
    from scipy.optimize import Bounds, LinearConstraint, milp  # a tenth of a second

    B, b = optimal.polytope.equations
    c, g, h = len(column), int(group.max()) + 1, optimal.polytope.size - len(optimal.directions)
    # A group's weight is at most what its directions can have: the tighter, the better the relaxation.
    most = optimal.polytope.bounds[1][column] / optimal.polytope.scale[column]
    members = sp.csr_array((np.ones(c), (group, np.arange(c))), shape=(g, c))
    most = np.maximum(members @ most, 0.0) * (1 + 1e-6)
    equations = np.hstack([B[:, column], B[:, len(optimal.directions) :], np.zeros((len(b), g))])
    return milp(
        np.concatenate([np.zeros(c + h), np.ones(g)]),
        constraints=[
            LinearConstraint(equations, b - 1e-9, b + 1e-9),
            LinearConstraint(sp.hstack([members, sp.csr_array((g, h)), -sp.diags_array(most)]), -np.inf, 0.0),
        ],
        integrality=np.concatenate([np.zeros(c + h), np.ones(g)]),
        bounds=Bounds(0.0, np.concatenate([np.full(c + h, np.inf), np.ones(g)])),
        options={"time_limit": time_limit} if math.isfinite(time_limit) else {},
    )


def _network(optimal: OptimalSet, column: IntArray, group: IntArray, x: Array, spare: Array) -> Network:
    """One neuron for each group: the weights of its ends corrected, and their sum."""
    directions, polytope = optimal.directions, optimal.polytope
    weight = x * polytope.scale[column]
    alpha = np.zeros(polytope.size)
    np.add.at(alpha, column, weight)
    m = len(directions)
    alpha[m:] = spare * polytope.scale[m:]
    corrected = polytope.corrected(alpha)
    share = corrected[column] * weight / np.where(alpha[column] > 0, alpha[column], 1.0)
    groups = int(group.max()) + 1
    sums, outputs = np.zeros((groups, directions.neurons.shape[1])), np.ones((groups, directions.outputs.shape[1]))
    np.add.at(sums, group, share[:, None] * directions.neurons[column])
    outputs[group] = directions.outputs[column]
    cost = optimal.problem.arrangement.cost(sums)
    used = cost > 0
    # The free linear part depends on the predictions only, which the sums share with their ends.
    rest = polytope.g - polytope.A @ corrected
    free = np.asarray(np.linalg.lstsq(polytope.Q, rest, rcond=None)[0], dtype=float)
    return network_of_neurons(optimal.problem, sums[used], outputs[used], free, optimal.optimum.penalized)
