"""`Program`: the finite convex program over given patterns, its cone form, and the way back.

Letters: `Z` (n, k) reduced data, `D` (P, n) patterns, `u_b` (k,) block b: one pattern and a sign, p penalised
coordinates, `f` (n,) predictions, `nu` (n,) dual variable.

    minimise    L(f) + penalty sum_b |u_b[:p]| + (penalty / 2) |beta_p|^2
    subject to  f = sum_b sign_b D_b Z u_b + Qf beta_f + Qp beta_p,   K_b u_b >= 0 on the facets of cone b

(Pilanci and Ergen, ICML 2020, equation (8).) The cone form has the variables (u, t, beta_f, beta_p, f, a) with t_b >=
|u_b[:p]| and the loss's own auxiliary variables a; its rows are, in the order of the cones: the fit, the loss's
equations, half-lines for |u| where p = 1, the facets, the loss's inequalities, balls for |u| where p > 1, the loss's
exponential cones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus
from convexrelu.backends.scaling import Scaling
from convexrelu.errors import UnsupportedError
from convexrelu.linear_fit import least_squares
from convexrelu.losses import LossCone
from convexrelu.patterns.enumeration import equilibration
from convexrelu.patterns.patterns import Patterns
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution

# Groups of variables, in order.
BLOCKS, NORMS, FREE, PENALIZED, FIT, AUXILIARY = range(6)
# Whatever point a backend leaves is worth certifying, unless it is a ray that proves infeasibility.
RAYS = (ConicStatus.INFEASIBLE, ConicStatus.UNBOUNDED)
Rows = tuple[sp.coo_array, Array]


def attempts(accuracy: float) -> tuple[tuple[float, float], ...]:
    """Tolerances and units (`Program.solve`) to try in turn until a certificate closes.

    Solvers' tolerances are relative to the loss at zero; an optimum far below that needs the tighter one. What stops a
    solver short of either is mostly rounding, which other units may avoid: measured on ECOS.
    """
    return (accuracy, 1.0), (1e-12, 1.0), (accuracy, 100.0)


@dataclass(frozen=True, eq=False)
class Program:
    """The finite convex program of one problem over some patterns, both signs of each.

    Where a free affine skip makes a pattern and its complement interchangeable (relu(z) = relu(-z) + z), one of the two
    is left out.
    """

    problem: TrainingProblem
    patterns: Patterns

    def __post_init__(self) -> None:
        if self.problem.Y.shape[1] > 1:
            raise UnsupportedError(
                f"`Y` has {self.problem.Y.shape[1]} tasks, and this program is of one; that of several tasks is a "
                "`JointProgram`, which solve(problem, patterns='enumerate') builds."
            )

    @cached_property
    def blocks(self) -> tuple[IntArray, Array]:
        """Pattern index and sign of each block."""
        index = np.flatnonzero(~redundant(self.problem, self.patterns.active))
        return np.concatenate([index, index]), np.repeat([1.0, -1.0], len(index))

    @cached_property
    def conic(self) -> ConicProgram:
        """The program in the form backends take; cost proportional to its non-zeros."""
        groups, loss = self._groups, self._loss
        heights = [rows.shape[0] for rows, _ in groups]
        penalty = self.problem.penalty
        squares = 0.0 if loss.auxiliary_quadratic is None else loss.auxiliary_quadratic
        return ConicProgram(
            P=sp.csc_array(sp.diags_array(self._spread([0, 0, 0, penalty, loss.quadratic, squares]))),
            q=self._spread([self._block_price, penalty, 0, 0, loss.linear, loss.auxiliary]),
            A=sp.csc_array(sp.vstack([rows for rows, _ in groups])),
            b=np.concatenate([rhs for _, rhs in groups]),
            n_zero=sum(heights[:2]),
            n_nonneg=sum(heights[2:5]),
            second_order=self._second_order,
            n_exponential=loss.n_exponential,
            semidefinite=self._semidefinite,
        )

    @cached_property
    def scaling(self) -> Scaling:
        """Units in which data, targets, and the smaller of the loss at zero and the price of norm are about one.

        Solvers meet the dual constraints to an absolute tolerance: in units where the price is far below one, poorly.
        """
        fit, block, norm = self._units
        linear = self.problem.linear.free, self.problem.linear.penalized
        free, penalized = (np.repeat(fit * equilibration(Q), self._n_tasks) for Q in linear)
        factors = [1 / fit, 1 / fit, 1 / norm, 1 / block, 1.0, 1 / norm, 1.0]
        return Scaling(
            unknowns=self._spread([block, norm, free, penalized, fit, self._loss.auxiliary_unit]),
            rows=np.repeat(factors, [rows.shape[0] for rows, _ in self._groups]),
            objective=min(self._value_of_zero, norm * self.problem.penalty),
        )

    def solve(
        self,
        backend: Backend,
        tol: float,
        options: Mapping[str, Any] | None = None,
        verbose: bool = False,
        seconds: float = math.inf,
        unit: float = 1.0,
    ) -> Solution:
        """Solve with a backend; the empty solution, with its message, where it returns nothing usable.

        The objective is in multiples of `unit` times that of `scaling`: where a solver fails another may do.
        """
        limit = max(seconds, 1e-3) if math.isfinite(seconds) else None
        scaling = replace(self.scaling, objective=unit * self.scaling.objective)
        program = scaling.apply(self.conic)
        raw = backend.solve(program, tol=tol, options=options, verbose=verbose, time_limit=limit)
        usable = raw.status not in RAYS and np.isfinite(raw.x).all() and np.isfinite(raw.z).all()
        return self.recover(scaling.undo(raw)) if usable else Solution.empty(self.problem, raw.message)

    def recover(self, raw: ConicSolution) -> Solution:
        """Block weights, linear part and dual variable of a backend's answer."""
        w, _, free, penalized, _, _ = np.split(raw.x, np.cumsum(self._widths)[:-1])
        return Solution(
            neurons=w.reshape(len(self.blocks[0]), len(self._basis)) @ self._basis.T,
            outputs=self.blocks[1][:, None],
            free=free[:, None] + self._shift,
            penalized=penalized[:, None],
            # The fit rows read fit - f = 0, so their multiplier is dL/df, and nu = -dL/df.
            dual=-raw.z[: len(self.problem.X), None],
            message=raw.message,
        )

    # -- what the cone form is made of ------------------------------------------------------------------------------

    @property
    def _p(self) -> int:
        return self.problem.arrangement.n_penalized

    @property
    def _units(self) -> tuple[float, float, float]:
        """The sizes to expect of predictions, of the variables of blocks, and of norms."""
        fit = self.problem.loss.unit(self._targets)
        return fit, fit, fit * float(np.abs(self._basis[: self._p]).max(initial=0.0)) or 1.0

    @property
    def _n_tasks(self) -> int:
        return 1

    @property
    def _block_price(self) -> Array | float:
        """What the variables of blocks cost themselves."""
        return 0.0

    @property
    def _second_order(self) -> tuple[int, ...]:
        return () if self._is_line else (self._p + 1,) * len(self.blocks[0])

    @property
    def _semidefinite(self) -> tuple[int, ...]:
        return ()

    @property
    def _is_line(self) -> bool:
        """Whether |u[:p]| is an absolute value, so that the program has no second-order cones."""
        return self._p == 1

    @cached_property
    def _white(self) -> Array:
        """The data Z T (n, k) in coordinates w, u = T w, in which all directions look alike: thin cones become wide."""
        return self.problem.arrangement.Z @ self._basis

    @cached_property
    def _basis(self) -> Array:
        """T (k, k)."""
        Z = self.problem.arrangement.Z
        columns = equilibration(Z)
        R = np.linalg.qr(Z * columns, mode="r")
        T: Array = columns[:, None] * scipy.linalg.solve_triangular(R, np.eye(len(columns)) * math.sqrt(len(Z)))
        return T

    @cached_property
    def _shift(self) -> Array:
        """Coefficients (q, T) of the free columns fitted to the targets: solvers see what is left, around zero."""
        Q = self.problem.linear.free
        if not self.problem.loss.is_shift_invariant:
            return np.zeros((Q.shape[1], self.problem.Y.shape[1]))
        return least_squares(Q, self.problem.Y, self.problem.sample_weight, np.zeros(Q.shape[1]))

    @cached_property
    def _targets(self) -> Array:
        # The shift is zero unless the loss is one of f - y, where moving both changes nothing.
        return self.problem.Y - self.problem.linear.free @ self._shift

    @cached_property
    def _loss(self) -> LossCone:
        return self.problem.loss.cone_form(self._targets, self.problem.sample_weight)

    @property
    def _value_of_zero(self) -> float:
        value = self.problem.loss.value(np.zeros_like(self._targets), self._targets, self.problem.sample_weight)
        return value if 0 < value < math.inf else math.inf

    @cached_property
    def _widths(self) -> list[int]:
        """Number of variables in each group."""
        n_blocks, (n, k) = len(self.blocks[0]), self.problem.arrangement.Z.shape
        linear = self.problem.linear
        return [n_blocks * k, n_blocks, linear.free.shape[1], linear.penalized.shape[1], n, len(self._loss.auxiliary)]

    def _spread(self, values: Sequence[Array | float]) -> Array:
        """One value per variable from one value, or array, per group."""
        return np.concatenate([np.broadcast_to(v, width) for v, width in zip(values, self._widths, strict=True)])

    def _rows(self, parts: dict[int, Array | sp.sparray], rhs: Array | None = None) -> Rows:
        """Rows over all variables from the given groups of columns; the other groups are zero."""
        height = next(iter(parts.values())).shape[0]
        first = np.cumsum([0, *self._widths])
        blocks = [(first[i], sp.coo_array(part)) for i, part in parts.items()]
        row = np.concatenate([block.coords[0] for _, block in blocks])
        column = np.concatenate([start + block.coords[1] for start, block in blocks])
        data = np.concatenate([block.data for _, block in blocks])
        rows = sp.coo_array((data, (row, column)), shape=(height, first[-1]))
        return rows, np.zeros(height) if rhs is None else rhs

    @cached_property
    def _groups(self) -> list[Rows]:
        """All rows in the order of their cones."""
        loss, linear = self._loss, self.problem.linear
        n_zero, n_inequalities = loss.n_zero, loss.n_zero + loss.n_nonneg
        fit = {BLOCKS: self._features(), FREE: linear.free, PENALIZED: linear.penalized}
        norms, nothing = self._norm_rows(), self._nothing
        return [
            self._rows({**fit, FIT: -sp.eye_array(self._widths[FIT])}),
            self._loss_rows(slice(0, n_zero)),
            norms if self._is_line else nothing,
            self._rows({BLOCKS: -self._facets()}),
            self._loss_rows(slice(n_zero, n_inequalities)),
            nothing if self._is_line else norms,
            self._loss_rows(slice(n_inequalities, None)),
        ]

    def _loss_rows(self, part: slice) -> Rows:
        loss = self._loss
        if not loss.rhs[part].size:
            return self._nothing
        rows = {FIT: loss.fit_rows.tocsr()[part], AUXILIARY: loss.auxiliary_rows.tocsr()[part]}
        return self._rows(rows, loss.rhs[part])

    @property
    def _nothing(self) -> Rows:
        return self._rows({FIT: sp.coo_array((0, self._widths[FIT]))})

    def _features(self) -> sp.csc_array:
        """The matrix (n, n_blocks k) of u -> sum_b sign_b D_b Z u_b."""
        index, sign = self.blocks
        Z = self._white
        block, sample = np.nonzero(self.patterns.active[index])
        return _block_rows(sample, block, sign[block, None] * Z[sample], (len(Z), len(index)))

    def _facets(self) -> sp.csc_array:
        """The matrix of u -> K_b u_b on the facets of every block, rows of length one."""
        some = self.patterns.take(self.blocks[0])
        Z = self._white
        block = np.repeat(np.arange(len(some)), np.diff(some.facet_indptr))
        signs = np.where(some.active[block, some.facet_rows], 1.0, -1.0)
        data = (signs / row_norms(Z)[some.facet_rows])[:, None] * Z[some.facet_rows]
        return _block_rows(np.arange(len(block)), block, data, (len(block), len(some)))

    def _norm_rows(self) -> Rows:
        """Rows with t_b >= |u_b[:p]|: cones (t, u), or for p = 1 the half-lines t - u >= 0 and t + u >= 0."""
        n_blocks, S = len(self.blocks[0]), self._basis[: self._p]
        if self._is_line:
            u = sp.kron(sp.eye_array(n_blocks), S)
            t = sp.eye_array(n_blocks)
            return self._rows({BLOCKS: sp.vstack([u, -u]), NORMS: sp.vstack([-t, -t])})
        u = sp.kron(sp.eye_array(n_blocks), np.vstack([np.zeros((1, S.shape[1])), S]))
        t = sp.kron(sp.eye_array(n_blocks), np.eye(self._p + 1, 1))
        return self._rows({BLOCKS: -u, NORMS: -t})


