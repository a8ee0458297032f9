"""Training neuron by neuron (`train_neurons`), and interpolation with penalised biases for one task (`interpolating`).

Interpolation is a cone program over the 2 n - 1 cells of a line.

Letters: `x` (n,) increasing points, neuron `(w, b)` with its knot at `-b / w`; a *cell* is the set of neurons that are
on at the same points. A cell is spanned by two neurons with a knot at a point: `c` (2, 2 m) are the coefficients of the
first (m) and the second (m), in the first row for positive output weights, in the second for negative.

The norm of a neuron is |(w, b)|, so knots leave the data (theory D.5): within a cell a combination of the two spanning
neurons, with its knot between theirs, is cheaper than both. The fit is held by its second differences, so that the
program has O(n) entries.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, IntArray
from convexrelu.network import Network
from convexrelu.univariate.cells import Cells
from convexrelu.univariate.exchange import exchanged
from convexrelu.univariate.neurons import Line, network_of

# Tried in this order: the solver stalls short of the first on some data.
TOLERANCES = (1e-11, 1e-9, 1e-7)
# Of the largest coefficient: smaller ones are what an interior point leaves of zeros.
NOTHING = 1e-8


def fit_matrix(x: Array, cells: Cells) -> tuple[sp.csr_array, sp.csr_array]:
    """What determines a fit f, as a matrix (n, n) of f and as one (n, 2 m) of the coefficients (alpha, beta).

    Rows: the values at the first and the last point, between them the curvature at the inner points.
    """
    n, m = len(x), len(cells.first)
    h = np.diff(x)
    size = np.minimum(h[1:], h[:-1])  # of the second differences, to make entries of size one
    inner = np.arange(1, n - 1)
    columns = np.concatenate([inner - 1, inner, inner + 1])
    entries = np.concatenate([size / h[:-1], -(size / h[:-1] + size / h[1:]), size / h[1:]])
    D = sp.csr_array((entries, (np.tile(inner, 3), columns)), shape=(n, n))
    D = D + sp.csr_array(([1.0, 1.0], ([0, n - 1], [0, n - 1])), shape=(n, n))
    neurons, at = np.vstack([cells.first, cells.second]), np.concatenate([cells.at_first, cells.at_second])
    bend = np.flatnonzero((at > 0) & (at < n - 1))
    curvature = sp.csr_array((np.abs(neurons[bend, 0]) * size[at[bend] - 1], (at[bend], bend)), shape=(n, 2 * m))
    ends = np.zeros((2, 2 * m))
    ends[0] = np.maximum(neurons[:, 0] * (x[0] - x[at]), 0.0)
    ends[1] = np.maximum(neurons[:, 0] * (x[-1] - x[at]), 0.0)
    return D, curvature + sp.csr_array((np.concatenate(ends), _two_rows(n, 2 * m)), shape=(n, 2 * m))


def _two_rows(n: int, width: int) -> tuple[IntArray, IntArray]:
    """Indices of the first and the last row of an n-row matrix."""
    return np.repeat([0, n - 1], width), np.tile(np.arange(width), 2)


def train_neurons(
    x: Array, Y: Array, weight: Array, lam: float, bias: str, skip: str, tol: float
) -> tuple[Network, Array]:
    """A network trained neuron by neuron, and the predictions (n, T) that its dual variable is to be taken from.

    The latter have digits that the sum over neurons may lack. x (n,) increases; the targets are solved for in units of
    their size. Nothing here is trusted: see the certificate.
    """
    unit = float(np.abs(Y).max()) or 1.0
    if len(x) == 1:
        network = _single(x, Y, weight, lam, bias, skip)
        return network, network(x[:, None])
    line = Line(x, Y / unit, weight, lam / unit, bias, skip)
    neurons, r = exchanged(line, tol)
    network = network_of(line, neurons)[0]
    network = replace(
        network, output=unit * network.output, skip=unit * network.skip, output_bias=unit * network.output_bias
    )
    return network.balanced(), Y - unit * r / weight[:, None]


def interpolating(x: Array, y: Array, skip: str) -> tuple[Network, Array]:
    """A network of least norm through the points (x, y), and its dual variable (n,), for penalised biases."""
    unit = float(np.abs(y).max())
    if unit == 0 or (skip == "free" and len(x) < 3):
        return _network(np.zeros((0, 2)), np.zeros(0), x, y, skip), np.zeros(len(x))
    if len(x) == 1:
        return _single(x, y[:, None], np.ones(1), 0.0, "penalized", skip), np.sign(y) / np.hypot(x, 1.0)
    cells = Cells.of(x, skip)
    c, nu = _solve(x, y / unit, cells, skip)
    c = np.where(c > NOTHING * c.max(initial=0.0), c, 0.0)
    return _network(*_combined(cells, unit * _interpolating(x, y / unit, cells, c, skip)), x, y, skip), nu


def _single(x: Array, Y: Array, weight: Array, lam: float, bias: str, skip: str) -> Network:
    """One sample: a constant where it is free, else one neuron along (x, 1), its size by soft thresholding."""
    T = Y.shape[1]
    if bias == "free" or skip == "free":
        return Network(np.zeros((0, 1)), np.zeros(0), np.zeros((0, T)), output_bias=Y[0], bias=bias)
    size, height = float(np.hypot(x[0], 1.0)), float(np.linalg.norm(Y))
    c = max(height - lam / (weight[0] * size), 0.0) / size
    output = c * Y / height if height > 0 else Y
    return Network(x[:, None] / size, np.ones(1) / size, output, bias=bias).balanced()


def _solve(x: Array, y: Array, cells: Cells, skip: str) -> tuple[Array, Array]:
    """Coefficients (2, 2 m) and the dual variable (n,), by Clarabel."""
    cp: Any = import_module("cvxpy")  # a second to import

    n, m = len(x), len(cells.first)
    D, A = fit_matrix(x, cells)
    rows = slice(1, n - 1) if skip == "free" else slice(0, n)  # with a skip the line through the ends is free
    c, f = cp.Variable((2, 2 * m), nonneg=True), cp.Variable(n)
    meets = f == y
    norm = 0.0
    for k in (0, 1):
        parts = [cp.multiply(cells.first[:, i], c[k, :m]) + cp.multiply(cells.second[:, i], c[k, m:]) for i in (0, 1)]
        norm = norm + cp.sum(cp.norm(cp.vstack(parts), 2, axis=0))
    program = cp.Problem(cp.Minimize(norm), [D[rows] @ f == A[rows] @ (c[0] - c[1]), meets])
    _run(program)
    if c.value is None:
        return np.zeros((2, 2 * m)), np.zeros(n)
    nu = np.asarray(meets.dual_value)
    return np.maximum(c.value, 0.0), nu * np.sign(nu @ y)


def _run(program: Any) -> None:
    """Solve at the tightest tolerance that the solver calls reached, or else leave its last answer."""
    for tol in TOLERANCES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate": hence the loop, and the certificate
            try:
                program.solve(solver="CLARABEL", tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
            except Exception:  # whatever a solver raises: the next tolerance may do
                continue
        if program.status == "optimal":
            return


def _interpolating(x: Array, y: Array, cells: Cells, c: Array, skip: str) -> Array:
    """The coefficients, moved a little to meet the targets: the largest at each point takes up what is missing."""
    D, A = fit_matrix(x, cells)
    knot = np.concatenate([cells.at_first, cells.at_second])
    c, last = c.copy(), len(x) - 1
    inner, ends = range(1, last), () if skip == "free" else (0, last)
    for rows in (inner, ends):  # a knot between the points changes the values at the ends, not the other way round
        missing = D @ y - A @ (c[0] - c[1])
        for k in rows:
            row = slice(A.indptr[k], A.indptr[k + 1])
            at, entries = A.indices[row], A.data[row]
            # At the ends only a neuron with its knot at the other end changes the value and no curvature.
            fitness = knot[at] == last - k if k in (0, last) else np.abs(c[0, at] - c[1, at])
            chosen = int(np.argmax(fitness * (entries != 0)))
            change = missing[k] / entries[chosen]
            c[0 if change > 0 else 1, at[chosen]] += abs(change)
    cancelled: Array = c - np.minimum(c[0], c[1])
    return cancelled


def _combined(cells: Cells, c: Array) -> tuple[Array, Array]:
    """Neurons (k, 2) and their signs (k,) for coefficients (2, 2 m)."""
    m = len(cells.first)
    rows = [c[k, :m, None] * cells.first + c[k, m:, None] * cells.second for k in (0, 1)]
    sign = np.repeat([1.0, -1.0], m)
    used = np.concatenate([np.any(part != 0, axis=1) for part in rows])
    return np.vstack(rows)[used], sign[used]


def _network(neurons: Array, sign: Array, x: Array, f: Array, skip: str, weight: Array | None = None) -> Network:
    """The network of neurons (k, 2) and, with a skip, the line that brings it closest to f (n,)."""
    network = Network(neurons[:, :1], neurons[:, 1], sign[:, None], bias="penalized")
    if skip == "none":
        return network.balanced()
    root = np.sqrt(weight) if weight is not None else np.ones(len(x))
    columns = np.column_stack([x - x.mean(), np.ones(len(x))])
    rest = f - network(x[:, None])[:, 0]
    slope, level = np.linalg.lstsq(root[:, None] * columns, root * rest, rcond=None)[0]
    return replace(network, skip=np.array([[slope]]), output_bias=np.array([level - slope * x.mean()])).balanced()
