"""Minimise over the cells of given neurons by a primal-dual interior point method, which many kinks do not slow down.

Letters as in `convexrelu.native.reduced`; `D` (m, n) the bits of the cells, `e = 2 D - 1` their sides, `r = e Z u >= 0`
the distances of the neurons from the kinks with multipliers `rho >= 0`, `h >= |S u|` with multipliers (lam, g).
The finite convex program of the cells is

    minimise  L(f) + lam sum_b h_b + (lam/2) |beta_penalized|^2,     f = sum_b s_b D_b Z u_b + Q beta,
    with  e_b Z u_b >= 0  and  h_b >= |S u_b|.

A step follows S. Mehrotra (SIAM J. Optim. 1992), with the scaling of Yu. Nesterov and M. Todd (SIAM J. Optim. 1998) for
the second-order cones (`convexrelu.cones`); losses with arms are followed by their dual variable
(`convexrelu.native.cell_loss`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.cones import ConePair, is_inside, reach
from convexrelu.native.cell_loss import Following, box_of, centred
from convexrelu.native.merge import strict_bits
from convexrelu.native.newton import NewtonSystem
from convexrelu.native.reduced import Iterate, ReducedProblem
from convexrelu.univariate.slopes import BoxSlopes, Slopes

# Share of the way to the boundary that a step goes at most.
_SHORT_OF = 0.99
# Where steps end further away than so many times the smallest gap on the way, or bring the first one down to no less
# than a share, they begin anew with a wider one.
_AWAY, _NEARER, _WIDER = 10.0, 1e-3, (1.0, 100.0)
# Steps while the gap was more than this share of the objective are computed in single precision; not those of losses
# with arms, whose stiffness has no bound.
_FAR = 1e-3
# Rows this near to dependent, relative to their norms, are.
_TIE = 1e-9
# Neurons shorter than this, relative to the longest, are on their way to zero.
_SHORT = 1e-5


def minimise_in_cells(
    problem: ReducedProblem,
    iterate: Iterate,
    *,
    tol: float,
    first_gap: float,
    max_steps: int = 40,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterate:
    """Minimise over the closed cells of some neurons.

    Parameters
    ----------
    problem : ReducedProblem
    iterate : Iterate
        Neurons of non-zero cost, or none; those of one cell and sign are added up.
    tol : float
        Stop when the gap between the program and its dual, relative to the objective, is at most this.
    first_gap : float
        The relative gap to start from: about that of the iterate.
    max_steps : int
    should_stop : callable
        Asked before every step.

    Returns
    -------
    Iterate
        With the neurons that did not shrink to zero. Nothing is promised of its objective: evaluate it.

    Notes
    -----
    A step costs O(n^2 m k) or, when m k <= n, O(n (m k)^2), like one of `convexrelu.native.minimise`.
    """
    iterate = in_cells(problem, iterate)
    if not len(iterate.neurons):
        return iterate
    cells = _Cells.of(problem, iterate)
    for gap in (first_gap, *_WIDER):
        point, arrived = _followed(cells, cells.start(iterate, gap), tol, max_steps, should_stop)
        if arrived or should_stop():
            break
    return cells.iterate_of(point)


def _followed(
    cells: _Cells, point: _Point, tol: float, max_steps: int, should_stop: Callable[[], bool]
) -> tuple[_Point, bool]:
    """Where the steps from a point end, and whether that is much nearer: a start too near the boundary is stuck."""
    state = _State.of(cells, point, False)
    first = least = state.gap
    for _ in range(max_steps):
        if state.arrived(tol) or should_stop():
            return state.point, True
        if state.gap > _AWAY * least:
            break
        new = state.step()
        if not cells.are_inside(new):  # as near to the boundary as rounding allows
            break
        state = _State.of(cells, new, cells.box is None and state.gap > _FAR * abs(state.objective))
        least = min(least, state.gap)
    return state.point, state.gap < _NEARER * first


@dataclass(frozen=True)
class _Cells:
    """The cells, each with the sign of its neuron; `weights` are s_b D_b, and `e` is zero at zero rows: no cone's.

    These have distances like the others, and multipliers zero, which steps leave zero.
    """

    problem: ReducedProblem
    signs: Array
    D: Array
    e: Array
    weights: Array
    box: BoxSlopes | None

    @classmethod
    def of(cls, problem: ReducedProblem, iterate: Iterate) -> _Cells:
        D = _bits(problem, iterate)
        live = problem.inverse_squares > 0
        signs = iterate.signs
        e = np.where(D, 1.0, -1.0) * live
        return cls(problem, signs, D.astype(float), e, signs[:, None] * D, box_of(problem.loss))

    def fit(self, t: Array, beta: Array) -> Array:
        """Predictions (n,) of the program's networks with pre-activations t (m, n)."""
        return np.asarray((self.weights * t).sum(axis=0) + self.problem.linear @ beta)

    def start(self, iterate: Iterate, first_gap: float) -> _Point:
        """A point near the path of interior points, at which the gap is about `first_gap`."""
        problem, lam = self.problem, self.problem.weight_decay
        t, u = iterate.neurons @ problem.Z.T, iterate.neurons
        costs = problem.costs(u)
        fit = self.fit(t, iterate.beta)
        a = -self.signs[:, None] * problem.loss.gradient(fit)
        rho = np.where(a < 0, np.abs(a) * np.where(self.e > 0, 1 - iterate.slopes, iterate.slopes), 0.0)
        size = abs(problem.objective(fit, costs, iterate.beta))
        mu = first_gap * size / (np.count_nonzero(self.e) + 2 * len(u))
        slopes = Following.of(problem.loss, fit).slopes if self.box is None else centred(self.box, fit, mu)
        # Of r and rho one is about zero. What they become has the product mu: in units in which both have size one.
        unit = costs.mean() / (lam * np.where(self.e != 0, problem.inverse_squares, 1.0))
        difference = self.e * t - unit * rho
        r = 0.5 * (difference + np.sqrt(difference**2 + 4 * mu * unit))
        h = 0.5 * (mu / lam + np.sqrt((mu / lam) ** 2 + 4 * costs**2))
        g = -lam * u[:, : problem.n_penalized] / h[:, None]
        return _Point(u, h, iterate.beta, r, np.where(self.e != 0, mu / np.maximum(r, 1e-300), 0.0), g, slopes)

    def pairs(self, point: _Point) -> tuple[Array, Array]:
        """The points x = (lam, g) and y = (h, S u) of second-order cones (m, p + 1)."""
        y = np.column_stack([point.h, point.u[:, : self.problem.n_penalized]])
        return np.column_stack([np.full(len(y), self.problem.weight_decay), point.g]), y

    def are_inside(self, point: _Point) -> bool:
        """Whether all that must stay inside its bounds does."""
        nu = point.slopes.nu[:, 0]
        in_box = self.box is None or bool(((nu > self.box.boxes.lower) & (nu < self.box.boxes.upper)).all())
        return in_box and all(map(is_inside, self.pairs(point)))

    def iterate_of(self, point: _Point) -> Iterate:
        """The network of a point, with the slopes that its multipliers say."""
        problem = self.problem
        fit = self.fit(point.u @ problem.Z.T, point.beta)
        a = self.signs[:, None] * (-problem.loss.gradient(fit) if self.box is None else point.slopes.nu[:, 0])
        share = np.clip(point.rho / np.where(a < 0, -a, 1.0), 0.0, 1.0)
        slopes = np.where(a < 0, np.where(self.D > 0, 1 - share, share), self.D)
        costs = problem.costs(point.u)
        return Iterate(point.u, self.signs, slopes, point.beta).take(costs > _SHORT * costs.max(initial=0.0))


