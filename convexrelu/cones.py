"""Second-order cones of interior point methods for sums of norms: `ConePair`.

Letters: pairs of a primal point `x_j` = (s_j, c_j), |c_j| <= s_j, and a dual one `y_j` = (rho_j, -g_j), |g_j| <= rho_j,
as rows (k, 1 + T); at an optimum x_j . y_j = 0. `W_j` is the symmetric scaling with W y = W^-1 x = `middle`.

References
----------
Y. Nesterov, M. Todd, "Self-scaled barriers and interior-point methods for convex programming", Math. Oper. Res. 1997;
A. Domahidi, E. Chu, S. Boyd, "ECOS: an SOCP solver for embedded systems", ECC 2013, Section III.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms


def determinant(x: Array) -> Array:
    """How far (k,) points are inside: s^2 - |c|^2."""
    size = row_norms(x[:, 1:])
    found: Array = (x[:, 0] - size) * (x[:, 0] + size)
    return found


def reach(x: Array, step: Array) -> float:
    """How many steps it takes to leave a cone; infinite if none is left."""
    a, b = determinant(step), x[:, 0] * step[:, 0] - np.sum(x[:, 1:] * step[:, 1:], axis=1)
    det = determinant(x)
    # The smallest positive root of a t^2 + 2 b t + det.
    root = np.sqrt(np.maximum(b * b - a * det, 0.0))
    below = b - root
    leaves = (b < 0) & (b * b >= a * det) | (a < 0)
    t = np.where(leaves, det / np.where(b < 0, -b + root, np.where(below < 0, -below, 1.0)), np.inf)
    # a < 0 and b >= 0: the positive root is (b + root) / -a.
    t = np.where((a < 0) & (b >= 0), (b + root) / np.where(a < 0, -a, 1.0), t)
    return float(t.min(initial=np.inf))


def is_inside(x: Array) -> bool:
    """Whether all points are inside by more than rounding."""
    return bool((x[:, 0] > (1 + 4 * EPS) * row_norms(x[:, 1:])).all())


@dataclass(frozen=True, eq=False)
class ConePair:
    """Points strictly inside."""

    x: Array
    y: Array

    @cached_property
    def _scaling(self) -> tuple[Array, Array]:
        """Eta (k, 1) and the unit point w (k, 1 + T), w_0^2 - |w_1|^2 = 1."""
        dx, dy = determinant(self.x)[:, None], determinant(self.y)[:, None]
        x, y = self.x / np.sqrt(dx), self.y / np.sqrt(dy)
        gamma = np.sqrt((1 + np.sum(x * y, axis=1, keepdims=True)) / 2)
        return (dx / dy) ** 0.25, (x + _flipped(y)) / (2 * gamma)

    @property
    def softness(self) -> Array:
        """The blocks (k, T, T) of W^2 by which a step of g moves c."""
        eta, w = self._scaling
        w1 = w[:, 1:]
        blocks: Array = (eta**2)[:, :, None] * (2 * w1[:, :, None] * w1[:, None, :] + np.eye(w1.shape[1]))
        return blocks

    def squared(self, v: Array) -> Array:
        """W^2 v."""
        eta, w = self._scaling
        product: Array = eta**2 * (2 * w * np.sum(w * v, axis=1, keepdims=True) - _flipped(v))
        return product

    @property
    def first(self) -> Array:
        """The first diagonal entry (k,) of W^2."""
        eta, w = self._scaling
        return np.asarray(eta[:, 0] ** 2 * (2 * w[:, 0] ** 2 - 1))

    @property
    def tilt(self) -> Array:
        """The first column of W^2 below this entry, divided by it (k, T)."""
        _, w = self._scaling
        return np.asarray(2 * w[:, :1] * w[:, 1:] / (2 * w[:, :1] ** 2 - 1))

    @property
    def rest(self) -> Array:
        """The blocks (k, T, T) that W^2 leaves when its first row and column are eliminated."""
        eta, w = self._scaling
        w1 = w[:, 1:]
        outer = w1[:, :, None] * (2 * w1 / (2 * w[:, :1] ** 2 - 1))[:, None, :]
        return np.asarray((eta**2)[:, :, None] * (np.eye(w1.shape[1]) - outer))

    def _times(self, v: Array, power: float) -> Array:
        """W v, or W^-1 v for a power of -1."""
        eta, w = self._scaling
        w0, w1 = w[:, :1], power * w[:, 1:]
        dot = np.sum(w1 * v[:, 1:], axis=1, keepdims=True)
        rest = v[:, 1:] + w1 * (v[:, :1] + dot / (1 + w0))
        return np.asarray(eta**power * np.hstack([w0 * v[:, :1] + dot, rest]))

    def towards(self, aim: float) -> Array:
        """What x + W^2 dy is where the products are to be `aim`: aim / y."""
        inverse: Array = aim * _flipped(self.y) / determinant(self.y)[:, None]
        return inverse

    def second_order(self, dx: Array, dy: Array) -> Array:
        """What the products of a step ask to take from that."""
        middle, product = self._times(self.y, 1.0), _product(self._times(dx, -1.0), self._times(dy, 1.0))
        # The quotient q of the Jordan algebra: middle o q = product.
        m0, m1, p0, p1 = middle[:, :1], middle[:, 1:], product[:, :1], product[:, 1:]
        dot = np.sum(m1 * p1, axis=1, keepdims=True)
        det = determinant(middle)[:, None]
        q0 = (m0 * p0 - dot) / det
        return self._times(np.hstack([q0, (p1 - q0 * m1) / m0]), 1.0)


def _flipped(v: Array) -> Array:
    return np.hstack([v[:, :1], -v[:, 1:]])


def _product(a: Array, b: Array) -> Array:
    """The Jordan product."""
    first = np.sum(a * b, axis=1, keepdims=True)
    return np.hstack([first, a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:]])
