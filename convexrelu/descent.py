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

PARTS = ("hidden", "hidden_bias", "output", "skip", "output_bias")


def descended(
    problem: TrainingProblem, network: Network, steps: int, should_stop: Callable[[], bool] = lambda: False
) -> Network:
    """The network after so many steps of L-BFGS on the non-convex objective, all parts that the problem has trained.

    `should_stop` is asked after every step.

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
            slopes = gradients(problem, now)
            parts = [(slopes[name] + decay[name] * getattr(now, name)).ravel() for name in names]
        return problem.objective(now), np.concatenate(parts)

    def after_step(intermediate_result: object) -> None:
        if should_stop():
            raise StopIteration  # scipy's word for it

    start = np.concatenate([getattr(network, name).ravel() for name in names])
    if not start.size:
        return network
    options = {"maxiter": steps, "maxcor": 20}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options, callback=after_step)
    return moved(found.x) if np.isfinite(found.x).all() else network


def gradients(problem: TrainingProblem, network: Network) -> dict[str, Array]:
    """Gradient of the loss in every part of the network, relu having slope 0 at zero."""
    pre = problem.X @ network.hidden.T + network.hidden_bias
    active = np.maximum(pre, 0.0)
    F = active @ network.output + problem.X @ network.skip + network.output_bias
    G = problem.loss.gradient(F, problem.Y, problem.sample_weight)
    back = (G @ network.output.T) * (pre > 0)
    return {
        "hidden": back.T @ problem.X,
        "hidden_bias": back.sum(axis=0),
        "output": active.T @ G,
        "skip": problem.X.T @ G,
        "output_bias": G.sum(axis=0),
    }
