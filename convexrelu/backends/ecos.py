"""ECOS: an interior-point solver for linear objectives; a quadratic one is moved into a second-order cone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus, Vector
from convexrelu.errors import UnsupportedError

# Below this hardly any step succeeds.
_TIGHTEST = 1e-12

# ECOS has no object to read its options from; those of its branch and bound have no use here.
_OPTIONS: dict[str, type] = {
    "max_iters": int,
    "abstol": float,
    "reltol": float,
    "feastol": float,
    "abstol_inacc": float,
    "reltol_inacc": float,
    "feastol_inacc": float,
    "verbose": bool,
}

_STATUS = {
    0: ConicStatus.SOLVED,
    10: ConicStatus.INACCURATE,
    1: ConicStatus.INFEASIBLE,
    11: ConicStatus.INFEASIBLE,
    2: ConicStatus.UNBOUNDED,
    12: ConicStatus.UNBOUNDED,
    -1: ConicStatus.LIMIT,
    # Numerical trouble: the iterate returned may still be worth measuring.
    -2: ConicStatus.INACCURATE,
    -3: ConicStatus.INACCURATE,
}
_CLOSE = 10
# Beyond what rounding allows ECOS may lose the solution altogether: then it is asked for less.
_TROUBLE = (-2, -3)
_EASIER = (1e-7, 1e-5)
_INTERRUPTED = -4


class EcosBackend(Backend):
    """Solve with ECOS, directly.

    Notes
    -----
    1/2 x'Px becomes a new unknown w and the cone norm((sqrt(D) x, (2w/a - a)/2)) <= (2w/a + a)/2, that is
    x'Dx <= 2w, with D the diagonal of P and a > 0 a scale. Only a diagonal P is taken. At the optimum the multiplier
    of sqrt(D) x is -sqrt(D) x, so the duals of the other rows are those of the program given.
    ECOS cannot be stopped by a time limit; it stops after `max_iters` (100) iterations.
    """

    def _option_types(self) -> Mapping[str, type]:
        return _OPTIONS

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        ecos = self._load()
        form = _linear_objective(program)
        for asked in (tol, *(easier for easier in _EASIER if easier > tol)):
            settings = {**_settings(asked, verbose), **options}
            native = ecos.solve(form.c, form.G, form.h, form.dims, **_equalities(form), **settings)
            if native["info"]["exitFlag"] not in _TROUBLE:
                break
        return _solution(program, native, max(tol, _TIGHTEST))


def _settings(tol: float, verbose: bool) -> dict[str, object]:
    # A gap of eps leaves an error of its square root in x where a quadratic term was rewritten: aim lower than asked,
    # and fall back on what was asked.
    asked, aim = max(tol, _TIGHTEST), max(tol / 100, _TIGHTEST)
    return {
        "abstol": aim,
        "reltol": aim,
        "feastol": asked,
        "abstol_inacc": asked,
        "reltol_inacc": asked,
        "verbose": verbose,
    }


class _Form(NamedTuple):
    """The form of ECOS: minimise c'x subject to A x = b, G x + s = h, s in a cone."""

    c: Vector
    G: sp.csc_matrix
    h: Vector
    dims: dict[str, Any]
    A: sp.csc_matrix
    b: Vector


def _linear_objective(program: ConicProgram) -> _Form:
    A, b, c, n_zero = program.A, program.b, program.q, program.n_zero
    G, h, sizes = A[n_zero:], b[n_zero:], list(program.second_order)
    E, e = A[:n_zero], b[:n_zero]
    if program.n_exponential:
        order = _exponential_order(program)
        G, h = G[order], h[order]
    if program.is_quadratic:
        diagonal = _diagonal(program)
        cone, bound = _epigraph(diagonal, scale=float(np.linalg.norm(e)) or 1.0)
        # The new cone goes in front of the exponential ones, which ECOS wants last.
        last = h.size - 3 * program.n_exponential
        G = sp.block_array([[G[:last], None], [cone[:, :-1], cone[:, -1:]], [G[last:], None]])
        h, sizes = np.concatenate([h[:last], bound, h[last:]]), [*sizes, bound.size]
        E, c = sp.hstack([E, sp.csc_array((n_zero, 1))]), np.append(c, 1.0)
    dims = {"l": program.n_nonneg, "q": sizes, "e": program.n_exponential}
    return _Form(c, _never_empty(G), h, dims, _never_empty(E), e)


