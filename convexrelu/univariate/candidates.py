"""Candidate neurons of one input, and what they do to a spline through points: `Candidates`, `Effects`.

Letters: `x` (n,) increasing points, `u` (k, 2) neurons (w, b) of cost one, `t` (k,) their knots. Positions are in units
of about the span of the data: there the neuron `c relu(w x + b)` bends the spline through its
values at the points by `kappa c`, and adds `sigma c` to the slope and `level c` to the value at the first point. With
the knot between two points it bends the spline at both of them, as two neurons with knots there would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, power_of_two
from convexrelu.univariate.neurons import EVERYWHERE, Line, Neurons


def unit_of(x: Array) -> float:
    """The unit of positions: a power of two, so that close points keep their distances to the last digit."""
    return power_of_two(x[-1:] - x[:1])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Neurons of cost one; those without a knot between the points have `t` = nan."""

    u: Array
    t: Array

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def on_points(cls, line: Line, points: IntArray) -> Candidates:
        """Neurons with their knots at some of the points, of both sides where they are needed.

        For penalised biases also the best neuron that is on everywhere and, from both ends, its neighbours.
        """
        x, t = line.x, line.x[points]
        u = np.vstack([line.unit(t, side) for side in line.sides])
        t = np.tile(t, len(line.sides))
        # At its last point a neuron is zero on the data.
        dead = np.where(u[:, 0] > 0, t >= x[-1], t <= x[0])
        found = cls(u[~dead], t[~dead])
        if line.bias == "penalized" and line.skip == "none":
            middle = np.array([[x.mean(), 1.0]]) / np.hypot(x.mean(), 1.0)
            if np.all(middle[0, 0] * x[[0, -1]] + middle[0, 1] > 0):
                found = found.joined(cls(middle, np.array([np.nan])))
        return found

    @classmethod
    def without_biases(cls, x: Array) -> Candidates:
        """The two neurons with their knot at zero, or the one of them that is on somewhere."""
        u = np.array([[1.0, 0.0], [-1.0, 0.0]])
        on = np.array([x[-1] > 0, x[0] < 0])
        return cls(u[on], np.zeros(int(on.sum())))

    @classmethod
    def of_neurons(cls, x: Array, neurons: Neurons) -> Candidates:
        """What pricing has found."""
        w, b = neurons.u.T
        everywhere = neurons.place == EVERYWHERE
        loose = np.where(everywhere, np.nan, -b / np.where(w != 0, w, 1.0))
        return cls(neurons.u, np.where(neurons.loose, loose, x[neurons.place]))

    def joined(self, other: Candidates) -> Candidates:
        """These and others."""
        return Candidates(np.vstack([self.u, other.u]), np.concatenate([self.t, other.t]))

    def taken(self, which: BoolArray | IntArray) -> Candidates:
        """Some of them."""
        return Candidates(self.u[which], self.t[which])

    def effects(self, x: Array, every_point: bool) -> Effects:
        """On splines with nodes at both ends, at the points around the knots and, if so asked, at every point."""
        n, span = len(x), unit_of(x)
        w, b = self.u.T
        bent = (self.t > x[0]) & (self.t < x[-1])
        a = np.where(bent, np.searchsorted(x, np.where(bent, self.t, x[0]), side="right") - 1, 0)
        after = np.minimum(a + 1, n - 1)
        loose = bent & (x[a] != self.t)
        around = np.arange(n) if every_point else np.concatenate([[0, n - 1], a[bent], after[loose]])
        nodes = np.unique(around)
        # The two neurons with knots at the points around (theory D.5); the second is none for a knot at a point.
        h, right = np.where(loose, x[after] - x[a], 1.0), w > 0
        ends = np.abs(w * x[after] + b) / h, np.abs(w * x[a] + b) / h
        parts = np.where(loose, ends[0], np.abs(w)), np.where(loose, ends[1], 0.0)
        kappa = np.column_stack([np.where(bent & (a > 0), parts[0], 0.0), np.where(after < n - 1, parts[1], 0.0)])
        # At the first point a neuron that faces right is off, unless its knot is before it.
        first = loose & (a == 0)
        begun = ~bent | ~right
        sigma = np.where(first, np.where(right, parts[0], -parts[1]), np.where(begun, w, 0.0))
        level = np.where(begun & (self.t != x[0]), np.maximum(w * x[0] + b, 0.0), 0.0)
        return Effects(x[nodes] / span, np.searchsorted(nodes, a), kappa * span, sigma * span * (n > 1), level)


@dataclass(frozen=True, eq=False)
class Effects:
    """What neurons of size one do.

    Attributes
    ----------
    nodes : float64 (m,)
        Positions.
    node : intp (k,)
        The node at which, and at the next one, a neuron bends the spline; any where `kappa` is zero.
    kappa : float64 (k, 2)
        Curvature at these two.
    sigma, level : float64 (k,)
        Slope and value at the first point.
    """

    nodes: Array
    node: IntArray
    kappa: Array
    sigma: Array
    level: Array

    @property
    def size(self) -> Array:
        """The largest of them (k,)."""
        size: Array = np.max(np.column_stack([self.kappa, np.abs(self.sigma), self.level]), axis=1)
        return size

    def scaled(self) -> Effects:
        """In units of each neuron's `size`."""
        return Effects(
            self.nodes, self.node, self.kappa / self.size[:, None], self.sigma / self.size, self.level / self.size
        )
