"""Neurons of one input by the place of their knots: `Neurons`, and `Line`, the points they are trained on.

Letters: neuron `c d relu(u . (x, 1))` of size `c` (k,), with output direction `d` (k, T), a unit vector, and `u` (k, 2)
= (w, b) of cost one: a unit vector for penalised biases, w = 1 or -1 for free ones. Its knot is at `-b / w`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray
from convexrelu.network import Network
from convexrelu.univariate.conversion import from_network

# The place of a neuron that is on at all points.
EVERYWHERE = -1


@dataclass(frozen=True, eq=False)
class Line:
    """Points with targets, and which parameters there are.

    Attributes
    ----------
    x, Y, weight : float64 (n,), (n, T), (n,)
        Increasing, of positive weight, n >= 2.
    lam : float > 0
    bias : {"free", "penalized"}
    skip : {"free", "none"}
    """

    x: Array
    Y: Array
    weight: Array
    lam: float
    bias: str
    skip: str

    @property
    def sides(self) -> tuple[float, ...]:
        """Which way neurons face: with a skip those that face left are not needed."""
        return (1.0,) if self.skip == "free" else (1.0, -1.0)

    def unit(self, t: Array, side: Array | float) -> Array:
        """Neurons (k, 2) of cost one with knots t (k,), facing right (side 1) or left (-1)."""
        rows = np.column_stack([np.ones(len(t)), -t]) * np.reshape(side, (-1, 1))
        scale = np.hypot(1.0, t)[:, None] if self.bias == "penalized" else 1.0
        unit: Array = rows / scale
        return unit

    @property
    def free_columns(self) -> Array:
        """What is not penalised: a constant and, with a skip, a line."""
        centred = (self.x - self.x.mean()) / (self.x[-1] - self.x[0])
        if self.skip == "free":
            return np.column_stack([np.ones(len(self.x)), centred])
        return np.ones((len(self.x), 0 if self.bias == "penalized" else 1))


@dataclass(frozen=True, eq=False)
class Neurons:
    """Neurons with their knots at a point (`loose` false) or between the points `place` and `place` + 1."""

    place: IntArray
    loose: BoolArray
    side: Array
    u: Array
    d: Array
    c: Array

    @classmethod
    def none(cls, T: int) -> Neurons:
        """No neurons."""
        empty = np.zeros(0)
        return cls(np.zeros(0, np.intp), np.zeros(0, bool), empty, np.zeros((0, 2)), np.zeros((0, T)), empty)

    def __len__(self) -> int:
        return len(self.c)

    def taken(self, which: BoolArray | IntArray) -> Neurons:
        """Some of the neurons."""
        side, u, d, c = (part[which] for part in (self.side, self.u, self.d, self.c))
        return Neurons(self.place[which], self.loose[which], side, u, d, c)

    def joined(self, other: Neurons) -> Neurons:
        """These neurons and others."""
        return Neurons(
            np.concatenate([self.place, other.place]),
            np.concatenate([self.loose, other.loose]),
            np.concatenate([self.side, other.side]),
            np.vstack([self.u, other.u]),
            np.vstack([self.d, other.d]),
            np.concatenate([self.c, other.c]),
        )

    def across(self) -> Array:
        """Unit vectors (k, 2) that turn a neuron, its knot moving."""
        return np.column_stack([-self.u[:, 1], self.u[:, 0]])

    def edges(self, x: Array, U: Array) -> tuple[Array, Array]:
        """For loose neurons the sizes (k,) of the two neurons with knots at the ends of the interval that make up U.

        They are curvature, for neurons that are on everywhere values at the first and the last point.
        """
        everywhere = self.place == EVERYWHERE
        right = np.where(everywhere, len(x) - 1, np.minimum(self.place + 1, len(x) - 1))
        a, b = x[np.where(everywhere, 0, self.place)], x[right]
        at_a, at_b = U[:, 0] * a + U[:, 1], U[:, 0] * b + U[:, 1]
        scale = np.where(everywhere | (a == b), 1.0, (b - a) * self.side)
        first = np.where(everywhere, at_a, at_b / scale)
        return first, np.where(everywhere, at_b, -at_a / scale)


def network_of(line: Line, neurons: Neurons) -> tuple[Network, Array]:
    """The network with the free part that fits best, and its predictions (n, T); cost O(n)."""
    T = line.Y.shape[1]
    network = Network(neurons.u[:, :1], neurons.u[:, 1], neurons.c[:, None] * neurons.d, bias=line.bias)
    F = from_network(network)(line.x) if len(neurons) else np.zeros_like(line.Y)
    Q = line.free_columns
    if not Q.shape[1]:
        return network, F
    root = np.sqrt(line.weight)[:, None]
    beta = np.linalg.lstsq(root * Q, root * (line.Y - F), rcond=None)[0]
    slope = beta[1:] / (line.x[-1] - line.x[0]) if Q.shape[1] > 1 else np.zeros((1, T))
    network = replace(network, skip=slope, output_bias=beta[0] - slope[0] * line.x.mean())
    return network, F + Q @ beta


def objective_of(line: Line, neurons: Neurons) -> tuple[float, Array]:
    """The objective and the residual (n, T), weights included."""
    F = network_of(line, neurons)[1]
    r = line.weight[:, None] * (line.Y - F)
    return 0.5 * float(np.sum(r * (line.Y - F))) + line.lam * float(neurons.c.sum()), r
