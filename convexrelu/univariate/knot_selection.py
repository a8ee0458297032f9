"""Splines with given candidate knots, trained by Newton's method: `KnotSet`, `minimise`.

    minimise   z . M z / 2 - z . B + lam sum_k |delta_k(z)|

Letters: `z` (m, T) values at the nodes, `M`, `B` of the hat system, `delta` (m, T) curvature, `u` (m, T) its unit
directions (signs for one task), `lam` weight decay.

With the directions fixed the problem for one task is a tridiagonal linear system; for several, Newton steps are banded
ones. A knot whose curvature would turn against its direction is dropped; pricing brings it back if needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.univariate.group_step import group_step
from convexrelu.univariate.hats import HatSystem, bends, bends_transposed, scaled_bends

# Newton steps for several tasks before the knots are priced again.
STEPS = 30
# Of the wanted accuracy of the objective: where Newton's method stops.
SHARE = 1e-6


@dataclass(frozen=True, eq=False)
class KnotSet:
    """A spline with nodes at samples.

    Attributes
    ----------
    nodes : intp (m,)
        Indices of samples, increasing, with the first and the last.
    z : float64 (m, T)
        Values at the nodes.
    u : float64 (m, T)
        Unit directions of the curvature; zero at the first and the last node.
    """

    nodes: IntArray
    z: Array
    u: Array

    def kept(self, keep: BoolArray) -> KnotSet:
        """Without some of the nodes."""
        return KnotSet(self.nodes[keep], self.z[keep], self.u[keep])


def minimise(system: HatSystem, start: KnotSet, lam: float, accuracy: float, careful: bool) -> KnotSet:
    """Train the spline with the nodes of `start`, dropping those that would bend the other way.

    Parameters
    ----------
    system : HatSystem
        Of exactly these nodes.
    start : KnotSet
        For new knots z is the current spline and u the direction that lowers the objective.
    lam : float
    accuracy : float
        Absolute, of the objective; used for several tasks only.
    careful : bool
        Drop a knot only where the objective falls all the way to the point at which its curvature vanishes, one after
        the other. Otherwise all at once, which is faster but may raise the objective.
    """
    state, local, part = start, np.arange(len(start.nodes)), system
    for _ in range(10 * len(local) + STEPS):
        target = _target(part, state, lam)
        step, crossing = _step_length(part.x, state, target, careful)
        if crossing.any():
            z = state.z + step * (target - state.z) if careful else state.z
            fewer = KnotSet(state.nodes, z, state.u).kept(~crossing)
            coarser = system.coarsened(local[~crossing])
            # For one task the objective falls all the way by convexity; several have Newton's model only.
            surely = not careful or state.z.shape[1] == 1 or bool(_straight(part, state.z)[crossing].all())
            if surely or _objective(coarser, fewer.z, lam) <= _objective(part, state.z, lam) + _rounding(part, state.z):
                state, local, part = fewer, local[~crossing], coarser
                continue
        elif state.z.shape[1] == 1:
            return KnotSet(state.nodes, target, state.u)
        state, gain = _searched(part, state, target, lam)
        if gain <= SHARE * accuracy:
            return state
    return state


def _objective(system: HatSystem, z: Array, lam: float) -> float:
    """Up to a constant, the objective of the spline with values z (m, T)."""
    return system.value(z) + lam * float(row_norms(bends(system.x, z)).sum())


def _rounding(system: HatSystem, z: Array) -> float:
    """The size of the rounding error of the objective: it is the difference of large numbers."""
    return 16 * EPS * float(np.sum(np.abs(z * system.B)))


def _straight(system: HatSystem, z: Array) -> BoolArray:
    """Nodes (m,) whose curvature is no more than the rounding of the values."""
    unit = scaled_bends(system.x)[0]
    straight: BoolArray = row_norms(bends(system.x, z)) * unit <= 8 * EPS * float(np.abs(z).max())
    return straight


def _target(system: HatSystem, state: KnotSet, lam: float) -> Array:
    """Where Newton's model of the objective is least."""
    rhs = system.B - lam * bends_transposed(system.x, state.u)
    if state.z.shape[1] == 1:
        return system.solve(rhs)
    return group_step(system, state.u, row_norms(bends(system.x, state.z)), lam, rhs)


def _step_length(x: Array, state: KnotSet, target: Array, careful: bool) -> tuple[float, BoolArray]:
    """How far to go towards the target, and the knots to drop there."""
    now = np.einsum("ij,ij->i", state.u, bends(x, state.z))
    then = np.einsum("ij,ij->i", state.u, bends(x, target))
    turning = then < 0
    if not turning.any():
        return 1.0, turning
    if not careful:
        return 1.0, turning
    now = np.maximum(now, 0.0)
    ratio = np.full(len(now), np.inf)
    ratio[turning] = now[turning] / (now[turning] - then[turning])
    step = float(ratio.min())
    return step, ratio <= step * (1 + 1e-9)


def _searched(system: HatSystem, state: KnotSet, target: Array, lam: float) -> tuple[KnotSet, float]:
    """The best of a few halvings of the step, and how much it lowers the objective."""
    before = _objective(system, state.z, lam)
    rounding = _rounding(system, state.z)
    for halving in range(30):
        z = state.z + (target - state.z) / 2**halving
        gain = before - _objective(system, z, lam)
        if gain >= -rounding:
            break
    else:
        return state, 0.0
    delta = bends(system.x, z)
    size = row_norms(delta)[:, None]
    u = np.where(size > 0, delta / np.where(size > 0, size, 1.0), state.u)
    return KnotSet(state.nodes, z, u), gain
