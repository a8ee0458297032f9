"""Pattern generation: improve a network, ask its dual variable for neurons that are missing, repeat; then prove.

Letters: `nu` (n, 1) dual variable; a neuron is missing when |nu . relu(Z u)| exceeds the penalty at cost one.

A *method* improves until its search finds no missing neuron, which proves nothing. The proof (`dual_norm`) may meet a
neuron that the search missed; it goes back to the method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from convexrelu.arrays import Array
from convexrelu.backends import Backend
from convexrelu.backends.native import Progress
from convexrelu.backends.native import generate as native_generate
from convexrelu.joint_program import program_over
from convexrelu.losses import PiecewiseLoss
from convexrelu.monitor import Monitor
from convexrelu.native.bridge import iterate_of, reduced_problem, solution_of
from convexrelu.native.proximal import ProximalLoss
from convexrelu.native.reduced import Iterate
from convexrelu.network import Network
from convexrelu.patterns.patterns import Patterns, neuron_patterns
from convexrelu.patterns.sampling import sample_arrangement
from convexrelu.pricing.dual_norm import DualNorm, dual_norm
from convexrelu.pricing.neuron_search import search_neurons
from convexrelu.pricing.search import SearchResult
from convexrelu.problem import TrainingProblem
from convexrelu.program import Program
from convexrelu.recovery import program_value
from convexrelu.refit import refitted_solution
from convexrelu.result import Solution

# Shares of the tolerance: what the program over the generated patterns may leave, and what the proof may.
PROGRAM_SHARE = 0.05
PROOF_SHARE = 0.5
# The share of the tolerance up to which a looser bound on the dual norm will do, found to this factor.
LOOSEST_SHARE, LOOSENED = 0.75, 1.05
# A bound that cannot bring the gap within that is proven to this share of what it is beyond.
LEFT_SHARE = 0.1
# Boxes spent on a bound after a run was stopped: something honest to report, at next to no cost.
LAST_BOXES = 2_000
# The same in seconds, where time is limited: at high rank a box takes long, and none proves much.
LAST_SECONDS = 1.0
# Correlations are searched for with this relative accuracy at best; below it rounding shows.
FINEST = 1e-10
# A missing neuron whose addition lowers the objective by less than this share of the tolerance was not taken up.
STALLED = 0.01
# Random starts of a search over the patterns of a conic program.
STARTS = 100
# How often an interpolation program without a solution gets four times the patterns.
SAMPLING_ROUNDS = 5
# Losses with kinks: the first accuracy; the first price of moving the dual variable, in units of the targets, and how
# it falls; the largest number of moves.
FIRST_TOLERANCE = 1e-2
FIRST_PRICE = 0.05
PRICE_FACTOR = 0.7
PROXIMAL_STEPS = 40
# Solves in a row that may end without success before another method takes over.
PROXIMAL_FAILURES = 3


class Method(Protocol):
    """A way to solve the program over generated patterns; `stuck` says that its last run ended without success."""

    stuck: bool

    def run(self, start: Solution | None, extra: Array | None) -> Solution:
        """Go on from `start`, add the neuron `extra` (k,) of cost one, improve until the search finds none missing."""


@dataclass(frozen=True, eq=False)
class Generated:
    """The outcome: a point of the program, its dual variable nu (n, 1), and the proven bound on its dual norm.

    `converged` says that neither the search nor the proof met a missing neuron, whether or not the proof finished.
    """

    solution: Solution
    nu: Array
    norm: DualNorm
    converged: bool


def generate(
    problem: TrainingProblem, methods: Iterator[Method], tol: float, monitor: Monitor, max_boxes: int | None = None
) -> Generated:
    """Run a method and the proof in turns until nothing is missing or the monitor says stop.

    When a missing neuron does not lower the objective the next of the `methods` takes over, and starts from what the
    last one reached; when there is none left, that is the result.
    """
    extra, start, value = None, None, np.inf
    method = next(methods)
    while True:
        solution = method.run(start, extra)
        monitor.lap("generate")
        other = next(methods, None) if method.stuck and not monitor.should_stop() else None
        if other is not None:
            start, extra, method = solution, None, other
            continue
        nu = problem.feasible_direction(solution.dual, solution.penalized)
        last, value = value, program_value(problem, solution)
        enough = _enough(problem, nu, value, tol)
        norm = _prove(problem, nu, solution.neurons, enough, monitor, max_boxes)
        monitor.lap("proof")
        missing = norm.lower > enough
        stalled = not value < last * (1 - STALLED * tol)
        following = next(methods, None) if missing and stalled else method
        if not missing or following is None or monitor.should_stop():
            if missing:
                # The proof ended at the neuron it met: bound what this dual variable is worth all the same.
                target = norm.lower + max(PROOF_SHARE * tol * norm.lower, LEFT_SHARE * (norm.lower - enough))
                norm = _prove(problem, nu, solution.neurons, target, monitor, max_boxes)
                monitor.lap("proof")
            return Generated(solution, nu, norm, not missing and not monitor.should_stop())
        start, extra, method = solution, norm.neuron, following


def _enough(problem: TrainingProblem, nu: Array, value: float, tol: float) -> float:
    """How small the dual norm of nu must be proven to be: a loose bound closes the gap where norms cost little."""
    excess, factor = PROOF_SHARE * tol, 16.0
    while factor > LOOSENED and excess < 1:
        looser = DualNorm(problem.penalty * (1 + factor * excess), 0.0, np.zeros(0), "global")
        gap = value - problem.lower_bound(nu, looser)[0]
        if gap <= LOOSEST_SHARE * tol * max(abs(value), problem.negligible):
            excess *= factor
        else:
            factor **= 0.5
    return problem.penalty * (1 + excess)


def _prove(
    problem: TrainingProblem, nu: Array, starts: Array, threshold: float, monitor: Monitor, max_boxes: int | None
) -> DualNorm:
    """Bound the dual norm within the budget; with a token one if the run is being stopped, here or before."""
    bound = partial(dual_norm, problem.arrangement, nu, target=threshold, starts=starts)
    norm = None
    if not monitor.should_stop():
        limit = monitor.seconds_left if np.isfinite(monitor.seconds_left) else None
        try:
            norm = bound(max_boxes=max_boxes, time_limit=limit)
        except KeyboardInterrupt:
            monitor.interrupted = True
    norm = norm or bound(max_boxes=LAST_BOXES, time_limit=LAST_SECONDS if np.isfinite(monitor.time_limit) else None)
    monitor.count("boxes", norm.boxes)
    return norm


class NativeMethod:
    """The native solver: neurons slide between cells instead of staying in theirs."""

    def __init__(
        self,
        problem: TrainingProblem,
        tol: float,
        seed: int,
        monitor: Monitor,
        warm_start: Network | None,
        n_starts: int | None = None,
    ) -> None:
        self.problem, self.tol, self.monitor = problem, max(PROGRAM_SHARE * tol, FINEST), monitor
        # Random starts of each search; by default as many as the native solver takes from scratch.
        self.n_starts = n_starts
        self.rng = np.random.default_rng(seed)
        self.reduced = reduced_problem(problem)
        self.stuck = False
        self.iterate: Iterate | None = None if warm_start is None else iterate_of(problem, warm_start)

    def run(self, start: Solution | None, extra: Array | None) -> Solution:
        """See `Method`; the state of the last run is the start of the next."""
        found = native_generate(
            self.reduced,
            rng=self.rng,
            tol=self.tol,
            warm_start=self.iterate,
            extra=None if start is None or extra is None else self._as_found(start, extra),
            n_starts=self.n_starts,
            n_thorough=self.n_starts,
            should_stop=self.monitor.should_stop,
            callback=self._report,
        )
        self.monitor.interrupted |= found.interrupted
        self.monitor.count("starts", found.starts)
        self.stuck = not found.converged
        self.iterate = found.iterate
        return solution_of(self.problem, found.iterate, found.nu)

    def _report(self, progress: Progress) -> None:
        self.monitor.report(progress.objective, progress.n_neurons, ends_round=progress.ends_round)

    def _as_found(self, start: Solution, neuron: Array) -> SearchResult:
        """One neuron in the form of a search's findings."""
        pre = self.problem.arrangement.Z @ neuron
        value = float(start.dual[:, 0] @ np.maximum(pre, 0.0))
        slopes = (pre > 0).astype(float)[None]
        return SearchResult(neuron[None], np.array([np.sign(value)]), np.array([abs(value)]), slopes, abs(value))


