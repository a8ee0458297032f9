"""As few tasks as matter: `task_basis`.

Letters: `Y` (n, T) targets, `R` (T, r) orthonormal.

The squared loss and interpolation do not change when the tasks are rotated, nor does the penalty: with Y = (Y R) R^T
the problem of the r = rank(Y) tasks Y R has the same optimum, and V R^T are the output weights (theory C.2).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array
from convexrelu.losses import ExactFit, SquaredLoss
from convexrelu.problem import TrainingProblem


def task_basis(problem: TrainingProblem) -> Array:
    """Orthonormal R (T, r) with Y = Y R R^T up to rounding; the identity where the loss does not allow fewer tasks."""
    T = problem.Y.shape[1]
    if not isinstance(problem.loss, SquaredLoss | ExactFit):
        return np.eye(T)
    singular, right = np.linalg.svd(problem.Y, full_matrices=False)[1:]
    rank = max(int(np.sum(singular > max(problem.Y.shape) * EPS * singular.max())), 1)
    return np.eye(T) if rank == T else np.asarray(right[:rank].T)
