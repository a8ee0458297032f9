"""Minimise the joint objective over all weights of given neurons by L-BFGS: `slide`.

Letters as in `convexrelu.native.joint`; `t = Z U^T` (n, m) pre-activations. The objective is that of the network
itself. A step costs two products of (n x m) matrices with Z and with V where Newton's (`joint_minimise`) factors a
matrix of order m (k + T): with hundreds of neurons it is by far the faster way down. It ends where steps get short, at
kinks too, and proves nothing.

Optimal neurons sit on the kinks of many samples, where L-BFGS gets stuck early. With a `softness` the kinks are
rounded, relu(t) = (t + h)^2 / 4h for |t| < h: it then gets to far lower objectives, also of the network itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult
from scipy.optimize import minimize as scipy_minimize

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.native.joint import JointIterate, JointProblem

Floats = NDArray[np.floating[Any]]
"""Of single or double precision."""

# Pairs that L-BFGS remembers, and the steps over which progress is judged: single ones are uneven.
_MEMORY, _WINDOW = 10, 40
# Neurons smaller than this (squared, relative to the largest) are dropped: nothing brings them back.
_TINY = 1e-8


def slide(
    problem: JointProblem,
    iterate: JointIterate,
    *,
    rate: float,
    softness: float = 0.0,
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
    softness : float
        Half the width h of the rounded kinks, in units of each neuron's cost times a typical row's norm; 0 for relu.
    max_steps : int
    should_stop : callable
        Asked after every step.
    """
    shapes = iterate.U.shape, iterate.V.shape, iterate.beta.shape
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    progress = _Progress(rate, should_stop)
    h = softness * problem.costs(iterate.U) * problem.row_size
    np.maximum(h, 1e-9 * h.max(initial=0.0), out=h)
    # Rounded kinks are a rough model anyway: single precision takes half the time.
    Z: Floats = problem.Z.astype(np.float32) if softness else problem.Z

    def parts(theta: Array) -> list[Array]:
        return [part.reshape(shape) for part, shape in zip(np.split(theta, ends[:-1]), shapes, strict=True)]

    def value(theta: Array) -> tuple[float, Array]:
        objective, gradients = _derivatives(problem, Z, h, *parts(theta))
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


def _derivatives(
    problem: JointProblem, Z: Floats, h: Array, U: Array, V: Array, beta: Array
) -> tuple[float, tuple[Array, Array, Array]]:
    """The objective with kinks of half width h (m,), and its derivatives in U, V and beta, to the precision of Z."""
    lam, p, kind = problem.weight_decay, problem.n_penalized, Z.dtype
    outputs = V.astype(kind)
    slopes, features = _activate(Z @ U.astype(kind).T, h.astype(kind))
    F = (features @ outputs).astype(float) + problem.linear @ beta
    G = problem.loss.gradient(F)
    rough = G.astype(kind)
    inner = rough @ outputs.T
    inner *= slopes
    g_u = (inner.T @ Z).astype(float)
    g_u[:, :p] += lam * U[:, :p]
    g_v = features.T @ rough + lam * V
    g_beta = problem.linear.T @ G + problem.ridge[:, None] * beta
    return problem.objective(F, U, V, beta), (g_u, g_v, g_beta)


def _activate(t: Floats, h: Floats) -> tuple[Floats | BoolArray, Floats]:
    """Slopes and values (n, m) of relu with kinks of half width h (m,); `t` is overwritten."""
    if not h.any():
        return t > 0, np.maximum(t, 0)
    slopes = t / (2 * h)
    slopes += 0.5
    np.clip(slopes, 0, 1, out=slopes)
    # h slopes^2 where rounded, t or 0 elsewhere, without masks.
    values = slopes - slopes**2
    values *= h
    t *= slopes
    values += t
    return slopes, values
