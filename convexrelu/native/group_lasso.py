"""Output weights of fixed neurons: a group lasso, solved by Newton's method on the groups that are not zero.

Letters: `Phi` (m, n) activations of neurons of cost one, `W` (m, T) their output weights, `Q` (n, q) linear columns
with coefficients `beta` (q, T), `N` (n, T) = -dL/dF, `lam` weight decay.

    minimise  L(Phi^T W + Q beta) + lam sum_j |w_j| + (1/2) sum_a ridge_a |beta_a|^2

A group that would turn round is set to zero; a zero group joins when |Phi_j N| > lam (theory C.3, the master problem).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.native.joint import JointProblem, refit

# Damping in units of the weight decay over a unit of weight: the least that is not zero, and where to give up.
_LEAST, _LARGEST = 1e-4, 1e9

# Changes of the objective below this, relative, are rounding: the gradient knows better.
_ROUNDING = 1e-13

# Of the slope along a Newton step: a decrease of this share or more shows no curvature, of which half is left where the
# model is right. How often such a step is doubled.
_STRAIGHT, _DOUBLINGS = 0.9, 40


def solve_group_lasso(
    problem: JointProblem,
    Phi: Array,
    W: Array,
    beta: Array,
    tol: float,
    max_steps: int = 100,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Array, Array]:
    """The weights (m, T) and coefficients (q, T), from a first guess, to a relative stationarity of `tol`."""
    point, damping = _Point.at(problem, Phi, W, beta), 0.0
    for _ in range(max_steps):
        own, outside = point.residuals()
        if max(own, outside) <= tol or should_stop():
            break
        if outside > own:
            moved = point.joined()
        else:
            moved, damping = point.newton(damping)
        if moved is point or not moved.objective <= point.objective * (1 + _ROUNDING):
            break
        point = moved
    return point.W, point.beta


@dataclass(frozen=True)
class _Point:
    """Weights with what follows from them."""

    problem: JointProblem
    Phi: Array
    W: Array
    beta: Array
    F: Array
    N: Array
    objective: float

    @classmethod
    def at(cls, problem: JointProblem, Phi: Array, W: Array, beta: Array) -> _Point:
        F = Phi.T @ W + problem.linear @ beta
        value = problem.loss.value(F) + problem.weight_decay * float(row_norms(W).sum())
        value += 0.5 * float(problem.ridge @ (beta**2).sum(axis=1))
        return cls(problem, Phi, W, beta, F, -problem.loss.gradient(F), value)

    @property
    def active(self) -> BoolArray:
        return np.asarray(self.W.any(axis=1))

    def residuals(self) -> tuple[float, float]:
        """Stationarity of the groups that are not zero, and violation by those that are; in units of lam."""
        lam, active = self.problem.weight_decay, self.active
        correlation = self.Phi @ self.N
        unit = self.W[active] / row_norms(self.W[active])[:, None]
        own = row_norms(correlation[active] - lam * unit).max(initial=0.0) / lam
        linear = self.problem.linear.T @ self.N - self.problem.ridge[:, None] * self.beta
        size = np.abs(self.problem.linear).max(initial=0.0) * len(self.F) * max(np.abs(self.N).max(initial=0.0), 1e-300)
        own = max(own, float(np.abs(linear).max(initial=0.0) / max(size, 1e-300)) if linear.size else 0.0)
        outside = row_norms(correlation[~active]).max(initial=0.0) / lam - 1
        return float(own), float(outside)

    def joined(self) -> _Point:
        """The worst zero groups joined, with lengths that lower the objective along their joint direction."""
        lam = self.problem.weight_decay
        correlation = self.Phi @ self.N
        norms = np.where(self.active, 0.0, row_norms(correlation))
        rows = norms > lam + 0.3 * (norms.max(initial=0.0) - lam)
        rows &= norms > lam
        if not rows.any():
            return self
        excess, V, Phi = norms[rows] - lam, correlation[rows] / norms[rows, None], self.Phi[rows]
        lengths = joint_lengths(self.problem, self.F, Phi, V, excess)
        return min((self._with(rows, V * length[:, None]) for length in lengths), key=lambda point: point.objective)

    def _with(self, rows: BoolArray, weights: Array) -> _Point:
        """Other weights for some groups, and the linear coefficients that go with them."""
        W = self.W.copy()
        W[rows] = weights
        return _Point.at(self.problem, self.Phi, W, refit(self.problem, self.Phi.T @ W, self.beta)[0])

    def newton(self, damping: float) -> tuple[_Point, float]:
        """A damped Newton step on the groups that are not zero; and the damping for the next."""
        H, gradient = self._model()
        trial = self
        while damping < _LARGEST:
            damped = H + damping * self.problem.weight_decay * np.eye(len(H))
            step = -solve_positive(damped, gradient.ravel()).reshape(gradient.shape)
            trial = self._moved(step)
            hoped = -float((gradient * step).sum())
            decrease = self.objective - trial.objective
            if decrease >= 0.1 * hoped or max(hoped, abs(decrease)) <= _ROUNDING * self.objective:
                if decrease >= _STRAIGHT * hoped:
                    trial = self._extended(step, trial)
                return trial, damping / 10 if damping > _LEAST else 0.0
            damping = max(10 * damping, _LEAST)
        return trial, _LEAST

    def _moved(self, step: Array) -> _Point:
        """After a step of the groups that are not zero and of the linear coefficients."""
        active = self.active
        W = self.W.copy()
        W[active] += step[: int(active.sum())]
        # A group that turns round on the way is zero.
        W[np.einsum("jt,jt->j", W, self.W) <= 0] = 0.0
        return _Point.at(self.problem, self.Phi, W, self.beta + step[int(active.sum()) :])

    def _extended(self, step: Array, trial: _Point) -> _Point:
        """The step doubled while that helps.

        Groups whose fits depend on each other can be traded for next to nothing; along such a trade the model has no
        curvature but what rounding and damping add, which makes Newton's step far too short.
        """
        for _ in range(_DOUBLINGS):
            step = 2 * step
            further = self._moved(step)
            if not further.objective < trial.objective:
                break
            trial = further
        return trial

    def _model(self) -> tuple[Array, Array]:
        """Second derivative and gradient in the groups that are not zero and the linear coefficients."""
        problem, lam, active = self.problem, self.problem.weight_decay, self.active
        W, Phi, T = self.W[active], self.Phi[active], self.problem.n_tasks
        A = np.vstack([Phi, problem.linear.T])
        width = len(A) * T
        hessian = problem.loss.hessian(self.F)
        H = np.einsum("ai,ist,bi->asbt", A, hessian, A, optimize=True).reshape(width, width)
        norms = row_norms(W)
        unit = W / norms[:, None]
        sphere = (lam / norms)[:, None, None] * (np.eye(T) - unit[:, :, None] * unit[:, None, :])
        index = np.arange(len(W) * T).reshape(-1, T)
        H[index[:, :, None], index[:, None, :]] += sphere
        rest = np.arange(len(W) * T, width)
        H[rest, rest] += np.repeat(problem.ridge, T)
        gradient = -A @ self.N
        gradient[: len(W)] += lam * unit
        gradient[len(W) :] += problem.ridge[:, None] * self.beta
        return H, gradient


def joint_lengths(problem: JointProblem, F: Array, Phi: Array, V: Array, excess: Array) -> list[Array]:
    """Lengths (m,) at which neurons of unit output directions V, with |Phi_j N| = lam + excess_j, may join together.

    Where the loss is straight here and there its curvature here says too little: a second guess is that it starts soon.
    """
    hessian = np.array(problem.loss.hessian(F))
    guesses = [_lengths(hessian, Phi, V, excess)]
    diagonal = np.einsum("itt->it", hessian)
    if not diagonal.all():
        diagonal += np.where(diagonal == 0, problem.loss.stiffness[:, None], 0.0)
        guesses.append(_lengths(hessian, Phi, V, excess))
    return [lengths for lengths in guesses if np.isfinite(lengths).all()]


def _lengths(hessian: Array, Phi: Array, V: Array, excess: Array) -> Array:
    """The minimum along each neuron, then along them all, of the quadratic model; not finite where it has none."""
    bent = np.einsum("jt,itr,jr->ji", V, hessian, V, optimize=True)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        lengths = excess / (Phi**2 * bent).sum(axis=1)
        joint = (Phi * lengths[:, None]).T @ V
        return np.asarray(lengths * ((lengths @ excess) / np.einsum("it,itr,ir->", joint, hessian, joint)))


def solve_positive(H: Array, rhs: Array) -> Array:
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
