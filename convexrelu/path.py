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
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.events import Event, events_between
from convexrelu.following import Follower
from convexrelu.optimal_set.polish import without_idle_samples
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result, Status
from convexrelu.solve import check_arguments
from convexrelu.validation import check_count, check_number, check_numeric

# The default path ends at this fraction of the largest weight decay that needs neurons.
SMALLEST = 0.01


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
            except (InvalidInputError, UnsupportedError):  # not solved well enough to say, or of another kind
                yield None

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Where neurons enter and leave between the points, in the order of the path; computed when read.

        Refined to 1e-8 relative. Where the optimum is not unique the number of neurons is a choice, and so are events.

        Raises
        ------
        UnsupportedError
            For several tasks and losses with kinks, whose points are certified but not followed in between.
        """
        if self.problem.Y.shape[1] > 1 or not self.problem.loss.is_smooth:
            kind = f"loss={self.problem.loss.name!r}" if self.problem.Y.shape[1] == 1 else "several tasks"
            raise UnsupportedError(
                f"`events` are for one task and a smooth loss, and this path has {kind}: its points are certified, but "
                "what happens between them is not followed. `n_neurons` tells where the number of neurons differs."
            )
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
        Of any loss and number of tasks.
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
        Also for interpolation, which has no weight decay.

    Notes
    -----
    With one task and a smooth loss Newton's method takes the last optimum to the next weight decay: neurons slide from
    cell to cell, those that vanish are dropped, and a search finds those that are missing. The proof of the dual norm
    is the same as that of `solve`, so that a point that is followed is as certain as one that is solved. Where the rank
    of the data is too large for a proof the points are UNPROVEN, as those of `solve` are, and a short search stands in
    for it. With several tasks or a loss with kinks each point is solved from the network of the last.

    References
    ----------
    A. Mishkin and M. Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023, Section 5.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5])
    >>> path = cr.solve_path(problem, n_points=5)
    >>> path.n_neurons.tolist()
    [1, 1, 1, 3, 3]
    """
    check_arguments(problem, tol, None, random_state, None, max_boxes)
    if problem.is_interpolation:
        raise InvalidInputError("`problem` is interpolation, which has no weight decay; write TrainingProblem(X, Y).")
    decays = _default_decays(problem, n_points) if weight_decays is None else _checked_decays(weight_decays)
    problem, follower = without_idle_samples(problem), Follower(tol, random_state, max_boxes)
    return Path(problem, tuple(follower.solve(problem.with_weight_decay(decay)) for decay in decays))


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


def _loss(result: Result) -> float:
    problem = result.problem
    return problem.loss.value(result.network(problem.X), problem.Y, problem.sample_weight)
