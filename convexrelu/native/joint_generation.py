"""Generation of neurons for several tasks: slide, price, add, until the search finds no violating neuron.

Letters as in `convexrelu.native.joint`. A round is that of one task (`convexrelu.backends.native`): search for neurons
with |N^T relu(Z u)| > lam, add those whose violation is at least a tenth of the largest, minimise, merge. Where the
rank is high a network is first grown by cheap steps (`convexrelu.native.joint_growth`), and slides by such.

The work proves nothing: `JointGenerated.correlation` is a lower bound on the dual norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.native.group_lasso import solve_group_lasso
from convexrelu.native.joint import JointEvaluation, JointIterate, JointProblem, evaluate
from convexrelu.native.joint_growth import grow, joined
from convexrelu.native.joint_minimise import minimise
from convexrelu.native.joint_slide import slide
from convexrelu.pricing.task_search import JointSearchResult, ascend_joint_neurons, find_joint_neurons

# Directions of neurons nearer than this, as unit vectors, are one.
_SAME = 1e-7
# Rounds without relative progress beyond rounding, after which there will be none.
_PATIENCE, _PROGRESS = 10, 1e-13
# Entries of the derivative of the predictions beyond which neurons do not slide, but are only exchanged.
_LARGEST_JACOBIAN = 20_000_000
# Output weights beyond which they are not optimised on their own: that takes a matrix of this order.
_LARGEST_LASSO = 2_000
# Entries of Z times its rank beyond which a step of the search is so dear that cheaper ones go first.
_DEAR = 1_000_000
# Where neurons slide by L-BFGS: relative decrease of a step, in units of the tolerance, at which that ends.
_SHORT = 1e-3
# Every round starts with at most this stiffness: the neurons added have yet to find their kinks.
_WARM_STIFFNESS = 20.0


@dataclass(frozen=True)
class JointGenerated:
    """A stationary network that no neuron found by the search improves; see `convexrelu.backends.native.Generated`.

    `gap` is the relative gap that the search's value of the dual norm would prove if it were the dual norm.
    """

    state: JointEvaluation
    gap: float
    correlation: float
    converged: bool
    interrupted: bool
    rounds: int
    starts: int


def generate(
    problem: JointProblem,
    *,
    rng: np.random.Generator,
    tol: float = 1e-7,
    warm_start: JointIterate | None = None,
    extra: Array | None = None,
    max_rounds: int = 200,
    max_steps: int = 15,
    should_stop: Callable[[], bool] = lambda: False,
    callback: Callable[[float, int], object] = lambda objective, n_neurons: None,
) -> JointGenerated:
    """Generate neurons until none found violates the dual constraint |N^T relu(Z u)| <= lam (1 + tol).

    Parameters
    ----------
    problem : JointProblem
    rng : numpy.random.Generator
        The only source of randomness.
    tol : float
        Relative gap, as far as the search can tell, at which to stop.
    warm_start : JointIterate, optional
        Network to start from.
    extra : (k,) float64, optional
        A violating neuron to start the search from, of a proof for example.
    max_rounds, max_steps : int
        Limits on rounds, and on Newton steps per round.
    should_stop : callable
        Asked before every step; True ends the work with the best network so far.
    callback : callable
        Called with the objective and the number of neurons after every round.
    """
    loop = _Loop(problem, rng, tol, max_steps, should_stop)
    try:
        loop.start(warm_start or JointIterate.empty(problem), extra)
        loop.grow(callback)
        while not loop.finished and loop.stalled < _PATIENCE and loop.rounds < max_rounds and not should_stop():
            loop.round()
            callback(loop.state.objective, len(loop.state.iterate.U))
    except KeyboardInterrupt:
        loop.interrupted = True
    return loop.result()


class _Loop:
    """The state of a generation."""

    def __init__(
        self,
        problem: JointProblem,
        rng: np.random.Generator,
        tol: float,
        max_steps: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self.problem, self.rng, self.tol, self.max_steps = problem, rng, tol, max_steps
        self.should_stop = should_stop
        self.state = self.best = evaluate(problem, JointIterate.empty(problem))
        self.extra = np.zeros((0, problem.Z.shape[1]))
        self.kappa, self.correlation, self.gap = 1.0, 0.0, np.inf
        self.rounds, self.starts, self.stalled, self.least = 0, 0, 0, np.inf
        self.finished = self.interrupted = False

    def start(self, iterate: JointIterate, extra: Array | None) -> None:
        """Minimise from a warm start."""
        self._accept(evaluate(self.problem, iterate))
        if extra is not None:
            self.extra = extra[None]
        elif len(iterate.U):
            self._minimise(iterate, 0.1)

    def grow(self, callback: Callable[[float, int], object]) -> None:
        """Go as far as cheap steps lead, where others are dear."""
        if self.is_dear:
            stop = self.should_stop
            grown = grow(self.problem, self.state, rng=self.rng, tol=self.tol, should_stop=stop, callback=callback)
            self._accept(grown)

    @property
    def is_dear(self) -> bool:
        """Whether the data are so many and of so high rank that Newton's steps come last."""
        return bool(self.problem.Z.size * self.problem.Z.shape[1] > _DEAR)

    def round(self) -> None:
        """Search, add and minimise; a round that finds nothing repeats the search from many more starts."""
        k = self.problem.Z.shape[1]
        found = self._search(50 + 20 * k if not self.is_dear else k)
        if self.gap <= self.tol:
            found = self._search(100 + 100 * k if not self.is_dear else 4 * k)
            self.finished = self.gap <= self.tol
        before = self.state.objective
        if not self.finished:
            violation = found.best / self.problem.weight_decay - 1
            self._minimise(self._with(found), min(max(0.1 * violation, 0.1 * self.tol), 0.1))
        self.rounds += 1
        better = self.state.objective < before * (1 - _PROGRESS) or self.gap < 0.9 * self.least
        self.stalled, self.least = 0 if better else self.stalled + 1, min(self.gap, self.least)

    def _search(self, n_random: int) -> JointSearchResult:
        problem = self.problem
        starts = np.vstack([self._known_starts(), self.extra])
        self.starts += n_random + len(starts)
        found = find_joint_neurons(
            problem.Z,
            self.state.N,
            problem.n_penalized,
            threshold=problem.weight_decay,
            starts=starts,
            rng=self.rng,
            n_random=n_random,
            should_stop=self.should_stop,
        )
        self.extra = np.zeros((0, problem.Z.shape[1]))
        self.correlation, self.gap = found.best, self._gap(found.best)
        return found

    def _known_starts(self) -> Array:
        """The neurons of the network; where a start is dear, few that a cheap ascent from them finds best."""
        if not self.is_dear:
            return self.state.iterate.U
        k = self.problem.Z.shape[1]
        return ascend_joint_neurons(
            self.problem.Z,
            self.state.N,
            self.problem.n_penalized,
            threshold=0.0,
            starts=self.state.iterate.U,
            rng=self.rng,
            n_random=4 * k,
            most=k,
            should_stop=self.should_stop,
        )[0]

    def _gap(self, correlation: float) -> float:
        """The relative gap if the dual norm is `correlation`, or lam where that is less: no proof goes further down."""
        problem, state = self.problem, self.state
        loss = problem.loss
        curvature = float(np.sum((problem.penalized.T @ state.N) ** 2)) / problem.weight_decay
        upper = problem.weight_decay / max(correlation, problem.weight_decay)
        s = loss.loss.best_scale(state.N, curvature, loss.Y, loss.weight, upper)
        bound = loss.dual_value(s * state.N) - 0.5 * curvature * s**2
        return (state.objective - bound) / max(abs(state.objective), 1e-300)

    def _with(self, found: JointSearchResult) -> JointIterate:
        """Join the neurons worth adding; the output weights of all are optimal for them (theory C.3)."""
        if (len(self.state.iterate.U) + len(found.values)) * self.problem.n_tasks > _LARGEST_LASSO:
            return joined(self.problem, self.state, found.neurons)
        problem, it, lam = self.problem, self.state.iterate, self.problem.weight_decay
        rows = found.values > lam * (1 + max(0.1 * self.tol, 0.1 * (found.best / lam - 1)))
        rows &= ~self._known(found)
        costs = problem.costs(it.U)
        U = np.vstack([it.U / costs[:, None], found.neurons[rows]])
        C = np.vstack([it.C, found.slopes[rows]])
        W = np.vstack([it.V * costs[:, None], np.zeros((int(rows.sum()), problem.n_tasks))])
        Phi = np.maximum(U @ problem.Z.T, 0.0)
        W, beta = solve_group_lasso(problem, Phi, W, it.beta, 0.01 * self.tol, should_stop=self.should_stop)
        alive = W.any(axis=1)
        return JointIterate(U[alive], W[alive], C[alive], beta).balanced(problem)

    def _known(self, found: JointSearchResult) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which of the neurons found are already there, up to length."""
        old = self.state.iterate.U
        if not len(old):
            return np.zeros(len(found.values), dtype=bool)
        unit = old / row_norms(old)[:, None]
        new = found.neurons / row_norms(found.neurons)[:, None]
        return np.asarray((new @ unit.T > 1 - _SAME**2).any(axis=1))

    def _minimise(self, iterate: JointIterate, tol: float) -> None:
        """Let the neurons slide, as far as that lowers the objective."""
        self._accept(evaluate(self.problem, iterate))
        if self.is_dear:
            iterate = slide(self.problem, iterate, rate=_SHORT * self.tol, should_stop=self.should_stop)
            self._accept_if_better(iterate)
        m, (n, k), T = len(iterate.U), self.problem.Z.shape, self.problem.n_tasks
        if n * T * m * (k + T) > _LARGEST_JACOBIAN:
            return
        done = minimise(
            self.problem,
            iterate,
            tol=tol,
            max_steps=self.max_steps,
            kappa=min(self.kappa, _WARM_STIFFNESS),
            should_stop=self.should_stop,
        )
        self.kappa = done.kappa
        self._accept_if_better(done.state.iterate)

    def _accept_if_better(self, iterate: JointIterate) -> None:
        slid = evaluate(self.problem, iterate.merged(self.problem, _SAME))
        lower = slid.objective < self.state.objective * (1 - _PROGRESS)
        if lower or (slid.objective <= self.state.objective * (1 + _PROGRESS) and slid.residual < self.state.residual):
            self._accept(slid)

    def _accept(self, state: JointEvaluation) -> None:
        self.state = state
        if state.objective < self.best.objective:
            self.best = state

    def result(self) -> JointGenerated:
        """The converged state, or the best one met."""
        state = self.state if self.finished else self.best
        return JointGenerated(
            state, self.gap, self.correlation, self.finished, self.interrupted, self.rounds, self.starts
        )
