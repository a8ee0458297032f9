"""Predictions at new points over all optimal networks: `Extended`, `prediction_range`, `minimize_over`.

Letters: `X_new` (N, d) new points, `alpha` (m,) weights of neurons, `beta` free coefficients,

    f(X_new) = C alpha + c0

once beta has been eliminated. With a free bias f is piecewise linear in the bias of a neuron that may move, with kinks
where the neuron's kink meets a new point: with these added to its ends as further directions, every prediction that an
optimal network makes is one of these (mass between two of them can be split between both).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.errors import InvalidInputError
from convexrelu.network import Network
from convexrelu.optimal_set.polytope import Polytope
from convexrelu.problem import TrainingProblem

if TYPE_CHECKING:
    from convexrelu.optimal_set.optimal_set import OptimalSet

# A new point this far (relative) from the span of the data is outside it.
OUTSIDE = 1e-9


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where an objective of the predictions is least over all optimal networks.

    Attributes
    ----------
    value : float
        Of the objective, as the solver left it (relative accuracy about 1e-8).
    network : Network
        An optimal network with these predictions.
    """

    value: float
    network: Network


@dataclass(frozen=True, eq=False)
class Extended:
    """The optimal set with every direction that can matter at some new points."""

    optimal: OptimalSet
    X_new: Array

    @cached_property
    def neurons(self) -> tuple[Array, Array]:
        """Directions (m', k) and signs (m',): the active ones, then those with a kink at a new point."""
        directions = self.optimal.directions
        extra = [row for low, high, s in self._intervals() for row in self._between(low, high, s)]
        if not extra:
            return directions.neurons, directions.signs
        rows = np.array(extra)
        return np.vstack([directions.neurons, rows[:, :-1]]), np.concatenate([directions.signs, rows[:, -1]])

    def _intervals(self) -> list[tuple[Array, float, float]]:
        """Lower end, upper bias and sign of each interval of active biases."""
        d = self.optimal.directions
        inner = [(d.neurons[i], float(d.neurons[j, -1]), float(d.signs[i])) for i, j in d.segments]
        return inner + [(d.neurons[i], np.inf, float(d.signs[i])) for i in d.rays]

    def _between(self, low: Array, high: float, s: float) -> list[Array]:
        """The interval's neurons with a kink at a new point, strictly inside."""
        arrangement = self.optimal.problem.arrangement
        hidden, hidden_bias = arrangement.to_weights(low[None])
        kinks = np.unique(low[-1] - (self.X_new @ hidden[0] + hidden_bias[0]))
        inside = kinks[(kinks > low[-1]) & (kinks < high)]
        return [np.concatenate([low[:-1], [b, s]]) for b in inside]

    @cached_property
    def polytope(self) -> Polytope:
        """The weights of all these directions."""
        base, (neurons, signs) = self.optimal.polytope, self.neurons
        if len(signs) == base.size:
            return base
        A = signs * np.maximum(self.optimal.problem.arrangement.Z @ neurons.T, 0.0)
        return Polytope(A, base.g, base.Q, base.total)

    @cached_property
    def linear(self) -> tuple[Array, Array]:
        """(C, c0): predictions C alpha + c0 at the new points."""
        problem, (neurons, signs) = self.optimal.problem, self.neurons
        hidden, hidden_bias = problem.arrangement.to_weights(neurons)
        features = signs * np.maximum(self.X_new @ hidden.T + hidden_bias, 0.0)
        free, penalized = self._linear_columns()
        back = free @ np.linalg.pinv(self.polytope.Q)
        return features - back @ self.polytope.A, back @ self.polytope.g + penalized @ self.optimal.penalized

    def _linear_columns(self) -> tuple[Array, Array]:
        """The free and the penalised columns (N, q), (N, q') at the new points."""
        linear = self.optimal.problem.linear
        q, r = linear.free.shape[1], linear.penalized.shape[1]
        skip, constant = linear.to_weights(np.hstack([np.eye(q), np.zeros((q, r))]), np.zeros((r, q + r)))
        other, shift = linear.to_weights(np.zeros((q, q + r)), np.hstack([np.zeros((r, q)), np.eye(r)]))
        columns = self.X_new @ (skip + other) + constant + shift
        return columns[:, :q], columns[:, q:]

    def network(self, alpha: Array) -> Network:
        """The optimal network with weights alpha (m',)."""
        return self.optimal.network_of(*self.neurons, alpha, self.polytope)


def outside_span(problem: TrainingProblem, X_new: Array) -> BoolArray:
    """Points (N,) at which a free skip can take any value, because they leave the (affine) span of the data."""
    if problem.skip != "free":
        return np.zeros(len(X_new), dtype=bool)
    center = problem.X.mean(axis=0) if problem.output_bias == "free" else np.zeros(problem.X.shape[1])
    size = np.abs(problem.X - center).max(axis=0)
    scale = np.where(size > 0, size, 1.0)
    _, singular, Vt = np.linalg.svd((problem.X - center) / scale, full_matrices=False)
    V = Vt[singular > OUTSIDE * max(singular.max(initial=0.0), 1e-300)]
    moved = (X_new - center) / scale
    return np.asarray(row_norms(moved - moved @ V.T @ V) > OUTSIDE * (1.0 + row_norms(moved)))


def prediction_range(optimal: OptimalSet, X_new: Array) -> tuple[Array, Array]:
    """Lowest and highest prediction at each new point; see `OptimalSet.prediction_range`."""
    lower, upper = np.empty(len(X_new)), np.empty(len(X_new))
    for i, x in enumerate(X_new):
        extended = Extended(optimal, x[None])
        C, c0 = extended.linear
        ends = [C[0] @ extended.polytope.minimize(sign * C[0]) for sign in (1.0, -1.0)]
        lower[i], upper[i] = min(ends) + c0[0], max(ends) + c0[0]
    unbounded = outside_span(optimal.problem, X_new)
    lower[unbounded], upper[unbounded] = -np.inf, np.inf
    return lower, upper


def minimize_over(optimal: OptimalSet, objective: Callable[[Any], Any], X_new: Array) -> Minimum:
    """Minimise a convex function of the predictions; see `OptimalSet.minimize`."""
    import cvxpy as cp  # a second

    if outside_span(optimal.problem, X_new).any():
        raise InvalidInputError(
            "`X_new` has points outside the span of the data, where the free skip can take any value; drop them."
        )
    extended = Extended(optimal, X_new)
    (C, c0), (B, b) = extended.linear, extended.polytope.equations
    share = cp.Variable(extended.polytope.size, nonneg=True)
    goal = objective((C * extended.polytope.scale) @ share + c0)
    program = cp.Problem(cp.Minimize(goal), [B @ share == b])
    if not program.is_dcp():
        raise InvalidInputError("`objective` must return a convex cvxpy expression (by cvxpy's rules) of one number.")
    program.solve(solver=cp.CLARABEL)  # type: ignore[no-untyped-call]
    if share.value is None:
        raise InvalidInputError(f"`objective` has no minimum over the optimal set: cvxpy says {program.status}.")
    alpha = extended.polytope.corrected(share.value * extended.polytope.scale)
    return Minimum(float(program.value), extended.network(alpha))
