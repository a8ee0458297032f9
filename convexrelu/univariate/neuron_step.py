"""Newton's step for neurons whose knots stay between the same points: `neuron_step`, a sparse linear system of O(k).

    minimise  z . M z / 2 - z . B + lam sum_j c_j    over  C z = sum_j K_j W_j,   W_j = c_j d_j u_j^T

Letters: `z` (m, T) values at the nodes (the points around the knots and both ends), `M`, `B` of the hat system, `W_j`
(T, 2) neuron times output, `C` the curvature at the inner nodes and, without a skip, the slope and the value at the
first; `K` what a neuron adds to these, linear while its knot stays in its interval; `y` multipliers of the constraint,
`g_j = K_j^T y` (T, 2) the correlation of neuron j with the residual. With `P = 1 - d d^T`, e_j across u_j:

    M z + C^T y = B,   d . g u = lam,   P ((c g u + kappa g e) / lam - v) = 0,   kappa = (c d . g e + P v . g e) / lam

for the next outputs v and turns kappa: W = v u^T + kappa d e^T (theory B.6 and C.3). Nothing is divided by c, which is
zero for a new neuron: it keeps its directions in this step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from convexrelu.arrays import Array, IntArray, row_norms
from convexrelu.univariate.hats import HatSystem
from convexrelu.univariate.neurons import EVERYWHERE, Line, Neurons
from convexrelu.univariate.trend_filter import values_between

# Of lam, against moves along dependent neurons, which run until one vanishes; the next where a system is singular.
HOLDS = (1e-10, 1e-7, 1e-4)
# Below one: the largest such joint curvature, so that the model has a minimum.
CONVEX = 0.99


@dataclass(frozen=True, eq=False)
class NeuronStep:
    """Where Newton's model is least.

    Attributes
    ----------
    v, kappa : float64 (k, T), (k,)
        The next outputs and turns.
    r : float64 (n, T)
        The residual there, by values at nodes: exact where the sum over neurons would cancel.
    """

    v: Array
    kappa: Array
    r: Array


def neuron_step(line: Line, neurons: Neurons, correlation: Array) -> NeuronStep | None:
    """Newton's step, None if it cannot be computed; `correlation` (k, T, 2) is of the neurons with the residual."""
    for hold in HOLDS:
        step = _step(line, neurons, correlation, hold)
        if all(np.isfinite(part).all() for part in (step.v, step.kappa, step.r)):
            return step
    return None


def _step(line: Line, neurons: Neurons, correlation: Array, hold: float) -> NeuronStep:
    """Newton's step with neurons held back by a share of lam; not finite where the system is singular."""
    (k, T), lam, c = neurons.d.shape, line.lam, neurons.c
    nodes = _nodes(line, neurons)
    system = HatSystem.of_samples(line.x, line.Y, line.weight).coarsened(nodes)
    M = sp.diags_array([system.off, system.diagonal, system.off], offsets=[-1, 0, 1])
    turns = neurons.across() * (neurons.loose & (c > 0))[:, None]
    C, eye = _bends(line, system.x), sp.eye_array(T)
    along, turn = (sp.kron(_effects(line, neurons, nodes, U), eye) for U in (neurons.u, turns))
    D = neurons.d[:, :, None] * neurons.d[:, None, :]
    P = eye.toarray() - D
    span = float(line.x[-1] - line.x[0])
    held = hold * lam / max(float(c.max(initial=0.0)), float(np.abs(line.Y).max()) / span, 1e-300)
    # What joins the turn of a neuron with that of its output, zero for one task; below one at the optimum.
    joint = np.einsum("kst,kt->ks", P, np.einsum("ktj,kj->kt", correlation, turns)) / lam
    mixed = _columns(joint * np.minimum(1.0, CONVEX / np.maximum(row_norms(joint), 1e-300))[:, None])
    d = _columns(neurons.d)
    fit = sp.kron(C, eye)
    matrix = [
        [sp.kron(M, eye), fit.T, None, None],
        [fit, None, -along, -turn @ d],
        [None, _diagonal(D + (c / lam)[:, None, None] * P) @ along.T, _diagonal(-P - held * D), mixed],
        [None, (d * (c / lam)).T @ turn.T, mixed.T, -sp.eye_array(k)],
    ]
    rhs = [system.B.ravel(), np.zeros(fit.shape[0]), ((lam - held * c)[:, None] * neurons.d).ravel(), np.zeros(k)]
    solution = _solved(sp.block_array(matrix, format="csc"), np.concatenate(rhs))
    z, tail = solution[: system.B.size].reshape(-1, T), solution[-k * (T + 1) :]
    r = line.weight[:, None] * (line.Y - values_between(line.x, nodes, z))
    return NeuronStep(tail[: k * T].reshape(k, T), tail[k * T :], r)


