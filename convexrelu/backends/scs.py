"""SCS: a first-order solver with a quadratic objective and every cone used here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus

_TIGHTEST = 1e-12

# SCS has no object to read its options from.
_OPTIONS: dict[str, type] = {
    "normalize": bool,
    "adaptive_scale": bool,
    "adaptive_diag_scale": bool,
    "max_iters": int,
    "scale": float,
    "eps_abs": float,
    "eps_rel": float,
    "eps_infeas": float,
    "alpha": float,
    "rho_x": float,
    "time_limit_secs": float,
    "acceleration_lookback": int,
    "acceleration_interval": int,
    "acceleration_type_1": bool,
    "acceleration_regularization": float,
    "acceleration_relaxation": float,
    "write_data_filename": str,
    "log_csv_filename": str,
    "linear_solver": str,
    "verbose": bool,
}

_STATUS = {
    1: ConicStatus.SOLVED,
    -1: ConicStatus.UNBOUNDED,
    -2: ConicStatus.INFEASIBLE,
    # The "inaccurate" ones are what SCS makes of its iterates when a limit stops it.
    2: ConicStatus.LIMIT,
    -6: ConicStatus.LIMIT,
    -7: ConicStatus.LIMIT,
}
_INTERRUPTED = -5


class ScsBackend(Backend):
    """Solve with SCS, directly.

    Notes
    -----
    A first-order method: the iteration limit is set from the size of the program so that a solve stays within
    seconds, and a large program may end there with status `LIMIT`.
    """

    def _option_types(self) -> Mapping[str, type]:
        return _OPTIONS

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        scs = self._load()
        order = _row_order(program)
        data = {"P": program.P, "A": program.A, "b": program.b, "c": program.q}
        if program.semidefinite:
            data |= {"A": program.A[order], "b": program.b[order]}
        cone = {
            "z": program.n_zero,
            "l": program.n_nonneg,
            "q": list(program.second_order),
            "s": list(program.semidefinite),
            "ep": program.n_exponential,
        }
        settings = {**_settings(program, tol, verbose, time_limit), **options}
        if hasattr(scs, "LinearSolver"):
            # New in SCS 3.3. The automatic choice there loads MKL, whose set-up alone costs 20 ms.
            settings.setdefault("linear_solver", "qdldl")
        return _solution(scs.SCS(data, cone, **settings).solve(), order)


def _row_order(program: ConicProgram) -> NDArray[np.intp]:
    """The rows in the order of SCS, which lists the lower triangles of matrices column by column."""
    order = np.arange(program.n_rows)
    start = program.n_zero + program.n_nonneg + sum(program.second_order)
    for m in program.semidefinite:
        column, row = np.triu_indices(m)  # of the lower triangle; entry (j, i), j <= i, is number i (i + 1) / 2 + j
        size = m * (m + 1) // 2
        order[start : start + size] = start + row * (row + 1) // 2 + column
        start += size
    return order


def _settings(program: ConicProgram, tol: float, verbose: bool, time_limit: float | None) -> dict[str, object]:
    eps = max(tol, _TIGHTEST)
    settings: dict[str, object] = {
        "eps_abs": eps,
        "eps_rel": eps,
        "max_iters": _iteration_budget(program),
        "verbose": verbose,
    }
    if time_limit is not None:
        settings["time_limit_secs"] = time_limit
    return settings


def _iteration_budget(program: ConicProgram) -> int:
    # About 1e9 multiply-adds, a few seconds: the work of an iteration is a few passes over the entries, and the
    # eigenvectors of every matrix.
    work = program.A.nnz + program.n_variables + program.n_rows
    matrices = sum(25 * m**3 for m in program.semidefinite)
    return int(np.clip(1_000_000_000 // (work + matrices), 3_000 if matrices else 10_000, 1_000_000))


def _solution(native: dict[str, Any], order: NDArray[np.intp]) -> ConicSolution:
    info = native["info"]
    if info["status_val"] == _INTERRUPTED:
        raise KeyboardInterrupt
    status = _STATUS.get(info["status_val"], ConicStatus.FAILED)
    z = np.empty_like(native["y"])
    z[order] = native["y"]
    return ConicSolution(native["x"], z, status, int(info["iter"]), str(info["status"]))
