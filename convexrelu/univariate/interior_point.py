"""Training with losses whose dual variables lie in boxes, for given candidate knots, by an interior point method.

    minimise   sum_i loss_i(f(x_i)) + lam sum_k |delta_k(z)|     over splines f with values z (m,) at the nodes

Letters: `A` (n, m) interpolation between the nodes, `h` (m - 1,) their spacings, `s` (m - 1,) slopes; `nu` (n,) dual
variable with bounds `lower`, `upper` and compliance `g` (`convexrelu.losses.piecewise`), `C` (m - 1,) and `G` (m,) its
running sum and double sum at the nodes, G the dual variable of the curvature. At the optimum, for losses made of a
parabola and straight arms,

    (A^T nu)_k = C_k - C_{k-1},     G_{k+1} - G_k = h_k C_k,        Y - A z = g nu + p - q,
    z_{k+1} - z_k = h_k s_k,        s_k - s_{k-1} = a_k - b_k,
    p (upper - nu) = q (nu - lower) = a (lam - G) = b (lam + G) = 0,

all of these at least zero; the method follows the points where the products are a falling constant instead. With values
and slopes, sums and double sums all unknowns nothing is ever divided by a spacing, however small.

Without a free skip the penalty is the largest of (lam - t) TV + t sigma S - 2 relief t^2 / lam over 0 <= t <= lam / 2
(`convexrelu.univariate.tilted`: t = lam theta / 2), with S the sum of the outer slopes and sigma its sign. Then
t is one more dual variable: lam becomes lam - t above, sigma t joins h_k C_k on the first and the last interval, and

    sigma S - sum_k (a_k + b_k) - 4 relief t / lam = o - e,      e t = o (lam / 2 - t) = 0.

For the logistic loss nu is the slope of the loss at the predictions, throughout; as it is no linear function of them
steps are halved until the first equation has gained, and the products wait for it.

References
----------
S. Mehrotra, "On the implementation of a primal-dual interior point method", SIAM J. Optim. 1992.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dgbtrf, dgbtrs

from convexrelu.arrays import EPS, Array, IntArray
from convexrelu.univariate.box_problem import BoxProblem
from convexrelu.univariate.hats import Interpolation

# Steps, and the share of the way to the boundary that one may go.
STEPS, SHARE = 80, 0.995
# The share of the gap that what the dual variable lacks may make up for the bound to be believed.
KNOWN = 0.1
# Steps in a row that make neither the gap nor the products nor what the dual variable lacks smaller: rounding has won.
PATIENCE = 6
# The products of the curvature with its room that the method begins with; those of samples are about one.
BEND = 10.0
# For curved losses: the sum of products to aim at, at least, next to what the dual variable lacks; halvings of a step.
LAG, HALVINGS = 10.0, 12
# Half bandwidth of the linear systems, whose unknowns are G, z, C, s of one node after the other.
WIDTH, GROUPS = 4, 4
# Units in the last place of the largest value by which the slopes of a spline may miss its values.
LAST_PLACES = 4


class Point(NamedTuple):
    """An iterate, or a step, in the letters of the module."""

    z: Array
    s: Array
    C: Array
    G: Array
    nu: Array
    a: Array
    b: Array
    p: Array
    q: Array
    t: float
    e: float
    o: float

    def moved(self, step: Point, length: float) -> Point:
        """The point a multiple of a step away."""
        return Point(*(value + length * change for value, change in zip(self, step, strict=True)))  # type: ignore


@dataclass(frozen=True, eq=False)
class Centred:
    """What the method ends with: z (m,), s (m - 1,), G (m,), nu (n,), t, the objective, the gap, relative and absolute.

    `missed` is what the dual variable lacks of the nodes' equations, as the objective sees it; the gaps include it.
    """

    z: Array
    s: Array
    G: Array
    nu: Array
    t: float
    objective: float
    missed: float
    gap: float
    distance: float

    def settles(self, ceiling: float) -> bool:
        """Whether the objective is at most `ceiling`, or the bound is above it and known well."""
        hopeless = self.objective - self.distance > ceiling and self.missed < KNOWN * self.distance
        return self.objective <= ceiling or hopeless


def centre(problem: BoxProblem, nodes: IntArray, tol: float, ceiling: float = np.inf) -> Centred:
    """Train the spline with the given nodes; what is returned is the best point met.

    With a `ceiling` it ends early: where the objective is below it, or can be with no spline with these nodes.

    Cost per step: O(n) for the samples and a banded linear system of 4 m unknowns; 10 to 40 steps do.
    """
    interior = _Interior(problem, nodes)
    point = interior.start()
    best, stalled, mark = None, 0, np.full(3, np.inf)
    for _ in range(STEPS):
        state = _State(interior, point)
        found = state.judged()
        left = np.array([found.distance, interior.mean_product(point), state.lacking])
        better = left < 0.9 * mark
        stalled, mark = 0 if better.any() else stalled + 1, np.where(better, left, mark)
        best = found if best is None or found.distance < best.distance else best
        if best.gap <= tol or stalled > PATIENCE or (ceiling < np.inf and found.settles(ceiling)):
            break
        with np.errstate(all="ignore"):
            following = state.step()
        if not all(np.isfinite(part).all() for part in following):
            break
        point = following
    assert best is not None
    return best


class _Interior:
    """A problem with given nodes."""

    def __init__(self, problem: BoxProblem, nodes: IntArray) -> None:
        self.problem, self.nodes = problem, nodes
        self.A = Interpolation(problem.x, nodes)
        self.h = np.diff(self.A.x)
        self.outer = np.zeros(len(nodes) - 1)  # the gradient of sigma S
        self.outer[0] += problem.sigma
        self.outer[-1] += problem.sigma
        self.above, self.below = problem.arms
        # Products with shares of zero and one: choices by random masks take ten times as long.
        self.p_share, self.q_share = (arm.astype(np.float64) for arm in problem.arms)
        self.cap, self.floor = (blocks.astype(np.float64) for blocks in problem.blocking)
        self.ceiling = np.where(problem.blocking[0], problem.upper, 1.0)
        self.ground = np.where(problem.blocking[1], problem.lower, -1.0)
        self.inner = np.ones(len(nodes), dtype=bool)
        self.inner[[0, -1]] = False
        self.products = 2 * int(self.inner.sum()) + int(self.above.sum()) + int(self.below.sum())
        self.products += 2 * bool(problem.sigma)

    def start(self) -> Point:
        """The median; the middle of the box; products of about one."""
        problem, m = self.problem, len(self.nodes)
        z = np.full(m, float(np.median(problem.Y)))
        capped, floored = problem.strictly
        low = np.where(floored, problem.lower, np.minimum(problem.upper - 1, -1))
        high = np.where(capped, problem.upper, np.maximum(problem.lower + 1, 1))
        nu = (low + high) / 2
        arm, bend = float(np.mean(high - low)), BEND * max(1 / problem.lam, 1e-3)
        missing = problem.missing(nu, problem.Y * 0 + z[0])
        p = np.where(self.above, np.maximum(missing, 0.0) + 1 / arm, 0.0)
        q = np.where(self.below, np.maximum(-missing, 0.0) + 1 / arm, 0.0)
        a = np.where(self.inner, bend, 0.0)
        split = (problem.lam / 4, bend, bend) if problem.sigma else (0.0, 0.0, 0.0)
        flat = np.zeros(m - 1)
        return Point(z, flat, flat, np.zeros(m), nu, a, a.copy(), p, q, *split)

    def rooms(self, point: Point) -> tuple[Array, Array, Array, Array]:
        """Distances of G and nu to their upper and lower bounds, one where there is none."""
        lam = self.problem.lam - point.t
        up, down = self.ceiling - self.cap * point.nu, self.floor * point.nu - self.ground
        return lam - point.G, lam + point.G, up, down

    def mean_product(self, point: Point) -> float:
        """What should vanish."""
        rooms = self.rooms(point)
        factors = point.a, point.b, point.p, point.q
        ends = point.e * point.t + point.o * (self.problem.lam / 2 - point.t)
        return float(sum(f @ room for f, room in zip(factors, rooms, strict=True)) + ends) / max(self.products, 1)

    def length(self, point: Point, change: Point, share: float) -> float:
        """How far to go, at most one, for all that must stay positive to do so."""
        rooms, dG, inner = self.rooms(point), change.G, self.inner
        pairs = [
            (point.a[inner], change.a[inner]),
            (point.b[inner], change.b[inner]),
            (rooms[0][inner], -dG[inner] - change.t),
            (rooms[1][inner], dG[inner] - change.t),
            # Where there is no arm or bound: one that stays as it is.
            (point.p + (1 - self.p_share), change.p),
            (point.q + (1 - self.q_share), change.q),
            (rooms[2], -self.cap * change.nu),
            (rooms[3], self.floor * change.nu),
        ]
        if self.problem.sigma:
            t, end = np.array([point.t, point.e, point.o]), self.problem.lam / 2 - point.t
            pairs.append((np.append(t, end), np.array([change.t, change.e, change.o, -change.t])))
        fastest = -min(float(np.min(change / value, initial=0.0)) for value, change in pairs)
        return min(1.0, share / fastest) if fastest > 0 else 1.0


class _State:
    """A point, what it lacks, and the steps from it.

    Knots and samples far from their bounds are no trouble: their entries vanish.
    """

    def __init__(self, interior: _Interior, point: Point) -> None:
        problem, A, h = interior.problem, interior.A, interior.h
        self.F = A.values(point.z)
        nu, self.missing = problem.settled(point.nu, self.F)
        point = point._replace(nu=nu)
        self.interior, self.point = interior, point
        self.bent = np.diff(point.s, prepend=0.0, append=0.0)
        self.jump = np.diff(point.z) - h * point.s
        self.balance = A.gathered(point.nu) - np.diff(point.C, prepend=0.0, append=0.0)
        self.drift = np.diff(point.G) - h * point.C - point.t * interior.outer
        self.rooms = interior.rooms(point)
        # Arrays, so that at zero they divide to infinity, where the method ends.
        self.ends = np.array([point.t, problem.lam / 2 - point.t])

    def judged(self) -> Centred:
        """The point with its gap, to which what its dual variable misses is added."""
        problem, point, slopes, missed = self.interior.problem, self.point, self._slopes(), self._missed()
        primal = problem.loss(self.F) + problem.penalty(slopes)
        dual = problem.dual(point.nu) - problem.split_cost(point.t)
        distance = abs(primal - dual) + missed
        distance = distance if np.isfinite(distance) else np.inf
        gap = distance / max(abs(primal), problem.negligible)
        return Centred(point.z, slopes, point.G, point.nu, point.t, primal, missed, gap, distance)

    @cached_property
    def lacking(self) -> float:
        """What the dual variable lacks of the nodes' equations; in the problem's units values are about one."""
        return float(np.abs(self.balance).sum())

    def _missed(self) -> float:
        """The same as the bound sees it: it adds up in the double sum, by which the dual variable is scaled."""
        z, x, slopes = self.point.z, self.interior.A.x, self._slopes()
        scaled = float((x[-1] - x[0]) * np.abs(np.diff(slopes)).sum())
        return float(np.abs(self.balance) @ (1 + np.abs(z - z.mean()) + scaled) + np.abs(self.drift) @ np.abs(slopes))

    def _slopes(self) -> Array:
        """Slopes that go with the values: differences of these where the point's own do not agree with them yet."""
        z, s, h = self.point.z, self.point.s, self.interior.h
        agree = np.abs(self.jump) <= LAST_PLACES * EPS * np.abs(z).max()
        slopes: Array = np.where(agree, s, np.diff(z) / h)
        return slopes

    def step(self) -> Point:
        """The point after Mehrotra's predictor and corrector."""
        interior, point = self.interior, self.point
        self._factorise()
        ahead = self._solve((0.0,) * 6)
        now = interior.mean_product(point)
        then = interior.mean_product(point.moved(ahead, interior.length(point, ahead, 1.0)))
        aim = self._aim(now, then)
        G, nu, t = ahead.G, ahead.nu, ahead.t
        arms = ahead.a * (G + t), -ahead.b * (G - t), ahead.p * nu, -ahead.q * nu
        pairs = (*arms, -ahead.e * t, ahead.o * t)
        change = self._solve(tuple(aim + pair for pair in pairs))
        length = interior.length(point, change, SHARE)
        return point.moved(change, length if not interior.problem.is_curved else self._damped(change, length))

    def _aim(self, now: float, then: float) -> float:
        """The mean product to aim at: for curved losses not far below what the dual variable is lacking."""
        aim = now * (then / now) ** 3 if now > 0 else 0.0
        if not self.interior.problem.is_curved:
            return aim
        return max(aim, min(now, LAG * self.lacking / max(self.interior.products, 1)))

    def _damped(self, change: Point, length: float) -> float:
        """Halved until the balance falls about as Newton's model says, or is small next to the products."""
        interior, point = self.interior, self.point
        small = 0.5 * interior.mean_product(point) * interior.products
        for _ in range(HALVINGS):
            lacking = _State(interior, point.moved(change, length)).lacking
            if lacking <= max((1 - length / 4) * self.lacking, small):
                break
            length /= 2
        return length

    def _factorise(self) -> None:
        interior, point, problem = self.interior, self.point, self.interior.problem
        a_room, b_room, up, down = self.rooms
        self.stiffness = 1 / (problem.compliance(point.nu) + point.p / up + point.q / down)
        self.softness = np.where(interior.inner, point.a / a_room + point.b / b_room, 0.0)
        bands = self._bands(*interior.A.gram(self.stiffness), self.softness)
        self.factors, self.pivots, _ = dgbtrf(bands, WIDTH, WIDTH, overwrite_ab=1)
        if problem.sigma:
            self._border()

    def _border(self) -> None:
        """The column of t, and its solution."""
        interior, point = self.interior, self.point
        lean = np.where(interior.inner, point.a / self.rooms[0] - point.b / self.rooms[1], 0.0)
        self.column = np.zeros(GROUPS * len(point.z))
        self.column[0::GROUPS], self.column[3:-1:GROUPS] = -lean, interior.outer
        self.answer, _ = dgbtrs(self.factors, WIDTH, WIDTH, self.column, self.pivots)
        lam, relief = interior.problem.lam, interior.problem.relief
        own = self.softness.sum() + 4 * relief / lam + point.e / self.ends[0] + point.o / self.ends[1]
        self.pivot = own + self.column @ self.answer

    def _bands(self, diagonal: Array, off: Array, softness: Array) -> Array:
        """The symmetric matrix of the unknowns; column j holds entry (i, j) in row 2 WIDTH + i - j."""
        interior, middle = self.interior, 2 * WIDTH
        bands = np.zeros((3 * WIDTH + 1, GROUPS * len(diagonal)), order="F")
        G, z, C, s = (bands[:, k::GROUPS] for k in range(GROUPS))
        G[middle] = np.where(interior.inner, -softness, -1.0)
        z[middle], z[middle - 4, 1:], z[middle + 4, :-1] = diagonal, off, off
        C[middle, -1] = s[middle, -1] = -1.0  # there is no interval after the last node
        # (A^T nu)_k = C_k - C_{k-1}, and its transpose.
        C[middle - 1, :-1] = z[middle + 1, :-1] = 1.0
        C[middle + 3, :-1] = z[middle - 3, 1:] = -1.0
        C[middle + 1, :-1] = s[middle - 1, :-1] = interior.h
        # The bend at k is s_k - s_{k-1}, and its transpose.
        s[middle - 3, 1:-1] = G[middle + 3, 1:-1] = 1.0
        s[middle + 1, :-2] = G[middle - 1, 1:-1] = -1.0
        return bands

    def _solve(self, aim: tuple[Array | float, ...]) -> Point:
        """The step towards products `aim` of a, b, p, q with their rooms."""
        interior, point, A = self.interior, self.point, self.interior.A
        inner, above, below = interior.inner, interior.p_share, interior.q_share
        a_room, b_room, up, down = self.rooms
        pull = self.missing - above * aim[2] / up + below * aim[3] / down
        rhs = np.zeros(GROUPS * len(point.z))
        rhs[0::GROUPS] = np.where(inner, aim[0] / a_room - aim[1] / b_room - self.bent, 0.0)
        rhs[1::GROUPS] = A.gathered(self.stiffness * pull) + self.balance
        rhs[2:-2:GROUPS], rhs[3:-1:GROUPS] = self.jump, self.drift
        solved, dt = self._bordered(rhs, aim)
        dG, dz, dC, ds = solved[0::GROUPS], solved[1::GROUPS], solved[2:-2:GROUPS], solved[3:-1:GROUPS]
        dnu = self.stiffness * (pull - A.values(dz))
        da = np.where(inner, (aim[0] + point.a * (dG + dt)) / a_room - point.a, 0.0)
        db = np.where(inner, (aim[1] - point.b * (dG - dt)) / b_room - point.b, 0.0)
        dp = above * ((aim[2] + point.p * dnu) / up - point.p)
        dq = below * ((aim[3] - point.q * dnu) / down - point.q)
        if not interior.problem.sigma:
            return Point(dz, ds, dC, dG, dnu, da, db, dp, dq, 0.0, 0.0, 0.0)
        de = float((aim[4] - point.e * dt) / self.ends[0] - point.e)
        do = float((aim[5] + point.o * dt) / self.ends[1] - point.o)
        return Point(dz, ds, dC, dG, dnu, da, db, dp, dq, dt, de, do)

    def _bordered(self, rhs: Array, aim: tuple[Array | float, ...]) -> tuple[Array, float]:
        """The solution of the banded equations and, without a free skip, the change of t."""
        solved, _ = dgbtrs(self.factors, WIDTH, WIDTH, rhs, self.pivots)
        problem, point, inner = self.interior.problem, self.point, self.interior.inner
        if not problem.sigma:
            return solved, 0.0
        bends = np.where(inner, aim[0] / self.rooms[0] + aim[1] / self.rooms[1], 0.0)
        ends = 4 * problem.relief * point.t / problem.lam - aim[4] / self.ends[0] + aim[5] / self.ends[1]
        wanted = float(bends.sum() + ends - self.interior.outer @ point.s)
        dt = float((self.column @ solved - wanted) / self.pivot)
        return solved - dt * self.answer, dt