def in_cells(problem: ReducedProblem, iterate: Iterate) -> Iterate:
    """Add up the neurons of one cell and sign."""
    keys = np.column_stack([_bits(problem, iterate), iterate.signs > 0])
    _, first, where = np.unique(np.packbits(keys, axis=1), axis=0, return_index=True, return_inverse=True)
    neurons = np.zeros((len(first), iterate.neurons.shape[1]))
    np.add.at(neurons, where.ravel(), iterate.neurons)
    return replace(iterate, neurons=neurons, signs=iterate.signs[first], slopes=iterate.slopes[first])


def _bits(problem: ReducedProblem, iterate: Iterate) -> BoolArray:
    """The cells (m, n) of some neurons: with interiors, which the method needs.

    From a neuron on kinks it goes in the direction (k,) that its slopes ask for, as far as they agree with each other.
    """
    on, off = strict_bits(problem, iterate.neurons)
    generic = np.random.default_rng(0).standard_normal(problem.Z.shape[1])
    size = np.linalg.norm(problem.Z, axis=1)
    for b in np.flatnonzero((~(on | off) & (size > 0)).any(axis=1)):
        tight = np.flatnonzero(~(on[b] | off[b]) & (size > 0))
        rows = problem.Z[tight] / size[tight, None]
        side = rows @ np.linalg.lstsq(rows, iterate.slopes[b, tight] - 0.5, rcond=_TIE)[0]
        on[b, tight] = np.where(np.abs(side) > _TIE, side, rows @ generic) > 0
    return on


