"""OSQP: a first-order solver for linear constraints and a quadratic objective."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.backend import Backend, failed
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus
from convexrelu.backends.options import types_of
from convexrelu.backends.polyhedral import kkt_error, linear_form
from convexrelu.backends.silence import silenced

_TIGHTEST = 1e-10
# Flags OSQP keeps as integers.
_FLAGS = ("adaptive_rho", "check_dualgap", "polishing", "scaled_termination", "warm_starting", "rho_is_vec")

_STATUS = {
    1: ConicStatus.SOLVED,
    2: ConicStatus.INACCURATE,
    3: ConicStatus.INFEASIBLE,
    4: ConicStatus.INFEASIBLE,
    5: ConicStatus.UNBOUNDED,
    6: ConicStatus.UNBOUNDED,
    7: ConicStatus.LIMIT,
    8: ConicStatus.LIMIT,
}
_INTERRUPTED = 10
_SETTINGS_REFUSED = 2


class OsqpBackend(Backend):
    """Solve with OSQP, directly.

    Notes
    -----
    Polishing can return a far worse point than it was given and still be called solved. So the optimality conditions
    are checked: if they fail, the program is solved again without polishing, the better point is kept, and the status
    is `INACCURATE` when that fails too.
    """

    def _option_types(self) -> Mapping[str, type]:
        types = types_of(_default_settings(self._load()))
        return {**types, **{name: bool for name in _FLAGS if name in types}}

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        linear, M = linear_form(program)
        settings = {**_settings(program, tol, verbose, time_limit), **options}
        solution = self._solve_linear(linear, settings)
        accuracy = 10 * max(tol, _TIGHTEST)
        if solution.status is ConicStatus.SOLVED and kkt_error(linear, solution.x, solution.z) > accuracy:
            again = self._solve_linear(linear, {**settings, "polishing": False})
            solution = min(solution, again, key=lambda point: kkt_error(linear, point.x, point.z))
            if kkt_error(linear, solution.x, solution.z) > accuracy:
                solution = replace(solution, status=ConicStatus.INACCURATE)
        return solution if M is None else replace(solution, z=M.T @ solution.z)

    def _solve_linear(self, program: ConicProgram, settings: Mapping[str, object]) -> ConicSolution:
        # OSQP reports on polishing, on refused settings and on a P that is not convex whatever `verbose` says.
        with contextlib.nullcontext() if settings["verbose"] else silenced():
            return _run(self._load(), program, settings)


def _run(osqp: ModuleType, program: ConicProgram, settings: Mapping[str, object]) -> ConicSolution:
    lower = np.full(program.n_rows, -np.inf)
    lower[: program.n_zero] = program.b[: program.n_zero]
    solver = osqp.OSQP()
    try:
        solver.setup(_matrix(program.P), program.q, _matrix(program.A), lower, program.b, **settings)
    except osqp.OSQPException as error:
        if error == _SETTINGS_REFUSED:
            raise ValueError("a value is out of range") from error
        return failed(program, f"set-up refused, error {error}")
    return _solution(program, solver.solve(raise_error=False))


def _matrix(matrix: sp.csc_array | None) -> sp.csc_matrix | None:
    # OSQP recognises the older matrix classes only, and warns about the others.
    return None if matrix is None else sp.csc_matrix(matrix)


def _default_settings(osqp: ModuleType) -> Any:
    extension = osqp.OSQP().ext
    settings = extension.OSQPSettings()
    extension.osqp_set_default_settings(settings)
    return settings


def _settings(program: ConicProgram, tol: float, verbose: bool, time_limit: float | None) -> dict[str, object]:
    eps = max(tol, _TIGHTEST)
    settings: dict[str, object] = {
        "eps_abs": eps,
        "eps_rel": eps,
        "max_iter": _iteration_budget(program),
        "polishing": True,
        "polish_refine_iter": 10,
        "verbose": verbose,
    }
    if time_limit is not None:
        settings["time_limit"] = time_limit
    return settings


def _iteration_budget(program: ConicProgram) -> int:
    # About 1e9 multiply-adds, a few seconds: the work of an iteration is a few passes over the entries.
    work = program.A.nnz + program.n_variables + program.n_rows
    return int(np.clip(1_000_000_000 // work, 10_000, 1_000_000))


def _solution(program: ConicProgram, native: Any) -> ConicSolution:
    code, message = int(native.info.status_val), str(native.info.status)
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    status, iterations = _STATUS.get(code, ConicStatus.FAILED), int(native.info.iter)
    if status in (ConicStatus.INFEASIBLE, ConicStatus.UNBOUNDED):
        # OSQP fills x and y with a large number then, not with NaN.
        return replace(failed(program, message), status=status, iterations=iterations)
    return ConicSolution(native.x, native.y, status, iterations, message)
