"""The dual norm of penalised biases in one variable, with proof: `sector_bounds`, exact in O(n).

Letters: `nu` (n, T) dual variable, `A = (P, Q)` (T, 2) its correlations with (w, b) over the samples where a neuron is
on: P the sum of nu_i x_i, Q that of nu_i; `c` (n, T) the sums of nu, `left` and `right` (n, T) its correlations with
relu(t - x) and relu(x - t) for t at each point. A cell of neurons is a sector of the plane; the largest |A u| in it is
at the top eigenvector of A^T A if that lies in the sector, else at one of its two edges, neurons with their knot at a
point (theory C.3, D.5).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array
from convexrelu.univariate.running_sums import WIDE, WIDE_EPS, Wide, double_sum

# A vector this close (in angle) to a sector counts as inside: it changes the maximum by its square only.
EDGE = 1e-12


def sector_bounds(x: Array, nu: Array, skip: str) -> tuple[float, float, float]:
    """Upper bounds on the dual norm, on |sum nu_i| and on |sum nu_i x_i|, rounding accounted for.

    With a free skip the last one is from the first point on: |sum nu_i (x_i - x_1)|.

    Parameters
    ----------
    x : float64 (n,)
        Sorted; repeated points allowed.
    nu : float64 (n, T)
    skip : {"free", "penalized", "none"}
        With a skip only neurons that face right count, with their knot between the first and the last point.
    """
    t, T = x.astype(WIDE), nu.shape[1]
    c, c_error, G, G_error = double_sum(x, nu)
    left = np.concatenate([np.zeros((1, T), dtype=WIDE), G])
    ahead = (t[-1] - t)[:, None] * c[-1:]
    right = left - left[-1:] + ahead
    sides = [right] if skip == "free" else [right, left]
    size = max(float(np.abs(part).max()) for part in (left, ahead))
    error = 2 * G_error + float(x[-1] - x[0]) * c_error + 8 * WIDE_EPS * T * size
    unit = np.hypot(1, t)
    largest = max(float((_norms(side) / unit).max()) for side in sides) + error
    if len(x) > 1:
        rounding = (1 + float(np.abs(x).max())) * c_error + G_error
        largest = max(largest, _inside(t, c, left, rounding, skip))
    safety = 1 + 8 * (T + 4) * EPS
    last, origin = c[-1:], 0 * t[0] if skip == "free" else t[0]
    total_error = 4 * WIDE_EPS * T * float(np.abs(last).max()) + c_error
    moment = float(_norms(right[:1] + origin * last)[0]) + error + abs(float(origin)) * total_error
    return largest * safety, (float(_norms(last)[0]) + total_error) * safety, moment * safety


def _inside(t: Wide, c: Wide, left: Wide, rounding: float, skip: str) -> float:
    """Upper bound on the largest |A u| over the sectors that have the top eigenvector inside; zero if none has.

    Only there A is about as large as |A u|, and its rounding as small: between close points A is huge.
    """
    before = np.stack([t[:, None] * c - left, c], axis=2)
    size = (1 + np.abs(t)) * _norms(c) + _norms(left)
    error = 2 * rounding + 4 * c.shape[1] * WIDE_EPS * (size + size[-1])
    a, b, total, behind = t[:-1], t[1:], before[-1], before[:-1]
    sectors = [(total - behind, -_line(a), _line(b), error[:-1])]  # facing right with the knot in [a, b]
    if skip != "free":
        sectors += [(behind, _line(a), -_line(b), error[:-1]), (total[None], _line(t[:1]), _line(t[-1:]), error[-1:])]
    return max(_largest(*sector) for sector in sectors)


def _line(t: Wide) -> Wide:
    """Normals (t, 1) of the neurons with their knot at t."""
    return np.column_stack([t, np.ones_like(t)])


def _largest(A: Wide, first: Wide, second: Wide, error: Wide) -> float:
    """Upper bound on the largest |A u| at top eigenvectors u with first . u >= 0 and second . u >= 0, of A (k, T, 2).

    The error (k,) of A turns the eigenvectors, by the more the nearer the eigenvalues are to each other; then also
    |A u| is nearer to its maximum at an edge.
    """
    S = np.einsum("kti,ktj->kij", A, A)
    middle, half = (S[:, 0, 0] + S[:, 1, 1]) / 2, (S[:, 0, 0] - S[:, 1, 1]) / 2
    apart, angle = np.hypot(half, S[:, 0, 1]), np.arctan2(S[:, 0, 1], half) / 2
    top, size = np.column_stack([np.cos(angle), np.sin(angle)]), np.sqrt(middle + apart)
    turn = np.divide(4 * error * size, apart, out=np.full_like(size, np.inf), where=apart > 0)
    sides = [_dot(top, normal) / np.hypot(normal[:, 0], normal[:, 1]) for normal in (first, second)]
    inside = (np.minimum(*sides) >= -EDGE - turn) | (np.maximum(*sides) <= EDGE + turn)
    return float((size + error)[inside].max(initial=0.0))


def _norms(v: Wide) -> Wide:
    """Of the rows."""
    norms: Wide = np.sqrt((v * v).sum(axis=1))
    return norms


def _dot(a: Wide, b: Wide) -> Wide:
    product: Wide = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]
    return product
