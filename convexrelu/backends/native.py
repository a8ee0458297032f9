"""Pattern generation with the package's own solver: slide, price, add, until the search finds no violating neuron.

Letters as in `convexrelu.native.reduced`. One round

1. searches for neurons with |nu . relu(Z u)| > lam from the current neurons, near them, and from random starts,
2. adds those found, and gives all neurons their best lengths, which drops most,
3. far from the optimum slides the neurons by cheap steps; near it minimises over all neurons by Newton's method, to a
   stationarity of a tenth of the violation, and merges neurons that share a closed cell; where kinks stop Newton's
   method an interior point method minimises over the closed cells.

The work proves nothing: `Generated.correlation` is a lower bound on the dual norm. A caller who finds a violating
neuron by other means hands it over through `warm_start` and `extra`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from convexrelu.arrays import Array
from convexrelu.native.cell_program import minimise_in_cells
from convexrelu.native.lengths import with_best_lengths
from convexrelu.native.merge import merge_neurons
from convexrelu.native.minimise import minimise
from convexrelu.native.reduced import Evaluation, Iterate, ReducedProblem, evaluate, gap_beyond
from convexrelu.native.slide import slide
from convexrelu.pricing.search import SearchResult, find_neurons

# Above this violation neurons slide by cheap steps, below by Newton's method. Where that does not converge, as among
# many kinks, an interior point method takes its place for this many rounds, twice as many after every failure.
_FAR, _REST = 0.5, 8
# Cheap steps far from the optimum.
_SLIDE_STEPS = 200
# The interior point method starts from a share of the gap. It stops at a share of the violation, or at its square, as
# the gap falls with the accuracy of the dual variable, and at a tenth of that for every round without progress. Neurons
# do not slide before: the multipliers of their kinks, from which it starts as well, would no longer hold.
_CELLS_GAP, _CELLS_SHARE, _CELLS_TOL, _CELLS_FINEST = 0.025, 0.02, 1e-3, 1e-10
# Rounds without progress after which a small gap is enough.
_SETTLED = 2
# Starts of a search: those near each neuron, which take fine steps up to a rank, and random ones, fewer of them up to
# that rank; and of the last search. Measured on diabetes (rank 11), near its optimum: 1,000 random starts found 1
# missing neuron, as many near the neurons 44, and without fine steps the objective is reached in twice the time. On
# breast cancer (rank 31) and Gaussian data of rank 20 it is reached in three quarters of the time without.
_NEAR, _FINE_RANK, _RANDOM, _MORE_RANDOM, _THOROUGH = 4, 16, 50, 200, 2_000
# Only a share of these starts, but at least the first number, is used while they find more than this many neurons for
# every one that the network has.
_LEAST_SHARE, _ENOUGH = 0.125, 2
_SAME_NEURON = 1e-9
# Rounds without progress after which the method is circling, as it may where kinks of opposite pull coincide.
_STALE = 15
# The same after which minimising in cells takes over.
_CIRCLING = 5
# Every round starts with at most this stiffness: the neurons added have yet to find their kinks.
_WARM_STIFFNESS = 20.0


@dataclass(frozen=True)
class Timings:
    """Seconds spent in the search and in the Newton method."""

    search: float = 0.0
    newton: float = 0.0


@dataclass(frozen=True)
class Progress:
    """The best network so far: what a callback sees after every round, and within it when neurons have been added."""

    objective: float
    n_neurons: int
    ends_round: bool


@dataclass(frozen=True)
class Generated:
    """A network that is stationary over its patterns and that no neuron found by the search improves.

    Attributes
    ----------
    neurons : (m, k) float64
        u_b, unnormalised: the cost of a neuron is |S u_b|.
    signs : (m,) float64
        +1 or -1.
    slopes : (m, n) float64
        Multipliers of the kinks (see `convexrelu.native.reduced.evaluate`).
    beta : (q,) float64
        Linear coefficients, free ones first.
    nu : (n,) float64
        Dual variable -dL/df, orthogonal to the free columns up to rounding.
    fit : (n,) float64
        Predictions.
    objective : float
        Non-convex objective of the network.
    gap : float
        Relative gap if the last search has missed nothing: nothing is proven by it.
    correlation : float
        Largest |nu . relu(Z u)| over unit neurons that the last search met: a lower bound on the dual norm.
    converged : bool
        Whether the last, thorough search found nothing above lam (1 + tol) and the gap is at most tol.
    interrupted : bool
        Whether a KeyboardInterrupt ended the work.
    rounds, steps, starts : int
        Rounds of the search, Newton steps, and starts of all searches.
    timings : Timings
    """

    neurons: Array = field(repr=False)
    signs: Array = field(repr=False)
    slopes: Array = field(repr=False)
    beta: Array = field(repr=False)
    nu: Array = field(repr=False)
    fit: Array = field(repr=False)
    objective: float
    gap: float
    correlation: float
    converged: bool
    interrupted: bool
    rounds: int
    steps: int
    starts: int
    timings: Timings

    @property
    def iterate(self) -> Iterate:
        """The network as a warm start."""
        return Iterate(self.neurons, self.signs, self.slopes, self.beta)


def generate(
    problem: ReducedProblem,
    *,
    rng: np.random.Generator,
    tol: float = 1e-7,
    warm_start: Iterate | None = None,
    extra: SearchResult | None = None,
    n_starts: int | None = None,
    n_thorough: int | None = None,
    max_rounds: int = 500,
    max_steps: int = 40,
    should_stop: Callable[[], bool] = lambda: False,
    callback: Callable[[Progress], None] = lambda progress: None,
) -> Generated:
    """Generate neurons until none found violates the dual constraint |nu . relu(Z u)| <= lam (1 + tol).

    Parameters
    ----------
    problem : ReducedProblem
    rng : numpy.random.Generator
        The only source of randomness: the result is a function of it and the problem, bit for bit.
    tol : float
        Relative violation, and relative gap over the patterns, at which to stop.
    warm_start : Iterate, optional
        Network to start from.
    extra : SearchResult, optional
        Violating neurons to add first, of a proof for example.
    n_starts, n_thorough : int, optional
        Random starts of a search, and of the last one; by default they grow with the dimension.
    max_rounds, max_steps : int
        Limits on rounds, and on Newton steps per round.
    should_stop : callable
        Asked before every step; True ends the work with the best network so far.
    callback : callable
        Called with a `Progress` after every round, and within it when neurons have been added.

    Returns
    -------
    Generated
        On a limit or KeyboardInterrupt, the network with the lowest objective met.
    """
    k = problem.Z.shape[1]
    loop = _Loop(
        problem,
        rng,
        tol,
        n_starts or (_RANDOM if k <= _FINE_RANK else _MORE_RANDOM),
        n_thorough or min(100 + 100 * k, _THOROUGH),
        max_steps,
        should_stop,
        callback,
    )
    try:
        loop.start(warm_start or Iterate.empty(problem), extra)
        while not loop.finished and loop.stale < _STALE and loop.rounds < max_rounds and not should_stop():
            loop.round()
    except KeyboardInterrupt:
        loop.interrupted = True
    return loop.result()


class _Loop:
    """The state of a generation."""

    def __init__(
        self,
        problem: ReducedProblem,
        rng: np.random.Generator,
        tol: float,
        n_starts: int,
        n_thorough: int,
        max_steps: int,
        should_stop: Callable[[], bool],
        callback: Callable[[Progress], None],
    ) -> None:
        self.problem, self.rng, self.tol, self.max_steps = problem, rng, tol, max_steps
        self.n_starts, self.n_thorough, self.should_stop, self.callback = n_starts, n_thorough, should_stop, callback
        self.state = self.best = evaluate(problem, Iterate.empty(problem))
        self.kappa, self.violation, self.correlation, self.gap = 1.0, np.inf, 0.0, np.inf
        self.rounds = self.steps = self.stale = self.rest = 0
        self.patience, self.share = _REST, 1.0
        self.starts = 0
        self.record = np.inf, np.inf
        self.finished = self.interrupted = False
        self.search_seconds, self.newton_seconds = 0.0, 0.0

    def start(self, iterate: Iterate, extra: SearchResult | None) -> None:
        """Minimise from a warm start, with extra neurons."""
        self._accept(evaluate(self.problem, iterate))
        if extra is not None:
            iterate = self._with(extra)
        if len(iterate.neurons):
            self._minimise(iterate, 0.1)

    def round(self) -> None:
        """Search, add and minimise; a round that finds nothing repeats the search from many more starts."""
        found = self._search(max(int(self.share * self.n_starts), 1))
        # Neurons that are nearly stationary are better than a small gap says, but may be out of reach.
        if self._is_closed() and (self.state.residual <= self.tol or self.stale >= _SETTLED):
            self.share = 1.0
            found = self._search(self.n_thorough)
            self.finished = self._is_closed()
        if not self.finished:
            # The gap can be larger than the residual: where it is what is left to lower, the residual must be smaller.
            finest = min(0.3 * self.tol, self.state.residual * (0.1 if self.gap > self.tol else 1.0))
            joined = self._with(found)
            self._remember(evaluate(self.problem, joined))
            self._report(ends_round=False)
            self._improve(joined, min(max(0.1 * self.violation, finest), 0.1))
        self.rounds += 1
        self._adjust_share(len(found.values))
        self._count_stale()
        self._report(ends_round=True)

    def _is_closed(self) -> bool:
        return self.violation <= self.tol and self.gap <= self.tol

    def _improve(self, joined: Iterate, tol: float) -> None:
        """Slide, minimise, or minimise in cells; what did not converge is not tried again for some rounds."""
        if self.violation > _FAR:
            self._slide(joined, _SLIDE_STEPS)
        elif self.rest > 0:
            # Where nothing was found only the accuracy is left to gain: the methods take turns.
            self.rest = self.rest - 1 if self.violation > self.tol else 0
            self._minimise_in_cells(joined)
        else:
            self._minimise(joined, tol)
            # Rounds may also circle between neurons of which each lowers the objective by next to nothing.
            if self.state.residual > max(tol, self.tol) or self.stale >= _CIRCLING:
                self.rest, self.patience = self.patience, 2 * self.patience

    def _adjust_share(self, n_found: int) -> None:
        """Use fewer starts while they find many more neurons than will be kept."""
        m = max(len(self.state.iterate.neurons), self.problem.Z.shape[1])
        self.share = min(max(self.share * _ENOUGH * m / max(n_found, 1), _LEAST_SHARE), 1.0)

    def _count_stale(self) -> None:
        """Rounds since the best objective or violation was last improved by what matters."""
        objective, violation = self.record
        better = self.best.objective < objective - 0.01 * self.tol * abs(self.best.objective)
        # The violation is negative where no neuron is missing: then it is no progress that it stays so.
        lower = self.violation < violation - 0.1 * abs(violation)
        self.stale = 0 if better or lower else self.stale + 1
        self.record = min(self.best.objective, objective), min(self.violation, violation)

    def _search(self, n_random: int) -> SearchResult:
        began = time.perf_counter()
        lam, problem, m = self.problem.weight_decay, self.problem, len(self.state.iterate.neurons)
        n_near = int(self.share * _NEAR * m)
        found = find_neurons(
            problem.Z,
            self.state.nu,
            problem.n_penalized,
            threshold=lam,
            starts=self.state.iterate.neurons,
            rng=self.rng,
            n_random=n_random,
            n_near=n_near,
            fine=problem.Z.shape[1] <= _FINE_RANK,
        )
        self.starts += n_random + n_near + m
        self.correlation, self.violation = found.best, found.best / lam - 1
        self.gap = gap_beyond(problem, self.state, found.best)
        self.search_seconds += time.perf_counter() - began
        return found

    def _with(self, found: SearchResult) -> Iterate:
        """Join the neurons found, all with their best lengths."""
        iterate, lam = self.state.iterate, self.problem.weight_decay
        rows = (found.values > lam * (1 + self.tol)) & ~_known(iterate, found)
        if not rows.any():
            return iterate
        x = np.concatenate([np.ones(len(iterate.neurons)), np.zeros(int(rows.sum()))])
        joined = iterate.joined(found.neurons[rows], found.signs[rows], found.slopes[rows])
        return with_best_lengths(self.problem, joined, x)

    def _slide(self, iterate: Iterate, steps: int) -> None:
        began = time.perf_counter()
        self._accept(evaluate(self.problem, slide(self.problem, iterate, steps)))
        self.newton_seconds += time.perf_counter() - began

    def _minimise_in_cells(self, iterate: Iterate) -> None:
        began = time.perf_counter()
        share = min(_CELLS_SHARE, self.violation) * 0.1**self.stale
        tol = min(max(share * self.violation, _CELLS_FINEST), _CELLS_TOL)
        first_gap = max(_CELLS_GAP * self.gap, tol, self.tol)
        cells = minimise_in_cells(self.problem, iterate, tol=tol, first_gap=first_gap, should_stop=self.should_stop)
        self._accept(evaluate(self.problem, cells))
        self.newton_seconds += time.perf_counter() - began

    def _minimise(self, iterate: Iterate, tol: float) -> None:
        began = time.perf_counter()
        done = minimise(
            self.problem,
            iterate,
            tol=tol,
            max_steps=self.max_steps,
            kappa=min(self.kappa, _WARM_STIFFNESS),
            should_stop=self.should_stop,
        )
        self.kappa, self.steps = done.kappa, self.steps + done.steps
        self._accept(evaluate(self.problem, merge_neurons(self.problem, done.state.iterate)))
        self.newton_seconds += time.perf_counter() - began

    def _accept(self, state: Evaluation) -> None:
        self.state = state
        self._remember(state)

    def _remember(self, state: Evaluation) -> None:
        if state.objective < self.best.objective:
            self.best = state

    def _report(self, ends_round: bool) -> None:
        """Show the best network to the callback."""
        self.callback(Progress(self.best.objective, len(self.best.iterate.neurons), ends_round))

    def result(self) -> Generated:
        """The converged state, or the best one met."""
        state = self.state if self.finished else self.best
        network = state.iterate
        return Generated(
            network.neurons,
            network.signs,
            network.slopes,
            network.beta,
            state.nu,
            state.fit,
            state.objective,
            self.gap,
            self.correlation,
            self.finished,
            self.interrupted,
            self.rounds,
            self.steps,
            self.starts,
            Timings(self.search_seconds, self.newton_seconds),
        )


def _known(iterate: Iterate, found: SearchResult) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of the neurons found are already there, up to length."""
    if not len(iterate.neurons):
        return np.zeros(len(found.values), dtype=bool)
    old = iterate.neurons / np.linalg.norm(iterate.neurons, axis=1)[:, None]
    new = found.neurons / np.linalg.norm(found.neurons, axis=1)[:, None]
    near = (new @ old.T > 1 - _SAME_NEURON) & (found.signs[:, None] == iterate.signs[None, :])
    return np.asarray(near.any(axis=1))
