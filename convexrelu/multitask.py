"""Several tasks that share their neurons: the `JointMethod` of pattern generation.

Letters: `Y` (n, T) targets, `R` (T, r) orthonormal (`task_basis`), `U`, `V` neurons and output weights, `N` (n, T) dual
variable.

Interpolation is solved by the method of multipliers: with the dual variable N of a round, the next one is the penalised
problem of weight decay mu with targets Y + mu N, whose residual over mu is the next dual variable.

References
----------
A. Sahiner, T. Ergen, J. Pauly and M. Pilanci, Vector-output ReLU neural network problems are copositive programs, ICLR
2021.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import UnsupportedError
from convexrelu.generation import ProximalSteps
from convexrelu.losses import DataLoss, PiecewiseLoss, SquaredLoss
from convexrelu.monitor import Monitor
from convexrelu.native.joint import JointIterate, JointProblem
from convexrelu.native.joint_generation import JointGenerated
from convexrelu.native.joint_generation import generate as generate_jointly
from convexrelu.native.proximal import ProximalLoss
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import best_neuron
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution
from convexrelu.task_basis import task_basis

# Share of the tolerance that the solver may leave (the proof takes half of it); below the finest rounding shows.
SHARE, FINEST = 0.2, 1e-9
# Interpolation: weight decay of a round in units of the largest that needs neurons, and rounds at most.
MULTIPLIER, ROUNDS = 0.03, 40
# A round that misses more than this share of what the last one missed is followed by one of smaller weight decay.
FAST = 0.2
# A missed target this small, relative to the largest, is left to `onto_targets`.
CLOSE = 1e-8


def takes_jointly(problem: TrainingProblem) -> bool:
    """Whether this is a problem of several tasks that the native solver takes: all but losses with unknown kinks."""
    known = problem.loss.is_smooth or problem.is_interpolation or isinstance(problem.loss, PiecewiseLoss)
    return problem.Y.shape[1] > 1 and known


class JointMethod:
    """The native solver of several tasks; see `convexrelu.generation.Method`."""

    def __init__(
        self, problem: TrainingProblem, tol: float, seed: int, monitor: Monitor, warm_start: Network | None
    ) -> None:
        if not takes_jointly(problem):
            raise UnsupportedError(f"the native solver of several tasks does not take {problem}.")
        self.problem, self.tol, self.monitor = problem, max(SHARE * tol, FINEST), monitor
        # What the solver minimises: of interpolation the squared loss, of a loss with kinks a smoothed one.
        self.loss = SquaredLoss() if problem.is_interpolation else problem.loss
        self.report: Callable[[float, int], object] = monitor.report
        self.rng, self.stuck = np.random.default_rng(seed), False
        self.R = task_basis(problem)
        self.iterate: JointIterate | None = None
        self.N = np.zeros((len(problem.Y), self.R.shape[1]))
        if warm_start is not None:
            U = problem.arrangement.from_weights(warm_start.hidden, warm_start.hidden_bias)
            self.iterate = JointIterate.of(
                self._joint(problem.penalty, problem.Y @ self.R), U, warm_start.output @ self.R
            )

    def run(self, start: Solution | None, extra: Array | None) -> Solution:
        """Go on from the last state, with the neuron `extra`, until the search finds none missing."""
        if self.problem.is_interpolation:
            return self._interpolate(extra)
        return self._solution(self._generate(self.problem.weight_decay, self.problem.Y @ self.R, extra, self.tol), 1.0)

    def _joint(self, weight_decay: float, Y: Array) -> JointProblem:
        """The problem of the rotated tasks."""
        problem = self.problem
        return JointProblem(
            problem.arrangement.Z,
            problem.arrangement.n_penalized,
            weight_decay,
            DataLoss(self.loss, Y, problem.sample_weight),
            problem.linear.free,
            problem.linear.penalized,
        )

    def _generate(self, weight_decay: float, Y: Array, extra: Array | None, tol: float) -> JointGenerated:
        found = generate_jointly(
            self._joint(weight_decay, Y),
            rng=self.rng,
            tol=tol,
            warm_start=self.iterate,
            extra=extra,
            should_stop=self.monitor.should_stop,
            callback=self.report,
        )
        self.monitor.interrupted |= found.interrupted
        self.monitor.count("starts", found.starts)
        self.iterate, self.stuck = found.state.iterate, not found.converged
        return found

    def _interpolate(self, extra: Array | None) -> Solution:
        """Multiplier rounds until the targets are met."""
        Y = self.problem.Y @ self.R
        largest = best_neuron(self.problem.arrangement, self.problem.feasible_direction(self.problem.Y))[0]
        mu = MULTIPLIER * largest or 1.0
        found, last = None, np.inf
        for _ in range(ROUNDS):
            found = self._generate(mu, Y + mu * self.N, extra, 0.1 * self.tol)
            self.N, extra = found.state.N / mu, None
            miss = float(np.abs(found.state.F - Y).max() / max(np.abs(Y).max(), 1e-300))
            if miss <= CLOSE or self.monitor.should_stop():
                break
            # Smaller weight decays converge in fewer rounds, each of which takes longer.
            mu, last = (mu if miss < FAST * last else 0.3 * mu), miss
        assert found is not None
        return self._solution(found, mu)

    def _solution(self, found: JointGenerated, unit: float) -> Solution:
        """The state in the terms of the program, all tasks restored."""
        it, q = found.state.iterate, self.problem.linear.free.shape[1]
        outer = row_norms(it.V)[:, None]
        beta = it.beta @ self.R.T
        outputs = (it.V / np.where(outer > 0, outer, 1.0)) @ self.R.T
        return Solution(it.U * outer, outputs, beta[:q], beta[q:], (found.state.N / unit) @ self.R.T, "native")


class JointProximalMethod(ProximalSteps):
    """The native solver of several tasks for losses with kinks."""

    def __init__(
        self, problem: TrainingProblem, tol: float, seed: int, monitor: Monitor, warm_start: Network | None
    ) -> None:
        self.joint = JointMethod(problem, tol, seed, monitor, warm_start)
        # The objective of a smoothed loss is not the problem's.
        self.joint.report = lambda objective, n_neurons: None
        super().__init__(problem, self.joint.tol, monitor)

    def _solve(self, loss: ProximalLoss, tol: float, start: Solution | None, extra: Array | None) -> Solution:
        self.joint.loss, self.joint.tol = loss, tol
        solution = self.joint.run(start, extra)
        self.stuck = self.joint.stuck
        return solution


def joint_method(
    problem: TrainingProblem, tol: float, seed: int, monitor: Monitor, warm_start: Network | None
) -> JointMethod | JointProximalMethod:
    """The native solver of several tasks for this loss."""
    smooth = problem.loss.is_smooth or problem.is_interpolation
    return (JointMethod if smooth else JointProximalMethod)(problem, tol, seed, monitor, warm_start)
