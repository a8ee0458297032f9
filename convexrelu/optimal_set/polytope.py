"""The weights that the active directions may have: `Polytope`.

Letters: `A` (n, m) predictions of the active directions, `Q` (n, q) free columns, `alpha` (m,) weights, `g` (n,) what
the neurons have to predict,

    {alpha >= 0 : A alpha = g modulo the span of Q}.

It is bounded, and sum(alpha) is the same all over it: the dual variable nu is orthogonal to Q and has nu . a_e = lam.
Where predictions can move, further columns stand for these, and the sum need not be the same. Several tasks stand below
each other in one column. Inside, `B alpha = b` are the same equations with independent rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, islice
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.pruning import DEPENDENT, independent_weights, off_columns

# Independent predictions of real data are further from dependent than this; a dual variable that is not unique moves
# directions by less.
CLEAR = 1e-6
# Weights below this fraction of the total are zero: linear programs are solved to 1e-10.
ZERO = 1e-9
# A linear program has to raise a weight to more than this fraction of the total to prove that it can be positive.
POSITIVE = 1e-8
# Sets of tight inequalities tried at a degenerate vertex.
MOST_SETS = 200_000
# Newton steps to the analytic centre, and the decrement at which it is reached.
CENTERING_STEPS, CENTERED = 100, 1e-11


@dataclass(frozen=True, eq=False)
class Polytope:
    """Weights alpha >= 0 with A alpha = g modulo Q.

    Attributes
    ----------
    A : float64 (n, m)
    g : float64 (n,)
    Q : float64 (n, q)
    total : float
        The sum of the weights, or where it is not the same all over about its largest.
    """

    A: Array
    g: Array
    Q: Array
    total: float

    def restricted(self, used: BoolArray) -> Polytope:
        """The face in which only some weights (m,) are not zero."""
        return Polytope(self.A[:, used], self.g, self.Q, self.total)

    @property
    def size(self) -> int:
        """The number m of directions."""
        return int(self.A.shape[1])

    @cached_property
    def equations(self) -> tuple[Array, Array]:
        """(B, b) with independent rows, in units in which columns have norm one and the weights sum to about one."""
        g = off_columns(self.Q, self.g[:, None])[:, 0]
        A, U, singular = self._decomposition
        U = U[:, singular > DEPENDENT]
        return U.T @ A, U.T @ g / (self.total or 1.0)

    @property
    def is_clear(self) -> bool:
        """Whether predictions are either dependent or far from it: in between, rounding decides what can be traded."""
        singular = self._decomposition[2]
        return not ((singular > DEPENDENT) & (singular < CLEAR)).any()

    @cached_property
    def _decomposition(self) -> tuple[Array, Array, Array]:
        """Columns of norm one, their left singular vectors, and singular values relative to the largest."""
        A = off_columns(self.Q, self.A) / self._units
        U, singular, _ = np.linalg.svd(A, full_matrices=False)
        return A, U, singular / (singular.max(initial=0.0) or 1.0)

    @cached_property
    def _units(self) -> Array:
        size = row_norms(off_columns(self.Q, self.A).T)
        return np.where(size > 0, size, 1.0)

    @property
    def scale(self) -> Array:
        """Weights (m,) per unit of the variables of `equations`."""
        return (self.total or 1.0) / self._units

    def corrected(self, alpha: Array) -> Array:
        """Weights moved onto the equations by the least change of those that are not zero."""
        B, b = self.equations
        x = np.where(alpha > ZERO * self.total, alpha, 0.0) / self.scale
        for _ in range(2):
            support = x > 0
            x[support] += np.linalg.lstsq(B[:, support], b - B @ x, rcond=None)[0]
            x = np.maximum(x, 0.0)
        return x * self.scale

    def minimize(self, cost: Array) -> Array:
        """Weights that minimise cost . alpha, at a vertex."""
        from scipy.optimize import linprog  # a tenth of a second

        if self._is_point:
            return self.center
        options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
        # Of nearly dependent columns presolving may say that there is nothing.
        for (B, b), presolve in ((self._shortest_equations, True), (self.equations, False)):
            c = np.zeros(B.shape[1])
            c[: self.size] = cost / self._units
            scale = float(np.abs(c).max(initial=0.0)) or 1.0
            bounds = np.zeros((len(c), 2))
            bounds[self.size :, 0], bounds[:, 1] = -np.inf, np.inf
            answer = linprog(c / scale, None, None, B, b, bounds, "highs", options=options | {"presolve": presolve})
            if answer.x is not None:
                break
        else:
            raise ArithmeticError(f"the linear program over the optimal set failed: {answer.message}")
        return self.corrected(np.asarray(answer.x)[: self.size] * self.scale)

    @cached_property
    def _shortest_equations(self) -> tuple[Any, Array]:
        """`equations`, or A alpha + Q beta = g with beta free where that has fewer numbers: columns of samples do.

        Measured with 300 samples of a loss with kinks: 0.01 s for a linear program instead of 0.17.
        """
        B, b = self.equations
        size = row_norms(self.Q.T)
        sparse = scipy.sparse.csc_array(np.hstack([self.A / self._units, self.Q[:, size > 0] / size[size > 0]]))
        return (sparse, self.g / self.total) if sparse.nnz < B.size else (B, b)

    def bounded(self) -> Polytope:
        """The same where the sum of the weights is not the same all over: its largest may be larger than `total`."""
        largest = float(self.minimize(-np.ones(self.size)).sum())
        return Polytope(self.A, self.g, self.Q, max(largest, self.total))

    # -- shape --------------------------------------------------------------------------------------------------------

    @cached_property
    def _is_point(self) -> bool:
        """Whether the equations alone leave one choice."""
        B, _ = self.equations
        return self.total == 0 or B.shape[0] == self.size

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Least and largest weight (m,), (m,) of each direction."""
        if self._is_point:
            return self.center, self.center
        corners = self._corners
        m = self.size
        return np.diag(corners[:m]), np.diag(corners[m:])

    @cached_property
    def _corners(self) -> Array:
        """Weights (2 m, m) that minimise, then those that maximise each weight."""
        return np.array([self.minimize(c) for c in np.vstack([np.eye(self.size), -np.eye(self.size)])])

    @cached_property
    def center(self) -> Array:
        """The analytic centre (m,): of all points the one with the largest product of the weights that can be positive.

        It is unique, and depends on the set alone, not on the order of its directions or how it was found.
        """
        if self.total == 0:
            return np.zeros(self.size)
        if self._is_point:
            B, b = self.equations
            return np.asarray(np.maximum(np.linalg.lstsq(B, b, rcond=None)[0], 0.0) * self.scale)
        # The mean of the corners that minimise or maximise a weight is in the relative interior.
        return self.corrected(self._centered(self.corrected(self._corners.mean(axis=0))))

    def _centered(self, alpha: Array) -> Array:
        """Damped Newton steps towards the analytic centre (Y. Nesterov and A. Nemirovskii, 1994, section 2.2)."""
        free, V = self.can_be_positive, self.basis
        alpha = np.where(free, np.maximum(alpha, ZERO * self.total), 0.0)
        for _ in range(CENTERING_STEPS if V.shape[1] else 0):
            scaled = V[free] / alpha[free, None]
            step = np.linalg.lstsq(scaled, np.ones(len(scaled)), rcond=None)[0]
            decrement = float(np.linalg.norm(scaled @ step))
            alpha = alpha + V @ step / (1 + decrement)
            if decrement < CENTERED:
                break
        return alpha

    @cached_property
    def can_be_positive(self) -> BoolArray:
        """Directions (m,) that some point gives a positive weight."""
        return np.asarray(self.bounds[1] > POSITIVE * self.total)

    @cached_property
    def basis(self) -> Array:
        """Directions (m, dimension), orthonormal, in which the centre can move."""
        free = np.flatnonzero(self.can_be_positive)
        B, _ = self.equations
        V = np.zeros((self.size, 0))
        if not self._is_point and len(free):
            null = scipy.linalg.null_space(B[:, free], rcond=DEPENDENT)
            V = np.zeros((self.size, null.shape[1]))
            V[free] = null / self._units[free, None]
        return np.linalg.qr(V)[0] if V.size else V[:, :0]

    @property
    def dimension(self) -> int:
        """Of the polytope."""
        return int(self.basis.shape[1])

    # -- points -------------------------------------------------------------------------------------------------------

    def pruned(self, alpha: Array) -> Array:
        """A vertex (m,) from a point, by trading weights until the predictions are independent."""
        return self.corrected(independent_weights(self.A, alpha, self.Q))

    def sample(self, rng: np.random.Generator, count: int, steps: int) -> Array:
        """Points (count, m) by hit and run from the centre, `steps` steps apart."""
        points = np.empty((count, self.size))
        alpha = self.center.copy()
        for i in range(count):
            for _ in range(steps if self.dimension else 0):
                alpha = self._hit_and_run(rng, alpha)
            points[i] = self.corrected(alpha)
        return points

    def _hit_and_run(self, rng: np.random.Generator, alpha: Array) -> Array:
        step = self.basis @ rng.standard_normal(self.dimension)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(self.can_be_positive & (step != 0), -alpha / step, np.nan)
        low = float(np.nanmax(np.where(step > 0, reach, np.nan)))
        high = float(np.nanmin(np.where(step < 0, reach, np.nan)))
        return np.asarray(np.maximum(alpha + rng.uniform(low, high) * step, 0.0))

    def vertices(self) -> Iterator[Array]:
        """All vertices (m,), one at a time, neighbours of those already met first.

        The graph of vertices and edges of a polytope is connected (M. Balinski, Pacific Journal of Mathematics, 1961).
        """
        start = self.pruned(self.center)
        waiting, seen = [start], {self._support(start)}
        while waiting:
            vertex = waiting.pop()
            yield vertex
            for neighbour in self._neighbours(vertex) if self.dimension else ():
                support = self._support(neighbour)
                if support not in seen:
                    seen.add(support)
                    waiting.append(neighbour)

    def _support(self, alpha: Array) -> bytes:
        return (alpha > ZERO * self.total).tobytes()

    def _neighbours(self, vertex: Array) -> Iterator[Array]:
        """The other ends of the edges at a vertex."""
        zero = self.can_be_positive & (vertex <= ZERO * self.total)
        for ray in self._edges(self.basis[zero]):
            step = self.basis @ ray
            down = (step < -ZERO * np.abs(step).max()) & self.can_be_positive
            length = (vertex[down] / -step[down]).min()
            moved = vertex + length * step
            moved[~self.can_be_positive] = 0.0
            yield self.corrected(moved)

    def _edges(self, rows: Array) -> Iterator[Array]:
        """Rays of {t : rows t >= 0}: where all but one of its dimensions are taken up by tight rows."""
        d = self.dimension
        rows = rows / row_norms(rows)[:, None]
        found: list[Array] = []
        for chosen in islice(combinations(range(len(rows)), d - 1), MOST_SETS):
            _, singular, Vt = np.linalg.svd(rows[list(chosen)].reshape(d - 1, d))
            if d > 1 and singular[-1] <= DEPENDENT:
                continue
            for ray in (Vt[-1], -Vt[-1]):
                if (rows @ ray >= -ZERO).all() and not any(np.linalg.norm(ray - r) <= 1e-6 for r in found):
                    found.append(ray)
                    yield ray
