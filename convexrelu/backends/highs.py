"""HiGHS: simplex for linear programs, an active-set method for quadratic ones."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from convexrelu.backends.backend import Backend, failed
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus
from convexrelu.backends.options import types_of
from convexrelu.backends.polyhedral import linear_form
from convexrelu.backends.scaling import Scaling
from convexrelu.backends.silence import silenced
from convexrelu.errors import InvalidInputError

# The smallest feasibility tolerance HiGHS accepts.
_TIGHTEST = 1e-10

_STATUS = {
    "kOptimal": ConicStatus.SOLVED,
    "kInfeasible": ConicStatus.INFEASIBLE,
    "kUnbounded": ConicStatus.UNBOUNDED,
    "kUnboundedOrInfeasible": ConicStatus.INFEASIBLE,
    "kTimeLimit": ConicStatus.LIMIT,
    "kIterationLimit": ConicStatus.LIMIT,
    "kUnknown": ConicStatus.INACCURATE,
}
_INTERRUPTED = "kInterrupt"

# The active-set method takes a starting point that violates a row by 1e-5 for feasible, keeps the violation, and ends
# in a "solve error". Larger data make that relatively small; the result has 14 correct digits all the same.
_UNIT = 2.0**-14
_ENLARGED = Scaling(unknowns=_UNIT, rows=1 / _UNIT, objective=_UNIT**2)


class HighsBackend(Backend):
    """Solve with HiGHS, through its own interface."""

    reserved: ClassVar[Mapping[str, str]] = {"output_flag": "`verbose=True`"}

    def _option_types(self) -> Mapping[str, type]:
        return types_of(self._load().HighsOptions())

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        linear, M = linear_form(program)
        scaling, unit = (_ENLARGED, 1 / _UNIT) if program.is_quadratic else (Scaling(1.0, 1.0, 1.0), 1.0)
        settings = {**_settings(program, tol, unit, time_limit), **options}
        solution = scaling.undo(_run(self._load(), scaling.apply(linear), settings, verbose))
        return solution if M is None else replace(solution, z=M.T @ solution.z)


def _run(highspy: ModuleType, program: ConicProgram, settings: Mapping[str, object], verbose: bool) -> ConicSolution:
    solver = _new_solver(highspy, verbose)
    _configure(highspy, solver, settings)
    if solver.passModel(_model(highspy, program)) == highspy.HighsStatus.kError:
        return failed(program, "the model was refused")
    solver.run()
    return _solution(solver, program)


def _new_solver(highspy: ModuleType, verbose: bool) -> Any:
    # The first solver of a process prints a banner while it is built, before it can be told not to.
    with contextlib.nullcontext() if verbose else silenced():
        solver = highspy.Highs()
    solver.setOptionValue("output_flag", verbose)
    return solver


def _settings(program: ConicProgram, tol: float, unit: float, time_limit: float | None) -> dict[str, object]:
    eps = max(tol, _TIGHTEST)
    absolute = min(eps * unit, 1e-3)
    settings: dict[str, object] = {
        "primal_feasibility_tolerance": absolute,
        "dual_feasibility_tolerance": absolute,
        "ipm_optimality_tolerance": eps,
        # The default adds 1e-7 I to P, which shows in the answer.
        "qp_regularization_value": 0.0,
        # The active-set method can cycle; it needs one or two iterations per row.
        "qp_iteration_limit": 1000 + 20 * (program.n_variables + program.n_rows),
    }
    if time_limit is not None:
        settings["time_limit"] = time_limit
    return settings


def _configure(highspy: ModuleType, solver: Any, settings: Mapping[str, object]) -> None:
    for name, value in settings.items():
        if solver.setOptionValue(name, value) == highspy.HighsStatus.kError:
            raise InvalidInputError(f"`options[{name!r}]` is {value!r}, which HiGHS refuses; see its list of options.")


def _model(highspy: ModuleType, program: ConicProgram) -> Any:
    model = highspy.HighsModel()
    lp, A, n, m = model.lp_, program.A, program.n_variables, program.n_rows
    lp.num_col_, lp.num_row_, lp.col_cost_ = n, m, program.q
    lp.col_lower_, lp.col_upper_ = np.full(n, -np.inf), np.full(n, np.inf)
    lower = np.full(m, -np.inf)
    lower[: program.n_zero] = program.b[: program.n_zero]
    lp.row_lower_, lp.row_upper_ = lower, program.b
    matrix = lp.a_matrix_
    matrix.format_, matrix.num_col_, matrix.num_row_ = highspy.MatrixFormat.kColwise, n, m
    matrix.start_, matrix.index_, matrix.value_ = A.indptr, A.indices, A.data
    if program.is_quadratic:
        _set_hessian(highspy, model.hessian_, program)
    return model


def _set_hessian(highspy: ModuleType, hessian: Any, program: ConicProgram) -> None:
    assert program.P is not None
    # HiGHS stores the lower triangle by columns.
    lower = program.P.T.tocsc()
    hessian.dim_, hessian.format_ = program.n_variables, highspy.HessianFormat.kTriangular
    hessian.start_, hessian.index_, hessian.value_ = lower.indptr, lower.indices, lower.data


def _solution(solver: Any, program: ConicProgram) -> ConicSolution:
    status, info, point = solver.getModelStatus(), solver.getInfo(), solver.getSolution()
    if status.name == _INTERRUPTED:
        raise KeyboardInterrupt
    message = solver.modelStatusToString(status)
    empty = failed(program, message)
    # q + P x - A' row_dual = 0 in HiGHS, hence the sign.
    x = np.array(point.col_value) if point.value_valid else empty.x
    z = -np.array(point.row_dual) if point.dual_valid else empty.z
    counts = (info.simplex_iteration_count, info.ipm_iteration_count, info.qp_iteration_count)
    return ConicSolution(x, z, _STATUS.get(status.name, ConicStatus.FAILED), sum(max(0, k) for k in counts), message)
