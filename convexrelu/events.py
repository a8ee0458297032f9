"""Where neurons enter and leave an optimal network as the weight decay changes: `Event`, `events_between`.

Letters as in `convexrelu.optimal_set.stationary`. Between two weight decays whose optima differ by one neuron, the
network that has it is followed, cells held fixed, to where the neuron's cost vanishes; there the network without it
must have the same predictions. Everything else is halved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, IntArray
from convexrelu.generation import NativeMethod
from convexrelu.monitor import Monitor
from convexrelu.optimal_set.polish import best_attempt, network_of_neurons, without_idle_samples
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.recovery import network_of
from convexrelu.result import Result

# Relative accuracy of an event's weight decay, and the most intervals looked at between two points.
ACCURACY = 1e-8
INTERVALS = 200
# Stationary to rounding, and equal predictions, relative to the targets.
SOLVED = 1e-9
SAME_FIT = 1e-7
# Neurons of two networks correspond when the cosine of their angle exceeds this.
ALIKE = 0.99
TOL = 1e-9


@dataclass(frozen=True, eq=False)
class Event:
    """A neuron enters or leaves as the weight decay decreases.

    Attributes
    ----------
    weight_decay : float
    kind : {"enters", "leaves"}
    neuron : float64 (k,)
        Its direction, of cost one, in reduced coordinates, with its output weight's `sign`.
    sign : float
    accuracy : float
        Relative error of the weight decay, as far as it was refined.
    """

    weight_decay: float
    kind: str
    neuron: Array
    sign: float
    accuracy: float

    def __repr__(self) -> str:
        return f"Event(weight_decay={self.weight_decay:.10g}, a neuron {self.kind})"


def events_between(above: Result, below: Result) -> list[Event]:
    """Events between two optima, from the larger weight decay to the smaller."""
    return _Search().between(state_of(above), state_of(below))


def state_of(result: Result, most: int | None = None) -> Stationary:
    """The network of a result, polished in at most `most` attempts."""
    problem = without_idle_samples(result.problem)
    nu = -problem.loss.gradient(result.network(problem.X), problem.Y, problem.sample_weight)[:, 0]
    return best_attempt(problem, None, result.network, nu, n_random=0, most=most)[0]


class _Search:
    """A budget of intervals."""

    def __init__(self) -> None:
        self.left = INTERVALS

    def between(self, above: Stationary, below: Stationary) -> list[Event]:
        """Events between two states, the first at the larger weight decay."""
        extra_above, extra_below = _unmatched(above, below), _unmatched(below, above)
        if not len(extra_above) and not len(extra_below):
            return []
        if len(extra_above) + len(extra_below) == 1:
            event = _leaving(above, below, extra_above) or _entering(above, below, extra_below)
            if event is not None:
                return [event]
        high, low = above.problem.weight_decay, below.problem.weight_decay
        self.left -= 1
        if high - low <= ACCURACY * high or self.left < 0:
            rows = [("leaves", above, e) for e in extra_above] + [("enters", below, e) for e in extra_below]
            return [_event(kind, state, int(e), (high + low) / 2, (high - low) / high) for kind, state, e in rows]
        middle = _solved(below, (high + low) / 2)
        return self.between(above, middle) + self.between(middle, below)


def _solved(start: Stationary, weight_decay: float) -> Stationary:
    """The optimum at another weight decay, from a state at a near one."""
    problem = start.problem.with_weight_decay(weight_decay)
    free, penalized = np.split(start.linear, [start.n_free])
    network = network_of_neurons(problem, start.neurons, start.signs, free, penalized)
    method = NativeMethod(problem, TOL, 0, Monitor(None, False, None, None), network, 10)
    solution = method.run(None, None)
    return best_attempt(problem, None, network_of(problem, solution, TOL), solution.dual[:, 0], n_random=0)[0]


def _unmatched(one: Stationary, other: Stationary) -> IntArray:
    """Neurons of `one` without a counterpart of their own in `other`."""
    if not len(one.faces) or not len(other.faces):
        return np.arange(len(one.faces))
    a, b = (state.neurons / np.linalg.norm(state.neurons, axis=1)[:, None] for state in (one, other))
    cosine = np.where(one.signs[:, None] == other.signs, a @ b.T, -1.0)
    taken = np.zeros(len(b), dtype=np.bool_)
    missing = []
    for e in np.argsort(-cosine.max(axis=1), kind="stable"):
        best = int(np.argmax(np.where(taken, -1.0, cosine[e])))
        if taken[best] or cosine[e, best] < ALIKE:
            missing.append(int(e))
        taken[best] = True
    return np.array(sorted(missing), dtype=np.intp)


def _leaving(above: Stationary, below: Stationary, extra: IntArray) -> Event | None:
    return _vanishing(above, below, int(extra[0]), "leaves") if len(extra) else None


def _entering(above: Stationary, below: Stationary, extra: IntArray) -> Event | None:
    return _vanishing(below, above, int(extra[0]), "enters") if len(extra) else None


def _vanishing(full: Stationary, other: Stationary, e: int, kind: str) -> Event | None:
    """Follow the state that has neuron e to where it vanishes, and check that the other state is met there."""
    last = _follow(full, e, sorted((full.problem.weight_decay, other.problem.weight_decay)))
    if last is None:
        return None
    state, weight_decay, accuracy = last
    met = other.moved(weight_decay, SOLVED)
    size = float(np.abs(full.problem.Y).max())
    same = met is not None and float(np.abs(met.fit - state.fit).max()) <= SAME_FIT * size
    return _event(kind, state, e, weight_decay, accuracy) if same else None


def _follow(state: Stationary, e: int, interval: list[float]) -> tuple[Stationary, float, float] | None:
    """Newton's method on the weight decay at which neuron e has cost zero, stopping short of it each time."""
    for _ in range(60):
        lam = state.problem.weight_decay
        rate = _cost_rate(state, e)
        if rate == 0 or not np.isfinite(rate):
            return None
        root = lam - state.costs[e] / rate
        if not interval[0] * (1 - 1e-9) <= root <= interval[1] * (1 + 1e-9):
            return None
        if abs(root - lam) <= 0.1 * ACCURACY * lam:
            return state, root, abs(root - lam) / lam
        moved = state.moved(lam + 0.9 * (root - lam), SOLVED)
        if moved is None:
            return None
        state = moved
    return None


def _cost_rate(state: Stationary, e: int) -> float:
    """Derivative of |z_e| with respect to the weight decay."""
    own = np.flatnonzero(state.owner == e)
    return float(state.unit[own] @ state.rate[own])


def _event(kind: str, state: Stationary, e: int, weight_decay: float, accuracy: float) -> Event:
    return Event(weight_decay, kind, state.neurons[e] / state.costs[e], float(state.signs[e]), accuracy)
