"""Optimal networks along the weight decay: `solve_path`, `Path`.

Letters: `lam` weight decay, `p(lam)` optimal value, `R(lam)` cost of the network per unit of weight decay, `L` loss,

    p = L + lam R,   p' = R,   p concave and nondecreasing, R nonincreasing, L nondecreasing

(theory B.5; Mishkin and Pilanci, ICML 2023, Section 5). Between events the network moves smoothly; at an event a neuron
enters or leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen
from convexrelu.certificate import TINY
from convexrelu.errors import InvalidInputError
from convexrelu.events import Event, events_between, state_of
from convexrelu.generation import PROOF_SHARE, Generated, NativeMethod, generate
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.optimal_set.polish import check_supported, violation, without_idle_samples
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.pricing.dual_norm import dual_norm
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result, Solution, Status
from convexrelu.solve import check_arguments, generated_result, solve
from convexrelu.validation import check_count, check_number, check_numeric

# The default path ends at this fraction of the largest weight decay that needs neurons.
SMALLEST = 0.01
# Random starts of the search before the proof at each point, besides the network's own neurons.
N_STARTS = 20
# Rounds of a solve from the last network before it is given up for one from scratch.
ROUNDS = 30
# Attempts at polishing a point that was solved; where they fail the next one is solved as well.
ATTEMPTS = 3
# Relative residual of a network that was followed to the next point.
SOLVED = 1e-9


@dataclass(frozen=True, eq=False)
class Path:
    """Optimal networks at decreasing weight decays; arrays have one entry per point.

    Attributes
    ----------
    problem : TrainingProblem
        At whatever weight decay it was given with; without samples of weight zero.
    results : tuple of Result
        From the largest weight decay to the smallest, each with its certificate.
    """

    problem: TrainingProblem
    results: tuple[Result, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        proven = sum(result.status is Status.OPTIMAL for result in self.results)
        ends = f"{self.weight_decays[0]:.4g} to {self.weight_decays[-1]:.4g}"
        return f"Path({len(self)} points, weight decay {ends}, {proven} proven optimal)"

    @cached_property
    def weight_decays(self) -> Array:
        """Decreasing."""
        return frozen(np.array([result.problem.weight_decay for result in self.results]))

    @cached_property
    def objectives(self) -> Array:
        """Of the networks."""
        return frozen(np.array([result.objective for result in self.results]))

    @cached_property
    def losses(self) -> Array:
        """Of the networks."""
        return frozen(np.array([_loss(result) for result in self.results]))

    @cached_property
    def norms(self) -> Array:
        """R: half the sum of squares of the penalised weights."""
        return frozen((self.objectives - self.losses) / self.weight_decays)

    @cached_property
    def n_neurons(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Numbers of neurons."""
        return np.array([result.network.n_neurons for result in self.results], dtype=np.intp)

    @cached_property
    def gaps(self) -> Array:
        """Relative gaps of the certificates."""
        return frozen(np.array([result.certificate.gap for result in self.results]))

    @cached_property
    def is_unique(self) -> tuple[bool | None, ...]:
        """Whether each optimum is unique (`OptimalSet.is_unique`); None where that is not known. Computed when read."""
        return tuple(self._is_unique())

    def _is_unique(self) -> Iterator[bool | None]:
        for result in self.results:
            try:
                yield result.optimal_set().is_unique
            except InvalidInputError:  # not solved well enough to say
                yield None

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Where neurons enter and leave between the points, in the order of the path; computed when read.

        Refined to 1e-8 relative. Where the optimum is not unique the number of neurons is a choice, and so are events.
        """
        found: list[Event] = []
        for above, below in zip(self.results, self.results[1:], strict=False):
            found += events_between(above, below)
        return tuple(found)

    # -- checks -------------------------------------------------------------------------------------------------------

    @property
    def concavity_violation(self) -> float:
        """How far chords of p lie above p, relative to the largest p: rounding and gaps, where all is right."""
        lam, p = self.weight_decays[::-1], self.objectives[::-1]
        if len(p) < 3:
            return 0.0
        share = (lam[1:-1] - lam[:-2]) / (lam[2:] - lam[:-2])
        chord = (1 - share) * p[:-2] + share * p[2:]
        return float(max((chord - p[1:-1]).max(), 0.0) / max(p.max(), TINY))

    @property
    def slope_violation(self) -> float:
        """How far p' = R, R monotone, fails for chords: p changes by R at one end to R at the other, times the step.

        Relative to the largest p.
        """
        dp, dlam = -np.diff(self.objectives), -np.diff(self.weight_decays)
        if not len(dp):
            return 0.0
        low, high = self.norms[:-1] * dlam, self.norms[1:] * dlam
        return float(max(np.maximum(low - dp, dp - high).max(), 0.0) / max(self.objectives.max(), TINY))


def solve_path(
    problem: TrainingProblem,
    weight_decays: Any = None,
    n_points: int = 50,
    tol: float = 1e-6,
    random_state: int = 0,
    max_boxes: int | None = None,
) -> Path:
    """Train at many weight decays, from the largest to the smallest, each from the network before.

    Parameters
    ----------
    problem : TrainingProblem
        With one task and the squared loss.
    weight_decays : array (N,), optional
        In any order; by default `n_points` in geometric progression from just below the largest one that needs neurons
        down to a hundredth of it.
    n_points : int, default 50
    tol : float, default 1e-6
        Relative gap of each point.
    random_state : int, default 0
    max_boxes : int, optional
        Budget of the proof at each point, as in `solve`.

    Returns
    -------
    Path

    Raises
    ------
    InvalidInputError
        For arguments that cannot be used.
    UnsupportedError
        For several tasks, other losses, and interpolation.

    Notes
    -----
    Newton's method takes the last optimum to the next weight decay, cells held fixed; the proof of the dual norm there
    is the same as that of `solve`, so that a point that is followed is as certain as one that is solved. Where a neuron
    has entered or left, the point is solved from the last network. Where the rank of the data is too large for a proof
    the points are UNPROVEN, as those of `solve` are, and a short search stands in for it.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5])
    >>> path = cr.solve_path(problem, n_points=5)
    >>> path.n_neurons.tolist()
    [1, 1, 1, 3, 3]
    """
    check_arguments(problem, tol, None, random_state, None, max_boxes)
    check_supported(problem, "a path")
    if problem.is_interpolation:
        raise InvalidInputError("`problem` is interpolation, which has no weight decay; write TrainingProblem(X, Y).")
    decays = _default_decays(problem, n_points) if weight_decays is None else _checked_decays(weight_decays)
    follower = _Follower(without_idle_samples(problem), tol, random_state, max_boxes)
    return Path(follower.problem, tuple(follower.solve(decay) for decay in decays))


def _default_decays(problem: TrainingProblem, n_points: int) -> list[float]:
    count = check_count(n_points, "n_points")
    largest = problem.max_weight_decay()
    if not largest > 0:
        raise InvalidInputError("`weight_decays` must be given: no weight decay needs neurons for these targets.")
    return [float(decay) for decay in largest * np.geomspace(1.0, SMALLEST, count + 1)[1:]]


def _checked_decays(weight_decays: Any) -> list[float]:
    decays = check_numeric(weight_decays, "weight_decays")
    if decays.ndim != 1 or not len(decays):
        raise InvalidInputError(f"`weight_decays` must be a list of at least one number, got shape {decays.shape}.")
    return sorted({check_number(float(decay), "weight_decays", above=0.0) for decay in decays}, reverse=True)


class _Follower:
    """The state of a path: the last optimum, polished."""

    def __init__(self, problem: TrainingProblem, tol: float, seed: int, max_boxes: int | None) -> None:
        self.problem, self.tol, self.seed, self.max_boxes = problem, tol, seed, max_boxes
        self.last: Stationary | None = None
        self.network: Network | None = None

    def solve(self, weight_decay: float) -> Result:
        """The next point: the last one moved, if its proof says so; else solved from there."""
        problem = self.problem.with_weight_decay(weight_decay)
        moved = None if self.last is None else self.last.moved(weight_decay, SOLVED)
        result = None if moved is None else self._certified(moved)
        if result is None:
            result = self._solved(problem)
            moved = state_of(result, ATTEMPTS)
        self.last = moved if moved is not None and moved.error <= SOLVED else None
        self.network = result.network
        return result

    def _solved(self, problem: TrainingProblem) -> Result:
        """Solved from the last network with few random starts; from scratch if that fails."""
        if self.network is not None:
            monitor = Monitor(None, False, None, ROUNDS)
            method = NativeMethod(problem, self.tol, self.seed, monitor, self.network, N_STARTS)
            found = generate(problem, iter([method]), self.tol, monitor, self.max_boxes)
            result = generated_result(problem, found, self.tol, monitor)
            if result.status in (Status.OPTIMAL, Status.UNPROVEN):
                return result
        return solve(problem, tol=self.tol, random_state=self.seed, max_boxes=self.max_boxes, warm_start=self.network)

    def _certified(self, state: Stationary) -> Result | None:
        """The result of a state that no neuron improves, as far as a proof, or else a short search, can tell."""
        problem, monitor = state.problem, Monitor(None, False, None, None)
        nu = problem.feasible_direction(state.nu[:, None])
        threshold = problem.penalty * (1 + PROOF_SHARE * self.tol)
        if violation(state, None, N_STARTS) > PROOF_SHARE * self.tol:
            return None
        norm = dual_norm(problem.arrangement, nu, target=threshold, max_boxes=self.max_boxes, starts=state.neurons)
        if norm.lower > threshold:
            return None
        free, penalized = np.split(state.linear[:, None], [state.n_free])
        solution = Solution(state.neurons, state.signs[:, None], free, penalized, nu, "followed")
        result = generated_result(problem, Generated(solution, nu, norm, True), self.tol, monitor)
        return result if result.status in (Status.OPTIMAL, Status.UNPROVEN) else None


def _loss(result: Result) -> float:
    problem = result.problem
    return problem.loss.value(result.network(problem.X), problem.Y, problem.sample_weight)
