"""`Program`: the finite convex program over given patterns, its cone form, and the way back.

Letters: `Z` (n, k) reduced data, `D` (P, n) patterns, `u_b` (k,) block b: one pattern and a sign, p penalised coordinates, `f`
(n,) predictions, `nu` (n,) dual variable.

    minimise    L(f) + penalty sum_b |u_b[:p]| + (penalty / 2) |beta_p|^2
    subject to  f = sum_b sign_b D_b Z u_b + Qf beta_f + Qp beta_p,   K_b u_b >= 0 on the facets of cone b

(Pilanci and Ergen, ICML 2020, equation (8).) The cone form has the variables (u, t, beta_f, beta_p, f, a) with t_b >= |u_b[:p]|
and the loss's own auxiliary variables a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.backends.conic import ConicProgram, ConicSolution
from convexrelu.errors import UnsupportedError
from convexrelu.losses import LossCone
from convexrelu.patterns.patterns import Patterns
from convexrelu.problem import TrainingProblem
from convexrelu.result import Solution


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
                f"`Y` has {self.problem.Y.shape[1]} tasks; programs over patterns take one. Pass one column of `Y` at a time."
            )

    @cached_property
    def blocks(self) -> tuple[IntArray, Array]:
        """Pattern index and sign of each block."""
        index = np.flatnonzero(~_redundant(self.problem, self.patterns.active))
        return np.concatenate([index, index]), np.repeat([1.0, -1.0], len(index))

    def conic(self) -> ConicProgram:
        """The program in the form backends take; cost proportional to its non-zeros."""
        problem, loss = self.problem, self._loss_cone
        n_blocks, k = len(self.blocks[0]), problem.arrangement.Z.shape[1]
        n, n_aux = len(problem.X), len(loss.auxiliary)
        Qf, Qp = problem.linear.free, problem.linear.penalized
        widths = [n_blocks * k, n_blocks, Qf.shape[1], Qp.shape[1], n, n_aux]
        zero, nonneg, exponential = _split(loss)
        norm_rows, second_order = self._norm_rows(widths)
        fit = _rows(widths, {0: self._features(), 2: Qf, 3: Qp, 4: -sp.eye_array(n)})
        cones = _rows(widths, {0: -self._facets()})
        parts = [(fit, np.zeros(n)), _loss_rows(widths, loss, zero), (cones, np.zeros(cones.shape[0]))]
        parts.append(_loss_rows(widths, loss, nonneg))
        if second_order:
            parts += [(norm_rows, np.zeros(norm_rows.shape[0]))]
        else:
            parts.insert(2, (norm_rows, np.zeros(norm_rows.shape[0])))
        parts.append(_loss_rows(widths, loss, exponential))
        A = sp.csc_array(sp.vstack([rows for rows, _ in parts]))
        n_nonneg = cones.shape[0] + loss.n_nonneg + (0 if second_order else norm_rows.shape[0])
        offsets = np.cumsum([0, *widths])
        q = np.zeros(offsets[-1])
        q[offsets[1] : offsets[2]] = problem.penalty
        q[offsets[4] :] = np.concatenate([loss.linear, loss.auxiliary])
        diagonal = np.zeros(offsets[-1])
        diagonal[offsets[3] : offsets[4]] = problem.penalty
        diagonal[offsets[4] : offsets[5]] = loss.quadratic
        return ConicProgram(
            P=sp.csc_array(sp.diags_array(diagonal)),
            q=q,
            A=A,
            b=np.concatenate([rhs for _, rhs in parts]),
            n_zero=n + loss.n_zero,
            n_nonneg=n_nonneg,
            second_order=second_order,
            n_exponential=loss.n_exponential,
        )

    @cached_property
    def _shift(self) -> Array:
        """Coefficients (q, 1) of the free columns fitted to the targets: solvers see what is left, around zero."""
        return self.problem.linear_coefficients(math.inf)[0]

    def recover(self, raw: ConicSolution) -> Solution:
        """Block weights, linear part and dual variable of a backend's answer."""
        k, n_blocks = self.problem.arrangement.Z.shape[1], len(self.blocks[0])
        q, qp = self.problem.linear.free.shape[1], self.problem.linear.penalized.shape[1]
        start = n_blocks * (k + 1)
        return Solution(
            neurons=raw.x[: n_blocks * k].reshape(n_blocks, k),
            outputs=self.blocks[1][:, None],
            free=raw.x[start : start + q, None] + self._shift,
            penalized=raw.x[start + q : start + q + qp, None],
            # The fit rows read fit - f = 0, so their multiplier is dL/df, and nu = -dL/df.
            dual=-raw.z[: len(self.problem.X), None],
            message=raw.message,
        )

    @cached_property
    def _loss_cone(self) -> LossCone:
        # Every loss so far is one of f - y, so moving both changes nothing.
        targets = self.problem.Y - self.problem.linear.free @ self._shift
        return self.problem.loss.cone_form(targets, self.problem.sample_weight)

    def _features(self) -> sp.csc_array:
        """The matrix (n, n_blocks k) of u -> sum_b sign_b D_b Z u_b."""
        index, sign = self.blocks
        Z = self.problem.arrangement.Z
        block, sample = np.nonzero(self.patterns.active[index])
        columns = block[:, None] * Z.shape[1] + np.arange(Z.shape[1])
        data = sign[block, None] * Z[sample]
        rows = np.broadcast_to(sample[:, None], columns.shape)
        shape = (len(Z), len(index) * Z.shape[1])
        return sp.csc_array((data.ravel(), (rows.ravel(), columns.ravel())), shape=shape)

    def _facets(self) -> sp.csc_array:
        """The matrix of u -> K_b u_b on the facets of every block."""
        index, _ = self.blocks
        some = self.patterns.take(index)
        Z = self.problem.arrangement.Z
        counts = np.diff(some.facet_indptr)
        block = np.repeat(np.arange(len(index)), counts)
        signs = np.where(some.active[block, some.facet_rows], 1.0, -1.0)
        # Only the direction of a facet matters; unit rows suit the solvers' tolerances.
        data = signs[:, None] * Z[some.facet_rows] / row_norms(Z[some.facet_rows])[:, None]
        columns = block[:, None] * Z.shape[1] + np.arange(Z.shape[1])
        rows = np.repeat(np.arange(len(block)), Z.shape[1])
        shape = (len(block), len(index) * Z.shape[1])
        return sp.csc_array((data.ravel(), (rows, columns.ravel())), shape=shape)

    def _norm_rows(self, widths: list[int]) -> tuple[sp.csc_array, tuple[int, ...]]:
        """Rows with t_b >= |u_b[:p]|: cones (t, u), or for p = 1 the half-lines t - u >= 0 and t + u >= 0."""
        n_blocks, k = widths[1], self.problem.arrangement.Z.shape[1]
        p = self.problem.arrangement.n_penalized
        if p == 1:
            first = sp.kron(sp.eye_array(n_blocks), np.eye(k)[:1])
            t = sp.eye_array(n_blocks)
            return sp.csc_array(sp.vstack([_rows(widths, {0: first, 1: -t}), _rows(widths, {0: -first, 1: -t})])), ()
        block = np.repeat(np.arange(n_blocks), p + 1)
        within = np.tile(np.arange(p + 1), n_blocks)
        columns = np.where(within == 0, widths[0] + block, block * k + within - 1)
        shape = (len(block), sum(widths))
        rows = sp.csc_array((-np.ones(len(block)), (np.arange(len(block)), columns)), shape=shape)
        return rows, (p + 1,) * n_blocks


