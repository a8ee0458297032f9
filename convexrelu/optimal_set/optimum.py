"""An optimal network to rounding, with its dual variable: `Optimum`.

Letters: `Z` (n, k) reduced data, `u_e` (k,) neuron e with the norm of its output weights multiplied in, `o_e` (T,) the
direction of its output weights (+1 or -1 for one task), `Q_f beta_f`, `Q_p beta_p` free and penalised linear part,
`nu` (n, T) dual variable, `lam` price of norm,

    F = sum_e relu(Z u_e) o_e^T + Q_f beta_f + Q_p beta_p,   nu^T relu(Z u_e) = lam |u_e| o_e.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexrelu.arrays import Array
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.problem import TrainingProblem


@dataclass(frozen=True, eq=False)
class Optimum:
    """An optimal network and a dual variable that proves it.

    Attributes
    ----------
    problem : TrainingProblem
        Without samples of weight zero.
    neurons : float64 (m, k)
        u_e.
    outputs : float64 (m, T)
        o_e, of norm one.
    linear : float64 (q + q', T)
        Free, then penalised coefficients.
    nu : float64 (n, T)
    accuracy : float
        Largest violation of the conditions of optimality, relative.
    """

    problem: TrainingProblem
    neurons: Array
    outputs: Array
    linear: Array
    nu: Array
    accuracy: float

    @classmethod
    def of_stationary(cls, state: Stationary, accuracy: float) -> Optimum:
        """The network of one task that Newton's method ended at."""
        problem = state.problem
        nu = np.clip(state.nu[:, None], *problem.loss.domain(problem.Y, problem.sample_weight))
        return cls(problem, state.neurons, state.signs[:, None], state.linear[:, None], nu, accuracy)

    @property
    def n_free(self) -> int:
        """The number q of free columns."""
        return int(self.problem.linear.free.shape[1])

    @property
    def penalized(self) -> Array:
        """beta_p (q', T): the same in every optimal network."""
        return self.linear[self.n_free :]

    @cached_property
    def costs(self) -> Array:
        """|u_e| (m,)."""
        return self.problem.arrangement.cost(self.neurons)

    @cached_property
    def fit(self) -> Array:
        """Predictions F (n, T)."""
        columns = np.hstack([self.problem.linear.free, self.problem.linear.penalized])
        features = np.maximum(self.problem.arrangement.Z @ self.neurons.T, 0.0)
        return np.asarray(features @ self.outputs + columns @ self.linear)

    def correlations(self, U: Array) -> Array:
        """nu^T relu(Z u) (m, T) of neurons U (m, k)."""
        return np.asarray(np.maximum(U @ self.problem.arrangement.Z.T, 0.0) @ self.nu)
