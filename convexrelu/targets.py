"""Move a network that nearly interpolates until it meets its targets to rounding: `onto_targets`.

Letters: `Z` (n, k) reduced data, `u_j` (k,) neuron with its output weight's size, `s_j` its sign, `D_j` its pattern, `E_j` basis of
the directions that keep the samples on its kink there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem

# A solver leaves optimal kinks this far (relative) from the samples they belong to.
KINK = 1e-6
STEPS = 3


def onto_targets(problem: TrainingProblem, network: Network) -> Network:
    """The network after least-norm corrections that make f(x_i) = y_i, kinks on samples staying on them.

    Within its cells a network is linear in its neurons, so a step is one linear least squares problem; where the neurons at
    hand cannot reach the targets the network comes back as near as they get.
    """
    network = network.balanced()
    if problem.Y.shape[1] > 1:
        return network
    for fixed_kinks in (True, False):
        for _ in range(STEPS):
            residual = problem.Y[:, 0] - network(problem.X)[:, 0]
            if np.abs(residual).max() <= 1e-14 * np.abs(problem.Y).max():
                return network
            network = _step(problem, network, residual, fixed_kinks)
    return network


def _step(problem: TrainingProblem, network: Network, residual: Array, fixed_kinks: bool) -> Network:
    arrangement, linear = problem.arrangement, problem.linear
    sign = np.sign(network.output[:, 0])
    U = arrangement.from_weights(network.hidden, network.hidden_bias) * np.abs(network.output)
    pre = U @ arrangement.Z.T
    size = np.linalg.norm(arrangement.Z, axis=1) * np.linalg.norm(U, axis=1)[:, None]
    kinks = (np.abs(pre) <= KINK * size) & fixed_kinks
    bases = [scipy.linalg.null_space(arrangement.Z[rows], rcond=1e-9) for rows in kinks]
    if fixed_kinks:
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
