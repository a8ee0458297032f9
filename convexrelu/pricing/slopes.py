"""Slopes that bound the concave part of a correlation near one of its local maximisers: `Side`, `SlopePool`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `u` (k,) a neuron of cost |u[:p]|, `v` (n,) plus or minus
the dual variable, `h(u) = v . relu(Z u)` one signed correlation, `alpha` slopes in [0, 1].

A sample with v_i < 0 satisfies v_i relu(z_i . u) <= alpha_i v_i z_i . u for every alpha_i in [0, 1] and *every* u. So
each vector N = sum_{v_i < 0} alpha_i v_i z_i bounds the concave part of h everywhere, and where the samples with v_i >
0 have the activity that makes up the vector c, h(u) <= (c + N) . u <= |c + N| |u|. The shortest c + N gives the
maximum of h over that whole region, kinks of the concave part included: its slopes are those with which a climb ends
(`convexrelu.pricing.climb`). A branch and bound that knows these vectors needs no small boxes around a maximiser,
although the maximum is attained on kinks and by many neurons at once, as it is for the dual variable of a solved
program.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from convexrelu.arrays import Array
from convexrelu.pricing.climb import climb

CLIMB = 200
"""Steps of a climb at most; it has about two for every coordinate."""


@dataclass(eq=False)
class Side:
    """One signed correlation h(u) = v . relu(Z u), samples with positive v first; idle samples are dropped.

    Attributes
    ----------
    Z : float64 (m, k)
    v : float64 (m,)
    n_positive : int
        Number of leading samples with v > 0.
    p : int
        Penalised coordinates.
    radius : float
        Largest |u[p]| of a neuron of cost one (zero if every coordinate is penalised).
    pool : SlopePool
        Vectors N known so far.
    """

    Z: Array
    v: Array
    n_positive: int
    p: int
    radius: float
    rows: Array
    pool: SlopePool

    @classmethod
    def of(cls, Z: Array, v: Array, p: int, radius: float) -> Side:
        """Sort and thin the samples."""
        busy = (v != 0) & Z.any(axis=1)
        order = np.concatenate([np.flatnonzero(busy & (v > 0)), np.flatnonzero(busy & (v < 0))])
        Z, v = np.ascontiguousarray(Z[order]), v[order]
        return cls(Z, v, int((v > 0).sum()), p, radius, v[:, None] * Z, SlopePool.empty(Z.shape[1]))

    def values(self, U: Array) -> Array:
        """Values of h at each row of U (m, k)."""
        return np.asarray(np.maximum(U @ self.Z.T, 0.0) @ self.v)

    def climb(self, U: Array) -> Array:
        """Climb from each row of U (m, k), remembering the vectors N met; returns the neurons reached, of cost one."""
        weights = np.broadcast_to(self.v, (len(U), len(self.v)))
        reached, slopes = peaks(self.Z, weights, self.p, self.radius, U)
        for u, c in zip(self._scaled(reached), slopes, strict=True):
            self.pool.add(u, c[self.n_positive :] @ self.rows[self.n_positive :])
        return reached

    def _scaled(self, U: Array) -> Array:
        """Directions in which a free bias and the penalised coordinates are comparable."""
        scaled = np.array(U)
        scaled[..., self.p :] /= max(self.radius, np.finfo(float).tiny)
        return scaled

    def nearest(self, W: Array) -> Array:
        """The remembered vector N (m, k) of the maximiser nearest to each row of W."""
        return np.asarray(self.pool.sums[(self._scaled(W) @ self.pool.directions.T).argmax(axis=1)])


def peaks(Z: Array, a: Array, p: int, radius: float, U: Array) -> tuple[Array, Array]:
    """Where climbs of the correlations with a (m, n) from the rows of U (m, k) end, but for those that shrink to zero.

    Returns the neurons, of cost one, and the slopes (., n) there.
    """
    ends = climb(Z, p, a, U, CLIMB)
    costs = np.linalg.norm(ends.u[:, :p], axis=1)
    alive = costs > 0
    return bounded(ends.u[alive] / costs[alive, None], p, radius), ends.c[alive]


def bounded(U: Array, p: int, radius: float) -> Array:
    """Neurons of cost one with a free bias cut off where it stops to matter."""
    U = np.array(U)
    U[..., p:] = np.clip(U[..., p:], -radius, radius)
    return U


@dataclass(eq=False)
class SlopePool:
    """Vectors N = sum alpha_i v_i z_i over the negative samples, each with the direction it was made for."""

    directions: Array
    sums: Array
    seen: set[bytes] = field(default_factory=set)

    @classmethod
    def empty(cls, k: int) -> SlopePool:
        """No vectors yet."""
        return cls(np.empty((0, k)), np.empty((0, k)))

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.sums)

    def add(self, direction: Array, total: Array) -> None:
        """Remember a vector unless it is known to nine digits."""
        unit = direction / np.linalg.norm(direction)
        key = np.round(unit, 9).tobytes()
        if key not in self.seen:
            self.seen.add(key)
            self.directions = np.vstack([self.directions, unit])
            self.sums = np.vstack([self.sums, total])
