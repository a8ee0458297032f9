"""`JointProgram`: the finite convex program of several tasks, exact up to rank four; `program_over` chooses.

Letters: `Z` (n, k) reduced data, `R_c` (k, k) rays of simplicial cone c, one per row and of cost one, `Phi_c` = relu(Z
R_c^T) (n, k), `T` tasks, `F` (n, T) predictions, `p` penalised coordinates.

Neurons u = R_c^T b, b >= 0, of one cone with output weights v (T,) add up to

    G = sum b b^T,   V = sum b v^T,   W = sum v v^T,       predictions Phi_c V,

and what they cost, (penalty / 2) sum (|u[:p]|^2 + |v|^2), is linear in G and W. The convex hull of these matrices M =
[[G, V], [V^T, W]] is: M positive semidefinite and G completely positive. Up to order four, completely positive means
positive semidefinite with non-negative entries. So

    minimise    L(F) + (penalty / 2) (sum_c <S R_c^T, G_c S R_c^T> + tr W_c) + (penalty / 2) |beta_p|^2
    subject to  F = sum_c Phi_c V_c + Qf beta_f + Qp beta_p,   M_c >= 0 as a matrix,   G_c >= 0 entry by entry,

is exact over the simplicial cones that the cells of patterns are cut into, if k <= 4 (theory C.2). In the cone form of
`Program` the blocks are the upper triangles of M_c.

References
----------
A. Sahiner, T. Ergen, J. Pauly and M. Pilanci, "Vector-output ReLU neural network problems are copositive programs",
ICLR 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, IntArray, row_norms
from convexrelu.backends.conic import ConicSolution
from convexrelu.completely_positive import nonnegative_root
from convexrelu.errors import UnsupportedError
from convexrelu.patterns.patterns import Patterns
from convexrelu.patterns.simplicial import SimplicialCones, simplicial_cones
from convexrelu.problem import TrainingProblem
from convexrelu.program import BLOCKS, FIT, FREE, PENALIZED, Program, Rows, redundant
from convexrelu.result import Solution
from convexrelu.task_basis import task_basis

# From order five on, non-negative entries and eigenvalues are not enough.
LARGEST_RANK = 4
# Cones whose matrices are smaller than this, relative to the largest, are empty: what interior-point solvers leave of
# zero is 1e-9, and neurons this small are worth less than that.
EMPTY = 1e-12


@dataclass(frozen=True, eq=False)
class JointProgram(Program):
    """The finite convex program of one problem over some patterns, for any number of tasks."""

    def __post_init__(self) -> None:
        k = self.problem.arrangement.Z.shape[1]
        if k > LARGEST_RANK:
            raise UnsupportedError(
                f"the exact program of several tasks is for data of rank at most {LARGEST_RANK} (a hidden bias counts "
                f"as one), and these have rank {k}. Write backend='native', and a loss of the package."
            )

    @cached_property
    def cones(self) -> SimplicialCones:
        """The simplicial cones of all patterns, rays of cost one."""
        problem = self.problem
        kept = np.flatnonzero(~redundant(problem, self.patterns.active))
        cones = simplicial_cones(problem.arrangement.Z, self.patterns.take(kept))
        costs = np.linalg.norm(cones.rays[:, :, : problem.arrangement.n_penalized], axis=2, keepdims=True)
        return SimplicialCones(cones.rays / costs, kept[cones.pattern])

    def recover(self, raw: ConicSolution) -> Solution:
        """Neurons, linear part and dual variable of a backend's answer, in all tasks."""
        problem, R, T = self.problem, self._tasks, self._n_tasks
        blocks, _, free, penalized, _, _ = np.split(raw.x, np.cumsum(self._widths)[:-1])
        U, V = self._neurons(blocks.reshape(len(self.cones), len(self._stretch)))
        outer = row_norms(V)[:, None]
        n = len(problem.X)
        return Solution(
            neurons=U * outer,
            outputs=V / np.where(outer > 0, outer, 1.0) @ R.T,
            free=free.reshape(-1, T) @ R.T + self._shift,
            penalized=penalized.reshape(-1, T) @ R.T,
            dual=-raw.z[: n * T].reshape(n, T) @ R.T,
            message=raw.message,
        )

    def _neurons(self, triangles: Array) -> tuple[Array, Array]:
        """Neurons (m, k) and output weights (m, T) with the matrices M_c."""
        k, (row, column) = self._k, self._triangle
        M = np.zeros((len(triangles), self._order, self._order))
        M[:, row, column] = M[:, column, row] = triangles / self._stretch
        size = np.einsum("cii->c", M)
        neurons: list[Array] = [np.zeros((0, k))]
        outputs: list[Array] = [np.zeros((0, self._n_tasks))]
        for c in np.flatnonzero(size > EMPTY * size.max(initial=0.0)):
            B = nonnegative_root(M[c, :k, :k])
            # The least C with B C = V: at an optimum tr C^T C = tr W.
            outputs.append(np.asarray(np.linalg.lstsq(B, M[c, :k, k:], rcond=1e-12)[0]))
            neurons.append(B.T @ self.cones.rays[c])
        return np.concatenate(neurons), np.concatenate(outputs)

    # -- what the cone form is made of ------------------------------------------------------------------------------

    @cached_property
    def _tasks(self) -> Array:
        """R (T, r): as many tasks as matter."""
        return task_basis(self.problem)

    @property
    def _n_tasks(self) -> int:
        return int(self._tasks.shape[1])

    @property
    def _k(self) -> int:
        return int(self.problem.arrangement.Z.shape[1])

    @property
    def _order(self) -> int:
        """Of the matrices M."""
        return self._k + self._n_tasks

    @cached_property
    def _triangle(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the upper triangle of M, column by column."""
        column, row = np.tril_indices(self._order)
        return row, column

    @cached_property
    def _stretch(self) -> Array:
        """What entries of the triangle are multiplied with: sqrt(2) off the diagonal."""
        row, column = self._triangle
        return np.where(row == column, 1.0, np.sqrt(2.0))

    @cached_property
    def _targets(self) -> Array:
        problem = self.problem
        return np.asarray((problem.Y - problem.linear.free @ self._shift) @ self._tasks)

    @cached_property
    def _phi(self) -> Array:
        """Predictions (C, n, k) of the rays."""
        return np.asarray(np.maximum(np.einsum("nk,cjk->cnj", self.problem.arrangement.Z, self.cones.rays), 0.0))

    @cached_property
    def _widths(self) -> list[int]:
        (n, T), linear = (len(self.problem.X), self._n_tasks), self.problem.linear
        blocks = len(self.cones) * len(self._stretch)
        return [blocks, 0, T * linear.free.shape[1], T * linear.penalized.shape[1], n * T, len(self._loss.auxiliary)]

    @property
    def _units(self) -> tuple[float, float, float]:
        fit = self.problem.loss.unit(self._targets)
        norm = fit / (float(self._phi.max(initial=0.0)) or 1.0)
        return fit, norm, norm

    @property
    def _block_price(self) -> Array:
        """Half the penalty for <S R^T, G S R^T> and for the trace of W."""
        k, p, (row, column) = self._k, self.problem.arrangement.n_penalized, self._triangle
        price = np.zeros((len(self.cones), self._order, self._order))
        price[:, :k, :k] = np.einsum("cip,cjp->cij", self.cones.rays[:, :, :p], self.cones.rays[:, :, :p])
        price[:, range(k, self._order), range(k, self._order)] = 1.0
        return np.asarray(0.5 * self.problem.penalty * price[:, row, column] * self._stretch).ravel()

    @property
    def _second_order(self) -> tuple[int, ...]:
        return ()

    @property
    def _semidefinite(self) -> tuple[int, ...]:
        return (self._order,) * len(self.cones)

    @cached_property
    def _groups(self) -> list[Rows]:
        """All rows in the order of their cones."""
        loss, linear, T = self._loss, self.problem.linear, self._n_tasks
        n_zero, n_inequalities = loss.n_zero, loss.n_zero + loss.n_nonneg
        free, penalized = (sp.kron(Q, sp.eye_array(T), format="coo") for Q in (linear.free, linear.penalized))
        fit = {BLOCKS: self._features(), FREE: free, PENALIZED: penalized, FIT: -sp.eye_array(self._widths[FIT])}
        return [
            self._rows(fit),
            self._loss_rows(slice(0, n_zero)),
            self._nothing,
            self._rows({BLOCKS: -self._entries()}),
            self._loss_rows(slice(n_zero, n_inequalities)),
            self._rows({BLOCKS: -sp.eye_array(self._widths[BLOCKS])}),
            self._loss_rows(slice(n_inequalities, None)),
        ]

    def _features(self) -> sp.csc_array:
        """The matrix (n T, blocks) of M -> sum_c Phi_c V_c, row by row."""
        k, T, (row, column) = self._k, self._n_tasks, self._triangle
        place = np.zeros((self._order, self._order), dtype=np.intp)
        place[row, column] = np.arange(len(row))
        c, i, j = np.nonzero(self._phi)
        rows = (i[:, None] * T + np.arange(T)).ravel()
        columns = c[:, None] * len(row) + place[j[:, None], k + np.arange(T)]
        # An entry off the diagonal is 1 / sqrt(2) of its variable.
        values = np.repeat(self._phi[c, i, j] / np.sqrt(2.0), T)
        return sp.csc_array((values, (rows, columns.ravel())), shape=(len(self.problem.X) * T, self._widths[BLOCKS]))

    def _entries(self) -> sp.csc_array:
        """The matrix that picks the entries of every G_c off its diagonal, which eigenvalues keep non-negative."""
        row, column = self._triangle
        inside = np.flatnonzero((row < column) & (column < self._k))
        columns = (np.arange(len(self.cones))[:, None] * len(row) + inside).ravel()
        shape = len(columns), self._widths[BLOCKS]
        return sp.csc_array((np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=shape)


def program_over(problem: TrainingProblem, patterns: Patterns) -> Program:
    """The program of one task, or the exact one of several."""
    return (Program if problem.Y.shape[1] == 1 else JointProgram)(problem, patterns)
