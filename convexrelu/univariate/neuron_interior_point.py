"""Training the output weights of given neurons of one input, for any loss and any number of tasks: `trained`.

Letters: as in `neuron_program`. At the optimum |g_j| <= rho_j and

    A^T nu = D^T G + slope^T P + level^T R,    P + xi R = price_a a,    R = price_c c,
    s_j rho_j = c_j . g_j    for s_j >= |c_j|

with the slopes nu of the loss (`convexrelu.univariate.slopes`); the method follows the points where the products of the
cones (`convexrelu.cones`) are a falling constant instead (Mehrotra 1992, as in `interior_point`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.cones import ConePair
from convexrelu.univariate.banded import Bands
from convexrelu.univariate.hats import bends, bends_transposed
from convexrelu.univariate.neuron_program import Interior, NeuronProgram, Point

# Steps, and the share of the way to the boundary that one may go.
STEPS, SHARE = 100, 0.99
# Steps in a row without a smaller gap, or smaller products, after which rounding has won.
PATIENCE = 6


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the method ends with.

    Attributes
    ----------
    c : float64 (k, T)
        Output weights.
    skip, constant : float64 (T,)
    G, ends : float64 (m, T), (4, T)
        Dual variables of the splines' equations.
    nu : float64 (n, T)
    size : float64 (k,)
        |g_j| / rho_j.
    objective, missed : float
        And what the equations lack, as the objective sees it.
    gap, distance : float
        As far as the method knows, relative and absolute; `missed` included.
    """

    c: Array
    skip: Array
    constant: Array
    G: Array
    ends: Array
    nu: Array
    size: Array
    objective: float
    missed: float
    gap: float
    distance: float


def trained(program: NeuronProgram, tol: float) -> Outputs:
    """The best output weights; cost per step O(n T^2) for samples and O(m T^3) for nodes, 10 to 40 steps do."""
    interior = Interior(program)
    point, best, stalled, least = interior.start(), None, 0, math.inf
    for _ in range(STEPS):
        with np.errstate(all="ignore"):
            state = _State(interior, point)
            found, product = state.judged(), interior.mean_product(point)
        better = best is None or found.distance < 0.9 * best.distance
        stalled = 0 if better or product < 0.9 * least else stalled + 1
        best = found if best is None or found.distance < best.distance else best
        least = min(product, least)
        if best.gap <= tol or stalled > PATIENCE:
            break
        with np.errstate(all="ignore"):
            following = state.step()
        if not all(np.isfinite(part).all() for part in (*following[:4], *following.slopes)):
            break
        point = following
    assert best is not None
    return best


