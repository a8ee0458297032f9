"""Slide neurons towards a local minimum with a limited-memory quasi-Newton method: cheap steps while far from it.

Letters as in `convexrelu.native.reduced`, and `W` (m, k), `v` (m,) with u_b = v_b W_b: in these the objective has no
norm in it,

    L(f) + (lam/2) sum_b (|S W_b|^2 + v_b^2) + (lam/2) |beta_penalized|^2,     f = sum_b s_b v_b relu(Z W_b) + Q beta,

and at a minimum |S W_b| = |v_b|. The kinks are not smoothed: the method stops where they begin to matter.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from convexrelu.arrays import Array
from convexrelu.native.reduced import Iterate, ReducedProblem

# Least relative decrease of a step.
_ENOUGH = 1e-9


def slide(problem: ReducedProblem, iterate: Iterate, max_steps: int) -> Iterate:
    """The network after some steps of L-BFGS (R. Byrd, P. Lu, J. Nocedal and C. Zhu, SIAM J. Sci. Comput. 1995)."""
    (m, k), signs, lam = iterate.neurons.shape, iterate.signs, problem.weight_decay
    if not m:
        return iterate
    v = np.sqrt(problem.costs(iterate.neurons))
    rows, decay = np.ascontiguousarray(problem.Z.T), np.where(np.arange(k) < problem.n_penalized, lam, 0.0)
    # Linear columns are given the size of the largest activations, and the objective that of one.
    sizes = np.linalg.norm(problem.linear, axis=0)
    largest = float(np.linalg.norm(np.maximum(iterate.neurons @ rows, 0.0) / v[:, None], axis=1).max())
    scale = np.where(sizes > 0, largest / np.where(sizes > 0, sizes, 1.0), 1.0)
    unit = 1.0

    def split(x: Array) -> tuple[Array, Array, Array]:
        return x[: m * k].reshape(m, k), x[m * k : m * k + m], scale * x[m * k + m :]

    def objective(x: Array) -> tuple[float, Array]:
        W, v, beta = split(x)
        t = W @ rows
        on = t > 0
        activations = t * on
        f = (signs * v) @ activations + problem.linear @ beta
        nu = -problem.loss.gradient(f)
        value = problem.loss.value(f) + 0.5 * (lam * (v @ v) + np.sum(decay * W**2) + problem.ridge @ beta**2)
        d_W = decay * W - (signs * v)[:, None] * ((on * nu) @ problem.Z)
        d_beta = problem.ridge * beta - problem.linear.T @ nu
        gradient = np.concatenate([d_W.ravel(), lam * v - signs * (activations @ nu), scale * d_beta])
        return float(value) / unit, gradient / unit

    x = np.concatenate([(iterate.neurons / v[:, None]).ravel(), v, iterate.beta / scale])
    unit = max(abs(objective(x)[0]), 1e-300)
    options = {"maxiter": max_steps, "maxfun": 2 * max_steps, "ftol": _ENOUGH, "gtol": 0.0}
    W, v, _ = split(minimize(objective, x, jac=True, method="L-BFGS-B", options=options).x)
    return Iterate.of(problem, W * np.abs(v)[:, None], signs * np.sign(v))
