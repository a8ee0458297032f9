"""As few neurons as a network of several tasks needs: `narrowed`, `width_bound`.

Letters: `phi_k` (n,) activations of neuron k, `v_k` (T,) its output weights, `N` (n, T) dual variable of rank r, `q`
the number of free columns.

At an optimum v_k is a multiple of N^T phi_k, so the matrices phi_k v_k^T lie, modulo free columns, in the image of the
symmetric matrices under S -> S N, of dimension n r - r (r - 1) / 2 with n - q for n. Where they are dependent a
combination of zero may be subtracted until a neuron vanishes; the cost does not change because <N, phi_k v_k^T> = lam
|v_k| (theory C.4, Caratheodory's argument).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.pruning import independent_weights
from convexrelu.targets import onto_targets

# What columns leave of each other, relative, and still count as dependent: candidates, judged by the objective.
DEPENDENT = (1e-5, 1e-7, 1e-9)


def width_bound(problem: TrainingProblem, N: Array, rtol: float = 1e-9) -> int:
    """Neurons that an optimal network with dual variable N (n, T) needs at most."""
    singular = np.linalg.svd(N, compute_uv=False)
    rank = int(np.sum(singular > rtol * singular.max(initial=0.0)))
    n = len(N) - problem.linear.free.shape[1]
    rank = min(rank, n)
    return int(n * rank - rank * (rank - 1) // 2)


def narrowed(problem: TrainingProblem, network: Network, allowed: float) -> Network:
    """A network with independent matrices phi_k v_k^T and an objective of at most `allowed`; the given one if not."""
    if network.n_neurons < 2:
        return network
    for tolerance in DEPENDENT:
        candidate = _independent(problem, network.balanced(), tolerance)
        candidate = onto_targets(problem, candidate) if problem.is_interpolation else candidate
        if candidate.n_neurons < network.n_neurons and problem.objective(candidate) <= allowed:
            return candidate
    return network


def _independent(problem: TrainingProblem, network: Network, tolerance: float) -> Network:
    """Drop neurons while their contributions to the fit, modulo the free columns, are dependent."""
    size, outer = network.neuron_norms(), row_norms(network.output)
    features = np.maximum(problem.X @ network.hidden.T + network.hidden_bias, 0.0) / size
    columns = (features[:, None, :] * (network.output.T / outer)[None]).reshape(-1, len(size))
    free = np.asarray(np.kron(problem.linear.free, np.eye(network.output.shape[1])), dtype=float)
    share = independent_weights(columns, size * outer, free, tolerance)
    alive = share > 0
    root = np.sqrt(share[alive])[:, None]
    hidden = network.hidden[alive] / size[alive, None] * root
    output = network.output[alive] / outer[alive, None] * root
    hidden_bias = network.hidden_bias[alive] / size[alive] * root[:, 0]
    fewer = replace(network, hidden=hidden, hidden_bias=hidden_bias, output=output)
    return _predicting(problem, fewer, network(problem.X))


def _predicting(problem: TrainingProblem, network: Network, F: Array) -> Network:
    """The network with its free linear part moved until it predicts F (n, T), as far as that can."""
    free = problem.linear.free
    if not free.shape[1]:
        return network.balanced()
    beta = np.asarray(np.linalg.lstsq(free, F - network(problem.X), rcond=None)[0], dtype=float)
    skip, constant = problem.linear.to_weights(beta, np.zeros((problem.linear.penalized.shape[1], beta.shape[1])))
    return replace(network, skip=network.skip + skip, output_bias=network.output_bias + constant).balanced()
