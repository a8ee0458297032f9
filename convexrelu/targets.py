"""Move a network that nearly interpolates until it meets its targets to rounding: `onto_targets`.

Letters: `Z` (n, k) reduced data, `u_j` (k,) neuron with its output weight's size, `v_j` (T,) its output direction (for
one task its sign), `D_j` its pattern, `E_j` basis of the directions that keep the samples on its kink there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from convexrelu.arrays import row_norms
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
    arrangement, linear, T = problem.arrangement, problem.linear, problem.Y.shape[1]
    residual = problem.Y - network(problem.X)
    outer = row_norms(network.output)
    V = network.output / outer[:, None]
    U = arrangement.from_weights(network.hidden, network.hidden_bias) * outer[:, None]
    pre = U @ arrangement.Z.T
    size = np.linalg.norm(arrangement.Z, axis=1) * np.linalg.norm(U, axis=1)[:, None]
    kinks = np.abs(pre) <= kink * size
    bases = [scipy.linalg.null_space(arrangement.Z[rows], rcond=1e-9) for rows in kinks]
    U = np.array([E @ (E.T @ u) for E, u in zip(bases, U, strict=True)]).reshape(U.shape)
    features = np.maximum(U @ arrangement.Z.T, 0.0)
    residual = residual + (np.maximum(pre, 0.0) - features).T @ V
    active = (pre > 0) & ~kinks
    columns = [np.kron(d[:, None] * (arrangement.Z @ E), v[:, None]) for v, d, E in zip(V, active, bases, strict=True)]
    # Output directions turn too; for one task they are signs and stay.
    turns = features.T if T > 1 else features.T[:, :0]
    A = np.hstack([*columns, np.kron(np.hstack([turns, linear.free, linear.penalized]), np.eye(T))])
    delta = np.linalg.lstsq(A, residual.ravel(), rcond=1e-12)[0]
    widths = [E.shape[1] for E in bases] + [T * part.shape[1] for part in (turns, linear.free)]
    *moves, turn, free, penalized = np.split(delta, np.cumsum(widths))
    U = U + np.array([E @ move for E, move in zip(bases, moves, strict=True)]).reshape(U.shape)
    hidden, hidden_bias = arrangement.to_weights(U)
    skip, output_bias = linear.to_weights(free.reshape(-1, T), penalized.reshape(-1, T))
    return replace(
        network,
        hidden=hidden,
        hidden_bias=hidden_bias,
        output=V + turn.reshape(-1, T) if T > 1 else V,
        skip=network.skip + skip,
        output_bias=network.output_bias + output_bias,
    ).balanced()
