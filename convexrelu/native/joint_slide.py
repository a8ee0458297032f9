"""Minimise the joint objective over all weights of given neurons by L-BFGS: `slide`.

Letters as in `convexrelu.native.joint`; `t = Z U^T` (n, m) pre-activations. The objective is that of the network
itself. A step costs two products of (n x m) matrices with Z and with V where Newton's (`joint_minimise`) factors a
matrix of order m (k + T): with hundreds of neurons it is by far the faster way down. It ends where steps get short, at
kinks too, and proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import OptimizeResult
from scipy.optimize import minimize as scipy_minimize

from convexrelu.arrays import Array, row_norms
from convexrelu.native.joint import JointIterate, JointProblem

# Pairs that L-BFGS remembers, and the steps over which progress is judged: single ones are uneven.
_MEMORY, _WINDOW = 10, 40
# Neurons smaller than this (squared, relative to the largest) are dropped: nothing brings them back.
_TINY = 1e-8


def slide(
    problem: JointProblem,
    iterate: JointIterate,
    *,
    rate: float,
    max_steps: int = 3000,
    should_stop: Callable[[], bool] = lambda: False,
) -> JointIterate:
    """Slide from an iterate until a step lowers the objective, on average, by less than `rate` relative.

    Parameters
    ----------
    problem : JointProblem
    iterate : JointIterate
        The start; neurons without effect stay without.
    rate : float
        Relative decrease of a step below which to stop.
    max_steps : int
    should_stop : callable
        Asked after every step.
    """
    shapes = iterate.U.shape, iterate.V.shape, iterate.beta.shape
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    progress = _Progress(rate, should_stop)

    def parts(theta: Array) -> list[Array]:
        return [part.reshape(shape) for part, shape in zip(np.split(theta, ends[:-1]), shapes, strict=True)]

    def value(theta: Array) -> tuple[float, Array]:
        objective, gradients = _derivatives(problem, *parts(theta))
        return objective, np.concatenate([g.ravel() for g in gradients])

    start = np.concatenate([iterate.U.ravel(), iterate.V.ravel(), iterate.beta.ravel()])
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    done = scipy_minimize(value, start, jac=True, method="L-BFGS-B", callback=progress, options=options)
    U, V, beta = parts(np.asarray(done.x))
    size = problem.costs(U) * row_norms(V)
    alive = size > _TINY * size.max(initial=0.0)
    slopes = (U[alive] @ problem.Z.T > 0).astype(float)
    return JointIterate(U[alive], V[alive], slopes, beta)


class _Progress:
    """The callback of L-BFGS that ends it."""

    def __init__(self, rate: float, should_stop: Callable[[], bool]) -> None:
        self.rate, self.should_stop = rate, should_stop
        self.steps, self.last = 0, np.inf

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        self.steps += 1
        value = float(intermediate_result.fun)
        if self.should_stop():
            raise StopIteration
        if self.steps % _WINDOW == 0:
            if self.last - value <= _WINDOW * self.rate * abs(value):
                raise StopIteration
            self.last = value


def _derivatives(problem: JointProblem, U: Array, V: Array, beta: Array) -> tuple[float, tuple[Array, Array, Array]]:
    """The objective and its derivatives in U, V and beta."""
    lam, p = problem.weight_decay, problem.n_penalized
    t = problem.Z @ U.T
    features = np.maximum(t, 0.0)
    F = features @ V + problem.linear @ beta
    G = problem.loss.gradient(F)
    inner = G @ V.T
    inner *= t > 0
    g_u = inner.T @ problem.Z
    g_u[:, :p] += lam * U[:, :p]
    g_v = features.T @ G + lam * V
    g_beta = problem.linear.T @ G + problem.ridge[:, None] * beta
    return problem.objective(F, U, V, beta), (g_u, g_v, g_beta)
