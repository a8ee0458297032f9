"""The training problem in reduced coordinates, as plain arrays, and the state of the native solver.

Letters: `Z` (n, k) reduced hidden data, `p` penalised leading coordinates, `u_b` (k,) neurons of sign `s_b` and cost
`|S u_b|`, `Q = [free, penalized]` linear columns with coefficients `beta`, `nu` (n,) dual variable, `c` (m, n) slopes
of relu at the pre-activations, `lam` weight decay. The objective is

    L(f) + lam sum_b |S u_b| + (lam/2) |beta_penalized|^2,     f = sum_b s_b relu(Z u_b) + Q beta.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.linear_fit import SmoothFit
from convexrelu.losses import DataLoss


@dataclass(frozen=True)
class ReducedProblem:
    """A problem of one output in reduced coordinates.

    Parameters
    ----------
    Z : (n, k) float64
        Hidden data. With a free bias the last column is ones.
    n_penalized : int
        k, or k - 1 with a free bias; `free` must then contain the constant.
    weight_decay : float
        lam > 0.
    loss : DataLoss
        Smooth, with targets and sample weights inside.
    free, penalized : (n, q) float64
        Linear columns (output bias, skip) without penalty, and with (lam/2) times the squared norm.
    """

    Z: Array
    n_penalized: int
    weight_decay: float
    loss: DataLoss
    free: Array
    penalized: Array

    @property
    def has_free_bias(self) -> bool:
        """Whether the last coordinate of a neuron is a bias without cost."""
        return bool(self.n_penalized < self.Z.shape[1])

    @cached_property
    def linear(self) -> Array:
        """Q (n, q)."""
        return np.hstack([self.free, self.penalized])

    @cached_property
    def ridge(self) -> Array:
        """Curvature of the penalty on each coefficient of Q."""
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
    def radius(self) -> float:
        """Largest norm of the penalised part of a row: optimal free biases are at most this times the cost."""
        return float(np.linalg.norm(self.Z[:, : self.n_penalized], axis=1).max(initial=0.0))

    @cached_property
    def constant(self) -> Array:
        """Coefficients of Q that give the constant one (only used with a free bias)."""
        return np.asarray(np.linalg.lstsq(self.linear, np.ones(len(self.Z)), rcond=None)[0])

    def costs(self, neurons: Array) -> Array:
        """|S u_b| (m,)."""
        part = neurons[:, : self.n_penalized]
        return np.asarray(np.sqrt(np.einsum("bj,bj->b", part, part)))

    def directions(self, neurons: Array, costs: Array) -> Array:
        """S u_b / |S u_b| (m, k), zero in the free bias."""
        unit = neurons / np.where(costs > 0, costs, 1.0)[:, None]
        unit[:, self.n_penalized :] = 0.0
        return np.asarray(unit)

    def objective(self, f: Array, costs: Array, beta: Array) -> float:
        """The objective of predictions, costs and linear coefficients."""
        return self.loss.value(f) + self.weight_decay * float(costs.sum()) + 0.5 * float(self.ridge @ beta**2)


@dataclass(frozen=True)
class Iterate:
    """A network: neurons (m, k), signs (m,), slopes at the kinks (m, n) and linear coefficients (q,)."""

    neurons: Array
    signs: Array
    slopes: Array
    beta: Array

    @classmethod
    def empty(cls, problem: ReducedProblem) -> Iterate:
        """The network without neurons."""
        n, k = problem.Z.shape
        return cls(np.zeros((0, k)), np.zeros(0), np.zeros((0, n)), np.zeros(problem.linear.shape[1]))

    @classmethod
    def of(cls, problem: ReducedProblem, neurons: Array, signs: Array) -> Iterate:
        """The network of some neurons, with the slopes of their patterns; zero neurons are dropped."""
        alive = problem.costs(neurons) > 0
        slopes = (neurons[alive] @ problem.Z.T > 0).astype(float)
        return cls(neurons[alive], signs[alive], slopes, np.zeros(problem.linear.shape[1]))

    def take(self, rows: BoolArray) -> Iterate:
        """The network of some of the neurons."""
        return replace(self, neurons=self.neurons[rows], signs=self.signs[rows], slopes=self.slopes[rows])

    def joined(self, neurons: Array, signs: Array, slopes: Array) -> Iterate:
        """The network with further neurons."""
        return replace(
            self,
            neurons=np.vstack([self.neurons, neurons]),
            signs=np.concatenate([self.signs, signs]),
            slopes=np.vstack([self.slopes, slopes]),
        )


@dataclass(frozen=True)
class Evaluation:
    """What is true of a network: its objective, how stationary it is, and its dual variable.

    Attributes
    ----------
    iterate : Iterate
        The network, its linear coefficients refitted.
    objective : float
        The non-convex objective.
    residual : float
        max_b |q_b - lam S u_b / |S u_b|| / lam, where q_b is the projected gradient of neuron b: stationarity.
    nu : (n,) float64
        -dL/df, orthogonal to the free columns up to rounding.
    fit : (n,) float64
        Predictions.
    """

    iterate: Iterate
    objective: float
    residual: float
    nu: Array = field(repr=False)
    fit: Array = field(repr=False)


def evaluate(problem: ReducedProblem, iterate: Iterate) -> Evaluation:
    """Refit the linear part and evaluate a network.

    Notes
    -----
    Write a = s nu. For a pattern D that agrees with the neuron's bits wherever a > 0, and slopes c in [0, 1] where
    a < 0, q = Z'(c a) is Z' D a plus a combination of rows of the cone K u >= 0 with non-negative weights: its norm
    bounds that of the projection of Z' D a on the cone (theory B.1), whatever the slopes. Good ones make it tight.
    """
    t = iterate.neurons @ problem.Z.T
    costs = problem.costs(iterate.neurons)
    hidden = iterate.signs @ np.maximum(t, 0)
    beta, fit = _refit(problem, hidden, iterate.beta)
    nu = -problem.loss.gradient(fit)
    a = iterate.signs[:, None] * nu
    q = (np.where(a < 0, iterate.slopes, t > 0) * a) @ problem.Z
    residual = _residual(problem, iterate.neurons, costs, q)
    return Evaluation(replace(iterate, beta=beta), problem.objective(fit, costs, beta), residual, nu, fit)


def gap_beyond(problem: ReducedProblem, state: Evaluation, correlation: float) -> float:
    """Relative gap of a state's dual variable if no neuron at all has a larger correlation with it than this one."""
    scaled = state.nu / max(correlation / problem.weight_decay, 1.0)
    penalty = float(((problem.penalized.T @ scaled) ** 2).sum()) / (2 * problem.weight_decay)
    return (state.objective - problem.loss.dual_value(scaled) + penalty) / max(abs(state.objective), 1e-300)


def _refit(problem: ReducedProblem, hidden: Array, beta: Array) -> tuple[Array, Array]:
    """Minimise over the linear coefficients, until nu is orthogonal to the free columns up to rounding."""
    if problem.linear.shape[1]:
        fit = SmoothFit(problem.loss, problem.linear, problem.ridge, hidden[:, None])
        beta = fit.minimise(beta[:, None])[:, 0]
    return beta, hidden + problem.linear @ beta


def _residual(problem: ReducedProblem, neurons: Array, costs: Array, q: Array) -> float:
    """Stationarity of the projected gradients q (m, k), in units of the weight decay."""
    lam = problem.weight_decay
    # A free bias costs nothing, but optimal ones are bounded by the radius: so is what its derivative can add.
    free = np.abs(q[:, problem.n_penalized :]).sum(axis=1) * problem.radius
    distance = problem.costs(q - lam * problem.directions(neurons, costs)) + free
    return float(distance.max(initial=0.0)) / lam