def _solved(matrix: sp.csc_array, rhs: Array) -> Array:
    """The solution of the linear system, refined once; nan if it is singular."""
    try:
        factors = splu(matrix)
    except RuntimeError:
        return np.full_like(rhs, np.nan)
    solution = factors.solve(rhs)
    refined: Array = solution + factors.solve(rhs - matrix @ solution)
    return refined


def _diagonal(blocks: Array) -> sp.bsr_array:
    """The block-diagonal matrix of blocks (k, T, T)."""
    k = len(blocks)
    return sp.bsr_array((blocks, np.arange(k), np.arange(k + 1)), shape=(k * blocks.shape[1],) * 2)


def _columns(rows: Array) -> sp.csc_array:
    """The matrix (k T, k) with the rows (k, T) as its columns, one below the other."""
    k, T = rows.shape
    return sp.csc_array((rows.ravel(), np.arange(k * T), np.arange(0, k * T + 1, T)), shape=(k * T, k))


def _nodes(line: Line, neurons: Neurons) -> IntArray:
    """Indices of both ends and of the points around the knots."""
    inner = neurons.place != EVERYWHERE
    return np.unique(
        np.concatenate([[0, len(line.x) - 1], neurons.place[inner], neurons.place[inner & neurons.loose] + 1])
    )


def _bends(line: Line, t: Array) -> sp.csr_array:
    """C, in units of the spacings at each node t (m,) so that its entries are about one."""
    h, m = np.diff(t), len(t)
    unit = np.minimum(h[:-1], h[1:])
    inner = np.arange(m - 2)
    low, high = unit / h[:-1], unit / h[1:]
    rows, columns = [np.tile(inner, 3)], [np.concatenate([inner, inner + 1, inner + 2])]
    entries = [low, -(low + high), high]
    if line.skip == "none":
        rows, columns = [*rows, np.array([m - 2, m - 2, m - 1])], [*columns, np.array([0, 1, 0])]
        entries = [*entries, np.array([-1.0, 1.0, 1.0])]
    count = m - 2 + (0 if line.skip == "free" else 1 if line.bias == "free" else 2)
    whole = sp.csr_array((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), shape=(m, m))
    return whole[:count]


def _effects(line: Line, neurons: Neurons, nodes: IntArray, U: Array) -> sp.csr_array:
    """K: what neurons (w, b) = U (k, 2) add to the rows of C, a column each."""
    x, k = line.x, len(neurons)
    t, m = x[nodes], len(nodes)
    h = np.diff(t)
    unit = np.concatenate([h[:1], np.minimum(h[:-1], h[1:]), [0.0]])  # of the curvature at each node
    first, second = neurons.edges(x, U)
    first = np.where(neurons.loose, first, neurons.side * U[:, 0])
    inner = np.flatnonzero(neurons.place != EVERYWHERE)
    pair = np.flatnonzero((neurons.place != EVERYWHERE) & neurons.loose)
    node = np.concatenate(
        [np.searchsorted(nodes, neurons.place[inner]), np.searchsorted(nodes, neurons.place[pair] + 1)]
    )
    column = np.concatenate([inner, pair])
    entries = np.concatenate([first[inner], second[pair]]) * unit[node]
    row = np.where(node == 0, m - 2, node - 1)  # the slope's row is next to the last, curvature at the end has none
    keep = node < m - 1
    begun = np.flatnonzero((neurons.side < 0) | (neurons.place == EVERYWHERE))
    level = U[begun, 0] * x[0] + U[begun, 1]
    whole = sp.csr_array(
        (
            np.concatenate([entries[keep], U[begun, 0] * h[0], level]),
            (
                np.concatenate([row[keep], np.full(len(begun), m - 2), np.full(len(begun), m - 1)]),
                np.concatenate([column[keep], begun, begun]),
            ),
        ),
        shape=(m, k),
    )
    return whole[: m - 2 + (0 if line.skip == "free" else 1 if line.bias == "free" else 2)]
