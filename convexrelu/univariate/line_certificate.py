"""Certificates of networks of one input for every choice of parameters, loss and number of tasks: `certified_on_line`.

Letters: `x` (n,) points, `nu` (n, T) dual variable. The dual norm of one input is exact in O(n log n) for all neurons,
whatever the skip and the output bias; what these ask of nu is the problem's part (`TrainingProblem.lower_bound`).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms
from convexrelu.certificate import TINY, Certificate
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.lower_bound import double_sum_bounds
from convexrelu.univariate.sectors import sector_bounds

SIDES = (1.0, -1.0)


def certified_on_line(problem: TrainingProblem, network: Network, nu: Array) -> Certificate:
    """The certificate that a dual variable gives a network of one input.

    Parameters
    ----------
    problem : TrainingProblem
        With one input.
    network : Network
    nu : float64 (n, T)
        Minus the gradient of the loss at the optimum; any other gives a poor bound, not a wrong one.
    """
    nu = problem.feasible_direction(nu)
    upper = dual_norm_on_line(problem.X[:, 0], nu, problem.bias)
    # A multiple of nu is rounded again.
    upper += 4 * EPS * float(row_norms(nu) @ (1 + np.abs(problem.X[:, 0]) + np.ptp(problem.X)))
    objective = objective_on_line(problem, network)
    bound, dual = problem.lower_bound(nu, DualNorm(upper, 0.0, np.zeros(problem.arrangement.Z.shape[1]), "global"))
    scale = float(np.abs(dual).max(initial=0.0)) / (float(np.abs(nu).max(initial=0.0)) or 1.0)
    return Certificate(
        objective, min(bound, objective), "global", dual, min(scale * upper, problem.penalty), _negligible(problem)
    )


def _negligible(problem: TrainingProblem) -> float:
    return max(problem.negligible, TINY)


def objective_on_line(problem: TrainingProblem, network: Network) -> float:
    """The problem's objective of a balanced network, or what balancing brings it to; cost O(n log m) for m neurons."""
    F = from_network(network)(problem.X[:, 0])
    value = problem.loss.value(F, problem.Y, problem.sample_weight)
    value += problem.penalty * float(network.neuron_norms() @ row_norms(network.output))
    price = 1.0 if problem.is_interpolation else problem.weight_decay
    for kind, part in ((problem.skip, network.skip), (problem.output_bias, network.output_bias)):
        value += price * float(np.sum(part**2)) / 2 if kind == "penalized" else 0.0
    return value


def dual_norm_on_line(x: Array, nu: Array, bias: str) -> float:
    """Upper bound on the largest |sum_i nu_i relu(w x_i + b)| over neurons of cost one, rounding accounted for."""
    order = np.argsort(x, kind="stable")
    x, nu = x[order], nu[order]
    if bias == "free":
        return double_sum_bounds(x, nu, "none").largest
    if bias == "penalized":
        return sector_bounds(x, nu, "none")[0]
    # Products and sums of n terms.
    sums = [np.linalg.norm(np.maximum(side * x, 0.0) @ nu) for side in SIDES]
    return float(max(sums)) + (len(x) + 8) * EPS * float(np.abs(x) @ row_norms(nu))
