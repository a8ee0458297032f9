"""ECOS: an interior-point solver for linear objectives; a quadratic one is moved into a second-order cone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus, Vector
from convexrelu.errors import UnsupportedError

# Below this the last steps are lost to rounding and ECOS returns an earlier, worse iterate.
_TIGHTEST = 1e-11

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
    # Numerical trouble near the end: the best iterate is returned and worth measuring.
    -2: ConicStatus.INACCURATE,
    -3: ConicStatus.INACCURATE,
}


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
        eps = max(tol, _TIGHTEST)
        settings: dict[str, object] = {"abstol": eps, "reltol": eps, "feastol": eps, "verbose": verbose}
        form = _linear_objective(program)
        native = ecos.solve(
            form.c, form.G, form.h, form.dims, **_equalities(form), **{**settings, **options}
        )
        return _solution(program, native)


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
    return _Form(c, sp.csc_matrix(G), h, dims, sp.csc_matrix(E), e)


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
    if diagonal.min() < 0:
        raise UnsupportedError("`P` has a negative diagonal entry, so the program is not convex; no backend can take it.")
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


def _solution(program: ConicProgram, native: dict[str, Any]) -> ConicSolution:
    info = native["info"]
    n_linear = program.n_rows - program.n_zero - 3 * program.n_exponential
    cones, exponential = native["z"][:n_linear], native["z"][native["z"].size - 3 * program.n_exponential :]
    exponential = exponential.reshape(-1, 3)[:, [0, 2, 1]].ravel()
    z = np.concatenate([native["y"], cones, exponential])
    status = _STATUS.get(info["exitFlag"], ConicStatus.FAILED)
    x = native["x"][: program.n_variables]
    return ConicSolution(x, z, status, int(info["iter"]), str(info["infostring"]))
