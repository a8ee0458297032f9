"""Clarabel: an interior-point solver with a quadratic objective and every cone used here."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.backend import Backend
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus
from convexrelu.backends.options import types_of

# Below this the residuals are rounding, and the solver reports stalled progress instead of a solution.
_TIGHTEST = 1e-12

_STATUS = {
    "Solved": ConicStatus.SOLVED,
    "AlmostSolved": ConicStatus.INACCURATE,
    "PrimalInfeasible": ConicStatus.INFEASIBLE,
    "AlmostPrimalInfeasible": ConicStatus.INFEASIBLE,
    "DualInfeasible": ConicStatus.UNBOUNDED,
    "AlmostDualInfeasible": ConicStatus.UNBOUNDED,
    "MaxIterations": ConicStatus.LIMIT,
    "MaxTime": ConicStatus.LIMIT,
    # Progress stalled: what is returned is often good, and never worse than the caller can measure.
    "InsufficientProgress": ConicStatus.INACCURATE,
}


class ClarabelBackend(Backend):
    """Solve with Clarabel, directly."""

    def _option_types(self) -> Mapping[str, type]:
        return types_of(self._load().DefaultSettings())

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        clarabel = self._load()
        settings = clarabel.DefaultSettings()
        settings.verbose = verbose
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = max(tol, _TIGHTEST)
        if time_limit is not None:
            settings.time_limit = time_limit
        for name, value in options.items():
            setattr(settings, name, value)
        n = program.n_variables
        P = sp.csc_array((n, n)) if program.P is None else program.P
        native = clarabel.DefaultSolver(P, program.q, program.A, program.b, _cones(clarabel, program), settings).solve()
        return _solution(native)


def _cones(clarabel: ModuleType, program: ConicProgram) -> list[Any]:
    cones = []
    if program.n_zero:
        cones.append(clarabel.ZeroConeT(program.n_zero))
    if program.n_nonneg:
        cones.append(clarabel.NonnegativeConeT(program.n_nonneg))
    cones += [clarabel.SecondOrderConeT(size) for size in program.second_order]
    cones += [clarabel.PSDTriangleConeT(order) for order in program.semidefinite]
    return cones + [clarabel.ExponentialConeT()] * program.n_exponential


def _solution(native: Any) -> ConicSolution:
    message = str(native.status)
    status = _STATUS.get(message, ConicStatus.FAILED)
    return ConicSolution(np.array(native.x), np.array(native.z), status, int(native.iterations), message)