def _block_rows(rows: IntArray, block: IntArray, data: Array, shape: tuple[int, int]) -> sp.csc_array:
    """A sparse matrix with data[i] (k,) in row rows[i] and the k columns of block[i]; shape (rows, blocks)."""
    k = data.shape[1]
    columns = block[:, None] * k + np.arange(k)
    entries = data.ravel(), (np.repeat(rows, k), columns.ravel())
    return sp.csc_array(entries, shape=(shape[0], shape[1] * k))


def redundant(problem: TrainingProblem, active: BoolArray) -> BoolArray:
    """Patterns whose complement does as well: those off at the first sample, if a free skip is affine enough."""
    affine = problem.skip == "free" and (problem.output_bias == "free" or problem.bias == "none")
    if not affine:
        return np.zeros(len(active), dtype=bool)
    moving = np.flatnonzero(np.abs(problem.arrangement.Z).sum(axis=1) > 0)
    if not len(moving):
        return np.zeros(len(active), dtype=bool)
    # Only complements that are listed themselves make a pattern redundant.
    listed = {row.tobytes() for row in np.packbits(active[:, moving], axis=1)}
    complements = np.packbits(~active[:, moving], axis=1)
    return np.array([row.tobytes() in listed for row in complements], dtype=bool) & ~active[:, moving[0]]
