"""From a point of the convex program to a network and back: `network_of`, `solution_of_network`.

Letters: `Z` (n, k) reduced data, `u` (k,) block weights, `v` unit output directions.
"""

from __future__ import annotations

import math

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution
from convexrelu.targets import onto_targets

# Candidates for "this block is zero" (relative to the largest) and "these neurons are one" (distance of unit vectors),
# from the coarsest. A solver leaves 1e-9 where zeros belong and 1e-6 between copies of a neuron in neighbouring cones.
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 0.0)


def network_of(problem: TrainingProblem, solution: Solution, tol: float) -> Network:
    """The smallest balanced, merged network whose objective is within `tol` / 100 (relative) of the solution's own.

    Pruning is judged by the objective, not by a threshold: dropping neurons of norm 1e-7 can cost 1e-3 in the gap. For
    interpolation every candidate is first moved onto the targets.
    """
    allowed = program_value(problem, solution) * (1 + 0.01 * tol)
    best = problem.linear_network()
    objective = problem.objective(best)
    for tolerance in TOLERANCES:
        if objective <= allowed:
            break
        candidate = _candidate(problem, solution, tolerance)
        value = problem.objective(candidate)
        if value < objective or math.isinf(objective):
            best, objective = candidate, value
    return best


def solution_of_network(problem: TrainingProblem, network: Network, nu: Array, message: str = "") -> Solution:
    """A network as a point of the convex program, with a dual variable nu (n, T)."""
    size = row_norms(network.output)
    U = problem.arrangement.from_weights(network.hidden * size[:, None], network.hidden_bias * size)
    free, penalized = problem.linear.from_weights(network.skip, network.output_bias)
    return Solution(U, network.output / size[:, None], free, penalized, nu, message)


def program_value(problem: TrainingProblem, solution: Solution) -> float:
    """The program's objective at the solution; for interpolation whether or not it meets the targets."""
    cost = float(problem.arrangement.cost(solution.neurons) @ row_norms(solution.outputs))
    cost += 0.5 * float(np.sum(solution.penalized**2))
    if problem.is_interpolation:
        return cost
    fit = np.maximum(problem.arrangement.Z @ solution.neurons.T, 0.0) @ solution.outputs
    fit += problem.linear.free @ solution.free + problem.linear.penalized @ solution.penalized
    return problem.loss.value(fit, problem.Y, problem.sample_weight) + problem.penalty * cost


def _candidate(problem: TrainingProblem, solution: Solution, tolerance: float) -> Network:
    network = network_of_blocks(problem, solution, tolerance).merged(tolerance)
    return onto_targets(problem, network) if problem.is_interpolation else network


def network_of_blocks(problem: TrainingProblem, solution: Solution, tolerance: float = 0.0) -> Network:
    """Balanced network of the blocks larger than `tolerance` times the largest one."""
    arrangement = problem.arrangement
    cost = arrangement.cost(solution.neurons)
    keep = cost > tolerance * cost.max(initial=0.0)
    root = np.sqrt(cost[keep])[:, None]
    hidden, hidden_bias = arrangement.to_weights(solution.neurons[keep] / root)
    skip, output_bias = problem.linear.to_weights(solution.free, solution.penalized)
    outputs: Array = solution.outputs[keep] * root
    return Network(hidden, hidden_bias, outputs, skip, output_bias, problem.bias).balanced()