@dataclass(frozen=True)
class _Point:
    """Neurons u (m, k), their costs h (m,), beta (q,), distances r and multipliers rho (m, n), g (m, p), the loss's."""

    u: Array
    h: Array
    beta: Array
    r: Array
    rho: Array
    g: Array
    slopes: Slopes

    def moved(self, length: float, d: _Point) -> _Point:
        """The point after a step."""
        return _Point(
            self.u + length * d.u,
            self.h + length * d.h,
            self.beta + length * d.beta,
            self.r + length * d.r,
            self.rho + length * d.rho,
            self.g + length * d.g,
            Slopes(*(s + length * ds for s, ds in zip(self.slopes, d.slopes, strict=True))),
        )


@dataclass(frozen=True)
class _State:
    """A point, its residuals, and the factorised system for a step from it."""

    cells: _Cells
    point: _Point
    fit: Array
    loss: BoxSlopes | Following
    objective: float
    off_u: Array
    off_beta: Array
    off_r: Array
    cones: ConePair
    system: NewtonSystem

    @classmethod
    def of(cls, cells: _Cells, point: _Point, far: bool) -> _State:
        problem, p = cells.problem, cells.problem.n_penalized
        t = point.u @ problem.Z.T
        f = cells.fit(t, point.beta)
        loss = cells.box or Following.of(problem.loss, f)
        if isinstance(loss, Following):
            point = replace(point, slopes=loss.slopes)
        nu = point.slopes.nu[:, 0]
        off_u = -(cells.weights * nu + cells.e * point.rho) @ problem.Z
        off_u[:, :p] -= point.g
        cones = ConePair(*cells.pairs(point))
        root = np.sqrt(loss.stiffness(point.slopes)[:, 0])
        k = problem.Z.shape[1]
        blocks = ((point.rho / point.r) @ problem.outer).reshape(-1, k, k)
        blocks[:, :p, :p] += cones.rest
        system = NewtonSystem(
            blocks, root * cells.weights, problem.Z, root[:, None] * problem.linear, problem.ridge, far
        )
        return cls(
            cells,
            point,
            f,
            loss,
            problem.objective(f, point.h, point.beta),
            off_u,
            problem.ridge * point.beta - problem.linear.T @ nu,
            cells.e * t - point.r,
            cones,
            system,
        )

    @property
    def gap(self) -> float:
        """Sum of the products of distances and multipliers."""
        own = float((self.point.r * self.point.rho).sum() + (self.cones.x * self.cones.y).sum())
        return own + self.loss.products(self.point.slopes)[0]

    def arrived(self, tol: float) -> bool:
        """Whether gap and residuals are small."""
        lam = self.cells.problem.weight_decay
        return self.gap <= tol * abs(self.objective) and np.abs(self.off_u).max() <= np.sqrt(tol) * lam

    @property
    def n_products(self) -> int:
        """How many products the gap is the sum of."""
        cells = np.count_nonzero(self.cells.e) + 2 * len(self.point.r)
        return int(cells) + self.loss.products(self.point.slopes)[1]

    def step(self) -> _Point:
        """The next point: a step for the corrections that a first, uncentred one asks for."""
        r, rho, cones = self.point.r, self.point.rho, self.cones
        first, dx, dy = self._direction(-r * rho, -cones.x, (0.0, 0.0))
        gap = self._gap_after(self._length(first, dx, dy), first, dx, dy)
        mu = min(max(gap / self.gap, 1e-6), 1.0) ** 3 * self.gap / self.n_products
        to_products = mu * self.cells.e**2 - r * rho - first.r * first.rho
        wanted = cones.towards(mu) - cones.x - cones.second_order(dx, dy)
        above, below = self.loss.second_order(first.slopes)
        second = self._direction(to_products, wanted, (mu + above, mu + below))
        return self.point.moved(self._length(*second), second[0])

    def _gap_after(self, length: float, d: _Point, dx: Array, dy: Array) -> float:
        """The gap after a step."""
        new = self.point.moved(length, d)
        gap = float((new.r * new.rho).sum()) + self.loss.products(new.slopes)[0]
        return gap + float(((self.cones.x + length * dx) * (self.cones.y + length * dy)).sum())

    def _direction(
        self, to_products: Array, wanted: Array, aim: tuple[Array | float, Array | float]
    ) -> tuple[_Point, Array, Array]:
        """The step that changes the products r rho as asked, has dx + W^2 dy as wanted, and removes the residuals.

        The loss's products go to `aim`.
        """
        cells, point, p, s = self.cells, self.point, self.cells.problem.n_penalized, self.point.slopes
        Z, linear = cells.problem.Z, cells.problem.linear
        change = (to_products - point.rho * self.off_r) / point.r
        stiffness, pull = self.loss.stiffness(s)[:, 0], self.loss.pull(s, self.fit[:, None], aim)[:, 0]
        gradient = self.off_u - (cells.weights * (stiffness * pull) + cells.e * change) @ Z
        gradient[:, :p] -= wanted[:, 1:] - self.cones.tilt * wanted[:, :1]
        du, d_beta = self.system.solve(gradient, self.off_beta - linear.T @ (stiffness * pull))
        dz = du @ Z.T
        dt = cells.e * dz
        dh = wanted[:, 0] / self.cones.first - np.einsum("bj,bj->b", self.cones.tilt, du[:, :p])
        dy = np.column_stack([dh, du[:, :p]])
        dx = wanted - self.cones.squared(dy)
        dx[:, 0] = 0.0
        d_rho = change - point.rho * dt / point.r
        d_nu = stiffness * (pull - cells.fit(dz, d_beta))
        d_slopes = self.loss.step(s, d_nu[:, None], aim)
        return _Point(du, dh, d_beta, dt + self.off_r, d_rho, dx[:, 1:], d_slopes), dx, dy

    def _length(self, d: _Point, dx: Array, dy: Array) -> float:
        """The longest step that stays inside."""
        # Without masks, which cost several times as much.
        fastest = _SHORT_OF
        for value, change in ((self.point.r, d.r), (self.point.rho, d.rho)):
            fastest = max(fastest, float((-change / np.maximum(value, 1e-300)).max()))
        inside = _SHORT_OF * min(1 / fastest, reach(self.cones.x, dx), reach(self.cones.y, dy))
        return min(inside, self.loss.length(self.point.slopes, d.slopes, _SHORT_OF))
