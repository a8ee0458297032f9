"""Many second-order cones at once: pairs of interior points, their Nesterov-Todd scalings, and steps to the boundary.

A point of a cone is a row (x_0, x_1) with x_0 >= |x_1|. The scaling of a pair x, y is the symmetric matrix W, mapping
the cone onto itself, with W y = W^-1 x; it is eta [[w_0, w_1'], [w_1, I + w_1 w_1' / (1 + w_0)]] (L. Vandenberghe, The
CVXOPT linear and quadratic cone program solvers, 2010, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convexrelu.arrays import EPS, Array


@dataclass(frozen=True)
class Scaling:
    """The scalings of pairs of interior points.

    Attributes
    ----------
    x, y : (m, p + 1) float64
        The pairs.
    w : (m, p + 1) float64
        With w_0^2 - |w_1|^2 = 1.
    eta : (m,) float64
    """

    x: Array
    y: Array
    w: Array
    eta: Array

    @classmethod
    def of(cls, x: Array, y: Array) -> Scaling:
        """The scalings with W y = W^-1 x."""
        size_x, size_y = np.sqrt(_determinants(x)), np.sqrt(_determinants(y))
        x_bar, y_bar = x / size_x[:, None], y / size_y[:, None]
        w = x_bar - y_bar
        w[:, 0] = x_bar[:, 0] + y_bar[:, 0]
        w /= np.sqrt(2 * (1 + np.einsum("bj,bj->b", x_bar, y_bar)))[:, None]
        return cls(x, y, w, np.sqrt(size_x / size_y))

    @cached_property
    def middle(self) -> Array:
        """W y = W^-1 x."""
        return self.stretched(self.y)

    def stretched(self, v: Array) -> Array:
        """W v."""
        return self.eta[:, None] * self._applied(v, self.w[:, 1:])

    def shrunk(self, v: Array) -> Array:
        """W^-1 v."""
        return self._applied(v, -self.w[:, 1:]) / self.eta[:, None]

    def _applied(self, v: Array, w1: Array) -> Array:
        along = np.einsum("bj,bj->b", w1, v[:, 1:])
        head = self.w[:, 0] * v[:, 0] + along
        return np.column_stack([head, v[:, 1:] + (v[:, 0] + along / (1 + self.w[:, 0]))[:, None] * w1])

    @property
    def _head(self) -> Array:
        """eta^2 times the first diagonal entry of W^-2."""
        return 2 * self.w[:, 0] ** 2 - 1

    def curvature(self) -> Array:
        """W^-2 with its first row and column eliminated (m, p, p)."""
        w1 = self.w[:, 1:]
        outer = w1[:, :, None] * (w1 * (2 / self._head)[:, None])[:, None, :]
        return np.asarray((np.eye(w1.shape[1]) - outer) / self.eta[:, None, None] ** 2)

    def tilt(self) -> Array:
        """The first column of W^-2 below its first entry, divided by that (m, p)."""
        return np.asarray(-2 * (self.w[:, 0] / self._head)[:, None] * self.w[:, 1:])

    def first_step(self, v: Array) -> Array:
        """Divide v (m,) by the first diagonal entry of W^-2."""
        return np.asarray(v * self.eta**2 / self._head)


def product(a: Array, b: Array) -> Array:
    """Products a o b = (a . b, a_0 b_1 + b_0 a_1)."""
    return np.column_stack([np.einsum("bj,bj->b", a, b), a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:]])


def quotient(a: Array, b: Array) -> Array:
    """The c with a o c = b."""
    head = (a[:, 0] * b[:, 0] - np.einsum("bj,bj->b", a[:, 1:], b[:, 1:])) / _determinants(a)
    return np.column_stack([head, (b[:, 1:] - head[:, None] * a[:, 1:]) / a[:, :1]])


def is_inside(x: Array) -> bool:
    """Whether all points are interior, by more than rounding."""
    return bool((x[:, 0] > (1 + 4 * EPS) * np.sqrt(np.einsum("bj,bj->b", x[:, 1:], x[:, 1:]))).all())


def longest_step(x: Array, dx: Array) -> float:
    """The largest length for which x + length dx stays in the cone; infinite where there is none."""
    a, c = dx[:, 0] ** 2 - np.einsum("bj,bj->b", dx[:, 1:], dx[:, 1:]), _determinants(x)
    b = x[:, 0] * dx[:, 0] - np.einsum("bj,bj->b", x[:, 1:], dx[:, 1:])
    # The smallest positive root of a s^2 + 2 b s + c with c > 0, without cancellation.
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    larger = -(b + np.where(b >= 0, root, -root))
    roots = np.stack([c / np.where(larger != 0, larger, 1.0), larger / np.where(a != 0, a, 1.0)])
    usable = np.stack([larger != 0, a != 0]) & (roots > 0) & (b**2 >= a * c)
    return float(np.where(usable, roots, np.inf).min(initial=np.inf))


def _determinants(x: Array) -> Array:
    """x_0^2 - |x_1|^2, positive also where rounding says otherwise."""
    size = np.sqrt(np.einsum("bj,bj->b", x[:, 1:], x[:, 1:]))
    return np.asarray(np.maximum((x[:, 0] - size) * (x[:, 0] + size), 1e-300))
