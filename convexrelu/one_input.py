"""Problems of one input by the 1-D engine: `train_one_input`, what `solve` tries before it makes programs.

Letters: `z` (n,) the reduced data, `u` (m, 2) neurons in reduced coordinates, `nu` (n, 1) dual variable.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import ConvexReLUError
from convexrelu.generation import Generated
from convexrelu.losses import LogisticLoss, PiecewiseLoss, SquaredLoss
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.pricing.rounding import reduction_slack
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution, Status
from convexrelu.univariate.fit import fit
from convexrelu.univariate.lower_bound import double_sum_bounds

# Of the tolerance: the gap to ask of the engine, so that its network may be pruned.
SHARE = 0.1


def takes_one_input(problem: TrainingProblem) -> bool:
    """Whether the engine serves the problem: data on a line, one task, free biases, a loss it knows."""
    loss = isinstance(problem.loss, SquaredLoss | PiecewiseLoss | LogisticLoss)
    return loss and problem.bias == "free" and problem.Y.shape[1] == 1 and problem.arrangement.n_penalized == 1


def train_one_input(problem: TrainingProblem, tol: float) -> Generated | None:
    """The optimum, its dual variable and the proven bound on its dual norm; None where the engine does not prove it."""
    z = problem.arrangement.Z[:, 0]
    try:
        found = fit(
            z,
            problem.Y,
            problem.weight_decay,
            problem.loss,
            skip=problem.skip,
            sample_weight=problem.sample_weight,
            tol=SHARE * tol,
        )
    except ConvexReLUError:
        return None
    if found.status is not Status.OPTIMAL:
        return None
    nu = found.certificate.dual
    return Generated(_solution(problem, found.network, z, nu), nu, _dual_norm(problem, z, nu), True)


def _solution(problem: TrainingProblem, network: Network, z: Array, nu: Array) -> Solution:
    """A network over the reduced data as a point of the convex program."""
    size = row_norms(network.output)[:, None]
    U = np.column_stack([network.hidden, network.hidden_bias]) * size
    Q = np.hstack([problem.linear.free, problem.linear.penalized])
    line = z[:, None] * network.skip + network.output_bias
    beta: Array = np.asarray(np.linalg.lstsq(Q, line, rcond=None)[0], dtype=float)
    q = problem.linear.free.shape[1]
    return Solution(U, network.output / size, beta[:q], beta[q:], nu, "univariate")


def _dual_norm(problem: TrainingProblem, z: Array, nu: Array) -> DualNorm:
    """The exact dual norm: neurons that face either way, with their kinks at the samples."""
    order = np.argsort(z, kind="stable")
    bound = double_sum_bounds(z[order], nu[order], "none").largest
    upper = bound * problem.arrangement.stretch + reduction_slack(problem.arrangement, nu)
    return DualNorm(upper, 0.0, np.zeros(problem.arrangement.Z.shape[1]), "global")