def _never_empty(matrix: sp.csc_array) -> sp.csc_matrix:
    # ECOS reads beyond its arrays (and may crash) if a matrix with rows has no stored entry: store a zero.
    matrix = sp.csc_matrix(matrix)
    if matrix.nnz or not matrix.shape[0]:
        return matrix
    starts = np.ones(matrix.shape[1] + 1, dtype=int)
    starts[0] = 0
    return sp.csc_matrix((np.zeros(1), np.zeros(1, dtype=int), starts), shape=matrix.shape)


def _epigraph(diagonal: Vector, scale: float) -> tuple[sp.csc_array, Vector]:
    """Return rows (G, h) of the cone x'Dx <= 2w in the unknowns (x, w), the bound first."""
    n, support = diagonal.size, np.flatnonzero(diagonal)
    k = support.size
    values = np.concatenate([[-1.0 / scale, -1.0 / scale], -np.sqrt(diagonal[support])])
    rows = np.concatenate([[0, 1], np.arange(2, k + 2)])
    columns = np.concatenate([[n, n], support])
    h = np.zeros(k + 2)
    h[:2] = scale / 2, -scale / 2
    return sp.coo_array((values, (rows, columns)), shape=(k + 2, n + 1)).tocsc(), h


def _diagonal(program: ConicProgram) -> Vector:
    assert program.P is not None
    diagonal: Vector = program.P.diagonal()
    if np.count_nonzero(program.P.data) != np.count_nonzero(diagonal):
        raise UnsupportedError(
            "`backend='ecos'` takes a quadratic objective only if `P` is diagonal, and this one is not. "
            "Introduce residuals as unknowns to make it so, or use 'clarabel', which takes any `P`."
        )
    return diagonal


def _exponential_order(program: ConicProgram) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows of G in the order of ECOS, whose exponential cones list (s_0, s_2, s_1)."""
    order = np.arange(program.n_rows - program.n_zero)
    cones = order[order.size - 3 * program.n_exponential :].reshape(-1, 3)
    cones[:, [1, 2]] = cones[:, [2, 1]]
    return order


def _equalities(form: _Form) -> dict[str, Any]:
    # ECOS wants no matrix at all where there are no rows.
    return {"A": form.A, "b": form.b} if form.b.size else {}


def _solution(program: ConicProgram, native: dict[str, Any], asked: float) -> ConicSolution:
    info = native["info"]
    if info["exitFlag"] == _INTERRUPTED:
        raise KeyboardInterrupt
    status = _STATUS.get(info["exitFlag"], ConicStatus.FAILED)
    # "Close to optimal" has the gap that was asked for, since `_settings` says so; the residuals may be larger.
    if info["exitFlag"] == _CLOSE and max(info["pres"], info["dres"]) <= asked:
        status = ConicStatus.SOLVED
    x = native["x"][: program.n_variables]
    return ConicSolution(x, _duals(program, native), status, int(info["iter"]), str(info["infostring"]))


def _duals(program: ConicProgram, native: dict[str, Any]) -> Vector:
    n_exponential = 3 * program.n_exponential
    n_before = program.n_rows - program.n_zero - n_exponential
    cones, exponential = native["z"][:n_before], native["z"][native["z"].size - n_exponential :]
    # Back from the order (s_0, s_2, s_1); the duals of the cone of w in between are dropped.
    exponential = exponential.reshape(-1, 3)[:, [0, 2, 1]].ravel()
    return np.concatenate([native["y"], cones, exponential])
