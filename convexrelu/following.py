"""From one optimum to that of a problem nearby: `Follower`.

Letters: `lam` weight decay. A step is a Newton run of `convexrelu.optimal_set.sliding` from the last optimum, a search
for neurons whose correlation with the dual variable exceeds lam, and further runs with those. What it ends at gets the
same certificate as a solved problem. Where it fails the step is halved, and where that fails the problem is solved from
the last network.
"""

from __future__ import annotations

import math

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.certificate import TINY
from convexrelu.generation import PROOF_SHARE, Generated, NativeMethod, generate
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.optimal_set.polish import best_attempt, without_idle_samples
from convexrelu.optimal_set.sliding import independent, joined, predicted, slide
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.pricing.dual_norm import DualNorm, dual_norm
from convexrelu.pricing.search import SearchResult, find_neurons
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result, Solution, Status
from convexrelu.solve import generated_result, solve

# Random starts of a search, besides the neurons that were met lately, of which so many are kept.
N_STARTS = 60
REMEMBERED = 40
# Neurons found with at least this share of the largest excess are added, those with smaller cosines than that only.
LESSER = 0.3
ALIKE = 0.99
# Neurons added one after the other before a step counts as too long, and how often it is halved.
ADDITIONS = 12
HALVINGS = 3
# How often a proof may meet a neuron that the search missed.
MISSED = 5
# Relative residual of a network that was followed.
SOLVED = 1e-9
# Least curvature of the loss, relative to what is usual, that the length of a new neuron counts on.
STRAIGHT = 0.01
# Rounds of a solve from the last network before it is given up for one from scratch.
ROUNDS = 30
# Attempts at polishing a point that was solved.
ATTEMPTS = 3


