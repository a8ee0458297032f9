"""Boxes of directions, and a linear bound of a correlation on each of many boxes at once: `Boxes`, `relax`, `halve`.

Letters: `C`, `H` (B, k) centres and half-widths of B boxes of directions w, one penalised coordinate of w fixed at
plus or minus one (a face of the cube); `p` penalised coordinates; `T` the target; `h` (Z, v) a `Side`; `x` (B,) the
excess max over the box of [bound of h(w) - T |w[:p]|]: the box is closed when x <= 0.

On a box the pre-activation z_i . w of sample i lies in t_i +- r_i. A sample with v_i > 0 is bounded by its chord a_i
(s + r_i - t_i), a_i = (t_i + r_i) / (2 r_i) clipped to [0, 1]; one with v_i < 0 by any slope in [0, 1] through zero.
So h(w) <= q + g . w on the box. Then q + g . w - T |w[:p]| <= q + (g - T e) . w for every |e| <= 1, with equality if e
points to the maximiser of the concave left-hand side over the box; two rounds of w <- clip(|w| g / T) come close
enough to it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.pricing.slopes import Side

SHARPNESS = 0.5
"""First slopes of negative samples: chords of intervals shortened by this factor (0: activity at the centre)."""

FINEST = 2.0**-40
"""Half-widths are not halved below this fraction of the first box: centres stay exact binary fractions."""

COMPACT = 0.3
"""Samples of fixed activity are folded into a vector when they are this share of a batch's samples."""


@dataclass(eq=False)
class Boxes:
    """A batch of neighbouring boxes, and the samples whose activity is not the same on all of them.

    Attributes
    ----------
    side : Side
    C, H : float64 (B, k)
        Centres and half-widths.
    level : float64 (B,)
        Proven bounds of h on the boxes, inherited from their parents.
    positive, negative : int (.,)
        Samples of the side (v > 0, v < 0) still to be looked at.
    fixed_positive, fixed_negative : float64 (k,)
        Sums of v_i z_i over the samples that are on all over the batch.
    """

    side: Side
    C: Array
    H: Array
    level: Array
    positive: IntArray
    negative: IntArray
    fixed_positive: Array
    fixed_negative: Array

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.C)

    @cached_property
    def worst(self) -> float:
        """Largest of the boxes' bounds."""
        return float(self.level.max())

    def part(self, chosen: slice | IntArray) -> Boxes:
        """Some of the boxes, with the same samples."""
        return replace(self, C=self.C[chosen], H=self.H[chosen], level=self.level[chosen])


