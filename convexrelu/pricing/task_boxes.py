"""Boxes of directions, and a quadratic bound of a joint correlation on each of many boxes: `TaskBoxes`, `relax`.

Letters: `Z` (n, k) reduced data, `N` (n, tasks) dual variable, `C`, `H` (B, k) centres and half-widths of B boxes of
directions u, one penalised coordinate f of u fixed at plus or minus one (a face of the cube); `P(u) = N^T relu(Z u)`;
`T` the target. A box is closed when |P(u)|^2 - T^2 |u[:p]|^2 <= x <= 0 on it.

On a box z_i . u lies in t_i +- r_i. For every slope s_i in [0, 1]

    relu(z_i . u) = s_i z_i . u + e_i,    0 <= e_i <= lift_i = max(s_i (r_i - t_i), (1 - s_i) (r_i + t_i)),  0 if fixed,

so that P(u) = M u + sum_i e_i N_i with M = sum_i s_i N_i z_i^T, which confines P(u) to a ball. Where N_i . P has one
sign all over the ball |P| grows or falls with e_i: such a sample takes one end of its interval. The others take the
middle, q in all, and leave an error E in a zonotope. With a unit vector v near P(u) the error is split,

    |P|^2 <= (v . (M u + q) + max v . E)^2 + (|Pv (M u + q)| + max |Pv E|)^2,    Pv = I - v v^T,

as long as v . (M u + q) >= 0; the second term is of second order in the size of the box. The coordinate f is constant,
so that q and the errors may be written as multiples of u_f: the bound is a quadratic form u^T G u. It is
bounded over the box by its expansion at the centre, with a diagonal form above the mixed terms, and where that fails
by the largest eigenvalue of G.

Rounding
--------
All numbers of the first order, M u, q and the bounds on the error, are within twice the margin of `task_bound` of what
they stand for, and together at most m = |middle| + 4 radius of the ball. Their squares enter with weights of at most 1
+ STEEPEST: (1 + STEEPEST) 2 (m + 2 margin) (2 margin) in all. The entries of the form are sums of products of two; with
c = sum_j |M_j| max |u_j| + 2 sum_i lift_i |N_i| these and the value of the form are off by at most (4 k + 4 tasks + 40)
eps ((1 + STEEPEST) c^2 + T^2 p). Twice the sum of the two is the slack in every excess x.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.pricing.boxes import COMPACT, chord_slopes

STEEPEST = 4.0
"""Largest weight of the error against the spread in the second term; a bound on it bounds what rounding can add."""


@dataclass(frozen=True, eq=False)
class TaskSide:
    """The data of one joint correlation; zero rows of Z and of N are left out.

    Attributes
    ----------
    Z : float64 (n, k)
    N : float64 (n, tasks)
    p : int
        Penalised coordinates.
    maps : float64 (n, tasks k)
        Outer products N_i z_i^T.
    squares : float64 (n, tasks^2)
        Outer products N_i N_i^T / |N_i|.
    sizes : float64 (n,)
        Norms |N_i|.
    """

    Z: Array
    N: Array
    p: int
    maps: Array
    squares: Array
    sizes: Array

    @classmethod
    def of(cls, Z: Array, N: Array, p: int) -> TaskSide:
        """Thin the samples and multiply out."""
        busy = N.any(axis=1) & Z.any(axis=1)
        Z, N = np.ascontiguousarray(Z[busy]), np.ascontiguousarray(N[busy])
        sizes = row_norms(N)
        maps = (N[:, :, None] * Z[:, None, :]).reshape(len(Z), N.shape[1] * Z.shape[1])
        squares = (N[:, :, None] * (N / sizes[:, None])[:, None, :]).reshape(len(Z), N.shape[1] ** 2)
        return cls(Z, N, p, maps, squares, sizes)

    def correlations(self, U: Array) -> Array:
        """P(u) (m, tasks) of each row of U (m, k)."""
        return np.asarray(np.maximum(U @ self.Z.T, 0.0) @ self.N)


@dataclass(eq=False)
class TaskBoxes:
    """A batch of neighbouring boxes, and the samples whose activity is not the same on all of them.

    Attributes
    ----------
    C, H : float64 (B, k)
        Centres and half-widths.
    level : float64 (B,)
        Proven bounds of |P| / |u[:p]| on the boxes, inherited from their parents.
    mixed : int (.,)
        Samples still to be looked at.
    fixed : float64 (tasks k,)
        Sum of N_i z_i^T over the samples that are on all over the batch.
    """

    C: Array
    H: Array
    level: Array
    mixed: IntArray
    fixed: Array

    def __len__(self) -> int:
        """Number of boxes."""
        return len(self.C)

    def part(self, chosen: slice | IntArray) -> TaskBoxes:
        """Some of the boxes, with the same samples."""
        return replace(self, C=self.C[chosen], H=self.H[chosen], level=self.level[chosen])


@dataclass(eq=False)
class Quadratic:
    """Boxes that are still open: their forms G (B, k, k) and the excess x (B,), with what led there.

    `slack` (B,) is what rounding may hide in the value of a form; x is larger by that.
    """

    box: IntArray
    t: Array
    r: Array
    C: Array
    H: Array
    G: Array
    x: Array
    slack: Array
    loose: Array
    direction: Array

    def keep(self, chosen: BoolArray) -> None:
        """Drop the other boxes."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name)[chosen])


