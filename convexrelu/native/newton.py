"""Newton systems of the native solver: one block per neuron, coupled by the loss.

    minimise over d = (d_u, d_beta):
    g . d + 1/2 sum_b d_b' M_b d_b + 1/2 |R (A d_u + Q d_beta)|^2 + 1/2 d_beta' diag(ridge) d_beta

A = [s_b diag(c_b) Z]_b (n, m k) is the derivative of the predictions, R the root of the curvature of the loss. The
system is solved in the variables, or, when these outnumber the samples, in the n predictions (Woodbury).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array

T = TypeVar("T")
# A positive semidefinite matrix has its diagonal raised by this share before it is factorised.
_RAISED = 1e-14


@dataclass(frozen=True)
class NewtonSystem:
    """The quadratic model of one step; factorised once, for any number of right-hand sides.

    Attributes
    ----------
    blocks : (m, k, k) float64
        M_b, positive definite.
    weights : (m, n) float64
        The diagonal of R diag(s_b c_b) for every neuron.
    Z : (n, k) float64
    linear : (n, q) float64
        R Q.
    ridge : (q,) float64
        Curvature of the penalty on the linear coefficients.
    single : bool
        Whether products over neurons and samples are in single precision, which takes two thirds of the time: steps
        far from the solution need no more.
    """

    blocks: Array
    weights: Array
    Z: Array
    linear: Array
    ridge: Array
    single: bool = False

    def solve(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        """The minimising steps (m, k) and (q,)."""
        if self.blocks.shape[0] * self.blocks.shape[1] <= len(self.Z):
            return self._solve_variables(gradient, linear_gradient)
        return self._solve_predictions(gradient, linear_gradient)

    def _solve_variables(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        rhs = np.concatenate([gradient.ravel(), linear_gradient])
        step = -scipy.linalg.cho_solve(self._variables, rhs, check_finite=False)
        return step[: gradient.size].reshape(gradient.shape), step[gradient.size :]

    @cached_property
    def _variables(self) -> tuple[Array, bool]:
        """Factor of the system in the variables."""
        (m, k, _), n = self.blocks.shape, len(self.Z)
        by_neuron = self.weights.T[:, :, None] * self.Z[:, None, :]
        J = np.hstack([by_neuron.reshape(n, m * k), self.linear])
        H = J.T @ J
        in_blocks = np.arange(m * k).reshape(m, k)
        H[in_blocks[:, :, None], in_blocks[:, None, :]] += self.blocks
        rest = np.arange(m * k, len(H))
        H[rest, rest] += self.ridge
        return _factor(H, _RAISED)

    def _solve_predictions(self, gradient: Array, linear_gradient: Array) -> tuple[Array, Array]:
        inverse_root, B, factor = self._predictions
        scaled = (inverse_root @ gradient[:, :, None]).ravel()
        pushed = (scaled.astype(B.dtype) @ B).astype(float)
        d_beta = self._linear_step(pushed, linear_gradient)
        e = scipy.linalg.cho_solve(factor, self.linear @ d_beta - pushed, check_finite=False)
        back = (scaled + B @ e.astype(B.dtype)).reshape(*gradient.shape, 1)
        return -(inverse_root.transpose(0, 2, 1) @ back)[:, :, 0], d_beta

    @cached_property
    def _predictions(self) -> tuple[Array, Array, tuple[Array, bool]]:
        """Inverse Cholesky roots of the blocks, R A times these, transposed (m k, n), and the factor of its square."""
        (m, k, _), n = self.blocks.shape, len(self.Z)
        dtype = np.float32 if self.single else np.float64
        inverse_root = np.asarray(np.linalg.inv(_roots(self.blocks)), dtype=float)
        by_neuron = (inverse_root.reshape(m * k, k).astype(dtype) @ self.Z.T.astype(dtype)).reshape(m, k, n)
        by_neuron *= self.weights[:, None, :].astype(dtype, copy=False)
        B = by_neuron.reshape(m * k, n)
        G = (B.T @ B).astype(float, copy=False)
        G[np.arange(n), np.arange(n)] += 1.0
        return inverse_root, B, _factor(G)

    @cached_property
    def _schur(self) -> tuple[Array, tuple[Array, bool]]:
        """G^-1 R Q, and the factor of the system left for the linear coefficients when the neurons are eliminated."""
        weighted = scipy.linalg.cho_solve(self._predictions[2], self.linear, check_finite=False)
        return weighted, _factor(self.linear.T @ weighted + np.diag(self.ridge), _RAISED)

    def _linear_step(self, pushed: Array, linear_gradient: Array) -> Array:
        if not len(linear_gradient):
            return linear_gradient
        weighted, factor = self._schur
        return np.asarray(scipy.linalg.cho_solve(factor, weighted.T @ pushed - linear_gradient, check_finite=False))


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
            return factorise(H + raised * diagonal[..., None] * np.eye(H.shape[-1]) if raised else H)
        except np.linalg.LinAlgError:
            raised = max(100 * raised, 1e-15)
            if not raised < 1e6:
                raise
