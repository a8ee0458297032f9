"""Splines in the basis of their values at the nodes: `HatSystem`, their squared error, and `Interpolation`.

Letters: `x` (m,) nodes, `z` (m, T) values there, `M` (m, m) Gram matrix of the hat functions, `B` (m, T) their
correlations with the targets: up to a constant the error is z . M z / 2 - z . B, summed over tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded

from convexrelu.arrays import Array, IntArray


@dataclass(frozen=True, eq=False)
class HatSystem:
    """The quadratic z . M z / 2 - z . B of splines with given nodes.

    Attributes
    ----------
    x : float64 (m,)
    diagonal, off : float64 (m,), (m - 1,) or None
        Of M; None for a diagonal matrix.
    B : float64 (m, T)
    """

    x: Array
    diagonal: Array
    off: Array | None
    B: Array

    @classmethod
    def of_samples(cls, x: Array, Y: Array, weight: Array) -> HatSystem:
        """Every sample a node."""
        return cls(x, weight, None, weight[:, None] * Y)

    def coarsened(self, nodes: IntArray) -> HatSystem:
        """The same error for splines with fewer nodes, which include the first and the last: cost O(m T).

        A node between two that stay has the value (1 - theta) z_left + theta z_right.
        """
        theta = self._positions(nodes)
        starts, rest = nodes[:-1], 1 - theta
        left = self.diagonal[:-1] * rest
        right = self.diagonal[:-1] - left
        squares = [left * rest, right * rest, right * theta]
        if self.off is not None:
            after = np.append(theta[1:], 0.0)
            after[starts[1:] - 1] = after[-1] = 1.0
            squares[0] += 2 * self.off * rest * (1 - after)
            squares[1] += self.off * (rest * after + theta * (1 - after))
            squares[2] += 2 * self.off * theta * after
        low, off, high = (np.add.reduceat(square, starts) for square in squares)
        share = theta[:, None] * self.B[:-1]
        B = np.zeros((len(nodes), self.B.shape[1]))
        B[:-1] = np.add.reduceat(self.B[:-1] - share, starts, axis=0)
        B[1:] += np.add.reduceat(share, starts, axis=0)
        B[-1] += self.B[-1]
        diagonal = np.zeros(len(nodes))
        diagonal[:-1] = low
        diagonal[1:] += high
        diagonal[-1] += self.diagonal[-1]
        return HatSystem(self.x[nodes], diagonal, off, B)

    def _positions(self, nodes: IntArray) -> Array:
        """Where each node but the last (m - 1,) lies between its neighbours among `nodes`, in [0, 1)."""
        counts = np.diff(nodes)
        begin, length = self.x[nodes[:-1]], np.diff(self.x[nodes])
        theta: Array = (self.x[:-1] - np.repeat(begin, counts)) / np.repeat(length, counts)
        return theta

    def tilted(self, tilt: float) -> HatSystem:
        """With `tilt` times the sum of the first and the last slope added."""
        if not tilt:
            return self
        B = self.B.copy()
        for k in (0, len(B) - 2):
            slope = tilt / (self.x[k + 1] - self.x[k])
            B[k] += slope
            B[k + 1] -= slope
        return replace(self, B=B)

    def value(self, z: Array) -> float:
        """Z . M z / 2 - z . B."""
        return float(np.sum(z * (0.5 * self.product(z) - self.B)))

    def product(self, z: Array) -> Array:
        """M z (m, T)."""
        out = self.diagonal[:, None] * z
        if self.off is not None:
            out[:-1] += self.off[:, None] * z[1:]
            out[1:] += self.off[:, None] * z[:-1]
        return out

    def solve(self, rhs: Array) -> Array:
        """M^-1 rhs (m, T)."""
        bands = np.zeros((2, len(self.x)))
        bands[0] = self.diagonal
        if self.off is not None:
            bands[1, :-1] = self.off
        z: Array = solveh_banded(bands, rhs, lower=True, check_finite=False)
        return z


class Interpolation:
    """The matrix A (n, m) from values at nodes, among the samples, to values at all samples: linear between nodes."""

    def __init__(self, x: Array, nodes: IntArray) -> None:
        self.starts, self.x = nodes[:-1], x[nodes]
        self.counts = np.diff(nodes)
        self.counts[-1] += 1  # the last sample
        begin, length = np.repeat(self.x[:-1], self.counts), np.repeat(np.diff(self.x), self.counts)
        self.theta: Array = (x - begin) / length
        self.rest: Array = 1 - self.theta

    def values(self, z: Array) -> Array:
        """A z."""
        inner: Array = np.repeat(z[:-1], self.counts) + self.theta * np.repeat(np.diff(z), self.counts)
        inner[-1] = z[-1]
        return inner

    def gathered(self, r: Array) -> Array:
        """A^T r."""
        out = np.zeros(len(self.x))
        out[:-1] = np.add.reduceat(self.rest * r, self.starts)
        out[1:] += np.add.reduceat(self.theta * r, self.starts)
        return out

    def gram(self, weight: Array) -> tuple[Array, Array]:
        """Diagonal (m,) and off-diagonal (m - 1,) of A^T diag(weight) A."""
        right = self.theta * weight
        diagonal = np.zeros(len(self.x))
        diagonal[:-1] = np.add.reduceat(self.rest * self.rest * weight, self.starts)
        diagonal[1:] += np.add.reduceat(self.theta * right, self.starts)
        return diagonal, np.add.reduceat(self.rest * right, self.starts)


def bends(x: Array, z: Array) -> Array:
    """Curvature delta (m, T) of the spline with values z at nodes x; zero at the first and the last."""
    delta = np.zeros_like(z)
    delta[1:-1] = np.diff(np.diff(z, axis=0) / np.diff(x)[:, None], axis=0)
    return delta


def bends_transposed(x: Array, u: Array) -> Array:
    """The adjoint of `bends`: sum_k u_k . delta_k(z) = sum_j z_j . (this)_j, for u (m, T) that is zero at both ends.

    In differences of u, so that equal directions at close nodes cancel before they are divided by the spacing.
    """
    slope = np.diff(u, axis=0) / np.diff(x)[:, None]
    out = np.zeros_like(u)
    out[:-1] = slope
    out[1:] -= slope
    return out


def scaled_bends(x: Array) -> tuple[Array, Array]:
    """The shorter spacing (m,) at each node, and the coefficients (3, m) of delta_k times it; zero at both ends."""
    h = np.diff(x)
    unit = np.ones(len(x))
    unit[1:-1] = np.minimum(h[:-1], h[1:])
    a = np.zeros((3, len(x)))
    a[0, 1:-1], a[2, 1:-1] = unit[1:-1] / h[:-1], unit[1:-1] / h[1:]
    a[1] = -(a[0] + a[2])
    return unit, a
