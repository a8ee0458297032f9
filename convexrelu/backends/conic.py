"""A cone program, its solution, and what kind of program it is: the language every backend speaks.

Letters: `x` (n,) unknowns, `s` (m,) slacks, `z` (m,) dual variables, `K` the cone of the slacks and `K*` its dual.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from convexrelu.errors import InvalidInputError

Vector = NDArray[np.float64]


class ProgramKind(StrEnum):
    """The smallest class of programs that contains a given one; what a backend can take is a set of these."""

    LP = "LP"
    QP = "QP"
    SOCP = "SOCP"
    EXP = "EXP"
    SDP = "SDP"


class ConicStatus(StrEnum):
    """What a backend said about its own answer. A report to show, never a proof: recompute what matters."""

    SOLVED = "solved"
    INACCURATE = "inaccurate"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    LIMIT = "limit"
    FAILED = "failed"


@dataclass(frozen=True, eq=False, repr=False)
class ConicProgram:
    """State the program: minimise 1/2 x'Px + q'x subject to A x + s = b, s in K.

    `K` is the product, in the order of the rows of `A`, of the zero cone (s = 0), the non-negative cone, second-order
    cones (s_0 >= norm(s_1, ...), the bound first), cones of positive semidefinite matrices and exponential cones. A
    semidefinite matrix of order m takes m (m + 1) / 2 rows: its upper triangle column by column, entries off the
    diagonal times sqrt(2) (the order of Clarabel). Each exponential cone takes three rows (s_0, s_1, s_2) with s_1 > 0
    and s_1 exp(s_0 / s_1) <= s_2, closed (the order of Clarabel and SCS).

    Parameters
    ----------
    P : scipy.sparse csc, shape (n, n), or None
        Upper triangle of the positive semidefinite quadratic term; None for none.
    q : float64 array, shape (n,)
    A : scipy.sparse csc, shape (m, n)
    b : float64 array, shape (m,)
    n_zero, n_nonneg : int
        Number of rows in the zero and the non-negative cone.
    second_order : tuple of int
        Dimension (>= 1) of each second-order cone.
    semidefinite : tuple of int
        Order (>= 1) of each semidefinite matrix.
    n_exponential : int
        Number of exponential cones, three rows each.

    Raises
    ------
    InvalidInputError
        Shapes, formats or cone sizes that do not fit together, or entries that are not finite.

    Notes
    -----
    `A` and `P` are put in canonical form (sorted indices, no duplicates) in place; their values do not change.
    """

    P: sp.csc_array | None
    q: Vector
    A: sp.csc_array
    b: Vector
    n_zero: int = 0
    n_nonneg: int = 0
    second_order: tuple[int, ...] = ()
    n_exponential: int = 0
    semidefinite: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Builders often count cones with numpy; the solvers want plain integers.
        object.__setattr__(self, "second_order", tuple(map(int, self.second_order)))
        object.__setattr__(self, "semidefinite", tuple(map(int, self.semidefinite)))
        if not self.q.size or not self.b.size:
            raise InvalidInputError(f"`A` has shape {self.A.shape}; a program needs an unknown and a row.")
        _check_matrix("A", self.A, (self.b.size, self.q.size))
        if self.P is not None:
            _check_matrix("P", self.P, (self.q.size, self.q.size))
            _check_upper(self.P)
        for name, vector in (("q", self.q), ("b", self.b)):
            if vector.ndim != 1 or not np.isfinite(vector).all():
                raise InvalidInputError(f"`{name}` of shape {vector.shape} must be a one-dimensional finite array.")
        _check_cones(self)

    @property
    def n_variables(self) -> int:
        """Number of unknowns n."""
        return int(self.q.size)

    @property
    def n_rows(self) -> int:
        """Number of rows m of `A`."""
        return int(self.b.size)

    @property
    def is_quadratic(self) -> bool:
        """Whether the objective has a quadratic term."""
        return self.P is not None and bool(self.P.data.any())

    @property
    def kind(self) -> ProgramKind:
        """Classify the program; a second-order cone of dimension 1 or 2 is polyhedral and does not make it an SOCP.

        With semidefinite cones it is an SDP, whatever else there is.
        """
        if self.semidefinite:
            return ProgramKind.SDP
        if self.n_exponential:
            return ProgramKind.EXP
        if max(self.second_order, default=0) > 2:
            return ProgramKind.SOCP
        return ProgramKind.QP if self.is_quadratic else ProgramKind.LP

    def objective(self, x: Vector) -> float:
        """Return 1/2 x'Px + q'x."""
        return float(self.q @ x + 0.5 * (x @ self.quadratic_gradient(x)))

    def quadratic_gradient(self, x: Vector) -> Vector:
        """Return P x, from the upper triangle that is stored."""
        if self.P is None:
            return np.zeros_like(x)
        gradient: Vector = self.P @ x + self.P.T @ x - self.P.diagonal() * x
        return gradient

    def __repr__(self) -> str:
        cones = f"zero={self.n_zero}, nonneg={self.n_nonneg}, second_order={len(self.second_order)}"
        cones += f", semidefinite={len(self.semidefinite)}" if self.semidefinite else ""
        size = f"{self.n_variables} variables, {self.n_rows} rows"
        return f"ConicProgram({self.kind}, {size}, {cones}, exponential={self.n_exponential})"


@dataclass(frozen=True, eq=False, repr=False)
class ConicSolution:
    """Hold what a backend returned for a `ConicProgram`.

    With status `INFEASIBLE`, `UNBOUNDED` or `FAILED`, `x` and `z` are whatever the backend left there.

    Parameters
    ----------
    x : float64 array, shape (n,)
        Unknowns; NaN where the backend returned none.
    z : float64 array, shape (m,)
        Dual variables of A x + s = b: P x + q + A'z = 0 and z in K* at an optimum; NaN where there are none.
    status : ConicStatus
        What the backend said, in our words.
    iterations : int or None
        Iterations of the backend, None if it does not tell.
    message : str
        What the backend said, in its own words.
    """

    x: Vector
    z: Vector
    status: ConicStatus
    iterations: int | None
    message: str

    def __repr__(self) -> str:
        return f"ConicSolution({self.status}, iterations={self.iterations}, message={self.message!r})"


def _check_matrix(name: str, matrix: sp.csc_array, shape: tuple[int, int]) -> None:
    if not sp.issparse(matrix) or matrix.format != "csc":
        raise InvalidInputError(f"`{name}` is a {type(matrix).__name__}; pass a scipy.sparse matrix in csc format.")
    if matrix.shape != shape:
        raise InvalidInputError(f"`{name}` has shape {matrix.shape}; the lengths of `b` and `q` ask for {shape}.")
    if not np.isfinite(matrix.data).all():
        raise InvalidInputError(f"`{name}` contains NaN or infinite entries; every entry must be finite.")
    matrix.sum_duplicates()


def _check_upper(P: sp.csc_array) -> None:
    columns = np.repeat(np.arange(P.shape[1]), np.diff(P.indptr))
    if (P.indices > columns).any():
        raise InvalidInputError("`P` has entries below its diagonal; pass `scipy.sparse.triu(P, format='csc')`.")
    if P.diagonal().min() < 0:
        raise InvalidInputError(
            "`P` has a negative diagonal entry, so the program is not convex; no backend can take it."
        )


def _check_cones(program: ConicProgram) -> None:
    counts = (program.n_zero, program.n_nonneg, program.n_exponential)
    if min(counts) < 0 or min(program.second_order + program.semidefinite, default=1) < 1:
        raise InvalidInputError(
            f"Cone sizes must not be negative; second-order and semidefinite cones have at least one row: {program}."
        )
    matrices = sum(m * (m + 1) // 2 for m in program.semidefinite)
    rows = program.n_zero + program.n_nonneg + sum(program.second_order) + matrices + 3 * program.n_exponential
    if rows != program.n_rows:
        raise InvalidInputError(f"The cones have {rows} rows, `A` has {program.n_rows}; the two must be equal.")
