"""The best output weights of given neurons, and as few of these as that allows: `refitted_solution`.

Letters: `U` (m, k) neurons of cost one, `V` (m, T) output weights, `phi_j` (n,) activations.

Interior-point solvers leave a little of every neuron they were offered. Taking these away moves the predictions, which
losses with kinks do not forgive: the remaining output weights are fitted again,

    minimise    L(sum_j phi_j v_j^T + Q beta) + penalty sum_j |v_j| + (penalty / 2) |beta_p|^2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from convexrelu.arrays import Array, row_norms
from convexrelu.linear_fit import fit_by_cones
from convexrelu.losses import DataLoss
from convexrelu.problem import TrainingProblem
from convexrelu.recovery import program_value
from convexrelu.result import Solution

# Neurons smaller than these shares of the largest are left out in turn, as long as the objective allows.
SHARES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
# Unit vectors nearer than this are one neuron.
SAME = 1e-6


def refitted_solution(problem: TrainingProblem, solution: Solution, tol: float) -> Solution:
    """The smallest of the refitted solutions that cost no more than the given one, up to `tol` (relative)."""
    best = solution
    allowed = program_value(problem, solution) * (1 + tol)
    for share in SHARES:
        candidate = _refitted(problem, best, share)
        if candidate is None or not program_value(problem, candidate) <= allowed:
            break
        best = candidate
    return best


def _refitted(problem: TrainingProblem, solution: Solution, share: float) -> Solution | None:
    """The best output weights of the larger neurons; None where the solver finds none."""
    cost = problem.arrangement.cost(solution.neurons) * row_norms(solution.outputs)
    order = np.argsort(-cost, kind="stable")
    order = order[cost[order] > share * cost.max(initial=0.0)]
    if not len(order):
        return None
    U = _distinct(solution.neurons[order])
    U /= problem.arrangement.cost(U)[:, None]
    linear, m = problem.linear, len(U)
    Phi = np.maximum(problem.arrangement.Z @ U.T, 0.0)
    # In units in which the columns, and the output weights, are about one.
    unit = problem.loss.unit(problem.Y) / max(float(Phi.max(initial=0.0)), 1e-300)
    widths = np.repeat([unit, 1.0, 1.0], [m, linear.free.shape[1], linear.penalized.shape[1]])
    Q = np.hstack([Phi, linear.free, linear.penalized]) * widths
    ridge = np.repeat([0.0, 0.0, problem.penalty], [m, linear.free.shape[1], linear.penalized.shape[1]])
    price = np.where(np.arange(len(widths)) < m, problem.penalty * widths, 0.0)
    fit = fit_by_cones(DataLoss(problem.loss, problem.Y, problem.sample_weight), Q, ridge, price)
    V, free, penalized = np.split(fit.beta * widths[:, None], [m, m + linear.free.shape[1]])
    if not np.isfinite(fit.beta).all():
        return None
    outer = row_norms(V)[:, None]
    outputs = V / np.where(outer > 0, outer, 1.0)
    return replace(solution, neurons=U * outer, outputs=outputs, free=free, penalized=penalized)


def _distinct(U: Array) -> Array:
    """The sum of each group of neurons that are nearly parallel to its first."""
    pairs = cKDTree(U / row_norms(U)[:, None]).query_pairs(SAME, output_type="ndarray")
    first = np.arange(len(U))
    np.minimum.at(first, pairs[:, 1], pairs[:, 0])
    sums: Array = np.zeros_like(U)
    np.add.at(sums, first, U)
    return sums[np.unique(first)]