def intervals(side: TaskSide, boxes: TaskBoxes) -> tuple[TaskBoxes, Array, Array]:
    """Pre-activation centres t and half-widths r (B, m) of the samples that are not folded in as of fixed activity."""
    Z = side.Z[boxes.mixed]
    t, r = boxes.C @ Z.T, boxes.H @ np.abs(Z).T
    on, off = (t >= r).all(axis=0), (t <= -r).all(axis=0)
    mixed = ~(on | off)
    if mixed.sum() > (1 - COMPACT) * len(Z):
        return boxes, t, r
    fixed = boxes.fixed + side.maps[boxes.mixed[on]].sum(axis=0)
    return replace(boxes, mixed=boxes.mixed[mixed], fixed=fixed), t[:, mixed], r[:, mixed]


def relax(side: TaskSide, boxes: TaskBoxes, t: Array, r: Array, target: float, margin: float) -> Quadratic:
    """Quadratic bound on every box with the slopes of chords; `margin` is what rounding can hide in P."""
    every = np.arange(len(boxes))
    nothing, unbounded = np.zeros((len(boxes), 0)), np.full(len(every), np.inf)
    out = Quadratic(every, t, r, boxes.C, boxes.H, nothing, unbounded, unbounded.copy(), nothing, nothing)
    improve(out, side, boxes, chord_slopes(t, r), target, margin)
    return out


def improve(open_: Quadratic, side: TaskSide, boxes: TaskBoxes, slopes: Array, target: float, margin: float) -> None:
    """Bound again with other slopes (B, m) in [0, 1], and keep the new bound where it is better."""
    lift = np.maximum(slopes * np.maximum(open_.r - open_.t, 0.0), (1 - slopes) * np.maximum(open_.r + open_.t, 0.0))
    N, sizes = side.N[boxes.mixed], side.sizes[boxes.mixed]
    tasks, k = side.N.shape[1], side.Z.shape[1]
    M = (boxes.fixed + slopes @ side.maps[boxes.mixed]).reshape(-1, tasks, k)
    half, q, middle, radius = _ends(open_, M, lift, N, sizes, margin)
    G, direction = _form(open_, side, boxes, M, half, q, middle, target, margin)
    loose = lift * sizes
    columns = np.sqrt(np.einsum("bij,bij->bj", M, M))
    terms = np.einsum("bj,bj->b", columns, np.abs(open_.C) + open_.H) + 2 * loose.sum(axis=1)
    size = row_norms(middle) + 4 * radius
    slack = _slack(size, terms, margin, target**2 * side.p, 4 * k + 4 * tasks + 40)
    x = excess(G, open_.C, open_.H) + slack
    better = x < open_.x
    if not open_.G.size:
        open_.G, open_.loose, open_.direction = G, loose, direction
    for old, new in ((open_.G, G), (open_.slack, slack), (open_.loose, loose), (open_.direction, direction)):
        old[better] = new[better]
    open_.x = np.minimum(open_.x, x)


def _slack(size: Array, terms: Array, margin: float, threshold: float, roundings: int) -> Array:
    """The slack of the module's text, of m, c, the margin, T^2 p, and the number of roundings of the second order."""
    steep = 1 + STEEPEST
    first = steep * 4 * (size + 2 * margin) * margin
    return np.asarray(2 * (first + roundings * EPS * (steep * terms**2 + threshold)))


def _ends(
    open_: Quadratic, M: Array, lift: Array, N: Array, sizes: Array, margin: float
) -> tuple[Array, Array, Array, Array]:
    """Half-intervals left to the undecided samples (B, m), the offset q (B, tasks), middle and radius of the ball."""
    middle = np.einsum("bij,bj->bi", M, open_.C) + 0.5 * (lift @ N)
    spread = np.einsum("bj,bj->b", open_.H, np.sqrt(np.einsum("bij,bij->bj", M, M)))
    radius = spread + 0.5 * (lift @ sizes) + 2 * margin
    along, limit = middle @ N.T, radius[:, None] * sizes
    rising, falling = along > limit, along < -limit
    q = (lift * (0.5 + 0.5 * rising - 0.5 * falling)) @ N
    return np.where(rising | falling, 0.0, 0.5 * lift), q, middle, radius


