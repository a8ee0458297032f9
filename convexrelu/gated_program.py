"""`gated_program`: the finite convex program of gated ReLU networks, of one or several tasks.

Letters: `Z` (n, k) reduced data without a column for free biases, `D_i` (n,) pattern of gate i, `W_i` (k, T) block
weights, `Qf`, `Qp` free and penalised columns.

    minimise    L(F) + penalty sum_i |W_i|_* + (penalty / 2) |beta_p|^2,     F = sum_i D_i Z W_i + Qf beta_f + Qp beta_p

with the nuclear norm |W|_*: neurons u of gate i with output weights v (T,) add up to W_i = sum u v^T at a cost of
sum |u| |v|, and that is the least. No cone restricts them. Of one task |W_i|_* = |w_i|, and the program is `Program`
without facets; of several it is `JointProgram` with a whole space for each gate in place of its simplicial cones.

A free hidden bias is worth the column D_i 1 to gate i, at no cost: a free column like others (`with_constants`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from convexrelu.arrays import EPS, Array, IntArray, frozen, row_norms
from convexrelu.errors import InvalidInputError
from convexrelu.joint_program import JointProgram
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.patterns.simplicial import SimplicialCones
from convexrelu.problem import TrainingProblem
from convexrelu.program import Program, redundant


def gated_program(problem: TrainingProblem, gates: Patterns) -> GatedProgram | JointGatedProgram:
    """The program over the gates, of as many tasks as the problem has; free biases are none of its business."""
    unbounded = replace(gates, facet_indptr=np.zeros_like(gates.facet_indptr), facet_rows=gates.facet_rows[:0])
    return (GatedProgram if problem.Y.shape[1] == 1 else JointGatedProgram)(problem, unbounded)


@dataclass(frozen=True, eq=False)
class GatedProgram(Program):
    """That of one task: its patterns have no facets."""

    @cached_property
    def _basis(self) -> Array:
        """One unit: without thin cones there is nothing to whiten, and in tiny columns that makes rounding costly."""
        Z = self.problem.arrangement.Z
        return np.eye(Z.shape[1]) / (float(row_norms(Z.T).max(initial=0.0)) / np.sqrt(len(Z)) or 1.0)

    @property
    def gate_of_neurons(self) -> IntArray:
        """The gate (m,) of each neuron of a solution."""
        return self.blocks[0]


@dataclass(frozen=True, eq=False)
class JointGatedProgram(JointProgram):
    """That of several tasks, for data of any rank."""

    def __post_init__(self) -> None:
        """No rank is too large: where no cone restricts neurons, semidefinite is all that their matrices are."""

    @cached_property
    def cones(self) -> SimplicialCones:
        """A basis of the whole space for each gate, in place of the rays of a cone."""
        kept = np.flatnonzero(~redundant(self.problem, self.patterns.active))
        return SimplicialCones(np.broadcast_to(np.eye(self._k), (len(kept), self._k, self._k)), kept)

    @property
    def gate_of_neurons(self) -> IntArray:
        """The gate (m,) of each neuron of a solution."""
        return np.repeat(self.cones.pattern, min(self._k, self._n_tasks))

    @cached_property
    def _phi(self) -> Array:
        Z, cones = self.problem.arrangement.Z, self.cones
        return np.asarray(self.patterns.active[cones.pattern][:, :, None] * np.einsum("nk,cjk->cnj", Z, cones.rays))

    def _entries(self) -> sp.csc_array:
        return sp.csc_array((0, self._widths[0]))

    def _neurons(self, triangles: Array) -> tuple[Array, Array]:
        """The singular vectors of the blocks: as many neurons for each gate, some of them of no size."""
        k, (row, column) = self._k, self._triangle
        M = np.zeros((len(triangles), self._order, self._order))
        M[:, row, column] = triangles / self._stretch
        left, singular, right = np.linalg.svd(self.cones.rays.transpose(0, 2, 1) @ M[:, :k, k:], full_matrices=False)
        neurons = (left * singular[:, None, :]).transpose(0, 2, 1)
        return neurons.reshape(len(self.gate_of_neurons), k), right.reshape(len(self.gate_of_neurons), self._n_tasks)


def with_constants(problem: TrainingProblem, gates: Patterns) -> tuple[TrainingProblem, IntArray]:
    """The problem with the constants of gates with free biases among its free columns, in front; and whose they are.

    Gates whose constant depends on those of others get none: it would not change what can be reached.

    Raises
    ------
    InvalidInputError
        For labels that the constants alone separate: no network is best.
    """
    if problem.bias != "free":
        return problem, np.zeros(0, dtype=np.intp)
    own = _independent(problem.linear.free, gates.active.T.astype(float))
    wider = copy.copy(problem)
    wider.__dict__.pop("dual_domain", None)
    at, p = problem.arrangement, problem.arrangement.n_penalized
    wider.arrangement = Arrangement(frozen(at.Z[:, :p]), "none", at.basis, at.center, at.row_error, at.stretch)
    columns = np.hstack([gates.active[own].T, problem.linear.free])
    wider.linear = replace(problem.linear, free=frozen(columns))
    if problem.loss.is_classification and wider.dual_domain.n_separated:
        raise InvalidInputError(
            f"`bias='free'` gives each of {len(gates)} gates a constant at no cost, and these alone separate labels in "
            f"`Y` ({wider.dual_domain.n_separated} samples); write bias='penalized', or take fewer gates."
        )
    return wider, own


def _independent(known: Array, columns: Array) -> IntArray:
    """Which of the columns (n, m) to add to known ones (n, q) for a basis of what they span together."""
    basis = scipy.linalg.orth(known / np.abs(known).max(axis=0)) if known.shape[1] else known
    rest = columns - basis @ (basis.T @ columns)
    triangle, order = scipy.linalg.qr(rest, mode="r", pivoting=True)
    size = np.abs(np.diagonal(triangle))
    # Zeros and ones: what is left of a dependent column is rounding.
    return np.sort(order[: len(size)][size > 1e3 * len(columns) * EPS]).astype(np.intp)
