"""`Kernel`: the kernel in which every task of an optimal network is kernel ridge regression.

Letters: `phi_k(x)` activation of neuron k at norm one, `v_k` (T,) its output weights at that scale, `lam` weight decay
(one for interpolation), `N` (n, T) dual variable, `Q` linear columns.

At an optimum v_k = (|v_k| / lam) N^T phi_k, so that the predictions are F = K N + Q beta with

    K(x, x') = (1 / lam) sum_k |v_k| phi_k(x) phi_k(x'),

and N = Y - F: every task is ridge regression with the same kernel, which depends on all targets, and ridge one (theory
C.4). Without task t in the weights, |v_k| over the other tasks, the kernel still predicts task t, with an error that
falls like 1 / T (J. Nakhleh, J. Shenouda and R. Nowak, A new neural kernel regime: the inductive bias of multi-task
learning, NeurIPS 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.losses import ExactFit, SquaredLoss
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.validation import check_count, check_matrix


@dataclass(frozen=True, eq=False)
class Kernel:
    """The kernel of a network that solves a problem.

    Attributes
    ----------
    problem : TrainingProblem
    hidden, hidden_bias : float64 (m, d), (m,)
        The neurons, of norm one.
    weights : float64 (m,)
        |v_k| / lam, over the tasks that the kernel is made of.
    """

    problem: TrainingProblem
    hidden: Array
    hidden_bias: Array
    weights: Array

    def __call__(self, X: Any, X_other: Any = None) -> Array:
        """K(x, x') (n, n') between the rows of X (n, d) and X_other (n', d), by default X itself."""
        left = self._features(X)
        right = left if X_other is None else self._features(X_other)
        return np.asarray((left * self.weights) @ right.T)

    def _features(self, X: Any) -> Array:
        return np.maximum(check_matrix(X, "X") @ self.hidden.T + self.hidden_bias, 0.0)

    def predict(self, X: Any) -> Array:
        """Predictions (n', T) at X (n', d) by ridge regression of the problem's targets with this kernel.

        Notes
        -----
        Solves (K + diag(1 / sample weight)) N + Q beta = Y, Q^T N = 0, with ridge zero for interpolation; a penalised
        skip or output bias is part of the kernel. Cost O(n^3).
        """
        problem = self.problem
        heavy = problem.sample_weight > 0
        free, penalized = problem.linear.free[heavy], problem.linear.penalized[heavy]
        K = self(problem.X[heavy]) + penalized @ penalized.T / problem.penalty
        if not problem.is_interpolation:
            K += np.diag(1 / problem.sample_weight[heavy])
        n, q = free.shape
        system = np.block([[K, free], [free.T, np.zeros((q, q))]])
        targets = np.vstack([problem.Y[heavy], np.zeros((q, problem.Y.shape[1]))])
        solution = np.linalg.lstsq(system, targets, rcond=None)[0]
        N, beta = solution[:n], solution[n:]
        skip, constant = problem.linear.to_weights(beta, penalized.T @ N / problem.penalty)
        X = check_matrix(X, "X")
        return np.asarray(self(X, problem.X[heavy]) @ N + X @ skip + constant)


def kernel_of(problem: TrainingProblem, network: Network, without_task: int | None = None) -> Kernel:
    """The kernel of a network that solves a problem with the squared loss, or an interpolation problem.

    Raises
    ------
    UnsupportedError
        For another loss: there N is not the residual, and the regression is not one of least squares.
    InvalidInputError
        If there is no such task, or no other one.
    """
    if not isinstance(problem.loss, SquaredLoss | ExactFit):
        raise UnsupportedError(
            f"a kernel is that of the squared loss or of interpolation, not of {problem.loss.name!r}."
        )
    network = network.balanced()
    norms, output = network.neuron_norms(), network.output
    if without_task is not None:
        T = output.shape[1]
        if check_count(without_task, "without_task", least=0) >= T or T == 1:
            raise InvalidInputError(
                f"`without_task` must leave some of the {T} tasks (0 to {T - 1}), got {without_task}."
            )
        output = np.delete(output, without_task, axis=1)
    return Kernel(
        problem,
        frozen(network.hidden / norms[:, None]),
        frozen(network.hidden_bias / norms),
        frozen(norms * row_norms(output) / problem.penalty),
    )
