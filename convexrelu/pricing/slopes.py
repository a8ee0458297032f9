"""Slopes that bound the concave part of a correlation near one of its local maximisers: `Side`, `SlopePool`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `u` (k,) a neuron of cost |u[:p]|, `v` (n,) plus or minus
the dual variable, `h(u) = v . relu(Z u)` one signed correlation, `alpha` slopes in [0, 1].

A sample with v_i < 0 satisfies v_i relu(z_i . u) <= alpha_i v_i z_i . u for every alpha_i in [0, 1] and *every* u. So
each vector N = sum_{v_i < 0} alpha_i v_i z_i bounds the concave part of h everywhere, and where the samples with v_i >
0 have the activity that makes up the vector c, h(u) <= (c + N) . u <= |c + N| |u|. The shortest c + N gives the
maximum of h over that whole region, kinks of the concave part included: one point of a zonotope, found by Wolfe's
algorithm. A branch and bound that knows these vectors needs no small boxes around a maximiser, although the maximum is
attained on kinks and by many neurons at once, as it is for the dual variable of a solved program.

References
----------
P. Wolfe, Finding the nearest point in a polytope, Mathematical Programming 11, 1976.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray

FREE_WEIGHT = 100.0
"""Weight of the free coordinate against the others, in units of the largest bias; the multiplier removes its bias."""


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

    def climb(self, u: Array, steps: int = 3) -> Array:
        """Ascend from u, remembering the vectors N met; returns the neurons (steps, k) reached, of cost one.

        Each step maximises h with the positive samples' activity held fixed, which never decreases h.
        """
        reached = np.empty((0, len(u)))
        for _ in range(steps):
            on = self.Z[: self.n_positive] @ u > 0
            base = np.asarray(on @ self.rows[: self.n_positive])
            alpha, new = self.maximise(base, u)
            if new is None:
                break
            self.pool.add(self._scaled(new), alpha @ self.rows[self.n_positive :])
            reached = np.vstack([reached, new])
            if np.array_equal(on, self.Z[: self.n_positive] @ new > 0):
                break
            u = new
        return reached

    def maximise(self, base: Array, u: Array) -> tuple[Array, Array | None]:
        """Slopes of the negative samples that make the sum with `base` shortest, and the neuron along that sum.

        A free coordinate's sum has to vanish: quadratic penalty with a multiplier, two rounds of which leave rounding.
        """
        weight, multiplier, rounds = np.ones(len(base)), np.zeros(len(base)), 1
        if self.p < len(base):
            weight[self.p :], rounds = FREE_WEIGHT * self.radius, 3
        rows = self.rows[self.n_positive :] * weight
        start = u / weight
        for _ in range(rounds):
            alpha = shortest_sum((base + multiplier) * weight, rows, start)
            total = base + multiplier + alpha @ self.rows[self.n_positive :]
            start = total * weight
            multiplier[self.p :] = total[self.p :]
        cost = float(np.linalg.norm(total[: self.p]))
        return alpha, self.bounded(total * weight**2 / cost) if cost > 0 else None

    def bounded(self, u: Array) -> Array:
        """Neurons of cost one with a free bias cut off where it stops to matter."""
        u[..., self.p :] = np.clip(u[..., self.p :], -self.radius, self.radius)
        return u

    def _scaled(self, U: Array) -> Array:
        """Directions in which a free bias and the penalised coordinates are comparable."""
        scaled = np.array(U)
        scaled[..., self.p :] /= max(self.radius, np.finfo(float).tiny)
        return scaled

    def knows(self, u: Array) -> bool:
        """Whether a remembered maximiser lies along u, to nine digits of the cosine."""
        direction = self._scaled(u)
        return bool((self.pool.directions @ direction > (1 - 1e-9) * np.linalg.norm(direction)).any())

    def nearest(self, W: Array) -> Array:
        """The remembered vector N (m, k) of the maximiser nearest to each row of W."""
        return np.asarray(self.pool.sums[(self._scaled(W) @ self.pool.directions.T).argmax(axis=1)])


def best_for_output(Z: Array, a: Array, p: int, radius: float, u: Array) -> tuple[Array, Array] | None:
    """Slopes (n,) and neuron of the best correlation with a (n,) while the samples with a > 0 keep their activity at u.

    Rows of Z must not be zero; None where the correlation vanishes.
    """
    order = np.concatenate([np.flatnonzero(a > 0), np.flatnonzero(a < 0)])
    side = Side.of(Z[order], a[order], p, radius)
    on = Z @ u > 0
    alpha, new = side.maximise(np.asarray(on[order[: side.n_positive]] @ side.rows[: side.n_positive]), u)
    slopes = on.astype(float)
    slopes[order[side.n_positive :]] = alpha
    return None if new is None else (slopes, new)


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


def shortest_sum(base: Array, rows: Array, start: Array, tol: float = 1e-14, max_iter: int = 100) -> Array:
    """Slopes alpha (m,) in [0, 1] that make |base + alpha rows| nearly least (Wolfe's algorithm on a zonotope).

    Parameters
    ----------
    base : float64 (k,)
    rows : float64 (m, k)
    start : float64 (k,)
        A guess of the direction of the shortest sum.
    tol : float
        Stop when the squared norm is within this fraction of its minimum.
    """
    corners = (rows @ start < 0)[None].astype(float)
    points, share = base + corners @ rows, np.ones(1)
    for _ in range(max_iter):
        x = share @ points
        corner = (rows @ x < 0).astype(float)
        point = base + corner @ rows
        if x @ x - x @ point <= tol * (x @ x):
            break
        corners, points, share = np.vstack([corners, corner]), np.vstack([points, point]), np.append(share, 0.0)
        kept, share = _shortest_in_hull(points, share)
        corners, points = corners[kept], points[kept]
    return np.asarray(np.clip(share @ corners, 0.0, 1.0))


def _shortest_in_hull(points: Array, share: Array) -> tuple[IntArray, Array]:
    """Wolfe's minor cycles: move to the shortest affine combination, dropping points whose share turns negative."""
    index = np.arange(len(points))
    while True:
        wanted = _shortest_affine(points[index])
        negative = wanted < -EPS
        if not negative.any():
            share = np.maximum(wanted, 0.0)
            return index, share / share.sum()
        step = min(1.0, float((share[negative] / (share[negative] - wanted[negative])).min()))
        share = (1 - step) * share + step * wanted
        keep = share > 1e-14
        keep[np.argmin(share)] = False
        index, share = index[keep], np.maximum(share[keep], 0.0)
        share = share / share.sum()


def _shortest_affine(points: Array) -> Array:
    """Weights of sum one (of any sign) that make the combination of the points shortest."""
    # Least squares in differences to the first point: no squared condition number, ties of points are harmless.
    if len(points) == 1:
        return np.ones(1)
    rest = np.linalg.lstsq((points[1:] - points[0]).T, -points[0], rcond=None)[0]
    return np.concatenate([[1 - rest.sum()], rest])
