"""The best lengths of neurons whose directions are given: a lasso over lengths that are at least zero.

Letters as in `convexrelu.native.reduced`, and `x` (m,) the factors that neurons are scaled by, `Phi` (m, n) their
signed activations.

    minimise over x >= 0 and beta:  L(Phi' x + Q beta) + lam sum_b x_b |S u_b| + (lam/2) |beta_penalized|^2

Every Newton step is a non-negative least squares problem; with squared loss the first one is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from scipy.optimize import nnls

from convexrelu.arrays import Array
from convexrelu.losses import SquaredLoss
from convexrelu.native.reduced import Iterate, ReducedProblem

# Least curvature of the loss, relative to what is usual, that steps count on.
_FLOOR = 0.01
# The diagonal of the scaled Gram matrix is raised by this much: neurons of one pattern may be dependent.
_RAISED = 1e-11
_STEPS, _HALVINGS = 6, 12
# A step that lowers the objective by less than this share is the last one.
_ENOUGH = 1e-6


def with_best_lengths(problem: ReducedProblem, iterate: Iterate, x: Array) -> Iterate:
    """The neurons scaled by the best factors, from a first guess `x`; those of length zero are dropped."""
    if not len(x):
        return iterate
    lasso, beta = _Lengths.of(problem, iterate), iterate.beta
    value = lasso.objective(x, beta)
    for _ in range(1 if isinstance(problem.loss.loss, SquaredLoss) else _STEPS):
        before, (x, beta, value) = value, _step(lasso, x, beta, value)
        if not value < before - _ENOUGH * abs(before):
            break
    return replace(iterate, neurons=iterate.neurons * x[:, None], beta=beta).take(x > 0)


def _step(lasso: _Lengths, x: Array, beta: Array, value: float) -> tuple[Array, Array, float]:
    """A Newton step, halved until it lowers the objective; where none does, the point itself."""
    to_x, to_beta = lasso.newton(x, beta)
    for i in range(_HALVINGS):
        new_x, new_beta = x + 0.5**i * (to_x - x), beta + 0.5**i * (to_beta - beta)
        new_value = lasso.objective(new_x, new_beta)
        if new_value < value:
            return new_x, new_beta, new_value
    return x, beta, value


@dataclass(frozen=True)
class _Lengths:
    """The lasso of one iterate."""

    problem: ReducedProblem
    Phi: Array
    costs: Array

    @classmethod
    def of(cls, problem: ReducedProblem, iterate: Iterate) -> _Lengths:
        Phi = iterate.signs[:, None] * np.maximum(iterate.neurons @ problem.Z.T, 0.0)
        return cls(problem, Phi, problem.costs(iterate.neurons))

    def objective(self, x: Array, beta: Array) -> float:
        """The objective at factors x."""
        return self.problem.objective(x @ self.Phi + self.problem.linear @ beta, x * self.costs, beta)

    def newton(self, x: Array, beta: Array) -> tuple[Array, Array]:
        """Where the quadratic model at (x, beta) is least."""
        problem, m = self.problem, len(x)
        fit = x @ self.Phi + problem.linear @ beta
        curvature = np.maximum(problem.loss.curvature(fit), _FLOOR * problem.loss.stiffness)
        A = np.vstack([self.Phi, problem.linear.T])
        H = (A * curvature) @ A.T
        H[np.arange(m, len(H)), np.arange(m, len(H))] += problem.ridge
        nu = -problem.loss.gradient(fit)
        gradient = np.concatenate([problem.weight_decay * self.costs, problem.ridge * beta]) - A @ nu
        return _least_quadratic(H, H @ np.concatenate([x, beta]) - gradient, m)


def _least_quadratic(H: Array, b: Array, m: int) -> tuple[Array, Array]:
    """The minimum of 1/2 z' H z - b' z whose first m coordinates are at least zero."""
    scale = np.sqrt(np.diagonal(H))
    scale[scale == 0] = 1.0  # a neuron that is off everywhere
    H, b = H / scale[:, None] / scale + _RAISED * np.eye(len(H)), b / scale
    # In a factor of the whole matrix with the free coordinates first, the last rows are least squares in the others.
    # What elimination would leave of H may have no factor: its rounding grows with the condition of the free part.
    m_free = len(H) - m
    order = np.r_[m : len(H), :m]
    root = scipy.linalg.cholesky(H[np.ix_(order, order)], check_finite=False)
    rhs = scipy.linalg.solve_triangular(root, b[order], trans="T", check_finite=False)
    x, _ = nnls(root[m_free:, m_free:], rhs[m_free:], maxiter=30 * m)
    rest = rhs[:m_free] - root[:m_free, m_free:] @ x
    free = scipy.linalg.solve_triangular(root[:m_free, :m_free], rest, check_finite=False)
    return x / scale[:m], free / scale[m:]
