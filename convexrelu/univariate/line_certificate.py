"""Certificates of networks of one input for every choice of parameters, loss and number of tasks: `certified_on_line`.

Letters: `x` (n,) points, `nu` (n, T) dual variable. The dual norm of one input is exact in O(n log n) for all neurons,
whatever the skip and the output bias; what these ask of nu is the problem's part (`TrainingProblem.lower_bound`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import EPS, Array, power_of_two, row_norms
from convexrelu.certificate import TINY, Certificate
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.lower_bound import certified, double_sum_bounds
from convexrelu.univariate.samples import samples
from convexrelu.univariate.sectors import sector_bounds

SIDES = (1.0, -1.0)
# A gap below this needs no better proof.
ENOUGH = 1e-10
# Penalised biases with the free parts that `certified` knows.
PLAIN = {("penalized", "free", "free"), ("penalized", "none", "none"), ("penalized", "penalized", "none")}

Wide = NDArray[np.longdouble]


def certified_on_line(
    problem: TrainingProblem, network: Network, nu: Wide | Array, objective: float | None = None
) -> Certificate:
    """The certificate that a dual variable gives a network of one input.

    Parameters
    ----------
    problem : TrainingProblem
        With one input.
    network : Network
    nu : (n, T)
        Minus the gradient of the loss at the optimum; any other gives a poor bound, not a wrong one.
    objective : float, optional
        The network's, where the sum over its neurons lacks digits.
    """
    value = objective_on_line(problem, network) if objective is None else objective
    found = _of_problem(problem, value, np.asarray(nu, dtype=np.float64))
    if found.gap <= ENOUGH or not _is_plain(problem):
        return found
    # For sums that cancel, in extended precision.
    data = samples(problem.X, problem.Y, problem.sample_weight)
    modes = problem.bias, problem.skip
    other = certified(data, value, nu[data.order], problem.penalty, problem.loss, *modes)
    return min(found, other, key=lambda proof: proof.gap)


def _is_plain(problem: TrainingProblem) -> bool:
    """Whether `certified` knows the problem's kind."""
    if problem.loss.is_classification and problem.Y.shape[1] > 1:
        return False
    if problem.bias == "free":
        return problem.skip != "penalized" or problem.Y.shape[1] == 1
    return (problem.bias, problem.skip, problem.output_bias) in PLAIN


def _of_problem(problem: TrainingProblem, objective: float, nu: Array) -> Certificate:
    nu = problem.feasible_direction(nu)
    nu = nu / power_of_two(nu)  # squares of tiny entries would vanish
    upper = dual_norm_on_line(problem.X[:, 0], nu, problem.bias)
    # A multiple of nu is rounded again.
    upper += 4 * EPS * float(row_norms(nu) @ (1 + np.abs(problem.X[:, 0]) + np.ptp(problem.X)))
    bound, dual = problem.lower_bound(nu, DualNorm(upper, 0.0, np.zeros(problem.arrangement.Z.shape[1]), "global"))
    scale = float(np.abs(dual).max(initial=0.0)) / (float(np.abs(nu).max(initial=0.0)) or 1.0)
    norm, negligible = min(scale * upper, problem.penalty), max(problem.negligible, TINY)
    return Certificate(objective, min(bound, objective), "global", dual, norm, negligible)


def objective_on_line(problem: TrainingProblem, network: Network) -> float:
    """The problem's objective of a network, balanced; cost O(n log m) for m neurons."""
    F = from_network(network)(problem.X[:, 0])
    return problem.loss.value(F, problem.Y, problem.sample_weight) + norm_on_line(problem, network)


def norm_on_line(problem: TrainingProblem, network: Network) -> float:
    """What the weights of a network cost, balanced."""
    value = problem.penalty * float(network.neuron_norms() @ row_norms(network.output))
    for kind, part in ((problem.skip, network.skip), (problem.output_bias, network.output_bias)):
        value += problem.penalty * float(np.sum(part**2)) / 2 if kind == "penalized" else 0.0
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