class ProximalSteps(ABC):
    """A native solver for losses with kinks: smoothed about the dual variable of the last solve, again and again."""

    def __init__(self, problem: TrainingProblem, tol: float, monitor: Monitor) -> None:
        self.problem, self.monitor, self.stuck = problem, monitor, False
        self.final, self.tol = tol, FIRST_TOLERANCE
        self.reference = np.zeros_like(problem.Y)
        self.price = FIRST_PRICE * problem.loss.unit(problem.Y)

    @abstractmethod
    def _solve(self, loss: ProximalLoss, tol: float, start: Solution | None, extra: Array | None) -> Solution:
        """Solve with the smoothed loss, and set `stuck`."""

    def run(self, start: Solution | None, extra: Array | None) -> Solution:
        """See `Method`; ends when the dual variable is worth the objective."""
        done, failures = False, 0
        loss = self.problem.loss
        assert isinstance(loss, PiecewiseLoss)
        for _ in range(PROXIMAL_STEPS):
            solution = self._solve(ProximalLoss(loss, self.reference, self.price), self.tol, start, extra)
            start, extra = None, None
            failures = failures + 1 if self.stuck else 0
            if self.monitor.should_stop() or failures == PROXIMAL_FAILURES:
                break
            if self.stuck:
                # Too stiff for where it is: smooth more, about the last good dual variable.
                self.price *= 2.0
                continue
            self.reference = np.array(solution.dual)
            gap = self._gap(solution)
            done = self.tol <= self.final and gap <= self.final
            if done:
                break
            # Far from the solution an accurate solve is wasted.
            self.tol = max(min(self.tol, 0.1 * gap), self.final)
            self.price *= PRICE_FACTOR
        self.stuck = not done
        return solution

    def _gap(self, solution: Solution) -> float:
        """Relative gap if the search has missed nothing; nothing is proven by it."""
        problem = self.problem
        nu, value = problem.feasible_direction(solution.dual), program_value(problem, solution)
        scale = min(problem.loss.largest_scale(nu, problem.Y, problem.sample_weight), 1.0)
        return (value - problem.dual_value(scale * nu)) / max(abs(value), problem.negligible)


