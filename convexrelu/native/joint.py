"""The training problem of several tasks in reduced coordinates, and the state of its solver.

Letters: `Z` (n, k) reduced hidden data, `p` penalised leading coordinates, `U` (m, k) neurons of cost `|S u_j|`, `V`
(m, T) their output weights, `C` (m, n) slopes of relu at the pre-activations, `Q = [free, penalized]` linear columns
with coefficients `beta` (q, T), `N` (n, T) dual variable, `lam` weight decay. The objective is

    L(F) + (lam/2) sum_j (|S u_j|^2 + |v_j|^2) + (lam/2) |beta_penalized|^2,     F = relu(Z U^T) V + Q beta.

It is not convex; its stationary points at which no neuron outside improves are optimal all the same (theory C.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.linear_fit import SmoothFit
from convexrelu.losses import DataLoss


@dataclass(frozen=True)
class JointProblem:
    """A problem of several outputs in reduced coordinates; see `convexrelu.native.reduced.ReducedProblem`."""

    Z: Array
    n_penalized: int
    weight_decay: float
    loss: DataLoss
    free: Array
    penalized: Array

    @cached_property
    def linear(self) -> Array:
        """Q (n, q)."""
        return np.hstack([self.free, self.penalized])

    @cached_property
    def ridge(self) -> Array:
        """Curvature (q,) of the penalty on the rows of beta."""
        return np.concatenate([np.zeros(self.free.shape[1]), np.full(self.penalized.shape[1], self.weight_decay)])

    @cached_property
    def outer(self) -> Array:
        """Outer products of the rows of Z (n, k^2)."""
        return (self.Z[:, :, None] * self.Z[:, None, :]).reshape(len(self.Z), -1)

    @cached_property
    def inverse_squares(self) -> Array:
        """1 / |z_i|^2, zero for zero rows."""
        squares = np.einsum("ij,ij->i", self.Z, self.Z)
        return np.where(squares > 0, 1 / np.where(squares > 0, squares, 1), 0.0)

    @cached_property
    def row_size(self) -> float:
        """The root mean square of |S z_i|."""
        return float(np.sqrt((self.Z[:, : self.n_penalized] ** 2).sum() / len(self.Z)))

    @property
    def n_tasks(self) -> int:
        """T."""
        return int(self.loss.Y.shape[1])

    def costs(self, U: Array) -> Array:
        """|S u_j| (m,)."""
        return row_norms(U[:, : self.n_penalized])

    def objective(self, F: Array, U: Array, V: Array, beta: Array) -> float:
        """The objective of predictions and weights, as they are scaled."""
        squares = float(np.sum(U[:, : self.n_penalized] ** 2) + np.sum(V**2))
        return self.loss.value(F) + 0.5 * self.weight_decay * squares + 0.5 * float(self.ridge @ (beta**2).sum(axis=1))


@dataclass(frozen=True)
class JointIterate:
    """A network: neurons U (m, k), outputs V (m, T), slopes C (m, n), linear coefficients beta (q, T)."""

    U: Array
    V: Array
    C: Array
    beta: Array

    @classmethod
    def of(cls, problem: JointProblem, U: Array, V: Array) -> JointIterate:
        """The network of some neurons, with the slopes of their patterns; those without effect are dropped."""
        alive = (problem.costs(U) > 0) & (row_norms(V) > 0)
        slopes = (U[alive] @ problem.Z.T > 0).astype(float)
        return cls(U[alive], V[alive], slopes, np.zeros((problem.linear.shape[1], problem.n_tasks)))

    @classmethod
    def empty(cls, problem: JointProblem) -> JointIterate:
        """The network without neurons."""
        return cls.of(problem, np.zeros((0, problem.Z.shape[1])), np.zeros((0, problem.n_tasks)))

    def take(self, rows: BoolArray) -> JointIterate:
        """The network of some of the neurons."""
        return replace(self, U=self.U[rows], V=self.V[rows], C=self.C[rows])

    def joined(self, U: Array, V: Array, C: Array) -> JointIterate:
        """The network with further neurons."""
        return replace(self, U=np.vstack([self.U, U]), V=np.vstack([self.V, V]), C=np.vstack([self.C, C]))

    def balanced(self, problem: JointProblem) -> JointIterate:
        """The same function with |S u_j| = |v_j|."""
        inner, outer = problem.costs(self.U), row_norms(self.V)
        alive = (inner > 0) & (outer > 0)
        it = self if alive.all() else self.take(alive)
        scale = (np.sqrt(outer[alive]) / np.sqrt(inner[alive]))[:, None]
        return replace(it, U=it.U * scale, V=it.V / scale)

    def merged(self, problem: JointProblem, apart: float) -> JointIterate:
        """Neurons whose directions differ by less than `apart` as unit vectors become one: that of the largest."""
        it = self.balanced(problem)
        if not len(it.U):
            return it
        size = row_norms(it.U)
        unit = it.U / size[:, None]
        order = np.argsort(-size, kind="stable")
        leader = np.full(len(unit), -1)
        for j in order:
            if leader[j] < 0:
                leader[(row_norms(unit - unit[j]) <= apart) & (leader < 0)] = j
        V = np.zeros_like(it.V)
        np.add.at(V, leader, it.V * (size / size[leader])[:, None])
        return replace(it, V=V).take(leader == np.arange(len(unit))).balanced(problem)


@dataclass(frozen=True)
class JointEvaluation:
    """What is true of a network.

    Attributes
    ----------
    iterate : JointIterate
        The network, balanced, its linear coefficients refitted.
    objective : float
    residual : float
        Largest derivative with respect to a neuron or its output weights, in units of lam times their norm.
    N : (n, T) float64
        -dL/dF, orthogonal to the free columns up to rounding.
    F : (n, T) float64
        Predictions.
    """

    iterate: JointIterate
    objective: float
    residual: float
    N: Array = field(repr=False)
    F: Array = field(repr=False)


def evaluate(problem: JointProblem, iterate: JointIterate) -> JointEvaluation:
    """Balance, refit the linear part and evaluate a network."""
    it = iterate.balanced(problem)
    t = it.U @ problem.Z.T
    features = np.maximum(t, 0.0)
    beta, F = refit(problem, features.T @ it.V, it.beta)
    N = -problem.loss.gradient(F)
    it = replace(it, beta=beta)
    residual = _residual(problem, it, t, features, N)
    return JointEvaluation(it, problem.objective(F, it.U, it.V, beta), residual, N, F)


def _residual(problem: JointProblem, it: JointIterate, t: Array, features: Array, N: Array) -> float:
    lam, p = problem.weight_decay, problem.n_penalized
    if not len(it.U):
        return 0.0
    a = it.V @ N.T
    g_u = (np.where(a < 0, it.C, t > 0) * a) @ problem.Z
    g_u[:, :p] -= lam * it.U[:, :p]
    # A free bias is measured against the size of the data: its derivative is that of the shift.
    g_u[:, p:] *= float(row_norms(problem.Z[:, :p]).max(initial=0.0))
    g_v = features @ N - lam * it.V
    worst = np.maximum(row_norms(g_u), row_norms(g_v)) / (lam * problem.costs(it.U))
    return float(worst.max())


def refit(problem: JointProblem, hidden: Array, beta: Array) -> tuple[Array, Array]:
    """Minimise over the linear coefficients, until N is orthogonal to the free columns up to rounding."""
    if problem.linear.shape[1]:
        beta = SmoothFit(problem.loss, problem.linear, problem.ridge, hidden).minimise(beta)
    return beta, hidden + problem.linear @ beta
