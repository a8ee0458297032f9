"""Minimise the objective over a fixed set of neurons, which may slide between cells, shrink to zero and merge.

Letters as in `convexrelu.native.reduced` and `convexrelu.native.kinks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.native.kinks import Kinks
from convexrelu.native.newton import NewtonSystem
from convexrelu.native.reduced import Evaluation, Iterate, ReducedProblem, evaluate

# Relative curvature added along directions in which a neuron's cost is flat (its own, and a free bias): it keeps the
# blocks invertible, and the convergence along these directions still gains this factor with every step.
_FLAT = 1e-6
# Least curvature of the loss, relative to what is usual, that steps count on while far from the optimum.
_FLOOR = 0.01
_GROWTH = 1.4
_MAX_STIFFNESS = 1e3
_SHORTEST_STEP = 1e-6
# Objectives this near, relative, count as equal: what is stationary is preferred to what is lower by rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Minimised:
    """Where the method ended: the evaluation, the last stiffness (to go on with) and the number of steps."""

    state: Evaluation
    kappa: float
    steps: int


def minimise(
    problem: ReducedProblem,
    iterate: Iterate,
    *,
    tol: float,
    max_steps: int,
    kappa: float = 1.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Minimised:
    """Minimise over the neurons of an iterate by Newton steps on smoothed kinks.

    Parameters
    ----------
    problem : ReducedProblem
    iterate : Iterate
        Where to start.
    tol : float
        Stop when stationarity (`Evaluation.residual`) is at most this.
    max_steps : int
    kappa : float
        First stiffness of the kinks; grows with every full step.
    should_stop : callable
        Asked before every step.

    Returns
    -------
    Minimised

    Notes
    -----
    A fixed point is a directionally stationary network: each neuron is optimal in every cell whose closure contains it.
    A step costs O(n^2 m k) or, when m k <= n, O(n (m k)^2).
    """
    state = best = evaluate(problem, iterate)
    steps = 0
    while steps < max_steps and state.residual > tol and len(state.iterate.neurons) and not should_stop():
        iterate, length = _step(problem, state, kappa)
        state = evaluate(problem, iterate)
        kappa = min(kappa * _GROWTH, _MAX_STIFFNESS) if length == 1 else max(kappa * (0.7 if length < 0.25 else 1), 0.5)
        steps += 1
        best = state if state.objective < best.objective else best
    settled = state.objective <= best.objective * (1 + _ROUNDING)
    return Minimised(state if settled else best, kappa, steps)


def _step(problem: ReducedProblem, state: Evaluation, kappa: float) -> tuple[Iterate, float]:
    """One Newton step with a line search on the smoothed objective; returns the new iterate and the step length."""
    model = _Model.of(problem, state, kappa)
    du, d_beta = model.direction()
    dt = du @ problem.Z.T
    slope = float((model.gradient * du).sum() + model.linear_gradient @ d_beta)
    length = 1.0
    while True:
        trial = model.trial(length, du, dt, d_beta)
        decrease = model.objective - trial.objective
        rounding = abs(decrease) < 1e-14 * abs(model.objective)
        if rounding or decrease >= -1e-4 * length * slope or length < _SHORTEST_STEP:
            break
        length *= 0.5
    slopes = trial.slopes if length >= 0.5 else np.where(model.kinks.soft, state.iterate.slopes, trial.slopes)
    moved = replace(state.iterate, neurons=trial.neurons, slopes=slopes, beta=trial.beta)
    return moved.take(trial.alive), length


@dataclass(frozen=True)
class _Trial:
    """A point on the search line."""

    neurons: Array
    beta: Array
    alive: BoolArray
    slopes: Array
    fit: Array
    objective: float


@dataclass(frozen=True)
class _Model:
    """The smoothed objective at one iterate, with its derivatives."""

    problem: ReducedProblem
    iterate: Iterate
    kinks: Kinks
    t: Array
    costs: Array
    slopes: Array
    nu: Array
    fit: Array
    objective: float
    gradient: Array
    linear_gradient: Array
    floor: float

    @classmethod
    def of(cls, problem: ReducedProblem, state: Evaluation, kappa: float) -> _Model:
        iterate, kinks = state.iterate, Kinks.of(problem, state, kappa)
        t, costs = iterate.neurons @ problem.Z.T, problem.costs(iterate.neurons)
        slopes, activations = kinks.activate(t)
        fit = iterate.signs @ activations + problem.linear @ iterate.beta
        nu = -problem.loss.gradient(fit)
        objective = problem.objective(fit, costs, iterate.beta)
        cost_gradient = problem.weight_decay * problem.directions(iterate.neurons, costs)
        gradient = cost_gradient - (slopes * (iterate.signs[:, None] * nu)) @ problem.Z
        linear_gradient = problem.ridge * iterate.beta - problem.linear.T @ nu
        floor = min(_FLOOR, 0.1 * state.residual)
        return cls(problem, iterate, kinks, t, costs, slopes, nu, fit, objective, gradient, linear_gradient, floor)

    def direction(self) -> tuple[Array, Array]:
        """The Newton direction of a positive definite model: curvature of concave kinks is left out."""
        loss = self.problem.loss
        # Steps along which the loss is straight would be as long as the cost is flat; near the optimum they are short.
        root = np.sqrt(np.maximum(loss.curvature(self.fit), self.floor * loss.stiffness))
        weights = self.iterate.signs[:, None] * self.slopes * root
        linear = root[:, None] * self.problem.linear
        system = NewtonSystem(self._blocks(), weights, self.problem.Z, linear, self.problem.ridge)
        return system.solve(self.gradient, self.linear_gradient)

    def _blocks(self) -> Array:
        """Curvature of cost and kinks of every neuron (m, k, k)."""
        problem, k = self.problem, self.problem.Z.shape[1]
        unit = problem.directions(self.iterate.neurons, self.costs)
        metric = np.ones(k)
        metric[problem.n_penalized :] = _FLAT / max(problem.radius, 1e-300) ** 2
        sphere = np.diag(metric) - (1 - _FLAT) * unit[:, :, None] * unit[:, None, :]
        curvature = self.kinks.curvature(self.iterate.signs[:, None] * self.nu, self.slopes)
        scale = (problem.weight_decay / self.costs)[:, None, None]
        return np.asarray(scale * sphere + (curvature @ problem.outer).reshape(-1, k, k))

    def trial(self, length: float, du: Array, dt: Array, d_beta: Array) -> _Trial:
        """The point at a step length; neurons that would turn round are set to zero."""
        problem, p = self.problem, self.problem.n_penalized
        neurons, t, beta = self.iterate.neurons + length * du, self.t + length * dt, self.iterate.beta + length * d_beta
        along = np.einsum("bj,bj->b", neurons[:, :p], self.iterate.neurons[:, :p])
        alive = along > 1e-6 * self.costs**2
        if problem.has_free_bias:
            beta = beta + (self.iterate.signs * np.maximum(neurons[:, -1], 0))[~alive].sum() * problem.constant
        slopes, activations = self.kinks.activate(t)
        fit = np.where(alive, self.iterate.signs, 0.0) @ activations + problem.linear @ beta
        objective = problem.objective(fit, problem.costs(neurons[alive]), beta)
        return _Trial(neurons, beta, alive, slopes, fit, objective)
