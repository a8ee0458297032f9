"""Between a `TrainingProblem` and the arrays of the native solver, there and back."""

from __future__ import annotations

import numpy as np

from convexrelu.losses import DataLoss, Loss, PiecewiseLoss
from convexrelu.native.reduced import Iterate, ReducedProblem
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution

# Entries of the data up to which a conic backend is faster on losses with kinks. Measured: ten times at 40 x 3; from
# 100 x 5 on it needs hundreds of patterns and may not end.
SMALL = 200


def is_native(problem: TrainingProblem) -> bool:
    """Whether the native solver takes the problem: one task, a smooth loss."""
    return problem.Y.shape[1] == 1 and problem.loss.is_smooth


def is_proximal(problem: TrainingProblem) -> bool:
    """Whether the native solver takes the problem, its loss smoothed: one task, a piecewise linear loss, not small."""
    linear = isinstance(problem.loss, PiecewiseLoss) and not problem.loss.is_smooth
    return linear and problem.Y.shape[1] == 1 and problem.arrangement.Z.size > SMALL


def reduced_problem(problem: TrainingProblem, loss: Loss | None = None) -> ReducedProblem:
    """The problem as the native solver wants it, if need be with another loss."""
    return ReducedProblem(
        Z=problem.arrangement.Z,
        n_penalized=problem.arrangement.n_penalized,
        weight_decay=problem.weight_decay,
        loss=DataLoss(loss or problem.loss, problem.Y, problem.sample_weight),
        free=problem.linear.free,
        penalized=problem.linear.penalized,
    )


def iterate_of(problem: TrainingProblem, network: Network) -> Iterate:
    """A network as a starting point; its linear part is refitted anyway."""
    U = problem.arrangement.from_weights(network.hidden, network.hidden_bias) * np.abs(network.output)
    return Iterate.of(reduced_problem(problem), U, np.sign(network.output[:, 0]))


def solution_of(
    problem: TrainingProblem, iterate: Iterate, nu: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Solution:
    """A point of the native solver as a solution of the convex program over its neurons' patterns."""
    q = problem.linear.free.shape[1]
    beta = iterate.beta[:, None]
    return Solution(iterate.neurons, iterate.signs[:, None], beta[:q], beta[q:], nu[:, None], "native")