class _State:
    """A point, what it lacks, and the steps from it."""

    def __init__(self, interior: Interior, point: Point) -> None:
        self.interior, self.point = interior, point
        nodes = interior.effects.nodes
        self.F = interior.A @ point.z
        self.bent = bends(nodes, point.z)
        self.pressed = bends_transposed(nodes, point.G)
        self.pressed += np.outer(interior.slope, point.ends[0]) + np.outer(interior.level, point.ends[1])
        self.nu = point.slopes.nu
        if interior.fixed is not None:
            self.nu = self.pressed[interior.fixed[0]]
        self.balance = interior.A.T @ self.nu - self.pressed
        self.g = interior.correlations(point.G, point.ends)
        self.c = point.x[:, 1:]
        self.cones = ConePair(point.x, interior.duals(self.g))

    def judged(self) -> Outputs:
        """The point with its gap, to which what its equations lack is added."""
        program, (P, R, a, c) = self.interior.program, self.point.ends
        primal = program.slopes.loss(self.F) + float(program.rho @ row_norms(self.c))
        dual = program.slopes.dual(self.nu)
        for price, dual_end, primal_end in zip(program.prices, (P + program.xi * R, R), (a, c), strict=True):
            if 0 < price < math.inf:
                primal += price * float(primal_end @ primal_end) / 2
                dual -= float(dual_end @ dual_end) / (2 * price)
        missed = self._missed()
        distance = abs(primal - dual) + missed
        distance = distance if math.isfinite(distance) else math.inf
        gap = distance / max(abs(primal), 1e-300)
        size = row_norms(self.g) / program.rho
        return Outputs(self.c, a, c, self.point.G, self.point.ends, self.nu, size, primal, missed, gap, distance)

    def _missed(self) -> float:
        """What the equations lack, as the objective sees it. In the program's units values are about one."""
        ends, z, (curvature, slope, level) = self.point.ends, self.point.z, self._made(self.c)
        # Of what neurons would have to make up for.
        price = float(self.interior.program.rho.min(initial=1.0))
        missed = float(np.sum(np.abs(self.balance) * (1 + np.abs(z - z.mean(axis=0)))))
        missed += float(np.sum(np.abs(self.bent - curvature) * (price + np.abs(self.point.G))))
        first = self.interior.slope @ z - slope - ends[2] * (self.interior.m > 1)
        second = self.interior.level @ z - level - self.interior.program.xi * ends[2] - ends[3]
        missed += float(np.sum(np.abs(first) * (price + np.abs(ends[0])) + np.abs(second) * (price + np.abs(ends[1]))))
        return missed + float(np.sum(np.abs(self._linear_rows()) * (1 + np.abs(ends[2:]))))

    def _made(self, c: Array) -> tuple[Array, Array, Array]:
        """Curvature (m, T), slope and level (T,) of output weights c (k, T)."""
        e = self.interior.effects
        curvature = self.interior.at_nodes(e.kappa[:, :1] * c, e.kappa[:, 1:] * c)
        return curvature, e.sigma @ c, e.level @ c

    def _linear_rows(self) -> Array:
        """What the equations of skip and output bias lack (2, T)."""
        program, (P, R, a, c) = self.interior.program, self.point.ends
        rows = [
            value if math.isinf(price) else force - price * value
            for price, force, value in zip(program.prices, (P + program.xi * R, R), (a, c), strict=True)
        ]
        return np.array(rows)

    def step(self) -> Point:
        """The step after Mehrotra's predictor and corrector, as the point it leads to."""
        interior, point = self.interior, self.point
        self._factorise()
        ahead = self._solve(0.0 * point.x, (0.0, 0.0))
        now = interior.mean_product(point)
        then = interior.mean_product(point.moved(ahead, interior.length(point, ahead, 1.0)))
        aim = now * (then / now) ** 3 if now > 0 else 0.0
        dy = self._turned(ahead.G, ahead.ends)
        arms = interior.program.slopes.second_order(ahead.slopes)
        wanted = self.cones.towards(aim) - self.cones.second_order(ahead.x, dy)
        change = self._solve(wanted, (aim + arms[0], aim + arms[1]))
        return point.moved(change, interior.length(point, change, SHARE))

    def _factorise(self) -> None:
        """The banded matrix of z and G, bordered by P, R, a and c."""
        interior, T = self.interior, self.interior.T
        self.K = interior.program.slopes.stiffness(self.point.slopes)
        softness = self.cones.softness
        e = interior.effects
        first, second, sigma, level = (w[:, None, None] for w in (*e.kappa.T, e.sigma, e.level))
        self.factors = self._bands(softness, first, second).factorised()
        with_ends = [interior.at_nodes(first * w * softness, second * w * softness) for w in (sigma, level)]
        self.border = self._border(with_ends)
        self.answers = self.factors.solve(self.border)
        corner = np.zeros((4, T, 4, T))
        pairs = ((sigma, sigma), (sigma, level), (level, level))
        for (i, k), (left, right) in zip(((0, 0), (0, 1), (1, 1)), pairs, strict=True):
            corner[i, :, k] = corner[k, :, i] = -(left * right * softness).sum(axis=0)
        self._set_linear_rows(corner)
        self.corner = corner.reshape(4 * T, 4 * T)
        self.corner[: 2 * T, : 2 * T] -= self._transposed_border() @ self.answers

    def _set_linear_rows(self, corner: Array) -> None:
        """The equations of skip and output bias, and their place in those of slope and level."""
        program, eye = self.interior.program, np.eye(self.interior.T)
        corner[0, :, 2], corner[1, :, 2], corner[1, :, 3] = -eye, -program.xi * eye, -eye
        if self.interior.m == 1:
            corner[0, :, 2], corner[0, :, 0] = 0.0, eye
        for row, price, forces in ((2, program.prices[0], (1.0, program.xi)), (3, program.prices[1], (0.0, 1.0))):
            if math.isinf(price):
                corner[row, :, row] = eye
                continue
            corner[row, :, 0], corner[row, :, 1] = -forces[0] * eye, -forces[1] * eye
            corner[row, :, row] = price * eye

    def _bands(self, softness: Array, first: Array, second: Array) -> Bands:
        """Unknowns z_k, G_k / unit_k in turn."""
        interior, T = self.interior, self.interior.T
        m, eye, bend, unit = interior.m, np.eye(T), interior.bend, interior.unit
        bands = Bands(m, T)
        mask = np.zeros(m, dtype=bool) if interior.fixed is None else interior.fixed[0]
        diagonal, off = self._gram()
        bands.add(0, 0, 0, np.where(mask[:, None, None], eye, diagonal))
        bands.add(0, 0, 1, off * ~mask[:-1, None, None])
        bands.add(0, 0, -1, off * ~mask[1:, None, None])
        own = -(unit**2)[:, None, None] * interior.at_nodes(first**2 * softness, second**2 * softness)
        own[[0, -1]] = -eye
        bands.add(1, 1, 0, own)
        both = interior.at_nodes(first * second * softness, 0 * softness)[:-1]
        both *= -(unit[1:] * unit[:-1])[:, None, None]
        bands.add(1, 1, 1, both)
        bands.add(1, 1, -1, both)
        for p in (-1, 0, 1):
            here = slice(max(-p, 0), m - max(p, 0))  # nodes k whose neighbour k + p exists
            there = slice(max(p, 0), m - max(-p, 0))
            blocks = bend[p + 1, here][:, None, None] * eye
            bands.add(1, 0, p, blocks)
            bands.add(0, 1, -p, blocks * ~mask[there, None, None])
        return bands

    def _gram(self) -> tuple[Array, Array]:
        """Blocks (m, T, T) and (m - 1, T, T) of A^T K A."""
        interior, T = self.interior, self.interior.T
        flat = self.K.reshape(len(self.K), -1)
        diagonal, off = interior.squares @ flat, interior.interval @ flat
        if self.K.ndim == 3:
            return diagonal.reshape(-1, T, T), off.reshape(-1, T, T)
        eye = np.eye(T)
        return diagonal[:, :, None] * eye, off[:, :, None] * eye

    def _border(self, with_ends: list[Array]) -> Array:
        """What P and R (2 T columns) do in the equations of z and G."""
        interior, T = self.interior, self.interior.T
        border = np.zeros((interior.m, 2, T, 2, T))
        eye = np.eye(T)
        for k, row in enumerate((interior.slope, interior.level)):
            border[:, 0, :, k] = row[:, None, None] * eye
            border[:, 1, :, k] = -interior.unit[:, None, None] * with_ends[k]
        if interior.fixed is not None:
            border[interior.fixed[0], 0] = 0.0
        border[[0, -1], 1] = 0.0
        return border.reshape(2 * interior.m * T, 2 * T)

    def _transposed_border(self) -> Array:
        """The same of z and G in the equations of slope and level; fixed values stay in these."""
        interior, T = self.interior, self.interior.T
        whole = self.border.reshape(interior.m, 2, T, 2 * T).copy()
        for k, row in enumerate((interior.slope, interior.level)):
            whole[:, 0, :, k * T : (k + 1) * T] = row[:, None, None] * np.eye(T)
        transposed: Array = whole.reshape(2 * interior.m * T, 2 * T).T
        return transposed

    def _solve(self, wanted: Array, arms: tuple[Array | float, Array | float]) -> Point:
        """The step to `wanted`, what x would be if g stayed, and towards products `arms` of the loss."""
        interior, point, T = self.interior, self.point, self.interior.T
        pull = interior.program.slopes.pull(point.slopes, self.F, arms)
        curvature, slope, level = self._made(wanted[:, 1:])
        rhs = np.zeros((interior.m, 2, T))
        rhs[:, 0] = interior.A.T @ _times(self.K, pull) + self.balance
        if interior.fixed is not None:
            rhs[interior.fixed[0], 0] = (interior.fixed[1] - point.z)[interior.fixed[0]]
        rhs[:, 1] = interior.unit[:, None] * (curvature - self.bent)
        rhs[[0, -1], 1] = 0.0
        ends, rest = point.ends, np.zeros((4, T))
        if interior.m > 1:
            rest[0] = slope - interior.slope @ point.z + ends[2]
        rest[1] = level - interior.level @ point.z + interior.program.xi * ends[2] + ends[3]
        infinite = np.isinf(interior.program.prices)[:, None]
        rest[2:] = np.where(infinite, -self._linear_rows(), self._linear_rows())
        dz, dG, dends = self._bordered(rhs, rest)
        # Refined once: of small and large softness together the factors lose digits.
        again = self._bordered(*self._lacking(rhs, rest, dz, dG, dends))
        dz, dG, dends = (part + more for part, more in zip((dz, dG, dends), again, strict=True))
        return self._completed(dz, dG, dends, pull, wanted, arms)

    def _bordered(self, rhs: Array, rest: Array) -> tuple[Array, Array, Array]:
        """The changes of z, G and the ends that solve the linear equations."""
        interior, T = self.interior, self.interior.T
        first = self.factors.solve(rhs.reshape(-1, 1))[:, 0]
        right = rest.ravel().copy()
        right[: 2 * T] -= self._transposed_border() @ first
        dends = _solved(self.corner, right)
        solved = (first - self.answers @ dends[: 2 * T]).reshape(interior.m, 2, T)
        dz, dG = solved[:, 0], interior.unit[:, None] * solved[:, 1]
        dG[[0, -1]] = 0.0
        return dz, dG, dends.reshape(4, T)

    def _lacking(self, rhs: Array, rest: Array, dz: Array, dG: Array, dends: Array) -> tuple[Array, Array]:
        """What a solution leaves of the right-hand sides."""
        interior, nodes = self.interior, self.interior.effects.nodes
        dP, dR, da, dc = dends
        moved = -self.cones.squared(self._turned(dG, dends))[:, 1:]
        curvature, slope, level = self._made(moved)
        forces = bends_transposed(nodes, dG) + np.outer(interior.slope, dP) + np.outer(interior.level, dR)
        left, still = rhs.copy(), rest.copy()
        left[:, 0] -= interior.A.T @ _times(self.K, interior.A @ dz) + forces
        if interior.fixed is not None:
            mask = interior.fixed[0]
            left[mask, 0] = rhs[mask, 0] - dz[mask]
        left[:, 1] -= interior.unit[:, None] * (bends(nodes, dz) - curvature)
        left[[0, -1], 1] = 0.0
        still[0] -= interior.slope @ dz - slope - da if interior.m > 1 else dP
        still[1] -= interior.level @ dz - level - interior.program.xi * da - dc
        rows = ((2, interior.program.prices[0], dP + interior.program.xi * dR, da),)
        for row, price, force, value in (*rows, (3, interior.program.prices[1], dR, dc)):
            still[row] -= value if math.isinf(price) else price * value - force
        return left, still

    def _turned(self, dG: Array, dends: Array) -> Array:
        """The step of y."""
        return np.column_stack([np.zeros(len(self.g)), -self.interior.correlations(dG, dends)])

    def _completed(
        self, dz: Array, dG: Array, dends: Array, pull: Array, wanted: Array, arms: tuple[Array | float, Array | float]
    ) -> Point:
        """The step with what follows from z, G and the ends."""
        interior, point = self.interior, self.point
        dnu = _times(self.K, pull - interior.A @ dz)
        dx = wanted - point.x - self.cones.squared(self._turned(dG, dends))
        return Point(dz, dG, dends, dx, interior.program.slopes.step(point.slopes, dnu, arms))


def _times(K: Array, r: Array) -> Array:
    """K r (n, T)."""
    product: Array = K * r if K.ndim == 2 else np.einsum("nts,ns->nt", K, r)
    return product


def _solved(matrix: Array, rhs: Array) -> Array:
    """The solution of a small system, the smallest where a multiplier does not matter: that of a constant at zero."""
    try:
        return np.asarray(np.linalg.solve(matrix, rhs))
    except np.linalg.LinAlgError:
        finite = np.isfinite(matrix).all() and np.isfinite(rhs).all()
        return np.asarray(np.linalg.lstsq(matrix, rhs, rcond=None)[0]) if finite else np.full_like(rhs, np.nan)
