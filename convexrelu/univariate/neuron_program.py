"""Training the output weights of given neurons of one input, as a program: `NeuronProgram`, its `Point`s, `Interior`.

    minimise   L(F) + sum_j rho_j |c_j| + (price_a |a|^2 + price_c |c|^2) / 2

Letters: `z` (m, T) values at the nodes, `A` (n, m) interpolation between the nodes, F = A z; `c_j` (T,) output weights;
`a`, `c` (T,) skip and output bias. The neurons' effects (`candidates`) make up the spline:

    D_k z = sum_j kappa_jk c_j,    slope(z) = sum_j sigma_j c_j + a,
    level(z) = sum_j level_j c_j + xi a + c,

with D the curvature at the inner nodes, slope and level at the first. Their dual variables are `G` (m, T), `P`, `R`
(T,), and `g_j = sum_k kappa_jk G_k + sigma_j P + level_j R` is the correlation of neuron j. `s_j` >= |c_j| is the room
for output weights, `x_j` = (s_j, c_j) and `y_j` = (rho_j, -g_j) the pair of its cone (`convexrelu.cones`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.cones import reach
from convexrelu.univariate.candidates import Effects
from convexrelu.univariate.hats import bends, scaled_bends
from convexrelu.univariate.slopes import LossSlopes, Slopes

# Room for the output weights at the start.
START = 10.0


@dataclass(frozen=True, eq=False)
class NeuronProgram:
    """Samples, their loss, neurons and prices; in units in which all are about one.

    Attributes
    ----------
    t : float64 (n,)
        Positions, increasing; all nodes where the loss fixes the predictions.
    slopes : LossSlopes
    effects : Effects
    rho : float64 (k,)
    xi : float
        What a unit of skip adds to the value at the first point.
    prices : (float, float)
        Of skip and output bias: zero if they are free, infinite if there is none.
    """

    t: Array
    slopes: LossSlopes
    effects: Effects
    rho: Array
    xi: float
    prices: tuple[float, float]


class Point(NamedTuple):
    """An iterate, or a step, in the letters of the module."""

    z: Array
    G: Array
    ends: Array  # P, R, a, c (4, T)
    x: Array  # s, c (k, 1 + T)
    slopes: Slopes

    def moved(self, step: Point, length: float) -> Point:
        """The point a multiple of a step away."""
        slopes = Slopes(*(s + length * d for s, d in zip(self.slopes, step.slopes, strict=True)))
        z, G, ends, x = (s + length * d for s, d in zip(self[:4], step[:4], strict=True))
        return Point(z, G, ends, x, slopes)


class Interior:
    """A program with what does not change from step to step."""

    def __init__(self, program: NeuronProgram) -> None:
        self.program, self.effects = program, program.effects
        self.T = program.slopes.basis.shape[1]
        nodes = self.effects.nodes
        self.m = len(nodes)
        self.unit, self.bend = scaled_bends(nodes)
        self.slope, self.level = np.zeros(self.m), np.zeros(self.m)
        self.level[0] = 1.0
        if self.m > 1:
            self.slope[:2] = np.array([-1.0, 1.0]) / (nodes[1] - nodes[0])
        self.A, self.interval = self._interpolation(nodes, program.t)
        # The node after a neuron's own; none after the last.
        self.after = np.minimum(self.effects.node + 1, self.m - 1)

    def _interpolation(self, nodes: Array, t: Array) -> tuple[sp.csr_array, sp.csr_array]:
        """A (n, m), and for each gap between nodes its samples' products of the two entries (m - 1, n)."""
        n = len(t)
        if self.m == 1:
            return sp.csr_array(np.ones((n, 1))), sp.csr_array((0, n))
        k = np.clip(np.searchsorted(nodes, t, side="right") - 1, 0, self.m - 2)
        theta = (t - nodes[k]) / (nodes[k + 1] - nodes[k])
        rows = np.arange(n)
        entries = np.concatenate([1 - theta, theta]), (np.tile(rows, 2), np.concatenate([k, k + 1]))
        return sp.csr_array(entries, shape=(n, self.m)), sp.csr_array(
            (theta * (1 - theta), (k, rows)), shape=(self.m - 1, n)
        )

    @cached_property
    def squares(self) -> sp.csr_array:
        """The squares of A's entries, transposed."""
        return self.A.multiply(self.A).T.tocsr()

    @cached_property
    def fixed(self) -> tuple[BoolArray, Array] | None:
        """Which nodes the loss fixes (m,), and their values (m, T)."""
        values = self.program.slopes.fixed
        if values is None:
            return None
        at = np.searchsorted(self.effects.nodes, self.program.t)
        mask, whole = np.zeros(self.m, dtype=bool), np.zeros((self.m, self.T))
        mask[at], whole[at] = True, values
        return mask, whole

    def start(self) -> Point:
        """Nothing bends; products of about one, or of what the targets ask neurons for where they must be met."""
        z = np.zeros((self.m, self.T)) if self.fixed is None else self.fixed[1]
        none = np.zeros_like(z), np.zeros((4, self.T))
        x = np.zeros((len(self.program.rho), 1 + self.T))
        x[:, 0] = START * (1 + self._asked(z))
        return Point(z, *none, x, self.program.slopes.start())

    def _asked(self, z: Array) -> Array:
        """The largest output weight (k,) that one neuron would need to bend, tilt or lift a spline to values z."""
        e, bent = self.effects, row_norms(bends(self.effects.nodes, z))
        asked = np.column_stack([e.kappa[:, 0] * bent[e.node], e.kappa[:, 1] * bent[self.after]])
        ends = [np.abs(e.sigma) * np.linalg.norm(self.slope @ z), np.abs(e.level) * np.linalg.norm(self.level @ z)]
        largest: Array = np.max(np.column_stack([asked, *ends]), axis=1)
        return largest

    def correlations(self, G: Array, ends: Array) -> Array:
        """The g (k, T)."""
        e = self.effects
        g: Array = e.kappa[:, :1] * G[e.node] + e.kappa[:, 1:] * G[self.after]
        g += e.sigma[:, None] * ends[0] + e.level[:, None] * ends[1]
        return g

    def at_nodes(self, first: Array, second: Array) -> Array:
        """Sums by node of what neurons (k, ...) do at their own node and at the next one."""
        out = np.zeros((self.m, *first.shape[1:]))
        np.add.at(out, self.effects.node, first)
        np.add.at(out, self.after, second)
        return out

    def duals(self, g: Array) -> Array:
        """Y (k, 1 + T)."""
        return np.column_stack([self.program.rho, -g])

    def mean_product(self, point: Point) -> float:
        """What should vanish."""
        total, count = self.program.slopes.products(point.slopes)
        total += float(np.sum(point.x * self.duals(self.correlations(point.G, point.ends))))
        return total / max(count + len(point.x), 1)

    def length(self, point: Point, step: Point, share: float) -> float:
        """How far to go, at most one, for all that must stay inside to do so."""
        y, dg = self.duals(self.correlations(point.G, point.ends)), self.correlations(step.G, step.ends)
        nearest = min(reach(point.x, step.x), reach(y, np.column_stack([np.zeros(len(dg)), -dg])))
        return min(1.0, share * nearest, self.program.slopes.length(point.slopes, step.slopes, share))
