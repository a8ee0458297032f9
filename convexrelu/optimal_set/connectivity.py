"""Moving between optimal networks of a given width: `split`, `permute`, `path_between`.

Optimal networks of width m are the points of the polytope of weights with each weight split over slots (theory B.2).
From one to another one can always go through vertices: along a segment of the polytope whose ends use at most m
directions together (theory B.8). A slot more than a segment uses lets neurons be moved between slots one at a time, so
that the order of the neurons does not matter then.

References
----------
S. Kim, A. Mishkin and M. Pilanci, "Exploring the loss landscape of regularized neural networks via convex duality",
2024: the staircase of connectivity.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.network import Network

if TYPE_CHECKING:
    from convexrelu.optimal_set.optimal_set import OptimalSet

# Vertices looked at before a path is given up.
MOST_VERTICES = 2_000
# A neuron belongs to the direction it is this near to, as unit vectors.
SAME = 1e-5
USED = 1e-9


@dataclass(frozen=True, eq=False)
class Connection:
    """A path of optimal networks between two, or why none was found.

    Attributes
    ----------
    networks : tuple of Network
        Corners of the path, neuron by neuron of directions that neighbours share; empty if there is none. Between two
        of them every weight changes linearly, and the objective is constant.
    width : int
        At most this many neurons along the path.
    objective_spread : float
        Largest difference of the objective on the path, at its corners and between them, relative.
    reason : str
    """

    networks: tuple[Network, ...]
    width: int
    objective_spread: float
    reason: str

    def __bool__(self) -> bool:
        return bool(self.networks)


def split(network: Network, neuron: int, shares: Sequence[float]) -> Network:
    """The network with one neuron split into collinear copies: the same function and objective.

    Parameters
    ----------
    network : Network
    neuron : int
    shares : sequence of float > 0
        What each copy takes over; they add up to one.
    """
    parts = np.asarray(shares, dtype=float)
    if parts.ndim != 1 or not len(parts) or not (parts > 0).all() or abs(parts.sum() - 1) > 1e-12:
        raise InvalidInputError(f"`shares` must be positive and add up to one, got {list(shares)!r}.")
    if not 0 <= neuron < network.n_neurons:
        raise InvalidInputError(f"`neuron` must be from 0 to {network.n_neurons - 1}, got {neuron!r}.")
    index = np.concatenate([np.arange(neuron), np.full(len(parts), neuron), np.arange(neuron + 1, network.n_neurons)])
    # Both layers are multiplied by the root, so that their product is the share and the balance is kept.
    root = np.ones(len(index))
    root[neuron : neuron + len(parts)] = np.sqrt(parts / parts.sum())
    return _rows(network, index, root)


def permute(network: Network, order: Sequence[int]) -> Network:
    """The network with its neurons in another order."""
    index = np.asarray(order, dtype=np.intp)
    if sorted(index.tolist()) != list(range(network.n_neurons)):
        raise InvalidInputError(f"`order` must be a permutation of 0 to {network.n_neurons - 1}, got {list(order)!r}.")
    return _rows(network, index, np.ones(len(index)))


def _rows(network: Network, index: IntArray, root: Array) -> Network:
    return replace(
        network,
        hidden=network.hidden[index] * root[:, None],
        hidden_bias=network.hidden_bias[index] * root,
        output=network.output[index] * root[:, None],
    )


def weights_of(optimal: OptimalSet, network: Network) -> Array:
    """The point of the polytope that an optimal network comes from."""
    problem, directions, polytope = optimal.problem, optimal.directions, optimal.polytope
    arrangement, size = problem.arrangement, row_norms(network.output)
    U = arrangement.from_weights(network.hidden, network.hidden_bias) * size[:, None]
    cost = arrangement.cost(U)
    alpha = np.zeros(polytope.size)
    for j in np.flatnonzero(cost > 0):
        distance = row_norms(directions.neurons - U[j] / cost[j])
        distance += row_norms(directions.outputs - network.output[j] / size[j])
        if distance.min(initial=np.inf) > SAME:
            raise UnsupportedError(
                "`path_between` takes networks whose neurons have the listed directions; one of these lies on a "
                "segment between two, or is the mirror image of one."
            )
        alpha[int(np.argmin(distance))] += cost[j]
    spare = polytope.A[:, len(directions) :]
    missed = (optimal.fits.ends - network(problem.X)).ravel()
    alpha[len(directions) :] = np.maximum(spare.T @ missed, 0.0) / np.maximum((spare**2).sum(axis=0), 1e-300)
    return polytope.corrected(alpha)


def path_between(optimal: OptimalSet, a: Network, b: Network, width: int) -> Connection:
    """Connect two optimal networks; see `OptimalSet.path_between`."""
    for name, network in (("a", a), ("b", b)):
        answer = optimal.contains(network)
        if not answer:
            raise InvalidInputError(f"`{name}` is not an optimal network: {answer.reason}.")
        if network.n_neurons > width:
            raise InvalidInputError(f"`{name}` has {network.n_neurons} neurons, more than `width`={width}.")
    found = list(islice(optimal.polytope.vertices(), MOST_VERTICES + 1))
    points = np.array([weights_of(optimal, a), weights_of(optimal, b), *found[:MOST_VERTICES]])
    used = points[:, : len(optimal.directions)] > USED * optimal.polytope.total
    corners = _shortest(used, width)
    if corners is None:
        return Connection((), width, 0.0, _reason(optimal, len(found), width))
    networks = tuple(optimal.network(points[i]) for i in corners)
    objectives = [optimal.problem.objective(network) for network in networks]
    for i, j in pairwise(corners):
        objectives.append(optimal.problem.objective(optimal.network((points[i] + points[j]) / 2)))
    spread = (max(objectives) - min(objectives)) / max(abs(objectives[0]), 1e-300)
    return Connection(networks, width, spread, "consecutive corners use at most `width` directions together")


def _shortest(support: BoolArray, width: int) -> list[int] | None:
    """Indices from point 0 to point 1 along pairs whose supports have at most `width` directions together."""
    near = (support[:, None] | support[None]).sum(axis=2) <= width
    before = {0: 0}
    waiting = deque([0])
    while waiting and 1 not in before:
        i = waiting.popleft()
        for j in np.flatnonzero(near[i]):
            if int(j) not in before:
                before[int(j)] = i
                waiting.append(int(j))
    if 1 not in before:
        return None
    path = [1]
    while path[-1] != 0:
        path.append(before[path[-1]])
    return path[::-1]


def _reason(optimal: OptimalSet, n_vertices: int, width: int) -> str:
    if n_vertices > MOST_VERTICES:
        return f"no path was found through the first {MOST_VERTICES:,} vertices; there are more"
    certain = " of the set" if optimal.complete else " found"
    return f"no sequence of segments between vertices{certain} stays within {width} neurons"
