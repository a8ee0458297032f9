"""Newton systems of the native solver: one block per neuron, coupled by the loss.

    minimise over d = (d_u, d_beta):
    g . d + 1/2 sum_b d_b' M_b d_b + 1/2 |R (A d_u + Q d_beta)|^2 + 1/2 d_beta' diag(ridge) d_beta

A = [s_b diag(c_b) Z]_b (n, m k) is the derivative of the predictions, R the root of the curvature of the loss. The
system is solved in the variables, or, when these outnumber the samples, in the n predictions (Woodbury).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array

T = TypeVar("T")


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
        inverse_root = np.linalg.inv(_roots(self.blocks))
        B = (self.jacobian @ inverse_root.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(n, m * k)
        G = B @ B.T
        G[np.arange(n), np.arange(n)] += 1.0
        factor = _factor(G)
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
    """Solve with a positive semidefinite matrix whose diagonal is raised by rounding, relative to each entry."""
    return np.asarray(scipy.linalg.cho_solve(_factor(H, 1e-14), rhs, check_finite=False))


def _factor(H: Array, raised: float = 0.0) -> tuple[Array, bool]:
    """Cholesky factor of a positive matrix; its diagonal is raised as far as rounding has made it indefinite."""
    factor: tuple[Array, bool] = _raised(partial(scipy.linalg.cho_factor, lower=True, check_finite=False), H, raised)
    return factor


def _roots(blocks: Array) -> Array:
    """Cholesky roots of many positive matrices, raised like `_factor`'s."""
    return _raised(np.linalg.cholesky, blocks, 0.0)


def _raised(factorise: Callable[..., T], H: Array, raised: float) -> T:
    """Factorise H with its diagonal raised relative to each entry: unknowns in very different units suffer alike."""
    diagonal = np.maximum(np.einsum("...ii->...i", H), 1e-300)
    while True:
        try:
            return factorise(H + raised * diagonal[..., None] * np.eye(H.shape[-1]))
        except np.linalg.LinAlgError:
            raised = max(100 * raised, 1e-15)
            if not raised < 1e6:
                raise
