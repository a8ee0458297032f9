"""The dual norm of penalised biases in one variable, with proof: `sector_bounds`, exact in O(n).

Letters: `nu` (n,) dual variable, `g = (P, Q)` its correlations with (w, b) over the samples where a neuron is on: P the
sum of nu_i x_i, Q that of nu_i. A cell of neurons is a sector of the plane; the largest correlation in it is |g| if g
lies in the sector, else that with one of its two edges (theory C.3, D.5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import EPS, Array

WIDE = np.longdouble
WIDE_EPS = float(np.finfo(WIDE).eps)
# A vector this close (in angle) to a sector counts as inside: it changes the maximum by its square only.
EDGE = 1e-12

Wide = NDArray[np.longdouble]


def sector_bounds(x: Array, nu: Array, skip: str) -> tuple[float, float, float]:
    """Upper bounds on the dual norm, on |sum nu_i| and on |sum nu_i (x_i - x_1)|, rounding accounted for.

    Parameters
    ----------
    x : float64 (n,)
        Sorted; repeated points allowed.
    nu : float64 (n,)
    skip : {"free", "none"}
        With a skip only neurons that face right count, with their knot between the first and the last point.
    """
    t, v = x.astype(WIDE), nu.astype(WIDE)
    Q, P = np.cumsum(v), np.cumsum(v * t)
    error = WIDE_EPS * float(np.abs(Q).sum() + np.abs(P).sum() + 2 * np.abs(v * t).sum()) * 1.01
    a, b, total = t[:-1], t[1:], np.array([P[-1], Q[-1]])
    left = np.column_stack([P[:-1], Q[:-1]])
    sectors = [(total - left, -_line(a), _line(b))]  # facing right with the knot in [a, b]
    if skip == "none":
        sectors += [(left, _line(a), -_line(b)), (total[None], _line(t[:1]), _line(t[-1:]))]
    largest = max((_largest(*sector) for sector in sectors if len(sector[0])), default=0.0)
    size = float(np.abs(left).max(initial=0.0) + np.abs(total).max())
    upper = (largest + 3 * error + 16 * WIDE_EPS * size) * (1 + 8 * EPS)
    moment = abs(float(total[0] - t[0] * total[1])) * (1 + 2 * EPS) + (1 + abs(float(t[0]))) * error
    return upper, abs(float(total[1])) * (1 + 2 * EPS) + error, moment + 8 * WIDE_EPS * size * (1 + abs(float(t[0])))


def _line(t: Wide) -> Wide:
    """Normals (t, 1) of the neurons with their knot at t."""
    return np.column_stack([t, np.ones_like(t)])


def _largest(g: Wide, first: Wide, second: Wide) -> float:
    """The largest |g . u| over unit vectors u with first . u >= 0 and second . u >= 0, over all rows (k, 2)."""
    best = 0.0
    for h in (g, -g):
        size = np.hypot(h[:, 0], h[:, 1])
        inside = np.ones(len(h), dtype=bool)
        for normal in (first, second):
            inside &= _dot(h, normal) >= -EDGE * size * np.hypot(normal[:, 0], normal[:, 1])
        edges = np.maximum(_along(h, first, second), _along(h, second, first))
        best = max(best, float(np.where(inside, size, edges).max()))
    return max(best, 0.0)


def _along(h: Wide, normal: Wide, other: Wide) -> Wide:
    """H . u for the unit vector u on the edge where normal . u = 0, the side on which other . u >= 0."""
    u = np.column_stack([normal[:, 1], -normal[:, 0]])
    side = np.where(_dot(u, other) >= 0, 1, -1)
    # The edge of a half-plane, where both normals agree, has two ends.
    along = side * _dot(h, u) / np.hypot(u[:, 0], u[:, 1])
    flat: Wide = np.where(_dot(u, other) == 0, np.abs(along), along)
    return flat


def _dot(a: Wide, b: Wide) -> Wide:
    product: Wide = a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]
    return product
