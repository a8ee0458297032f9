"""`descended`: what further gradient descent would gain, by L-BFGS from a network's weights.

Letters: `W` (m, d), `b` (m,), `V` (m, T), `A` (d, T), `c` (T,) as in `Network`; `G` (n, T) gradient of the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from convexrelu.arrays import Array
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem

# Radius of the kinks, relative to the largest pre-activation of each neuron, while these are rounded off.
ROUNDINGS = (1e-2, 1e-3, 1e-4)
PARTS = ("hidden", "hidden_bias", "output", "skip", "output_bias")


def descended(
    problem: TrainingProblem,
    network: Network,
    steps: int,
    should_stop: Callable[[], bool] = lambda: False,
    rounding: Array | float = 0.0,
) -> Network:
    """The network after so many steps of L-BFGS on the non-convex objective, all parts that the problem has trained.

    `should_stop` is asked after every step. With `rounding` s (m,) relu is (t + sqrt(t^2 + s^2)) / 2.

    Notes
    -----
    A step costs about one evaluation and one gradient. Knots that sit on samples can stop the method before it reaches
    a stationary point, as they do any gradient method.
    """
    kinds = {"hidden_bias": problem.bias, "skip": problem.skip, "output_bias": problem.output_bias}
    names = [name for name in PARTS if kinds.get(name, "penalized") != "none"]
    decay = {name: problem.weight_decay * (kinds.get(name, "penalized") == "penalized") for name in names}
    shapes = [getattr(network, name).shape for name in names]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def moved(x: Array) -> Network:
        parts = zip(names, np.split(x, ends), shapes, strict=True)
        arrays: dict[str, Any] = {name: part.reshape(shape) for name, part, shape in parts}
        return replace(network, **arrays)

    def objective(x: Array) -> tuple[float, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            now = moved(x)
            F, slopes = gradients(problem, now, rounding)
            parts = [(slopes[name] + decay[name] * getattr(now, name)).ravel() for name in names]
            cost = sum(0.5 * decay[name] * float(np.sum(getattr(now, name) ** 2)) for name in names)
        return problem.loss.value(F, problem.Y, problem.sample_weight) + cost, np.concatenate(parts)

    def after_step(intermediate_result: object) -> None:
        if should_stop():
            raise StopIteration  # scipy's word for it

    start = np.concatenate([getattr(network, name).ravel() for name in names])
    if not start.size:
        return network
    options = {"maxiter": steps, "maxcor": 20}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options, callback=after_step)
    return moved(found.x) if np.isfinite(found.x).all() else network


def around_kinks(
    problem: TrainingProblem, network: Network, steps: int, should_stop: Callable[[], bool] = lambda: False
) -> Network:
    """Where descent goes on to when knots that sit on samples no longer stop it: the kinks rounded off, less and less.

    Never worse than the network.
    """
    best = network
    for share in ROUNDINGS:
        size = np.abs(problem.X @ network.hidden.T + network.hidden_bias).max(axis=0, initial=0.0)
        network = descended(problem, network, steps, should_stop, share * size)
        best = min(best, network, key=problem.objective)
    return best


def gradients(
    problem: TrainingProblem, network: Network, rounding: Array | float = 0.0
) -> tuple[Array, dict[str, Array]]:
    """Predictions, and the gradient of the loss in every part of the network, relu having slope 0 at zero."""
    pre = problem.X @ network.hidden.T + network.hidden_bias
    active, on = _activated(pre, rounding)
    F = active @ network.output + problem.X @ network.skip + network.output_bias
    G = problem.loss.gradient(F, problem.Y, problem.sample_weight)
    back = (G @ network.output.T) * on
    return F, {
        "hidden": back.T @ problem.X,
        "hidden_bias": back.sum(axis=0),
        "output": active.T @ G,
        "skip": problem.X.T @ G,
        "output_bias": G.sum(axis=0),
    }


def _activated(pre: Array, rounding: Array | float) -> tuple[Array, Array]:
    """Relu, its kinks rounded off, and the slopes."""
    if not np.any(rounding):
        return np.maximum(pre, 0.0), (pre > 0).astype(float)
    root = np.maximum(np.hypot(pre, rounding), 1e-300)
    return 0.5 * (pre + root), 0.5 + 0.5 * pre / root