class Follower:
    """The last optimum and the neurons met on the way to it.

    Parameters
    ----------
    tol : float
        Relative gap of each problem.
    seed : int
    max_boxes : int or None
        Budget of each proof.
    """

    def __init__(self, tol: float, seed: int, max_boxes: int | None) -> None:
        self.tol, self.seed, self.max_boxes = tol, seed, max_boxes
        self.rng = np.random.default_rng(seed)
        self.last: Stationary | None = None
        self.network: Network | None = None
        self.met: Array | None = None

    def solve(self, problem: TrainingProblem) -> Result:
        """The optimum of a problem that differs from the last one in weight decay or sample weights."""
        if problem.Y.shape[1] > 1 or not problem.loss.is_smooth:
            result = self._anew(problem)
            self.network = result.network
            return result
        state = None if self.last is None else self.moved(self.last, problem)
        state, followed = self._certified(state)
        if followed is None:
            solved = self._solved(problem)
            self.last, self.network = self.completed(state_of(solved)), solved.network
            return solved
        self.last, self.network = state, followed.network
        return followed

    def start(self, result: Result) -> None:
        """Take a solved problem for the last one."""
        self.last, self.network = state_of(result), result.network

    # -- following ----------------------------------------------------------------------------------------------------

    def moved(self, state: Stationary, problem: TrainingProblem, halvings: int = HALVINGS) -> Stationary | None:
        """The state at another problem, if need be by way of the weight decay half way."""
        found = self.completed(slide(predicted(state, problem), SOLVED))
        near, far = problem.weight_decay, state.problem.weight_decay
        if found is not None or not halvings or near == far:
            return found
        middle = self.moved(state, problem.with_weight_decay(math.sqrt(near * far)), halvings - 1)
        return None if middle is None else self.moved(middle, problem, halvings - 1)

    def completed(self, state: Stationary | None) -> Stationary | None:
        """The state with the neurons it lacks, as far as a search can tell."""
        for _ in range(ADDITIONS):
            if state is None:
                return None
            found = self._search(state, refine=False)
            if not len(found.values):
                found = self._search(state, refine=True)
            if not len(found.values):
                fewer = independent(state)
                return state if fewer is state else slide(fewer, SOLVED)
            state = slide(_extended(state, found.neurons, found.signs), SOLVED)
        return None

    def _search(self, state: Stationary, refine: bool) -> SearchResult:
        """Neurons above the threshold; without refinement at a fifth of the time, but not to be relied on."""
        problem, Z = state.problem, state.problem.arrangement.Z
        known = np.zeros((0, Z.shape[1])) if self.met is None else self.met
        found = find_neurons(
            Z,
            problem.feasible_direction(state.nu[:, None])[:, 0],
            problem.arrangement.n_penalized,
            threshold=problem.penalty * (1 + PROOF_SHARE * self.tol),
            starts=np.vstack([state.neurons, known]),
            rng=self.rng,
            n_random=N_STARTS,
            refine=refine,
        )
        self.met = np.vstack([found.neurons, state.neurons, known])[:REMEMBERED]
        return found

    # -- results ------------------------------------------------------------------------------------------------------

    def _certified(self, state: Stationary | None) -> tuple[Stationary | None, Result | None]:
        """The result of a state with a proof, which may first meet neurons that the search has missed."""
        for _ in range(MISSED):
            if state is None:
                return None, None
            problem = state.problem
            nu = problem.feasible_direction(state.nu[:, None])
            threshold = problem.penalty * (1 + PROOF_SHARE * self.tol)
            norm = dual_norm(problem.arrangement, nu, target=threshold, max_boxes=self.max_boxes, starts=state.neurons)
            if norm.lower <= threshold:
                return state, self._result(state, nu, norm)
            sign = np.sign(nu[:, 0] @ np.maximum(problem.arrangement.Z @ norm.neuron, 0.0))
            state = self.completed(slide(_extended(state, norm.neuron[None], np.array([sign])), SOLVED))
        return None, None

    def _result(self, state: Stationary, nu: Array, norm: DualNorm) -> Result | None:
        free, penalized = np.split(state.linear[:, None], [state.n_free])
        solution = Solution(state.neurons, state.signs[:, None], free, penalized, nu, "followed")
        found = Generated(solution, nu, norm, True)
        result = generated_result(state.problem, found, self.tol, Monitor(None, False, None, None))
        return result if result.status in (Status.OPTIMAL, Status.UNPROVEN) else None

    def _solved(self, problem: TrainingProblem) -> Result:
        """Solved from the last network with few random starts; from scratch if that fails."""
        if self.network is not None:
            monitor = Monitor(None, False, None, ROUNDS)
            method = NativeMethod(problem, self.tol, self.seed, monitor, self.network, N_STARTS)
            found = generate(problem, iter([method]), self.tol, monitor, self.max_boxes)
            result = generated_result(problem, found, self.tol, monitor)
            if result.status in (Status.OPTIMAL, Status.UNPROVEN):
                return result
        return self._anew(problem)

    def _anew(self, problem: TrainingProblem) -> Result:
        return solve(
            problem,
            tol=self.tol,
            random_state=self.seed,
            max_boxes=self.max_boxes,
            warm_start=self.network,
            canonical=False,
        )


def state_of(result: Result) -> Stationary | None:
    """The network of a result to rounding, where that can be reached."""
    problem = without_idle_samples(result.problem)
    nu = -problem.loss.gradient(result.network(problem.X), problem.Y, problem.sample_weight)[:, 0]
    state: Stationary | None = best_attempt(problem, None, result.network, nu, n_random=0, most=ATTEMPTS)[0]
    if state is not None and state.error > SOLVED:
        state = slide(state, SOLVED)
    return state


def _extended(state: Stationary, neurons: Array, signs: Array) -> Stationary:
    """The state with the best of these neurons, those alike left out, of lengths that lower the objective."""
    problem = state.problem
    features = np.maximum(problem.arrangement.Z @ neurons.T, 0.0)
    excess = signs * (state.nu @ features) - problem.penalty
    unit = neurons / row_norms(neurons)[:, None]
    chosen: list[int] = []
    for i in np.flatnonzero(excess >= LESSER * excess.max()):
        if all(unit[i] @ unit[j] < ALIKE or signs[i] != signs[j] for j in chosen):
            chosen.append(int(i))
    weights = np.maximum(state.weights, STRAIGHT * problem.loss.stiffness(problem.sample_weight))
    # Where the objective is least along each, the others held; all of them together would go too far.
    length = excess[chosen] / np.maximum(weights @ features[:, chosen] ** 2, TINY) / len(chosen)
    return joined(state, np.maximum(length, 0.0)[:, None] * neurons[chosen], signs[chosen])
