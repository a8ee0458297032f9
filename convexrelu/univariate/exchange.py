"""Penalised biases: Newton's method on neurons, and exchange with the cells of a line: `exchanged`.

Letters: `u` (k, 2) neurons (w, b), `sign` (k,) of their outputs, `v` their next values, `A` features, `Q` free columns,
`nu` (n,) residual, `g` its correlation with (w, b) in a cell.

While knots stay within their intervals the fit is linear in u and the norm is smooth, so Newton's steps converge in a
few rounds to all digits (theory B.6). A neuron with its knot on a sample keeps its direction: only its size varies.
Neurons that correlate with the residual by more than the weight decay join until there is none.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.univariate.cells import Cells

EXCHANGES = 60
# Exchanges without a smaller violation before giving up.
PATIENCE = 12
ROUNDS = 30
# Neurons that join at once.
MOST = 10
# Of the interval, or of the largest neuron: a knot closer to a sample is on it, a smaller neuron is none.
# `NEAR` for what a cone program found, `EQUAL` for our own.
NEAR, EQUAL = 1e-5, 1e-10
SMALL = 1e-6
# Correlations above the weight decay by less than this are rounding.
EXCESS = 1e-12


def exchanged(x: Array, y: Array, weight: Array, lam: float, u: Array, sign: Array, skip: str) -> tuple[Array, Array]:
    """Neurons (k, 2) and signs (k,), from the given ones on, among which none is missing: an optimum if all went well.

    Meant as a proposal: the certificate tells what it is worth.
    """
    Q = np.column_stack([np.ones(len(x)), x - x.mean()]) if skip == "free" else np.zeros((len(x), 0))
    u, sign, at = _snapped(x, *_large(u, sign), NEAR)
    least, answer, stalled = np.inf, (u, sign), 0
    for _ in range(EXCHANGES):
        u, sign, at, nu = _newton(x, y, weight, lam, u, sign, at, Q)
        new, signs, excess = _violators(x, nu, lam, skip)
        stalled = 0 if excess < least else stalled + 1
        if excess < least:
            least, answer = excess, (u, sign)
        if not len(new) or stalled > PATIENCE:
            break
        size = float(row_norms(u).max(initial=0.0)) or 1.0
        u, signs = np.vstack([u, 10 * SMALL * size * new]), np.concatenate([sign, signs])
        u, sign, at = _snapped(x, u, signs, EQUAL)
    return answer


def _newton(
    x: Array, y: Array, weight: Array, lam: float, u: Array, sign: Array, at: IntArray, Q: Array
) -> tuple[Array, Array, IntArray, Array]:
    """The neurons that are optimal for their knots' intervals, the others dropped; and the residual."""
    for _ in range(ROUNDS):
        v = _step(x, y, weight, lam, u, sign, at, Q)
        v, keep = _until_one_vanishes(u, v)
        moved = float(np.abs(v - u)[keep].max(initial=0.0))
        previous, u, sign, at = u[keep], v[keep], sign[keep], at[keep]
        u, at = _within(x, previous, u, at)
        if keep.all() and moved <= 1e-15 * float(np.abs(u).max(initial=0.0)):
            break
    rest = y - np.maximum(np.outer(x, u[:, 0]) + u[:, 1], 0.0) @ sign
    if Q.shape[1]:
        root = np.sqrt(weight)
        rest = rest - Q @ np.linalg.lstsq(root[:, None] * Q, root * rest, rcond=None)[0]
    return u, sign, at, weight * rest


def _until_one_vanishes(u: Array, v: Array) -> tuple[Array, BoolArray]:
    """The step to v, or as much of it as takes the first neuron to zero; and which neurons stay (k,)."""
    now, then = np.einsum("ij,ij->i", u, u), np.einsum("ij,ij->i", u, v)
    ratio = np.where(then <= 0, now / np.maximum(now - then, 1e-300), np.inf)
    step = float(min(ratio.min(initial=np.inf), 1.0))
    return u + step * (v - u), ratio > step * (1 + 1e-9)


def _violators(x: Array, nu: Array, lam: float, skip: str) -> tuple[Array, Array, float]:
    """Unit neurons (k, 2) of some cells with a correlation above lam, the signs they need, and the largest."""
    cells = Cells.of(x, skip)
    before = np.column_stack([np.cumsum(nu * x), np.cumsum(nu)])
    parts = [before[-1] - before[:-1]]
    if skip == "none":
        parts += [before[:-1], before[-1:]]
    g = np.vstack(parts)
    found, largest = [], 0.0
    for sign in (1.0, -1.0):
        best, value = _best_of_cell(cells, sign * g)
        largest = max(largest, float(value.max()))
        peak = (value >= np.append(value[1:], -np.inf)) & (value >= np.append(-np.inf, value[:-1]))
        chosen = np.flatnonzero(peak & (value > lam * (1 + EXCESS)))
        chosen = chosen[np.argsort(-value[chosen])][:MOST]
        found.append((best[chosen], np.full(len(chosen), sign)))
    return np.vstack([f[0] for f in found]), np.concatenate([f[1] for f in found]), largest