@dataclass(eq=False)
class Relaxed:
    """Boxes that are still open, each with its linear bound q + g . w and its excess x."""

    box: IntArray
    C: Array
    H: Array
    q: Array
    positive_part: Array
    g: Array
    x: Array
    w: Array
    cost: Array
    residual: Array

    def keep(self, chosen: BoolArray) -> None:
        """Drop the other boxes."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name)[chosen])

    def improve(self, g: Array, found: tuple[Array, Array, Array, Array]) -> None:
        """Take another gradient and its (x, w, cost, residual) where its excess is smaller."""
        better = found[0] < self.x
        for name, new in zip(("g", "x", "w", "cost", "residual"), (g, *found), strict=True):
            getattr(self, name)[better] = new[better]


def first_boxes(side: Side, bias_scale: float, level: float, limit: int = 128) -> Boxes:
    """All directions: the 2 p faces of the cube, halved along every coordinate as often as `limit` boxes allow."""
    k, p = side.Z.shape[1], side.p
    width = np.ones(k)
    width[p:] = bias_scale
    C = np.zeros((2 * p, k))
    C[np.arange(2 * p), np.tile(np.arange(p), 2)] = np.repeat([1.0, -1.0], p)
    H = np.where(C != 0, 0.0, width)
    m = len(side.v)
    split = np.arange(side.n_positive), np.arange(side.n_positive, m)
    boxes = Boxes(side, C, H, np.full(2 * p, level), *split, np.zeros(k), np.zeros(k))
    while k > 1 and len(boxes) * 2 ** (k - 1) <= limit:
        for _ in range(k - 1):
            boxes = halve(boxes, (boxes.H / np.maximum(width, np.finfo(float).tiny)).argmax(axis=1))
    return boxes


def halve(boxes: Boxes, axis: IntArray) -> Boxes:
    """Cut each box in two along its axis; halves stay neighbours in the order."""
    row = np.arange(len(boxes))
    H = boxes.H.copy()
    H[row, axis] /= 2
    C, H = np.repeat(boxes.C, 2, axis=0), np.repeat(H, 2, axis=0)
    C[2 * row, axis] -= H[2 * row, axis]
    C[2 * row + 1, axis] += H[2 * row, axis]
    return replace(boxes, C=C, H=H, level=np.repeat(boxes.level, 2))


def intervals(boxes: Boxes) -> tuple[Boxes, Array, Array, Array]:
    """Pre-activation centres t and half-widths r (B, m) of the samples that are not folded in as of fixed activity."""
    side, p = boxes.side, len(boxes.positive)
    index = np.concatenate([boxes.positive, boxes.negative])
    Z = side.Z[index]
    t, r = boxes.C @ Z.T, boxes.H @ np.abs(Z).T
    on, off = (t >= r).all(axis=0), (t <= -r).all(axis=0)
    mixed = ~(on | off)
    if mixed.sum() > (1 - COMPACT) * len(index):
        return boxes, Z, t, r
    rows = side.rows[index]
    boxes = replace(
        boxes,
        positive=boxes.positive[mixed[:p]],
        negative=boxes.negative[mixed[p:]],
        fixed_positive=boxes.fixed_positive + rows[:p][on[:p]].sum(axis=0),
        fixed_negative=boxes.fixed_negative + rows[p:][on[p:]].sum(axis=0),
    )
    return boxes, Z[mixed], t[:, mixed], r[:, mixed]


def relax(boxes: Boxes, t: Array, r: Array, target: float) -> Relaxed:
    """Linear bound on every box, with the first choice of slopes."""
    side, p = boxes.side, len(boxes.positive)
    a = chord_slopes(t[:, :p], r[:, :p])
    rise = np.maximum(r[:, :p] - t[:, :p], 0.0)
    rise *= a
    q = rise @ side.v[boxes.positive]
    positive_part = boxes.fixed_positive + a @ side.rows[boxes.positive]
    b = chord_slopes(t[:, p:], SHARPNESS * r[:, p:])
    g = positive_part + (boxes.fixed_negative + b @ side.rows[boxes.negative])
    cost = row_norms(boxes.C[:, : side.p])
    every = np.arange(len(boxes))
    out = Relaxed(every, boxes.C, boxes.H, q, positive_part, g, np.full(len(every), np.inf), boxes.C, cost, g)
    out.x, out.w, out.cost, out.residual = _excess(out, g, target, side.p)
    return out


def chord_slopes(t: Array, r: Array) -> Array:
    """(t + r) / (2 r), clipped to [0, 1]; at r = 0 one where t > 0."""
    slopes, width = t + r, 2 * r
    width += np.finfo(float).tiny
    np.clip(slopes, 0.0, width, out=slopes)
    slopes /= width
    return slopes


def _excess(open_: Relaxed, g: Array, target: float, p: int, rounds: int = 2) -> tuple[Array, Array, Array, Array]:
    """(x, w, |w[:p]|, g - T e): excess of q + g . w, the direction that attains it approximately, what is left of g."""
    low, high = open_.C - open_.H, open_.C + open_.H
    cost = open_.cost
    for _ in range(rounds):
        w = np.clip(g * (cost / target)[:, None], low, high)
        cost = row_norms(w[:, :p])
    residual = g.copy()
    residual[:, :p] -= w[:, :p] * (target / cost)[:, None]
    if p < g.shape[1]:
        w[:, p:] = np.where(g[:, p:] > 0, high[:, p:], low[:, p:])
    x = open_.q + np.einsum("ij,ij->i", residual, open_.C) + np.einsum("ij,ij->i", np.abs(residual), open_.H)
    return x, w, cost, residual


def refine(open_: Relaxed, boxes: Boxes, Z: Array, target: float) -> None:
    """Move the negative samples' slopes towards the activity at the present maximiser (one step of Frank and Wolfe)."""
    p = len(boxes.positive)
    active = open_.w @ Z[p:].T > 0
    corner = open_.positive_part + (boxes.fixed_negative + active @ boxes.side.rows[boxes.negative])
    old = open_.g.copy()
    for share in (0.5, 0.75, 1.0):
        g = (1 - share) * old + share * corner
        open_.improve(g, _excess(open_, g, target, boxes.side.p))


def recall(open_: Relaxed, side: Side, target: float) -> None:
    """Try the remembered slopes of the nearest local maximiser."""
    if len(side.pool):
        g = open_.positive_part + side.nearest(open_.w)
        open_.improve(g, _excess(open_, g, target, side.p))


def shrink(open_: Relaxed, slack: float, finest: Array) -> None:
    """Cut off the parts of each box, in halves of halves, on which its own linear bound is negative.

    At a distance d from the end of coordinate j that the bound prefers, the excess is down by d |residual_j|.
    """
    need = (open_.x + slack)[:, None]
    drop = 2 * np.abs(open_.residual) * open_.H
    halvings = np.floor(np.log2(np.maximum(drop, need) / need))
    room = np.floor(np.log2(np.maximum(open_.H / np.maximum(finest, np.finfo(float).tiny), 1.0)))
    H = open_.H * 2.0 ** -np.minimum(halvings, room)
    open_.C = open_.C + np.sign(open_.residual) * (open_.H - H)
    open_.H = H


def best_axis(boxes: Boxes, open_: Relaxed, Z: Array, t: Array, r: Array, finest: Array) -> tuple[IntArray, BoolArray]:
    """Where to cut: the coordinate through which the undecided samples vary most; and whether it may still be cut."""
    index = np.concatenate([boxes.positive, boxes.negative])
    chosen, H = open_.box, open_.H
    undecided = (r[chosen] > np.abs(t[chosen])) * np.abs(boxes.side.v[index])
    score = (undecided @ np.abs(Z) + np.finfo(float).tiny) * H
    score[finest >= H] = -1.0
    axis = score.argmax(axis=1)
    return axis, score[np.arange(len(axis)), axis] > 0
