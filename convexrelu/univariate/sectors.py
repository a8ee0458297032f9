"""The dual norm of penalised biases in one variable, with proof: `sector_bounds`, exact in O(n).

Letters: `nu` (n, T) dual variable, `A = (P, Q)` (T, 2) its correlations with (w, b) over the samples where a neuron is
on: P the sum of nu_i x_i, Q that of nu_i. A cell of neurons is a sector of the plane; the largest |A u| in it is at the
top eigenvector of A^T A if that lies in the sector, else at one of its two edges (theory C.3, D.5).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array
from convexrelu.univariate.running_sums import WIDE, WIDE_EPS, Wide, double_sum

# A vector this close (in angle) to a sector counts as inside: it changes the maximum by its square only.
EDGE = 1e-12


def sector_bounds(x: Array, nu: Array, skip: str) -> tuple[float, float, float]:
    """Upper bounds on the dual norm, on |sum nu_i| and on |sum nu_i (x_i - x_1)|, rounding accounted for.

    Parameters
    ----------
    x : float64 (n,)
        Sorted; repeated points allowed.
    nu : float64 (n, T)
    skip : {"free", "none"}
        With a skip only neurons that face right count, with their knot between the first and the last point.
    """
    t = x.astype(WIDE)
    c, c_error, G, G_error = double_sum(x, nu)
    # Sums of nu_i x_i as x_k c_k - G_{k - 1}: that holds more digits where neighbours cancel.
    moved = t[:, None] * c
    moved[1:] -= G
    before = np.stack([moved, c], axis=2)
    products = WIDE_EPS * nu.shape[1] * float(np.abs(t[:, None] * c).max() + np.abs(moved).max())
    error = 1.01 * ((1 + float(np.abs(x).max())) * c_error + G_error + products)
    a, b, total, left = t[:-1], t[1:], before[-1], before[:-1]
    sectors = [(total - left, -_line(a), _line(b))]  # facing right with the knot in [a, b]
    if skip == "none":
        sectors += [(left, _line(a), -_line(b)), (total[None], _line(t[:1]), _line(t[-1:]))]
    largest = max((_largest(*sector) for sector in sectors if len(sector[0])), default=0.0)
    size = nu.shape[1] * float(np.abs(left).max(initial=0.0) + np.abs(total).max())
    upper = (largest + 3 * error + 16 * WIDE_EPS * size) * (1 + 8 * EPS)
    moment = _norm(total[:, 0] - t[0] * total[:, 1]) + (1 + abs(float(t[0]))) * (error + 8 * WIDE_EPS * size)
    return upper, (_norm(total[:, 1]) + error) * (1 + 8 * EPS), moment * (1 + 8 * EPS)


def _line(t: Wide) -> Wide:
    """Normals (t, 1) of the neurons with their knot at t."""
    return np.column_stack([t, np.ones_like(t)])


def _largest(A: Wide, first: Wide, second: Wide) -> float:
    """The largest |A u| over unit vectors u with first . u >= 0 and second . u >= 0, over all A (k, T, 2).

    Where the two eigenvalues are so near that rounding turns the vectors, all |A u| agree to rounding.
    """
    S = np.einsum("kti,ktj->kij", A, A)
    middle, half = (S[:, 0, 0] + S[:, 1, 1]) / 2, (S[:, 0, 0] - S[:, 1, 1]) / 2
    angle = np.arctan2(S[:, 0, 1], half) / 2
    top = np.column_stack([np.cos(angle), np.sin(angle)])
    sides = [_dot(top, normal) / np.hypot(normal[:, 0], normal[:, 1]) for normal in (first, second)]
    inside = (np.minimum(*sides) >= -EDGE) | (np.maximum(*sides) <= EDGE)
    edges = np.maximum(_along(A, first), _along(A, second))
    return float(np.where(inside, np.sqrt(middle + np.hypot(half, S[:, 0, 1])), edges).max())


def _along(A: Wide, normal: Wide) -> Wide:
    """|A u| for the unit vectors u with normal . u = 0."""
    u = np.column_stack([normal[:, 1], -normal[:, 0]])
    along: Wide = np.sqrt((np.einsum("ktj,kj->kt", A, u) ** 2).sum(axis=1)) / np.hypot(u[:, 0], u[:, 1])
    return along


def _norm(v: Wide) -> float:
    return float(np.sqrt((v * v).sum()))


def _dot(a: Wide, b: Wide) -> Wide:
    product: Wide = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]
    return product
