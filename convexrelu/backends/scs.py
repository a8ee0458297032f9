"""SCS: a first-order solver with a quadratic objective and every cone used here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
        data = {"P": program.P, "A": program.A, "b": program.b, "c": program.q}
        cone = {
            "z": program.n_zero,
            "l": program.n_nonneg,
            "q": list(program.second_order),
            "ep": program.n_exponential,
        }
        settings = {**_settings(program, tol, verbose, time_limit), **options}
        if hasattr(scs, "LinearSolver"):
            # New in SCS 3.3. The automatic choice there loads MKL, whose set-up alone costs 20 ms.
            settings.setdefault("linear_solver", "qdldl")
        return _solution(scs.SCS(data, cone, **settings).solve())


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
    # About 1e9 multiply-adds, a few seconds: the work of an iteration is a few passes over the entries.
    work = program.A.nnz + program.n_variables + program.n_rows
    return int(np.clip(1_000_000_000 // work, 10_000, 1_000_000))


def _solution(native: dict[str, Any]) -> ConicSolution:
    info = native["info"]
    if info["status_val"] == _INTERRUPTED:
        raise KeyboardInterrupt
    status = _STATUS.get(info["status_val"], ConicStatus.FAILED)
    return ConicSolution(native["x"], native["y"], status, int(info["iter"]), str(info["status"]))
