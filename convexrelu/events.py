"""Where neurons enter and leave an optimal network as the weight decay changes: `Event`, `events_between`.

Letters as in `convexrelu.optimal_set.stationary`. Between events the network moves continuously, its neurons sliding
from cell to cell. Between two weight decays whose optima differ by one neuron, the network that has it is followed to
where the neuron's cost vanishes; there the other network, followed to the same weight decay, must have the same
predictions. Everything else is halved. Between two weight decays optimality is checked half way only: a neuron that
enters and leaves again on one side of that may be missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, IntArray
from convexrelu.following import N_STARTS, SOLVED, Follower, state_of
from convexrelu.optimal_set.polish import violation
from convexrelu.optimal_set.sliding import predicted, slide
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.result import Result

# Relative accuracy of an event's weight decay, and the most intervals looked at between two points.
ACCURACY = 1e-8
INTERVALS = 100
STEPS = 60
# Equal predictions, relative to the targets; correlations equal to the price of norm.
SAME_FIT = 1e-7
# Cosines above which neurons of two networks correspond: of one network reached in two ways, and of two networks.
SAME = 1 - 1e-9
ALIKE = 0.99
# Optima between the points are solved to this, with this budget of a proof: the points themselves are certified.
TOL = 1e-9
MAX_BOXES = 100


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
    search = _Search()
    ends = [search.follower.completed(state_of(result)) for result in (above, below)]
    if ends[0] is None or ends[1] is None:
        return []
    return search.between(ends[0], ends[1])


class _Search:
    """A budget of intervals."""

    def __init__(self) -> None:
        self.left = INTERVALS
        self.follower = Follower(TOL, 0, MAX_BOXES)

    def between(self, above: Stationary, below: Stationary) -> list[Event]:
        """Events between two states, the first at the larger weight decay."""
        high, low = above.problem.weight_decay, below.problem.weight_decay
        met = _followed(above, low)
        same = met is not None and not len(_unmatched(met, below, SAME)) and not len(_unmatched(below, met, SAME))
        if same and len(above.faces) == len(below.faces) and self._is_optimal(above, (high + low) / 2):
            return []
        event = self._single(above, below)
        if event is not None:
            return [event]
        self.left -= 1
        middle = None
        if high - low > ACCURACY * high and self.left >= 0:
            middle = self._optimum(below, (high + low) / 2)
        if middle is None:
            return _unresolved(above, below)
        return self.between(above, middle) + self.between(middle, below)

    def _optimum(self, near: Stationary, weight_decay: float) -> Stationary | None:
        """The optimum at a weight decay, from the state at a near one."""
        problem = near.problem.with_weight_decay(weight_decay)
        return self.follower.moved(near, problem) or self.follower.completed(state_of(self.follower.solve(problem)))

    def _single(self, above: Stationary, below: Stationary) -> Event | None:
        """The only event between two states, if it is shown to be that."""
        more = len(below.faces) - len(above.faces)
        if more == 1:
            return self._vanishing(below, above, "enters")
        return self._vanishing(above, below, "leaves") if more == -1 else None

    def _vanishing(self, full: Stationary, other: Stationary, kind: str) -> Event | None:
        """Follow the state that has a neuron more to where it vanishes.

        There it must be optimal, and the other state, which is optimal half way, must be met.
        """
        last = _to_zero(full, other.problem.weight_decay)
        if last is None or violation(last[0], None, N_STARTS) > SAME_FIT:
            return None
        state, e, weight_decay, accuracy = last
        met = _followed(other, weight_decay)
        size = float(np.abs(full.problem.Y).max())
        if met is None or float(np.abs(met.fit - state.fit).max()) > SAME_FIT * size:
            return None
        half = (other.problem.weight_decay + weight_decay) / 2
        return _event(kind, state, e, weight_decay, accuracy) if self._is_optimal(other, half) else None

    def _is_optimal(self, state: Stationary, weight_decay: float) -> bool:
        """Whether the state, followed to a weight decay, is optimal there as far as a search can tell."""
        met = _followed(state, weight_decay)
        return met is not None and violation(met, None, N_STARTS) <= SAME_FIT


def _followed(state: Stationary, weight_decay: float) -> Stationary | None:
    """The state at another weight decay without new neurons."""
    return slide(predicted(state, state.problem.with_weight_decay(weight_decay)), SOLVED)


def _unmatched(one: Stationary, other: Stationary, alike: float) -> IntArray:
    """Neurons of `one` without a counterpart of their own in `other`."""
    if not len(one.faces) or not len(other.faces):
        return np.arange(len(one.faces))
    a, b = (state.neurons / np.linalg.norm(state.neurons, axis=1)[:, None] for state in (one, other))
    cosine = np.where(one.signs[:, None] == other.signs, a @ b.T, -1.0)
    taken = np.zeros(len(b), dtype=np.bool_)
    missing = []
    for e in np.argsort(-cosine.max(axis=1), kind="stable"):
        best = int(np.argmax(np.where(taken, -1.0, cosine[e])))
        if taken[best] or cosine[e, best] < alike:
            missing.append(int(e))
        taken[best] = True
    return np.array(sorted(missing), dtype=np.intp)


def _to_zero(state: Stationary, end: float) -> tuple[Stationary, int, float, float] | None:
    """Newton's method on the weight decay, on the way to `end`, at which the first neuron has cost zero.

    Each step stops short of it. Returns the last state, the neuron, the weight decay and its relative error.
    """
    count = len(state.faces)
    for _ in range(STEPS):
        lam = state.problem.weight_decay
        e, root = _first_root(state, end)
        if e < 0:
            return None
        if abs(root - lam) <= 0.1 * ACCURACY * lam:
            return state, e, root, abs(root - lam) / lam
        moved = _followed(state, lam + 0.9 * (root - lam))
        if moved is None or len(moved.faces) != count:
            return None
        state = moved
    return None


def _first_root(state: Stationary, end: float) -> tuple[int, float]:
    """The neuron whose cost vanishes first on the way to a weight decay, to first order, and where; -1 for none."""
    lam = state.problem.weight_decay
    rate = np.bincount(state.owner, state.unit * state.rate[: state.z.size], minlength=len(state.faces))
    with np.errstate(divide="ignore", invalid="ignore"):
        change = -state.costs / rate
    way = change / (end - lam) if end != lam else np.full(len(change), np.inf)
    way = np.where(np.isfinite(way) & (way > 0), way, np.inf)
    e = int(np.argmin(way)) if len(way) else -1
    return (e, lam + float(change[e])) if e >= 0 and way[e] <= 1 + 1e-6 else (-1, lam)


def _unresolved(above: Stationary, below: Stationary) -> list[Event]:
    """What differs between two states, somewhere between their weight decays."""
    high, low = above.problem.weight_decay, below.problem.weight_decay
    rows = [("leaves", above, e) for e in _unmatched(above, below, ALIKE)]
    rows += [("enters", below, e) for e in _unmatched(below, above, ALIKE)]
    return [_event(kind, state, int(e), (high + low) / 2, (high - low) / high) for kind, state, e in rows]


def _event(kind: str, state: Stationary, e: int, weight_decay: float, accuracy: float) -> Event:
    return Event(weight_decay, kind, state.neurons[e] / state.costs[e], float(state.signs[e]), accuracy)