class ProximalMethod(ProximalSteps):
    """That of one task."""

    def __init__(
        self, problem: TrainingProblem, tol: float, seed: int, monitor: Monitor, warm_start: Network | None
    ) -> None:
        self.native = _SilentMethod(problem, tol, seed, monitor, warm_start)
        super().__init__(problem, self.native.tol, monitor)

    def _solve(self, loss: ProximalLoss, tol: float, start: Solution | None, extra: Array | None) -> Solution:
        self.native.reduced, self.native.tol = reduced_problem(self.problem, loss), tol
        solution = self.native.run(start, extra)
        self.stuck = self.native.stuck
        return solution


class _SilentMethod(NativeMethod):
    def _report(self, progress: Progress) -> None:
        """Nothing: the objective of a smoothed loss is not the problem's."""


class ConicMethod:
    """A conic backend: programs over all patterns found so far."""

    def __init__(
        self,
        problem: TrainingProblem,
        tol: float,
        seed: int,
        monitor: Monitor,
        warm_start: Network | None,
        backend: Backend,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.problem, self.monitor, self.backend, self.options = problem, monitor, backend, options
        self.tol = tol
        self.rng, self.seed = np.random.default_rng(seed), seed
        arrangement = problem.arrangement
        weights = np.zeros((0, problem.X.shape[1])), np.zeros(0)
        if warm_start is not None:
            weights = warm_start.hidden, warm_start.hidden_bias
        self.patterns = neuron_patterns(arrangement, arrangement.from_weights(*weights))
        self.stuck = False

    def run(self, start: Solution | None, extra: Array | None) -> Solution:
        """See `Method`."""
        if start is not None:
            self._add(neuron_patterns(self.problem.arrangement, start.neurons))
        if extra is not None:
            self._add(neuron_patterns(self.problem.arrangement, extra[None]))
        solution = self._first_solution()
        while not self.monitor.should_stop() and self._add(self._missing(solution)):
            better = self._solve()
            if not better.neurons.size:
                break
            solution = better
        return solution

    def _first_solution(self) -> Solution:
        """Of the program over the patterns so far; to meet targets it may need more, which are sampled."""
        if self.problem.is_interpolation and not len(self.patterns):
            self._sample(4 * len(self.problem.X))
        solution = self._solve()
        for _ in range(SAMPLING_ROUNDS):
            if solution.neurons.size or not self.problem.is_interpolation:
                break
            self._sample(4 * len(self.patterns))
            solution = self._solve()
        return solution

    def _sample(self, count: int) -> None:
        self._add(sample_arrangement(self.problem.arrangement, count, self.seed))

    def _add(self, patterns: Patterns) -> bool:
        """Add patterns; whether any was new."""
        known = len(self.patterns)
        self.patterns = self.patterns.union(patterns)
        return len(self.patterns) > known

    def _solve(self) -> Solution:
        """The program over the patterns so far; of several tasks again where rounding hides the neurons of a matrix."""
        program, tol = program_over(self.problem, self.patterns), min(0.01 * self.tol, 1e-10)
        solution = self._attempt(program, tol)
        if self.problem.Y.shape[1] > 1 and solution.neurons.size and self._gap(solution) > self.tol:
            closer = self._attempt(program, 0.01 * tol)
            solution = min(solution, closer, key=self._gap) if closer.neurons.size else solution
        if solution.neurons.size:
            value = program_value(self.problem, solution)
            self.monitor.report(value, int(np.sum(self.problem.arrangement.cost(solution.neurons) > 0)))
        return solution

    def _attempt(self, program: Program, tol: float) -> Solution:
        solution = program.solve(self.backend, tol, self.options, False, self.monitor.seconds_left)
        if self.problem.Y.shape[1] == 1 or not solution.neurons.size:
            return solution
        return refitted_solution(self.problem, solution, 0.01 * self.tol)

    def _gap(self, solution: Solution) -> float:
        """Relative gap if no neuron is missing; nothing is proven by it."""
        problem, value = self.problem, program_value(self.problem, solution)
        nu = problem.feasible_direction(solution.dual, solution.penalized)
        bound = problem.lower_bound(nu, DualNorm(problem.penalty, 0.0, np.zeros(0), "patterns"))[0]
        return (value - bound) / max(abs(value), problem.negligible)

    def _missing(self, solution: Solution) -> Patterns:
        """Patterns of the neurons that a search finds above the penalty."""
        arrangement, nu = self.problem.arrangement, self.problem.feasible_direction(solution.dual, solution.penalized)
        cost = arrangement.cost(solution.neurons)
        starts = solution.neurons[cost > 1e-6 * cost.max(initial=0.0)]
        self.monitor.count("starts", STARTS + len(starts))
        threshold = self.problem.penalty * (1 + PROGRAM_SHARE * self.tol)
        neurons, _ = search_neurons(
            arrangement.Z,
            nu,
            arrangement.n_penalized,
            threshold=threshold,
            starts=starts,
            rng=self.rng,
            n_random=STARTS,
        )
        return neuron_patterns(arrangement, neurons)