def _form(
    open_: Quadratic,
    side: TaskSide,
    boxes: TaskBoxes,
    M: Array,
    half: Array,
    q: Array,
    middle: Array,
    target: float,
    margin: float,
) -> tuple[Array, Array]:
    """The form G (B, k, k), and the unit vectors v (B, tasks) that split it (zero where no split is possible)."""
    N, sizes = side.N[boxes.mixed], side.sizes[boxes.mixed]
    row, face = np.arange(len(open_.C)), (open_.H[:, : side.p] == 0).argmax(axis=1)
    M = M.copy()
    # Where the box is a point in another coordinate too, that one does as well: it is constant.
    sign = open_.C[row, face]
    M[row, :, face] += q / sign[:, None]
    v = middle / np.maximum(row_norms(middle), 1e-300)[:, None]
    a = np.einsum("bij,bi->bj", M, v)
    usable = np.einsum("bj,bj->b", a, open_.C) - np.einsum("bj,bj->b", np.abs(a), open_.H) > 2 * margin
    v, a = v * usable[:, None], a * usable[:, None]
    along = v @ N.T
    support = np.einsum("bi,bi->b", half, np.abs(along))
    rho = _width(half, along, v, side.squares[boxes.mixed], sizes)
    MM = np.einsum("bij,bil->bjl", M, M)
    across = MM - a[:, :, None] * a[:, None, :]
    spread = np.sqrt(np.maximum(np.einsum("bij->bij", across)[:, range(M.shape[2]), range(M.shape[2])], 0.0))
    middle_across = np.einsum("bi,bij,bj->b", open_.C, across, open_.C)
    x = np.sqrt(np.maximum(middle_across, 0.0)) + np.einsum("bj,bj->b", spread, open_.H)
    x = np.maximum(x, rho / STEEPEST)
    theta = np.where(rho > 0, rho / np.maximum(x, 1e-300), 0.0)
    a[row, face] += support / sign
    G = a[:, :, None] * a[:, None, :] + (1 + theta)[:, None, None] * across
    G[row, face, face] += (rho**2 + rho * x) / sign**2
    G[:, range(side.p), range(side.p)] -= target**2
    return G, v


def _width(half: Array, along: Array, v: Array, squares: Array, sizes: Array) -> Array:
    """Bound (B,) on |Pv sum_i e_i N_i| over |e_i| <= half_i: the triangle inequality, or Cauchy and Schwarz's.

    The latter: (sum_i e_i w . N_i)^2 <= (sum_i half_i |N_i|) (sum_i half_i (w . N_i)^2 / |N_i|) for every unit w.
    """
    triangle = np.einsum("bi,bi->b", half, np.sqrt(np.maximum(sizes**2 - along**2, 0.0)))
    tasks = v.shape[1]
    S = (half @ squares).reshape(-1, tasks, tasks)
    Sv = np.einsum("bij,bj->bi", S, v)
    S = S - v[:, :, None] * Sv[:, None, :] - Sv[:, :, None] * v[:, None, :]
    S += np.einsum("bi,bi->b", v, Sv)[:, None, None] * v[:, :, None] * v[:, None, :]
    # Powers of two of S bring the Frobenius norm close to the spectral norm.
    S = S @ S
    spectral = np.sqrt(np.sqrt(np.einsum("bij,bij->b", S, S)))
    return np.asarray(np.minimum(triangle, np.sqrt((half @ sizes) * spectral)))


def excess(G: Array, C: Array, H: Array) -> Array:
    """Bound (B,) of u^T G u over the boxes: expansion at the centre, mixed terms shared out by |2 a b| <= a^2 + b^2."""
    w = np.einsum("bij,bj->bi", G, C)
    moving = H > 0
    mixed = np.abs(G) * H[:, None, :]
    own = np.einsum("bjj->bj", G)
    D = own + (mixed.sum(axis=2) - np.abs(own) * H) / np.where(moving, H, 1.0)
    far = 2 * np.abs(w) * H + D * H**2
    inside = (D < 0) & (np.abs(w) < -D * H)
    best = np.where(inside, -(w**2) / np.where(inside, D, -1.0), far)
    return np.asarray(np.einsum("bi,bi->b", w, C) + np.where(moving, best, 0.0).sum(axis=1))


def best_axis(side: TaskSide, boxes: TaskBoxes, open_: Quadratic, finest: Array) -> tuple[IntArray, BoolArray]:
    """Where to cut: the coordinate through which the undecided samples vary most; and whether it may still be cut."""
    curvature = np.sqrt(np.abs(np.einsum("bjj->bj", open_.G)))
    score = (open_.loose @ np.abs(side.Z[boxes.mixed]) + 1e-3 * curvature + np.finfo(float).tiny) * open_.H
    score[finest >= open_.H] = -1.0
    axis = score.argmax(axis=1)
    return axis, score[np.arange(len(axis)), axis] > 0
