"""What a run reports and when it stops: `State`, `Monitor`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from convexrelu.errors import TimeLimitError


@dataclass(frozen=True)
class State:
    """What a callback sees after each round of pattern generation, and within it when neurons have been added.

    Attributes
    ----------
    iteration : int
        Rounds so far.
    objective : float
        Of the best network so far.
    lower_bound : float
        Best proven so far, for all networks; zero before the first proof.
    gap : float
        (objective - lower_bound) / |objective|.
    n_neurons : int
    seconds : float
        Since the start.
    """

    iteration: int
    objective: float
    lower_bound: float
    n_neurons: int
    seconds: float

    @property
    def gap(self) -> float:
        """Relative gap."""
        return (self.objective - self.lower_bound) / max(abs(self.objective), 1e-300)


class Monitor:
    """Keeps time, calls the user's callback, prints progress when asked, and says when to stop.

    Parameters
    ----------
    callback : callable or None
        Called with a `State`; a true answer stops the run.
    verbose : bool
    time_limit : float or None
        Seconds.
    max_iter : int or None
        Rounds.
    """

    def __init__(
        self,
        callback: Callable[[State], object] | None = None,
        verbose: bool = False,
        time_limit: float | None = None,
        max_iter: int | None = None,
    ) -> None:
        self.callback, self.verbose = callback, verbose
        self.time_limit = math.inf if time_limit is None else time_limit
        self.max_iter = math.inf if max_iter is None else max_iter
        self.iteration, self.lower_bound = 0, 0.0
        self.interrupted = False
        self.laps: dict[str, float] = {}
        self.effort = {"rounds": 0, "starts": 0, "boxes": 0, "cones": 0}
        self._start = self._last = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._start

    @property
    def seconds_left(self) -> float:
        """Until the time limit; never negative."""
        return max(self.time_limit - self.seconds, 0.0)

    @property
    def at_limit(self) -> bool:
        """Whether the time or the rounds are used up."""
        return self.seconds >= self.time_limit or self.iteration >= self.max_iter

    def should_stop(self) -> bool:
        """Whether to end the run with what there is."""
        return self.interrupted or self.at_limit

    def check_time(self, what: str) -> None:
        """Raise TimeLimitError if the time is over, for work of which a part is of no use."""
        if self.seconds >= self.time_limit:
            raise TimeLimitError(f"{what} takes longer than `time_limit={self.time_limit:.3g}` seconds; allow more.")

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now

    def count(self, name: str, number: int) -> None:
        """Add to what was spent on "starts" of the search, "boxes" of the proof or "cones" of the program."""
        self.effort[name] += number

    def report(self, objective: float, n_neurons: int, *, ends_round: bool = True) -> None:
        """Show a network to the callback; count and print a round that ends with it."""
        if ends_round:
            self.iteration += 1
            self.count("rounds", 1)
        state = State(self.iteration, objective, self.lower_bound, n_neurons, self.seconds)
        if self.verbose and ends_round:
            print(_line(state), flush=True)
        if self.callback is not None and self.callback(state):
            self.interrupted = True


def _line(state: State) -> str:
    """A line of progress; the bar is the gap on a log scale, from 1 down to 1e-10."""
    length = round(2 * min(max(-math.log10(max(state.gap, 1e-10)), 0.0), 10.0))
    bar = "#" * length + "." * (20 - length)
    numbers = f"objective {state.objective:<15.9g} bound {state.lower_bound:<15.9g} gap {state.gap:8.1e}"
    return f"{state.iteration:4d}  {numbers} |{bar}| {state.n_neurons:4d} neurons {state.seconds:7.2f} s"
