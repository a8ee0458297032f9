"""Newton systems of the native solver: one block per neuron, coupled by the loss.

    minimise over d = (d_u, d_beta):
    g . d + 1/2 sum_b d_b' M_b d_b + 1/2 |R (A d_u + Q d_beta)|^2 + 1/2 d_beta' diag(ridge) d_beta

A = [s_b diag(c_b) Z]_b (n, m k) is the derivative of the predictions, R the root of the curvature of the loss. The
system is solved in the variables, or, when these outnumber the samples, in the n predictions (Woodbury).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array


@dataclass(frozen=True)
class NewtonSystem:
    """The quadratic model of one step.

    Attributes
    ----------
    blocks : (m, k, k) float64
        M_b, positive definite.
    jacobian : (m, n, k) float64
        R A, one slice per neuron.
    linear : (n, q) float64
        R Q.
    ridge : (q,) float64
        Curvature of the penalty on the linear coefficients.
    """

    blocks: Array
    jacobian: Array
    linear: Array
    ridge: Array

    def solve(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        """The minimising steps (m, k) and (q,)."""
        m, n, k = self.jacobian.shape
        if m * k <= n:
            return self._solve_variables(gradient, linear_gradient)
        return self._solve_predictions(gradient, linear_gradient)

    def _solve_variables(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        m, n, k = self.jacobian.shape
        J = np.hstack([self.jacobian.transpose(1, 0, 2).reshape(n, m * k), self.linear])
        H = J.T @ J
        in_blocks = np.arange(m * k).reshape(m, k)
        H[in_blocks[:, :, None], in_blocks[:, None, :]] += self.blocks
        rest = np.arange(m * k, len(H))
        H[rest, rest] += self.ridge
        step = -_solve_positive(H, np.concatenate([gradient.ravel(), linear_gradient]))
        return step[: m * k].reshape(m, k), step[m * k :]

    def _solve_predictions(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        m, n, k = self.jacobian.shape
        inverse_root = np.linalg.inv(np.linalg.cholesky(self.blocks))
        B = (self.jacobian @ inverse_root.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(n, m * k)
        G = B @ B.T
        G[np.arange(n), np.arange(n)] += 1.0
        factor = scipy.linalg.cho_factor(G, lower=True, overwrite_a=True, check_finite=False)
        scaled = (inverse_root @ gradient[:, :, None]).ravel()
        pushed = B @ scaled
        d_beta = self._linear_step(factor, pushed, linear_gradient)
        e = scipy.linalg.cho_solve(factor, self.linear @ d_beta - pushed, check_finite=False)
        back = (scaled + B.T @ e).reshape(m, k, 1)
        return -(inverse_root.transpose(0, 2, 1) @ back)[:, :, 0], d_beta

    def _linear_step(self, factor: tuple[Array, bool], pushed: Array, linear_gradient: Array) -> Array:
        """The step of the linear coefficients, from the Schur complement of the neurons."""
        if not len(linear_gradient):
            return linear_gradient
        weighted = scipy.linalg.cho_solve(factor, self.linear, check_finite=False)
        schur = self.linear.T @ weighted + np.diag(self.ridge)
        return _solve_positive(schur, weighted.T @ pushed - linear_gradient)


def _solve_positive(H: Array, rhs: Array) -> Array:
    """Solve with a positive semidefinite matrix, raised by a little of its mean diagonal."""
    H = H.copy()
    diagonal = np.arange(len(H))
    raised = 1e-13 * max(float(np.trace(H)) / max(len(H), 1), 1e-300)
    for _ in range(8):
        H[diagonal, diagonal] += raised
        try:
            factor = scipy.linalg.cho_factor(H, check_finite=False)
            return np.asarray(scipy.linalg.cho_solve(factor, rhs, check_finite=False))
        except np.linalg.LinAlgError:
            raised *= 100
    return np.asarray(np.linalg.lstsq(H, rhs, rcond=None)[0])
