"""Proof of the joint dual norm of several tasks by branch and bound: `bound_joint_norm`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `N` (n, tasks) dual variable, `u` a neuron of cost |u[:p]|,
`T` the target, `P(u) = N^T relu(Z u)`,

    tau(N) = max over |u[:p]| <= 1 of |P(u)|.

The search is over all directions u (boxes on the faces of a cube); the output direction v is implied by the neuron.
See `task_boxes` for the bound on a box. Around a local maximiser u* with v* = P / |P| the kinks of samples with v* .
N_i < 0 meet it; there the bound is exact with the slopes that make |M^T v*| shortest (those with which a climb for the
one task N v* ends), which are found once and tried on all boxes near it.

With a free bias (p = k - 1, last column of Z all ones) the bias is bounded as for one task: see `bound`.

Rounding
--------
Boxes cover all directions exactly (see `bound`). Write B_i for sum_j |z_ij| max |w_j| over the cube, S = sum |N_i| B_i,
and eps for the unit of rounding. P, M u, q and the errors are sums of at most n terms of k-term products with slopes in
[0, 1] and lifts of at most 2 B_i, each evaluated to within (2 n + 6 k + 4 tasks + 40) eps S, called the margin; a
sample taken for fixed although its interval reaches across the kink by rounding moves P by less than that, too. What
that does to a form is added to its excess: see `task_boxes`.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field

import numpy as np

from convexrelu.arrays import EPS, Array, frozen, row_norms
from convexrelu.errors import InvalidInputError
from convexrelu.pricing.bound import BATCH, OPEN_LIMIT, DualNormBound
from convexrelu.pricing.boxes import FINEST
from convexrelu.pricing.slopes import bounded, peaks
from convexrelu.pricing.task_boxes import (
    Quadratic,
    TaskBoxes,
    TaskSide,
    best_axis,
    improve,
    intervals,
    relax,
)

PROMISING = 0.98
"""Norms above this fraction of the target are worth learning slopes from."""

CLIMBS = 60
"""Steps of an ascent: each fixes the output direction, as power iteration does, so they are cheap and slow."""


def bound_joint_norm(
    Z: Array,
    N: Array,
    n_penalized: int,
    *,
    target: float,
    max_boxes: int,
    time_limit: float | None = None,
    starts: Array | None = None,
) -> DualNormBound:
    """Prove an upper bound on tau(N), the largest |N^T relu(Z u)| over neurons u of cost one.

    Parameters
    ----------
    Z : float64 (n, k)
        Reduced data; with a free bias (`n_penalized = k - 1`) its last column is all ones.
    N : float64 (n, tasks)
        Dual variable.
    n_penalized : int
        k or k - 1.
    target : float
        Boxes are closed at this value; the proof is short when it exceeds tau(N) by a little (1e-7 relative will do).
    max_boxes : int
        Budget. When it is used up the worst open box gives the bound.
    time_limit : float, optional
        Seconds.
    starts : float64 (m, k), optional
        Neurons known to have large correlations, for instance those of the solution; they shorten the proof.

    Raises
    ------
    InvalidInputError
        For a target that is not a positive number.

    Notes
    -----
    Deterministic, unless the time limit strikes. A box costs about n k tasks operations; their number grows
    exponentially in k, not in the number of tasks.
    """
    if not (np.isfinite(target) and target > 0):
        raise InvalidInputError(f"`target` is {target!r}. Write a positive number, for instance the weight decay.")
    search = _Search(np.asarray(Z, dtype=float), np.asarray(N, dtype=float), n_penalized, float(target))
    return search.run(max_boxes, np.inf if time_limit is None else time.perf_counter() + time_limit, starts)


@dataclass(eq=False)
class _Pool:
    """Local maximisers: directions (m, k) in comparable units, and the slopes (m, n) that bound |P| near them."""

    directions: Array
    slopes: Array
    seen: set[bytes] = field(default_factory=set)

    def add(self, direction: Array, slopes: Array) -> None:
        """Remember a maximiser unless it is known to six digits."""
        unit = direction / np.linalg.norm(direction)
        key = np.round(unit, 6).tobytes()
        if key not in self.seen:
            self.seen.add(key)
            self.directions = np.vstack([self.directions, unit])
            self.slopes = np.vstack([self.slopes, slopes])


class _Search:
    """The state of one proof."""

    def __init__(self, Z: Array, N: Array, p: int, target: float) -> None:
        k = Z.shape[1]
        self.side, self.p, self.target = TaskSide.of(Z, N, p), p, target
        self.radius = float(row_norms(Z[:, :p]).max(initial=0.0)) * (1 + 8 * k * EPS) if p < k else 0.0
        # A power of two, so that halving stays exact; on the faces of the cube |w[:p]| goes up to sqrt(p).
        reach = 1.000001 * self.radius * np.sqrt(p)
        self.bias_scale = float(2.0 ** np.ceil(np.log2(reach))) if reach > 0 else 0.0
        self.width = np.concatenate([np.ones(p), np.full(k - p, self.bias_scale)])
        (n, k), tasks = self.side.Z.shape, self.side.N.shape[1]
        size = float(self.side.sizes @ (np.abs(self.side.Z) @ self.width))
        self.margin = (2 * n + 6 * k + 4 * tasks + 40) * EPS * size
        self.pool = _Pool(np.empty((0, k)), np.empty((0, len(self.side.Z))))
        self.closed = self.stuck = 0.0
        self.boxes = 0
        self.lower = 0.0
        self.neuron = np.zeros(k)
        self.neuron[: min(p, 1)] = 1.0

    def run(self, max_boxes: int, deadline: float, starts: Array | None) -> DualNormBound:
        """Bound until nothing is open, a limit is reached or a neuron beyond the target is met."""
        open_: list[tuple[float, int, TaskBoxes]] = []
        count = waiting = 0
        if self.p and len(self.side.Z):
            self._start(starts, deadline)
            first = self._first()
            open_, waiting = [(-float(first.level.max()), 0, first)], len(first)
        while open_ and not self._violated() and time.perf_counter() < deadline:
            boxes = open_.pop()[2] if waiting > OPEN_LIMIT else heapq.heappop(open_)[2]
            if self.boxes + len(boxes) > max_boxes:
                open_.append((-float(boxes.level.max()), -1, boxes))
                break
            waiting -= len(boxes)
            for child in self._process(boxes):
                count, waiting = count + 1, waiting + len(child)
                heapq.heappush(open_, (-float(child.level.max()), count, child))
        upper = max([self.closed, self.stuck, self.lower, *(-key for key, _, _ in open_)])
        finished = not open_ and not self._violated() and self.stuck == 0
        return DualNormBound(upper, self.lower, frozen(self.neuron), self.boxes, finished)

    def _first(self, limit: int = 128) -> TaskBoxes:
        """All directions: the 2 p faces of the cube, halved along every coordinate as often as `limit` boxes allow."""
        k, p = len(self.width), self.p
        C = np.zeros((2 * p, k))
        C[np.arange(2 * p), np.tile(np.arange(p), 2)] = np.repeat([1.0, -1.0], p)
        H = np.where(C != 0, 0.0, self.width)
        reach = row_norms(self.side.Z[:, :p]) + self.radius
        level = float(self.side.sizes @ reach) * (1 + 2 * (len(reach) + 8) * EPS)
        mixed = np.arange(len(self.side.Z))
        boxes = TaskBoxes(C, H, np.full(2 * p, level), mixed, np.zeros(self.side.maps.shape[1]))
        while k > 1 and len(boxes) * 2 ** (k - 1) <= limit:
            for _ in range(k - 1):
                boxes = _halve(boxes, (boxes.H / np.maximum(self.width, np.finfo(float).tiny)).argmax(axis=1))
        return boxes

    def _start(self, starts: Array | None, deadline: float) -> None:
        """Learn slopes from neurons that are known to be good."""
        U = np.asarray(self.side.N.T @ self.side.Z)
        if starts is not None:
            U = np.vstack([U, np.asarray(starts, dtype=float)])
        U = U[row_norms(U[:, : self.p]) > 0]
        U = bounded(U / row_norms(U[:, : self.p])[:, None], self.p, self.radius)
        values = self._record(U)
        for u in U[values > PROMISING * self.target]:
            if time.perf_counter() > deadline:
                break
            self._climb(u)

    def _scaled(self, U: Array) -> Array:
        """Directions in which a free bias and the penalised coordinates are comparable."""
        unit = np.concatenate([np.ones(self.p), np.full(U.shape[-1] - self.p, self.radius)])
        return np.asarray(U / np.maximum(unit, 1e-300))

    def _record(self, U: Array) -> Array:
        """Keep the best of some neurons of cost one; returns their norms |P|."""
        values = row_norms(self.side.correlations(U))
        if len(U) and values.max() > self.lower:
            best = int(values.argmax())
            self.lower, self.neuron = float(values[best]), U[best].copy()
        return values

    def _climb(self, u: Array) -> None:
        """Ascend from u: the output direction of u, then the best neuron for it, in turns; remember where it ends."""
        slopes, value = None, 0.0
        for _ in range(CLIMBS):
            P = self.side.correlations(u[None])[0]
            norm = float(np.linalg.norm(P))
            if not norm > value * (1 + 1e-13):
                break
            value = norm
            neurons, found = peaks(self.side.Z, (self.side.N @ (P / norm))[None], self.p, self.radius, u[None])
            if not len(neurons):
                break
            u, slopes = neurons[0], found[0]
        if slopes is not None:
            self._record(u[None])
            self.pool.add(self._scaled(u), slopes)

    def _violated(self) -> bool:
        """Whether the best neuron exceeds the target by more than rounding."""
        return bool(self.lower - 2 * self.margin > self.target)

    def _process(self, boxes: TaskBoxes) -> list[TaskBoxes]:
        """Bound a batch and halve what stays open."""
        self.boxes += len(boxes)
        boxes, t, r = intervals(self.side, boxes)
        open_ = relax(self.side, boxes, t, r, self.target, self.margin)
        self._close(open_)
        if len(open_.x):
            self._recall(open_, boxes)
        if len(open_.x):
            self._spectral(open_)
        if len(open_.x):
            self._explore(open_)
        return self._children(boxes, open_) if len(open_.x) else []

    def _recall(self, open_: Quadratic, boxes: TaskBoxes) -> None:
        """Try the remembered slopes of the nearest local maximiser on the samples that lower |P| there."""
        if len(self.pool.directions):
            nearest = (self._scaled(open_.C) @ self.pool.directions.T).argmax(axis=1)
            slopes = self.pool.slopes[nearest][:, boxes.mixed]
            fixed = np.abs(open_.t) >= open_.r
            slopes = np.where(fixed, (open_.t > 0).astype(float), slopes)
            improve(open_, self.side, boxes, slopes, self.target, self.margin)
            self._close(open_)

    def _spectral(self, open_: Quadratic) -> None:
        """Where a form has no positive eigenvalue it has no positive value anywhere."""
        top = np.linalg.eigvalsh(open_.G)[:, -1]
        size = np.abs(open_.G).max(axis=(1, 2)) if len(open_.G) else top
        k = open_.G.shape[1]
        # On a face 1 <= |w|^2 <= sum of the squared widths; eigenvalues are good to a few units in the norm.
        top = top + 8 * k * k * EPS * size
        bound = top * np.where(top > 0, float((self.width**2).sum()), 1.0)
        open_.x = np.minimum(open_.x, bound + open_.slack)
        self._close(open_)

    def _explore(self, open_: Quadratic) -> None:
        """Look for better neurons among the centres."""
        costs = row_norms(open_.C[:, : self.p])[:, None]
        U = bounded(open_.C / costs, self.p, self.radius)
        values = self._record(U)
        best = int(values.argmax())
        if values[best] > PROMISING * self.target and len(self.pool.seen) < 500:
            unit = self._scaled(U[best])
            unit = unit / np.linalg.norm(unit)
            if not len(self.pool.directions) or (self.pool.directions @ unit).max() < 0.99:
                self._climb(U[best])

    def _close(self, open_: Quadratic) -> None:
        """Drop the boxes whose excess is not positive."""
        done = open_.x <= 0
        if done.any():
            self.closed = self.target
            open_.keep(~done)

    def _children(self, boxes: TaskBoxes, open_: Quadratic) -> list[TaskBoxes]:
        """Halves of the open boxes, in batches of neighbours; a box too small to halve keeps its bound for good."""
        nearest = np.clip(0.0, open_.C - open_.H, open_.C + open_.H)[:, : self.p]
        square = self.target**2 + open_.x / np.einsum("bi,bi->b", nearest, nearest)
        level = np.minimum(np.sqrt(square) * (1 + 16 * self.p * EPS), boxes.level[open_.box])
        axis, divisible = best_axis(self.side, boxes, open_, FINEST * self.width)
        if not divisible.all():
            self.stuck = max(self.stuck, float(level[~divisible].max()))
        chosen = np.flatnonzero(divisible)
        divided = TaskBoxes(open_.C[chosen], open_.H[chosen], level[chosen], boxes.mixed, boxes.fixed)
        halves = _halve(divided, axis[chosen])
        pieces = -(-len(halves) // BATCH)
        return [halves.part(piece) for piece in np.array_split(np.arange(len(halves)), pieces)] if len(halves) else []


def _halve(boxes: TaskBoxes, axis: np.ndarray[tuple[int], np.dtype[np.intp]]) -> TaskBoxes:
    """Cut each box in two along its axis; halves stay neighbours in the order."""
    row = np.arange(len(boxes))
    H = boxes.H.copy()
    H[row, axis] /= 2
    C, H = np.repeat(boxes.C, 2, axis=0), np.repeat(H, 2, axis=0)
    C[2 * row, axis] -= H[2 * row, axis]
    C[2 * row + 1, axis] += H[2 * row, axis]
    return TaskBoxes(C, H, np.repeat(boxes.level, 2), boxes.mixed, boxes.fixed)
