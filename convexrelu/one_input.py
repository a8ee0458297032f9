"""Problems of one input by the 1-D engine: `train_one_input`, what `solve` tries before it makes programs.

Letters: `z` (n,) the data on their line, `u` (m, 2) neurons in reduced coordinates, `nu` (n, T) dual variable.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, power_of_two, row_norms
from convexrelu.errors import ConvexReLUError
from convexrelu.generation import Generated
from convexrelu.losses import LogisticLoss, PiecewiseLoss, SoftmaxLoss, SquaredLoss
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.pricing.rounding import reduction_slack
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution, Status
from convexrelu.univariate.fit import fit
from convexrelu.univariate.line_certificate import dual_norm_on_line

# Of the tolerance: the gap to ask of the engine, so that its network may be pruned.
SHARE = 0.1


def takes_one_input(problem: TrainingProblem) -> bool:
    """Whether the engine serves the problem: a loss it knows and one input or, with free biases, data on a line."""
    if not isinstance(problem.loss, SquaredLoss | PiecewiseLoss | LogisticLoss | SoftmaxLoss):
        return False
    # Penalised biases are measured from the origin, which a line need not pass.
    return problem.arrangement.n_penalized == 1 if problem.bias == "free" else problem.X.shape[1] == 1


def is_first_choice(problem: TrainingProblem) -> bool:
    """Whether the engine is faster than listing patterns, however few there are."""
    return problem.bias == "free" or problem.Y.shape[1] > 1


def train_one_input(problem: TrainingProblem, tol: float) -> Generated | None:
    """The optimum, its dual variable and the proven bound on its dual norm; None where the engine does not prove it."""
    z = problem.arrangement.Z[:, 0] if problem.bias == "free" else problem.X[:, 0]
    try:
        found = fit(
            z,
            problem.Y,
            problem.weight_decay,
            problem.loss,
            problem.bias,
            problem.skip,
            problem.sample_weight,
            output_bias=problem.output_bias,
            tol=SHARE * tol,
        )
    except ConvexReLUError:
        return None
    if found.status is not Status.OPTIMAL:
        return None
    nu = found.certificate.dual
    return Generated(_solution(problem, found.network, z, nu), nu, _dual_norm(problem, z, nu), True)


def _solution(problem: TrainingProblem, network: Network, z: Array, nu: Array) -> Solution:
    """A network over the line as a point of the convex program."""
    size = row_norms(network.output)[:, None]
    weights = network.hidden * size, network.hidden_bias * size[:, 0]
    free = problem.bias == "free"
    U = np.column_stack(weights) if free else problem.arrangement.from_weights(*weights)
    Q = np.hstack([problem.linear.free, problem.linear.penalized])
    line = z[:, None] * network.skip + network.output_bias
    beta: Array = np.asarray(np.linalg.lstsq(Q, line, rcond=None)[0], dtype=float)
    q = problem.linear.free.shape[1]
    return Solution(U, network.output / size, beta[:q], beta[q:], nu, "univariate")


def _dual_norm(problem: TrainingProblem, z: Array, nu: Array) -> DualNorm:
    """The exact dual norm: neurons that face either way."""
    unit = power_of_two(nu)  # squares of tiny entries would vanish
    bound = dual_norm_on_line(z, nu / unit, problem.bias)
    upper = bound * problem.arrangement.stretch + reduction_slack(problem.arrangement, nu / unit)
    return DualNorm(upper, 0.0, np.zeros(problem.arrangement.Z.shape[1]), "global").times(unit)
