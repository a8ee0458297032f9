"""From a point of the convex program to a network: `network_of`.

Letters: `Z` (n, k) reduced data, `u` (k,) block weights, `v` unit output directions.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution
from convexrelu.targets import onto_targets

# Candidates for "this block is zero" (relative to the largest) and "these neurons are one" (distance of unit vectors), from
# the coarsest. A solver leaves 1e-9 where zeros belong and 1e-6 between copies of a neuron in neighbouring cones.
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 0.0)


def network_of(problem: TrainingProblem, solution: Solution, tol: float) -> Network:
    """The smallest balanced, merged network whose objective is within `tol` / 100 (relative) of the solution's own.

    Pruning is judged by the objective, not by a threshold: dropping neurons of norm 1e-7 can cost 1e-3 in the gap. For
    interpolation every candidate is first moved onto the targets.
    """
    candidates = [_candidate(problem, solution, tolerance) for tolerance in TOLERANCES]
    objectives = [problem.objective(candidate) for candidate in candidates]
    allowed = min(objectives) * (1 + 0.01 * tol)
    return next(c for c, objective in zip(candidates, objectives, strict=True) if objective <= allowed)


def _candidate(problem: TrainingProblem, solution: Solution, tolerance: float) -> Network:
    network = _network(problem, solution, tolerance).merged(tolerance)
    return onto_targets(problem, network) if problem.is_interpolation else network


def _network(problem: TrainingProblem, solution: Solution, tolerance: float) -> Network:
    """Balanced network of the blocks larger than `tolerance` times the largest one."""
    arrangement = problem.arrangement
    cost = arrangement.cost(solution.neurons)
    keep = cost > tolerance * cost.max(initial=0.0)
    root = np.sqrt(cost[keep])[:, None]
    hidden, hidden_bias = arrangement.to_weights(solution.neurons[keep] / root)
    skip, output_bias = problem.linear.to_weights(solution.free, solution.penalized)
    outputs: Array = solution.outputs[keep] * root
    return Network(hidden, hidden_bias, outputs, skip, output_bias, problem.bias).balanced()
