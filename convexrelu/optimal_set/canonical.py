"""The one of all optimal networks that a rule chooses: `with_canonical_network`.

Letters as in `convexrelu.optimal_set.optimal_set`: active directions (w_e, b_e) in the coordinates of the inputs with
outputs o_e and weights alpha_e; t_h is how far the prediction of a sample (x_h, y_h) is beyond the kink of its loss.
The rule:

    minimise  sum_e c(w_e, b_e, o_e) alpha_e + sum_h c(x_h, y_h) t_h   over all optimal networks.

A cost c depends on its neuron, or its sample, and on the box that the data lie in, on nothing else: not on the order of
the samples, not on how often one is there, nor on how the optimum was found. The costs are irregular, so that the
minimum is unique; linear ones would not do, for relu(z) = relu(-z) + z. It is at a vertex of the polytope of weights:
no more neurons than samples.

Nothing is proven here, and nothing has to be: the certificate of a result holds for any network of its objective.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import ConvexReLUError
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.optimal_set.generic import generic_costs
from convexrelu.optimal_set.optimal_set import OptimalSet
from convexrelu.optimal_set.polish import GOOD
from convexrelu.problem import TrainingProblem
from convexrelu.recovery import solution_of_network
from convexrelu.result import Result, Status

# Relative: objectives are sums, and those of two networks at the optimum differ by as much.
ROUNDING = 1e-13


def with_canonical_network(result: Result, monitor: Monitor, largest: int) -> Result:
    """The result with the canonical network; the same one where that cannot be told, or would cost more.

    Parameters
    ----------
    result : Result
    monitor : Monitor
        Keeps the time: where it is over, the result stays as it is.
    largest : int
        The same for problems of a larger `_size`.

    Returns
    -------
    Result
        Of the same status, by the same lower bound. `canonical` says whether the rule chose its network. It did not
        where several tasks have infinitely many active directions, nor where Newton's method cannot tell which are
        active; such a network is an optimal one, too, as near to the optimum as could be.
    """
    if result.status not in (Status.OPTIMAL, Status.PATTERN_OPTIMAL) or monitor.interrupted or _size(result) > largest:
        return result
    try:
        # What comes of numbers that overflow is judged by its objective.
        with np.errstate(all="ignore"):
            optimal = OptimalSet.of(result, monitor, proven=False)
            found = _replaced(result, optimal, optimal.network(_canonical_weights(optimal)))
    except (ConvexReLUError, ArithmeticError, ValueError, KeyboardInterrupt):
        # Refused, or too ill-scaled, or stopped: the network at hand is optimal as well.
        found = result
    monitor.lap("canonical")
    return found


def _size(result: Result) -> int:
    """About the numbers in the matrix of the polytope, once more for each task, as Newton's steps take longer."""
    problem = result.problem
    columns = result.network.n_neurons + (0 if problem.loss.is_smooth else problem.Y.size)
    return int(problem.Y.size * columns * problem.Y.shape[1])


def _replaced(result: Result, optimal: OptimalSet, network: Network) -> Result:
    """The result with another network, if that is no worse."""
    proof = replace(result.certificate, objective=result.problem.objective(network))
    if not proof.gap <= result.certificate.gap + ROUNDING:
        return result
    solution = solution_of_network(result.problem, network, result.solution.dual, result.solution.message)
    certain = optimal.is_finite and optimal.accuracy <= GOOD and optimal.polytope.is_clear
    return replace(result, network=network, certificate=proof, solution=solution, canonical=certain)


def _canonical_weights(optimal: OptimalSet) -> Array:
    """The point of the polytope (m,) that the rule chooses."""
    return optimal.polytope.minimize(np.concatenate([_direction_costs(optimal), _sample_costs(optimal)]))


def _box(rows: Array) -> tuple[Array, Array]:
    """Middle and half the width of the smallest box that holds all rows."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    return low + (high - low) / 2, (high - low) / 2


def _direction_costs(optimal: OptimalSet) -> Array:
    """c(w_e, b_e, o_e): of the function w . x + b over the box of the data, in the unit of its size, and the output."""
    hidden, bias = optimal.problem.arrangement.to_weights(optimal.directions.neurons)
    middle, half = _box(optimal.problem.X)
    form = np.column_stack([hidden * half, bias + hidden @ middle])
    form /= np.maximum(row_norms(form), 1e-300)[:, None]
    return generic_costs(np.hstack([form, optimal.directions.outputs]))


def _sample_costs(optimal: OptimalSet) -> Array:
    """c(x_h, y_h) for each prediction that can move, per unit of weight that stands for it."""
    problem = optimal.problem
    S = np.abs(optimal.fits.columns(problem.X, problem.Y))
    moving = optimal.polytope.A[:, len(optimal.directions) :]
    if not S.shape[1]:
        return np.zeros(0)
    rows = np.hstack([problem.X, problem.Y])
    middle, half = _box(rows)
    rows = (rows - middle) / np.where(half > 0, half, 1.0)
    tasks = np.arange(problem.Y.shape[1])
    cost = np.stack([generic_costs(np.insert(rows, 0, t, axis=1)) for t in tasks], axis=1).ravel()
    # One unit of prediction is worth the weight of a neuron that makes about that.
    unit = np.abs(moving).max(axis=0) / _reach(problem)
    return np.asarray(cost @ S / S.sum(axis=0) * unit)


def _reach(problem: TrainingProblem) -> float:
    """About the largest activation of a neuron of cost one."""
    middle, half = _box(problem.X)
    far = half if problem.bias == "free" else np.append(np.abs(middle) + half, float(problem.bias == "penalized"))
    return float(np.linalg.norm(far)) or 1.0
