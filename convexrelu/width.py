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
from convexrelu.targets import onto_targets

# Singular values below this, relative to the largest, count as dependence; candidates, judged by the objective.
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
    size = network.neuron_norms()
    features = np.maximum(problem.X @ network.hidden.T + network.hidden_bias, 0.0)
    basis = np.linalg.qr(problem.linear.free)[0]
    across = (features - basis @ (basis.T @ features)) / size
    columns = (across[:, None, :] * (network.output.T / row_norms(network.output))[None]).reshape(-1, len(size))
    share, alive = size * row_norms(network.output), np.arange(len(size))
    null = _dependences(columns, tolerance)
    while len(null):
        ratio = null[-1] / share[alive]
        ratio = ratio if ratio.max() >= -ratio.min() else -ratio
        last = int(np.argmax(ratio))
        share[alive] *= 1 - ratio / ratio[last]
        # The dependences of the others: those without the neuron that has vanished.
        null = null[:-1] - np.outer(null[:-1, last] / null[-1, last], null[-1])
        null, alive = np.delete(null, last, axis=1), np.delete(alive, last)
        null = np.linalg.qr(null.T)[0].T
    root = np.sqrt(np.maximum(share[alive], 0.0))[:, None]
    hidden = network.hidden[alive] / size[alive, None] * root
    output = network.output[alive] / row_norms(network.output[alive])[:, None] * root
    hidden_bias = network.hidden_bias[alive] / size[alive] * root[:, 0]
    fewer = replace(network, hidden=hidden, hidden_bias=hidden_bias, output=output)
    return _predicting(problem, fewer, network(problem.X))


def _dependences(columns: Array, tolerance: float) -> Array:
    """Orthonormal rows (s, m): the combinations of columns that vanish up to the tolerance."""
    m = columns.shape[1]
    padded = np.vstack([columns, np.zeros((max(m - len(columns), 0), m))])
    singular, V = np.linalg.svd(padded, full_matrices=False)[1:]
    return np.asarray(V[singular <= tolerance * singular.max(initial=0.0)])


def _predicting(problem: TrainingProblem, network: Network, F: Array) -> Network:
    """The network with its free linear part moved until it predicts F (n, T), as far as that can."""
    free = problem.linear.free
    if not free.shape[1]:
        return network.balanced()
    beta = np.asarray(np.linalg.lstsq(free, F - network(problem.X), rcond=None)[0], dtype=float)
    skip, constant = problem.linear.to_weights(beta, np.zeros((problem.linear.penalized.shape[1], beta.shape[1])))
    return replace(network, skip=network.skip + skip, output_bias=network.output_bias + constant).balanced()
