"""Proof of the dual norm by branch and bound: `bound_dual_norm`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `nu` (n, 1) dual variable, `u` a neuron of cost |u[:p]|,
`T` the target,

    tau(nu) = max over |u[:p]| <= 1 of |nu . relu(Z u)|.

With a free bias (p = k - 1, last column of Z all ones) the maximum is over |u_k| <= R |u[:p]|, R = max_i |Z[i, :p]|:
further out every sample is on or every sample is off, and the correlation changes by u_k sum(nu) only, which is zero
for a feasible dual variable.

Both signs of the correlation are searched over all directions (boxes on the faces of a cube, `boxes`). A box is closed
when the correlation is at most T |w[:p]| on it. The slopes that make this bound exact around each maximiser are found
once and shared by all boxes near it (`slopes`); without them a target within 1e-6 of the maximum needs about a
thousand times the boxes.

Rounding
--------
Centres and half-widths are binary fractions and are halved exactly, so the boxes cover all directions. Write B_i for
sum_j |z_ij| max |w_j|, a bound on |z_i . w| over the whole cube, and eps for the unit of rounding. Per sample: t_i and
r_i are k-term sums, each off by at most k eps B_i; relu(s) - a_i s is convex and changes by at most |ds|, so that
widening its interval by both errors, and rounding of a_i and of the chord's constant, cost at most (2 k + 10) eps
|v_i| B_i. Slopes of negative samples need no interval. Sums over samples (q, g, partial sums of folded samples) are
trees of at most 2 n additions: (2 n + 2) eps sum |v_i| B_i. The direction e = w / |w| has norm at most 1 + (k + 4) eps
and T |e . w| <= T sqrt(p) on the cube; the final k-term products cost (3 k + 10) eps times (sum |v_i| B_i + T
sqrt(p)). Twice the total is added to every excess before it is compared with zero.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import EPS, Array, frozen, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.pricing import boxes as relaxations
from convexrelu.pricing.boxes import FINEST, Boxes, Relaxed, first_boxes, halve
from convexrelu.pricing.slopes import Side, bounded

BATCH = 2048
"""Boxes per batch: large enough for matrix products, small enough for the cache and for folding in fixed samples."""

OPEN_LIMIT = 200_000
"""Above this many open boxes the search goes deep instead of taking the worst bound first: memory stays bounded."""

WORTH_A_CLIMB = 32
"""Open boxes in a batch that justify looking for the local maximiser among them."""

PROMISING = 0.98
"""Correlations above this fraction of the target are worth learning slopes from."""


@dataclass(frozen=True, eq=False)
class DualNormBound:
    """Proven bounds on a dual norm.

    Attributes
    ----------
    upper : float
        Never below the maximum, rounding included.
    lower : float
        The correlation of `neuron`, the best one met.
    neuron : float64 (k,)
        Of cost one, in reduced coordinates.
    boxes : int
        How many boxes were bounded.
    finished : bool
        Whether every box was closed at the target; if not, `lower` exceeds the target or a limit was reached.
    """

    upper: float
    lower: float
    neuron: Array
    boxes: int
    finished: bool


def bound_dual_norm(
    Z: Array,
    nu: Array,
    n_penalized: int,
    *,
    target: float,
    max_boxes: int,
    time_limit: float | None = None,
    starts: Array | None = None,
) -> DualNormBound:
    """Prove an upper bound on tau(nu), the largest |nu . relu(Z u)| over neurons u of cost one.

    Parameters
    ----------
    Z : float64 (n, k)
        Reduced data; with a free bias (`n_penalized = k - 1`) its last column is all ones.
    nu : float64 (n, 1) or (n,)
        Dual variable.
    n_penalized : int
        k or k - 1.
    target : float
        Boxes are closed at this value; the proof is short when it exceeds tau(nu) by a little (1e-7 relative will do).
    max_boxes : int
        Budget. When it is used up the worst open box gives the bound.
    time_limit : float, optional
        Seconds.
    starts : float64 (m, k), optional
        Neurons known to have large correlations, for instance those of the solution; they shorten the proof.

    Returns
    -------
    DualNormBound

    Raises
    ------
    UnsupportedError
        For more than one task.
    InvalidInputError
        For a target that is not a positive number.

    Notes
    -----
    Deterministic, unless the time limit strikes. A box costs about n k operations in three matrix products and some ten
    passes over n numbers; the number of boxes grows exponentially in k.
    """
    vector = _single_task(nu)
    if not (np.isfinite(target) and target > 0):
        raise InvalidInputError(f"`target` is {target!r}. Write a positive number, for instance the weight decay.")
    search = _Search(np.asarray(Z, dtype=float), vector, n_penalized, float(target))
    return search.run(max_boxes, np.inf if time_limit is None else time.perf_counter() + time_limit, starts)


def _single_task(nu: Array) -> Array:
    nu = np.asarray(nu, dtype=float)
    if nu.ndim == 2 and nu.shape[1] != 1:
        raise UnsupportedError(f"`nu` has {nu.shape[1]} tasks. The proof takes one; bound each task by itself.")
    return nu.reshape(-1)


class _Search:
    """The state of one proof."""

    def __init__(self, Z: Array, nu: Array, p: int, target: float) -> None:
        k = Z.shape[1]
        self.Z, self.nu, self.p, self.target = Z, nu, p, target
        self.radius = float(row_norms(Z[:, :p]).max(initial=0.0)) * (1 + 8 * k * EPS) if p < k else 0.0
        # A power of two, so that halving stays exact; on the faces of the cube |w[:p]| goes up to sqrt(p).
        reach = 1.000001 * self.radius * np.sqrt(p)
        self.bias_scale = float(2.0 ** np.ceil(np.log2(reach))) if reach > 0 else 0.0
        self.width = np.concatenate([np.ones(p), np.full(k - p, self.bias_scale)])
        self.slack = self._slack()
        self.closed = self.stuck = 0.0
        self.boxes = 0
        self.lower = 0.0
        self.neuron = np.zeros(k)
        self.neuron[: min(p, 1)] = 1.0

    def _slack(self) -> float:
        """What rounding can hide in an excess; see the module's text."""
        n, k = self.Z.shape
        size = float(np.abs(self.nu) @ (np.abs(self.Z) @ self.width))
        return 2 * EPS * float((2 * n + 6 * k + 30) * size + (4 * k + 20) * self.target * np.sqrt(self.p))

    def run(self, max_boxes: int, deadline: float, starts: Array | None) -> DualNormBound:
        """Bound until nothing is open, a limit is reached or a neuron beyond the target is met."""
        sides = [Side.of(self.Z, s * self.nu, self.p, self.radius) for s in (1.0, -1.0)]
        sides = [side for side in sides if self.p and side.n_positive]
        for side in sides:
            self._start(side, starts)
        open_ = [first_boxes(side, self.bias_scale, self._size(side)) for side in sides]
        waiting = sum(map(len, open_))
        while open_ and not self._violated() and time.perf_counter() < deadline:
            deep = waiting > OPEN_LIMIT
            at = len(open_) - 1 if deep else max(range(len(open_)), key=lambda i: open_[i].worst)
            if self.boxes + len(open_[at]) > max_boxes:
                break
            waiting -= len(open_[at])
            children = self._process(open_.pop(at))
            waiting += sum(map(len, children))
            open_ += children
        upper = max([self.closed, self.stuck, self.lower, *(boxes.worst for boxes in open_)])
        finished = not open_ and not self._violated() and self.stuck == 0
        return DualNormBound(upper, self.lower, frozen(self.neuron), self.boxes, finished)

    def _size(self, side: Side) -> float:
        """Bound of h over all neurons that needs no search."""
        reach = row_norms(side.Z[:, : self.p]) + self.radius
        n_plus = side.n_positive
        return float(side.v[:n_plus] @ reach[:n_plus]) * (1 + 2 * (len(reach) + 8) * EPS)

    def _start(self, side: Side, starts: Array | None) -> None:
        """Learn slopes from neurons that are known to be good."""
        U = np.vstack([side.rows[: side.n_positive].sum(axis=0), side.rows.sum(axis=0)])
        if starts is not None:
            U = np.vstack([U, np.asarray(starts, dtype=float)])
        U = U[row_norms(U[:, : self.p]) > 0]
        U = bounded(U / row_norms(U[:, : self.p])[:, None], self.p, self.radius)
        self._record(side, U)
        self._record(side, side.climb(U[side.values(U) > PROMISING * self.target]))

    def _record(self, side: Side, U: Array) -> Array:
        """Keep the best of some neurons of cost one; returns their correlations."""
        values = side.values(U)
        if len(U) and values.max() > self.lower:
            best = int(values.argmax())
            self.lower, self.neuron = float(values[best]), U[best].copy()
        return values

    def _violated(self) -> bool:
        """Whether the best neuron exceeds the target by more than rounding."""
        n, k = self.Z.shape
        size = float(np.abs(self.nu) @ (np.abs(self.Z) @ np.abs(self.neuron)))
        return bool(self.lower - 2 * (n + 2 * k + 8) * EPS * size > self.target)

    def _process(self, boxes: Boxes) -> list[Boxes]:
        """Bound a batch and halve what stays open."""
        self.boxes += len(boxes)
        boxes, Z, t, r = relaxations.intervals(boxes)
        open_ = relaxations.relax(boxes, t, r, self.target)
        self._close(open_)
        if len(open_.x):
            relaxations.refine(open_, boxes, Z, self.target)
            self._close(open_)
        if len(open_.x):
            relaxations.recall(open_, boxes.side, self.target)
            self._close(open_)
        if len(open_.x):
            self._climb(open_, boxes.side)
        return self._children(boxes, open_, Z, t, r) if len(open_.x) else []

    def _close(self, open_: Relaxed) -> None:
        """Drop the boxes whose excess is negative even with the slack, noting the bound they were closed at."""
        excess = open_.x + self.slack
        done = excess <= 0
        if done.any():
            # |w| <= sqrt(p) on a face, so a negative excess lowers the bound by at least this much.
            worst = self.target + float(excess[done].max()) / np.sqrt(self.p) * (1 - 8 * EPS)
            self.closed = max(self.closed, worst * (1 + 4 * EPS))
            open_.keep(~done)

    def _climb(self, open_: Relaxed, side: Side) -> None:
        """Where many boxes stay open, learn the slopes of the local maximiser among them and try these."""
        for _ in range(3):
            before = len(open_.x)
            directions = open_.w / open_.cost[:, None]
            values = self._record(side, directions)
            best = int(values.argmax()) if before >= WORTH_A_CLIMB else -1
            if best < 0 or values[best] < PROMISING * self.target:
                return
            self._record(side, side.climb(directions[[best]]))
            relaxations.recall(open_, side, self.target)
            self._close(open_)
            if len(open_.x) > 0.8 * before:
                return

    def _children(self, boxes: Boxes, open_: Relaxed, Z: Array, t: Array, r: Array) -> list[Boxes]:
        """Halves of the open boxes, in batches of neighbours; a box too small to halve keeps its bound for good."""
        nearest = np.clip(0.0, open_.C - open_.H, open_.C + open_.H)[:, : self.p]
        level = (self.target + (open_.x + self.slack) / row_norms(nearest)) * (1 + 16 * self.p * EPS)
        level = np.minimum(level, boxes.level[open_.box])
        finest = FINEST * self.width
        relaxations.shrink(open_, self.slack, finest)
        # What was cut off is bounded by the target.
        self.closed = max(self.closed, self.target)
        axis, divisible = relaxations.best_axis(boxes, open_, Z, t, r, finest)
        if not divisible.all():
            self.stuck = max(self.stuck, float(level[~divisible].max()))
        chosen = np.flatnonzero(divisible)
        divided = replace(boxes, C=open_.C[chosen], H=open_.H[chosen], level=level[chosen])
        halves = halve(divided, axis[chosen])
        # Whole sub-batches of equal size; each looks only at the samples that are undecided somewhere in it.
        pieces = -(-len(halves) // BATCH)
        return [halves.part(piece) for piece in np.array_split(np.arange(len(halves)), pieces)] if len(halves) else []