def _best_of_cell(cells: Cells, g: Array) -> tuple[Array, Array]:
    """The unit neuron (m, 2) of each cell that correlates most with g (m, 2), and by how much (m,)."""
    size = row_norms(g)
    # g is inside if it is a non-negative combination of the two spanning neurons.
    cross = cells.first[:, 0] * cells.second[:, 1] - cells.first[:, 1] * cells.second[:, 0]
    alpha = (g[:, 0] * cells.second[:, 1] - g[:, 1] * cells.second[:, 0]) * np.sign(cross)
    beta = (cells.first[:, 0] * g[:, 1] - cells.first[:, 1] * g[:, 0]) * np.sign(cross)
    at_first, at_second = np.einsum("ij,ij->i", cells.first, g), np.einsum("ij,ij->i", cells.second, g)
    inside = ((alpha >= 0) & (beta >= 0) & (size > 0))[:, None]
    edge = np.where((at_first >= at_second)[:, None], cells.first, cells.second)
    best = np.where(inside, g / np.where(size > 0, size, 1.0)[:, None], edge)
    return best, np.where(inside[:, 0], size, np.maximum(at_first, at_second))


def _large(u: Array, sign: Array) -> tuple[Array, Array]:
    size = row_norms(u)
    keep = size > SMALL * size.max(initial=0.0)
    return u[keep], sign[keep]


def _snapped(x: Array, u: Array, sign: Array, near: float) -> tuple[Array, Array, IntArray]:
    """Knots near a sample moved onto it, neurons that have become equal merged; `at` (k,) is the sample or -1."""
    t = np.divide(-u[:, 1], u[:, 0], out=np.full(len(u), np.inf), where=u[:, 0] != 0)
    place = np.clip(np.searchsorted(x, t), 1, len(x) - 1)
    nearest = np.where(t - x[place - 1] < x[place] - t, place - 1, place)
    close = np.abs(t - x[nearest]) <= near * (x[place] - x[place - 1])
    at = np.where(close, nearest, -1)
    u = np.where(close[:, None], _on_sample(x, u, at), u)
    keys = np.column_stack([at, np.sign(u[:, 0]), sign, np.where(close, 0, np.arange(len(u)))])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    merged = np.zeros((len(first), 2))
    np.add.at(merged, group.ravel(), u)
    return merged, sign[first], at[first]


def _on_sample(x: Array, u: Array, at: IntArray) -> Array:
    """The neurons turned, at the same size, to have their knot at the sample `at`."""
    direction = np.column_stack([np.ones(len(u)), -x[at]]) * np.where(u[:, :1] < 0, -1.0, 1.0)
    turned: Array = direction * (row_norms(u) / row_norms(direction))[:, None]
    return turned


def _step(x: Array, y: Array, weight: Array, lam: float, u: Array, sign: Array, at: IntArray, Q: Array) -> Array:
    """Where Newton's model of the objective is least (k, 2)."""
    size = row_norms(u)[:, None]
    unit = u / size
    basis, owner = _directions(unit, at)
    on = (np.outer(x, u[:, 0]) + u[:, 1] > 0) & (np.arange(len(x))[:, None] != at)
    A = (np.outer(x, basis[:, 0]) + basis[:, 1]) * on[:, owner] * sign[owner]
    across = np.einsum("ij,ij->i", basis, unit[owner])
    H = np.where(owner[:, None] == owner, basis @ basis.T - np.outer(across, across), 0.0) * (lam / size[owner])
    columns = np.hstack([A, Q])
    M = columns.T @ (weight[:, None] * columns)
    M[: len(H), : len(H)] += H
    rhs = columns.T @ (weight * y)
    rhs[: len(H)] -= lam * across
    # Small neurons have large second derivatives: in units in which the diagonal is one, all directions count alike.
    diagonal = np.diag(M)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    solution = (scale * np.linalg.lstsq(scale[:, None] * M * scale, scale * rhs, rcond=1e-15)[0])[: len(H)]
    v = np.zeros_like(u)
    np.add.at(v, owner, solution[:, None] * basis)
    return v


def _directions(unit: Array, at: IntArray) -> tuple[Array, IntArray]:
    """Directions (p, 2) of the moves and the neuron (p,) of each: its own and, off the samples, the one across it."""
    loose = np.flatnonzero(at < 0)
    across = np.column_stack([-unit[loose, 1], unit[loose, 0]])
    return np.vstack([unit, across]), np.concatenate([np.arange(len(unit)), loose])


def _within(x: Array, previous: Array, u: Array, at: IntArray) -> tuple[Array, IntArray]:
    """Neurons whose knot crossed samples are put on the first they crossed."""
    before: Array = np.outer(previous[:, 0], x) + previous[:, 1:]
    after: Array = np.outer(u[:, 0], x) + u[:, 1:]
    crossed: BoolArray = (before * after < 0) & (at < 0)[:, None]
    left: BoolArray = np.any(crossed, axis=1)
    if not left.any():
        return u, at
    t = -previous[:, 1] / np.where(previous[:, 0] == 0, 1.0, previous[:, 0])
    distance = np.where(crossed, np.abs(x - t[:, None]), np.inf)
    at = np.where(left, distance.argmin(axis=1), at)
    return np.where(left[:, None], _on_sample(x, u, at), u), at
