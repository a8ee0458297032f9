"""Minimise the joint objective over a fixed set of neurons, which may slide between cells, shrink to zero and merge.

Letters as in `convexrelu.native.joint`, and `t = U Z^T` pre-activations, `a = V N^T` (m, n): the kinks of samples with
a < 0 are smoothed as for one task (`convexrelu.native.kinks`).

A Newton step solves with

    J^T H J + diag_j [[lam S + K_j, -B_j^T], [-B_j, lam I]],     B_j = sum_i c_ij N_i z_i^T,

H the second derivative of the loss, J the derivative of the predictions, K_j the curvature of the smoothed kinks. At an
optimum each block is positive semidefinite; before, singular values s > 1 of B_j (in the metric of the diagonal blocks)
become 2 - s, so that a direction of negative curvature gets as much positive one. Damping does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.native.group_lasso import solve_positive
from convexrelu.native.joint import JointEvaluation, JointIterate, JointProblem, evaluate
from convexrelu.native.kinks import Kinks

# |a| is capped at this many weight decays per unit row when kinks are smoothed (measured for one task: see `kinks`).
_CAP = 0.1
_GROWTH, _MAX_STIFFNESS = 1.4, 1e3
# Damping (Levenberg and Marquardt) in units of the weight decay: the first, the least, and that up to which a step is
# taken for one of Newton's, after which multipliers may be renewed; tries per step.
_FIRST, _LEAST, _CALM, _TRIES = 1e-2, 1e-7, 0.3, 12
# Curvature of a free bias, in units of the weight decay and the size of the data.
_FLAT = 1e-6
# Neurons smaller than this (squared, relative to the largest) are dropped.
_TINY = 1e-14


@dataclass(frozen=True)
class JointMinimised:
    """Where the method ended, the last stiffness (to go on with) and the number of steps."""

    state: JointEvaluation
    kappa: float
    steps: int


def minimise(
    problem: JointProblem,
    iterate: JointIterate,
    *,
    tol: float,
    max_steps: int,
    kappa: float = 1.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> JointMinimised:
    """Minimise from an iterate by Newton steps on smoothed kinks until its `residual` is at most `tol`.

    Notes
    -----
    A step costs O(n T (m (k + T))^2 + (m (k + T))^3).
    """
    state = evaluate(problem, iterate)
    steps, damping = 0, _FIRST
    while steps < max_steps and state.residual > tol and len(state.iterate.U) and not should_stop():
        iterate, damping, moved = _step(problem, state, kappa, damping)
        state = evaluate(problem, iterate)
        kappa = min(kappa * _GROWTH, _MAX_STIFFNESS) if moved and damping <= _CALM else max(kappa * 0.7, 0.5)
        steps += 1
    return JointMinimised(state, kappa, steps)


def _step(
    problem: JointProblem, state: JointEvaluation, kappa: float, damping: float
) -> tuple[JointIterate, float, bool]:
    """One damped Newton step on the smoothed objective; returns the new iterate, the next damping, and success."""
    model = _Model.of(problem, state, kappa)
    system = model.system()
    for _ in range(_TRIES):
        dU, dV, d_beta, predicted = model.direction(system, damping)
        trial, objective = model.trial(dU, dV, d_beta)
        decrease = model.objective - objective
        rounding = predicted < 1e-13 * abs(model.objective)
        if rounding or decrease >= 0.1 * predicted:
            break
        damping = max(4 * damping, _LEAST)
    else:
        return state.iterate, damping, False
    if damping > _CALM:
        trial = replace(trial, C=np.where(model.kinks.soft, state.iterate.C, trial.C))
    size = problem.costs(trial.U) * row_norms(trial.V)
    turned = np.einsum("jk,jk->j", trial.U, state.iterate.U) <= 0
    calmer = damping / 5 if decrease >= 0.5 * predicted or rounding else damping
    return trial.take((size > _TINY * size.max(initial=0.0)) & ~turned), max(calmer, _LEAST), True


@dataclass(frozen=True)
class _Model:
    """The smoothed objective at one iterate, with its derivatives."""

    problem: JointProblem
    iterate: JointIterate
    kinks: Kinks
    slopes: Array
    features: Array
    N: Array
    F: Array
    objective: float
    g_u: Array
    g_v: Array
    g_beta: Array

    @classmethod
    def of(cls, problem: JointProblem, state: JointEvaluation, kappa: float) -> _Model:
        it, lam, p = state.iterate, problem.weight_decay, problem.n_penalized
        kinks = _kinks(problem, it, it.V @ state.N.T, kappa)
        slopes, features = kinks.activate(it.U @ problem.Z.T)
        F = features.T @ it.V + problem.linear @ it.beta
        N = -problem.loss.gradient(F)
        g_u = -(slopes * (it.V @ N.T)) @ problem.Z
        g_u[:, :p] += lam * it.U[:, :p]
        g_v = lam * it.V - features @ N
        g_beta = problem.ridge[:, None] * it.beta - problem.linear.T @ N
        objective = problem.objective(F, it.U, it.V, it.beta)
        return cls(problem, it, kinks, slopes, features, N, F, objective, g_u, g_v, g_beta)

    def system(self) -> Array:
        """The model's second derivative without damping."""
        (m, k), T = self.iterate.U.shape, self.problem.n_tasks
        J = self._jacobian()
        H = J.T @ J
        index = (np.arange(m)[:, None] * (k + T)) + np.arange(k + T)
        H[index[:, :, None], index[:, None, :]] += self._blocks()
        rest = np.arange(m * (k + T), len(H))
        H[rest, rest] += np.repeat(self.problem.ridge, T)
        return np.asarray(H)

    def direction(self, H: Array, damping: float) -> tuple[Array, Array, Array, float]:
        """The step (m, k), (m, T), (q, T) with `damping` times lam more curvature, and the decrease hoped for."""
        (m, k), T = self.iterate.U.shape, self.problem.n_tasks
        D = m * (k + T)
        gradient = np.concatenate([np.hstack([self.g_u, self.g_v]).ravel(), self.g_beta.ravel()])
        H = H.copy()
        H[range(D), range(D)] += damping * self.problem.weight_decay
        step = -solve_positive(H, gradient)
        predicted = -0.5 * float(gradient @ step)
        own = step[:D].reshape(m, k + T)
        return own[:, :k], own[:, k:], step[D:].reshape(-1, T), predicted

    def _jacobian(self) -> Array:
        """R J (n T, m (k + T) + q T), R the root of the second derivative of the loss."""
        problem, it = self.problem, self.iterate
        (n, k), T, m, q = problem.Z.shape, problem.n_tasks, len(it.U), problem.linear.shape[1]
        values, vectors = np.linalg.eigh(problem.loss.hessian(self.F))
        root = np.sqrt(np.maximum(values, 0.0))[:, :, None] * vectors.transpose(0, 2, 1)
        J = np.zeros((n, T, m, k + T))
        inner = self.slopes.T[:, :, None] * problem.Z[:, None, :]
        J[:, :, :, :k] = (root @ it.V.T)[:, :, :, None] * inner[:, None, :, :]
        J[:, :, :, k:] = root[:, :, None, :] * self.features.T[:, None, :, None]
        linear = (problem.linear[:, None, :, None] * root[:, :, None, :]).reshape(n * T, q * T)
        return np.hstack([J.reshape(n * T, m * (k + T)), linear])

    def _blocks(self) -> Array:
        """Curvature (m, k + T, k + T) of cost, kinks and products of every neuron, made positive definite."""
        problem, it, lam = self.problem, self.iterate, self.problem.weight_decay
        (m, k), T, p = it.U.shape, problem.n_tasks, problem.n_penalized
        metric = np.ones(k)
        metric[p:] = _FLAT / max(float((problem.Z[:, :p] ** 2).sum(axis=1).max(initial=0.0)), 1e-300)
        curvature = self.kinks.curvature(it.V @ self.N.T, self.slopes)
        A = (curvature @ problem.outer).reshape(m, k, k) + lam * np.diag(metric)
        B = (self.slopes @ (self.N[:, :, None] * problem.Z[:, None, :]).reshape(len(problem.Z), -1)).reshape(m, T, k)
        root = np.linalg.cholesky(A)
        white = np.linalg.solve(root, B.transpose(0, 2, 1)) / np.sqrt(lam)
        left, singular, right = np.linalg.svd(white, full_matrices=False)
        off = root @ (left * _tamed(singular)[:, None, :] @ right) * np.sqrt(lam)
        out = np.zeros((m, k + T, k + T))
        out[:, :k, :k], out[:, k:, k:] = A, lam * np.eye(T)
        out[:, :k, k:], out[:, k:, :k] = -off, -off.transpose(0, 2, 1)
        return out

    def trial(self, dU: Array, dV: Array, d_beta: Array) -> tuple[JointIterate, float]:
        """The point after a step, and its smoothed objective."""
        problem, it = self.problem, self.iterate
        U, V, beta = it.U + dU, it.V + dV, it.beta + d_beta
        slopes, features = self.kinks.activate(U @ problem.Z.T)
        F = features.T @ V + problem.linear @ beta
        return JointIterate(U, V, slopes, beta), problem.objective(F, U, V, beta)


def _tamed(singular: Array) -> Array:
    """Singular values s of B_j with 1 - s replaced by its size, as long as that is less than one."""
    return np.asarray(np.maximum(np.where(singular > 1, 2 - singular, singular), 0.0))


def _kinks(problem: JointProblem, it: JointIterate, a: Array, kappa: float) -> Kinks:
    """Smooth the kinks so that a tight row has about `kappa` times the curvature lam of the cost."""
    lam, outer = problem.weight_decay, row_norms(it.V)[:, None]
    soft = a < -1e-14 * np.abs(a).max(initial=0.0)
    size = np.minimum(np.where(soft, -a, 1.0), _CAP * lam * outer * np.sqrt(problem.inverse_squares))
    usable = soft & (size > 0)
    stiffness = kappa * lam * problem.inverse_squares / np.where(usable, size, 1.0)
    return Kinks(usable, it.C, np.where(usable, stiffness, 1.0))
