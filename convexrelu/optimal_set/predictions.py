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
from convexrelu.optimal_set.refinement import vectors
from convexrelu.problem import TrainingProblem

if TYPE_CHECKING:
    from convexrelu.optimal_set.optimal_set import OptimalSet

# A new point this far (relative) from the span of the data is outside it.
OUTSIDE = 1e-9
# Neurons share a hyperplane when the cosine of their weights is this near to one, or to minus one.
SAME_HYPERPLANE = 1e-12


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
        """Directions (m', k) and outputs (m', T): the active ones, then those with a kink at a new point."""
        directions = self.optimal.directions
        extra = [(row, directions.outputs[i]) for i, high in self._intervals() for row in self._between(i, high)]
        if not extra:
            return directions.neurons, directions.outputs
        rows, outputs = zip(*extra, strict=True)
        return np.vstack([directions.neurons, *rows]), np.vstack([directions.outputs, *outputs])

    def _intervals(self) -> list[tuple[int, float]]:
        """Lower end and upper bias of each interval of active biases."""
        d = self.optimal.directions
        inner = [(int(i), float(d.neurons[j, -1])) for i, j in d.segments]
        return inner + [(int(i), np.inf) for i in d.rays]

    def _between(self, i: int, high: float) -> list[Array]:
        """The interval's neurons with a kink at a new point, strictly inside."""
        arrangement, low = self.optimal.problem.arrangement, self.optimal.directions.neurons[i]
        hidden, hidden_bias = arrangement.to_weights(low[None])
        kinks = np.unique(low[-1] - (self.X_new @ hidden[0] + hidden_bias[0]))
        inside = kinks[(kinks > low[-1]) & (kinks < high)]
        return [np.append(low[:-1], b) for b in inside]

    @cached_property
    def polytope(self) -> Polytope:
        """The weights of all these directions, then those of the samples whose predictions can move."""
        base, (neurons, outputs) = self.optimal.polytope, self.neurons
        m = len(self.optimal.directions)
        if len(neurons) == m:
            return base
        A = np.hstack([vectors(self.optimal.problem, neurons, outputs), base.A[:, m:]])
        return Polytope(A, base.g, base.Q, base.total)

    @cached_property
    def linear(self) -> tuple[Array, Array]:
        """(C, c0): predictions C alpha + c0 (N T,) at the new points."""
        problem, (neurons, outputs) = self.optimal.problem, self.neurons
        hidden, hidden_bias = problem.arrangement.to_weights(neurons)
        features = np.maximum(self.X_new @ hidden.T + hidden_bias, 0.0)
        A, Q, T = self.polytope.A, self.polytope.Q, problem.Y.shape[1]
        C = np.zeros((len(self.X_new) * T, A.shape[1]))
        C[:, : len(neurons)] = np.einsum("nm,mt->ntm", features, outputs).reshape(len(C), len(neurons))
        free, penalized = self._linear_columns()
        back = np.kron(free, np.eye(T)) @ np.linalg.pinv(Q)
        return C - back @ A, back @ self.polytope.g + (penalized @ self.optimal.optimum.penalized).ravel()

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


def undetermined(problem: TrainingProblem, X_new: Array) -> BoolArray:
    """Points (N,) at which the free part can take any value: outside the span of the data, or for softmax anywhere."""
    if problem.loss.couples_tasks and problem.linear.free.shape[1]:
        return np.ones(len(X_new), dtype=bool)
    return outside_span(problem, X_new)


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
    T = optimal.problem.Y.shape[1]
    lower, upper = np.empty((len(X_new), T)), np.empty((len(X_new), T))
    for i, x in enumerate(X_new):
        extended = Extended(optimal, x[None])
        C, c0 = extended.linear
        for t in range(T):
            ends = [C[t] @ extended.polytope.minimize(sign * C[t]) for sign in (1.0, -1.0)]
            lower[i, t], upper[i, t] = min(ends) + c0[t], max(ends) + c0[t]
    anything = undetermined(optimal.problem, X_new)
    lower[anything], upper[anything] = -np.inf, np.inf
    return (lower[:, 0], upper[:, 0]) if T == 1 else (lower, upper)


def same_function(optimal: OptimalSet) -> bool:
    """Whether trading weight between directions leaves the function as it is, at every input.

    The kinks of a network lie on the hyperplanes of its neurons, where u and -u have the same one; a trade that leaves
    the sum of output weights on each as it is changes an affine function only, which d + 1 inputs determine.
    """
    directions, trades = optimal.directions, optimal.polytope.basis
    m, d = len(directions), optimal.problem.X.shape[1]
    size = 1e-7 * max(float(np.abs(trades).max(initial=0.0)), 1e-300)
    if np.abs(trades[m:]).max(initial=0.0) > size:
        return False  # predictions on samples change
    hidden, _ = optimal.problem.arrangement.to_weights(directions.neurons)
    unit = directions.neurons / np.maximum(row_norms(directions.neurons), 1e-300)[:, None]
    shared = np.abs(unit @ unit.T) >= 1 - SAME_HYPERPLANE
    for e in np.flatnonzero(row_norms(hidden) > 0):
        if np.abs(directions.outputs[shared[e]].T @ trades[:m][shared[e]]).max(initial=0.0) > size:
            return False
    scale = np.abs(optimal.problem.X).max(initial=0.0) or 1.0
    C, _ = Extended(optimal, np.vstack([np.zeros(d), scale * np.eye(d)])).linear
    kept = np.concatenate([np.arange(m), np.arange(C.shape[1] - len(trades) + m, C.shape[1])])
    return bool(np.abs(C[:, kept] @ trades).max(initial=0.0) <= size * scale)


def minimize_over(optimal: OptimalSet, objective: Callable[[Any], Any], X_new: Array) -> Minimum:
    """Minimise a convex function of the predictions; see `OptimalSet.minimize`."""
    import cvxpy as cp  # a second

    if undetermined(optimal.problem, X_new).any():
        raise InvalidInputError(
            "`X_new` has points at which the free skip or output bias can take any value: outside the span of the data "
            "or, for softmax, anywhere. Drop them, or penalise what is free."
        )
    extended = Extended(optimal, X_new)
    (C, c0), (B, b) = extended.linear, extended.polytope.equations
    share = cp.Variable(extended.polytope.size, nonneg=True)
    predictions, T = (C * extended.polytope.scale) @ share + c0, optimal.problem.Y.shape[1]
    goal = objective(predictions if T == 1 else cp.reshape(predictions, (len(X_new), T), order="C"))  # type: ignore[attr-defined]
    program = cp.Problem(cp.Minimize(goal), [B @ share == b])
    if not program.is_dcp():
        raise InvalidInputError("`objective` must return a convex cvxpy expression (by cvxpy's rules) of one number.")
    program.solve(solver=cp.CLARABEL)  # type: ignore[no-untyped-call]
    if share.value is None:
        raise InvalidInputError(f"`objective` has no minimum over the optimal set: cvxpy says {program.status}.")
    alpha = extended.polytope.corrected(share.value * extended.polytope.scale)
    return Minimum(float(program.value), extended.network(alpha))
