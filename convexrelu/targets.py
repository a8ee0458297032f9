"""Move a network that nearly interpolates until it meets its targets to rounding: `onto_targets`.

Letters: `Z` (n, k) reduced data, `u_j` (k,) neuron with its output weight's size, `s_j` its sign, `D_j` its pattern,
`E_j` basis of the directions that keep the samples on its kink there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from convexrelu.network import Network
from convexrelu.problem import TrainingProblem

# How far (relative) a solver may have left an optimal kink from its samples: tried in this order.
KINKS = (1e-6, 1e-5, 1e-4, 1e-7, 0.0)
STEPS = 3


def onto_targets(problem: TrainingProblem, network: Network) -> Network:
    """The network after least-norm corrections that make f(x_i) = y_i, kinks on samples staying on them.

    Within its cells a network is linear in its neurons, so a step is one linear least squares problem; where the
    neurons at hand cannot reach the targets the network comes back as near as they get.
    """
    network = network.balanced()
    if problem.Y.shape[1] > 1:
        return network
    attempts = [network]
    for kink in KINKS:
        moved = network
        for _ in range(STEPS):
            moved = _step(problem, moved, kink)
            attempts.append(moved)
            if _miss(problem, moved) <= 1e-13:
                return moved
    return min(attempts, key=lambda attempt: _miss(problem, attempt))


def _miss(problem: TrainingProblem, network: Network) -> float:
    """Largest missed target, relative to the largest target."""
    return float(np.abs(network(problem.X) - problem.Y).max() / max(np.abs(problem.Y).max(), 1e-300))


def _step(problem: TrainingProblem, network: Network, kink: float) -> Network:
    """Snap nearly kinked neurons onto their kinks, then correct the fit within the cells."""
    arrangement, linear = problem.arrangement, problem.linear
    residual = problem.Y[:, 0] - network(problem.X)[:, 0]
    sign = np.sign(network.output[:, 0])
    U = arrangement.from_weights(network.hidden, network.hidden_bias) * np.abs(network.output)
    pre = U @ arrangement.Z.T
    size = np.linalg.norm(arrangement.Z, axis=1) * np.linalg.norm(U, axis=1)[:, None]
    kinks = np.abs(pre) <= kink * size
    bases = [scipy.linalg.null_space(arrangement.Z[rows], rcond=1e-9) for rows in kinks]
    U = np.array([E @ (E.T @ u) for E, u in zip(bases, U, strict=True)]).reshape(U.shape)
    residual = residual + (np.maximum(pre, 0).T @ sign - np.maximum(U @ arrangement.Z.T, 0).T @ sign)
    active = (pre > 0) & ~kinks
    columns = [s * d[:, None] * (arrangement.Z @ E) for s, d, E in zip(sign, active, bases, strict=True)]
    A = np.hstack([*columns, linear.free, linear.penalized])
    delta = np.linalg.lstsq(A, residual, rcond=1e-12)[0]
    splits = np.cumsum([E.shape[1] for E in bases] + [linear.free.shape[1]])
    *moves, free, penalized = np.split(delta, splits)
    U = U + np.array([E @ move for E, move in zip(bases, moves, strict=True)]).reshape(U.shape)
    hidden, hidden_bias = arrangement.to_weights(U)
    skip, output_bias = linear.to_weights(free[:, None], penalized[:, None])
    return replace(
        network,
        hidden=hidden,
        hidden_bias=hidden_bias,
        output=sign[:, None],
        skip=network.skip + skip,
        output_bias=network.output_bias + output_bias,
    ).balanced()