def _redundant(problem: TrainingProblem, active: BoolArray) -> BoolArray:
    """Patterns whose complement does as well: those that are off at the first sample, if a free skip is affine enough."""
    affine = problem.skip == "free" and (problem.output_bias == "free" or problem.bias == "none")
    if not affine:
        return np.zeros(len(active), dtype=bool)
    moving = np.flatnonzero(np.abs(problem.arrangement.Z).sum(axis=1) > 0)
    # Only complements that are listed themselves make a pattern redundant.
    listed = {row.tobytes() for row in np.packbits(active[:, moving], axis=1)}
    complements = np.packbits(~active[:, moving], axis=1)
    return np.array([row.tobytes() in listed for row in complements], dtype=bool) & ~active[:, moving[0]]


def _split(loss: LossCone) -> tuple[slice, slice, slice]:
    """Rows of a loss in the zero, the non-negative and the exponential cones."""
    a, b = loss.n_zero, loss.n_zero + loss.n_nonneg
    return slice(0, a), slice(a, b), slice(b, None)


def _loss_rows(widths: list[int], loss: LossCone, part: slice) -> tuple[sp.csc_array, Array]:
    rows = {4: loss.fit_rows.tocsr()[part], 5: loss.auxiliary_rows.tocsr()[part]}
    return _rows(widths, rows, height=len(loss.rhs[part])), loss.rhs[part]


def _rows(widths: list[int], parts: dict[int, Array | sp.sparray], height: int | None = None) -> sp.csc_array:
    """Rows over all variables from the given groups of columns; the others are zero."""
    height = next(iter(parts.values())).shape[0] if height is None else height
    blocks = [parts.get(i, sp.csc_array((height, width))) for i, width in enumerate(widths)]
    return sp.csc_array(sp.hstack([sp.csc_array(block) for block in blocks]))
