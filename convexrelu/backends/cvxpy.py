"""Any other solver that is installed in cvxpy, by cvxpy's name for it."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.backend import Backend, failed, not_installed
from convexrelu.backends.capabilities import BackendSpec
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus, ProgramKind, Vector
from convexrelu.backends.polyhedral import linear_form
from convexrelu.backends.silence import silenced
from convexrelu.errors import InvalidInputError

_STATUS = {
    "optimal": ConicStatus.SOLVED,
    "optimal_inaccurate": ConicStatus.INACCURATE,
    "infeasible": ConicStatus.INFEASIBLE,
    "infeasible_inaccurate": ConicStatus.INFEASIBLE,
    "infeasible_or_unbounded": ConicStatus.INFEASIBLE,
    "unbounded": ConicStatus.UNBOUNDED,
    "unbounded_inaccurate": ConicStatus.UNBOUNDED,
    "user_limit": ConicStatus.LIMIT,
}

# Native names of the tolerances and of the time limit, where they are known; other solvers keep their defaults.
_TOLERANCES = {
    "CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "CVXOPT": ("abstol", "reltol", "feastol"),
    "ECOS": ("abstol", "reltol", "feastol"),
    "ECOS_BB": ("abstol", "reltol", "feastol"),
    "GUROBI": ("FeasibilityTol", "OptimalityTol", "BarConvTol", "BarQCPConvTol"),
    "PIQP": ("eps_abs", "eps_rel"),
    "PROXQP": ("eps_abs", "eps_rel"),
    "QOCO": ("abstol", "reltol"),
    "SCS": ("eps_abs", "eps_rel"),
}
_TIGHTEST = {"GUROBI": 1e-9}
_TIME_LIMITS = {"CLARABEL": "time_limit", "GUROBI": "TimeLimit", "SCS": "time_limit_secs"}


class CvxpyBackend(Backend):
    """Solve with a solver that cvxpy knows, through one vectorised cvxpy model.

    Notes
    -----
    Slower than a direct backend (cvxpy rewrites the program) and dependent on what cvxpy passes on: the options of the
    solver are not known beforehand, so an unknown one is found only if the solver complains about it.
    """

    @property
    def solver(self) -> str:
        """Name of the solver in cvxpy."""
        return self.spec.name.upper()

    def _option_types(self) -> Mapping[str, type]:
        return {}

    def _check_options(self, options: Mapping[str, object]) -> dict[str, object]:
        for name in options:
            if name in self.reserved:
                raise InvalidInputError(
                    f"`options[{name!r}]` is set by this package; use {self.reserved[name]} instead."
                )
        return dict(options)

    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        cp = self._load()
        polyhedral = program.kind in (ProgramKind.LP, ProgramKind.QP)
        linear, M = linear_form(program) if polyhedral else (program, None)
        settings = {**self._settings(tol, time_limit), **options}
        x, constraints = _constraints(cp, linear)
        model = cp.Problem(_objective(cp, linear, x), constraints)
        error = self._run(cp, model, settings, verbose)
        if error is not None or x.value is None:
            return _without_point(program, model, error)
        z = _duals(linear, constraints)
        return _solution(model, x.value, z if M is None else M.T @ z)

    def _run(self, cp: Any, model: Any, settings: Mapping[str, object], verbose: bool) -> str | None:
        """Solve the model; return the message of a solver that gave up."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # An option that is merely warned about is one the user believes to be in force.
            warnings.filterwarnings("error", message=".*[Uu]n(known|recognized).*option.*")
            try:
                if verbose:
                    model.solve(solver=self.solver, verbose=True, **settings)
                else:
                    with silenced():
                        model.solve(solver=self.solver, verbose=False, **settings)
            except (Warning, AttributeError, KeyError) as error:
                raise ValueError(str(error)) from error
            except (cp.SolverError, RuntimeError, ArithmeticError) as error:
                return str(error)
        return None

    def _settings(self, tol: float, time_limit: float | None) -> dict[str, object]:
        eps = max(tol, _TIGHTEST.get(self.solver, 1e-11))
        settings: dict[str, object] = dict.fromkeys(_TOLERANCES.get(self.solver, ()), eps)
        if time_limit is not None and self.solver in _TIME_LIMITS:
            settings[_TIME_LIMITS[self.solver]] = time_limit
        return settings


def installed_solvers() -> list[str]:
    """List the solvers installed in cvxpy that are not backends of their own; imports cvxpy."""
    from convexrelu.backends.capabilities import SPECS

    if importlib.util.find_spec("cvxpy") is None:
        return []
    own = {spec.name.upper() for spec in SPECS}
    names = importlib.import_module("cvxpy").installed_solvers()
    return sorted(name for name in names if name not in own and _kinds_of(name))


def find_solver(name: str) -> CvxpyBackend | None:
    """Return the backend for a solver of cvxpy, None if cvxpy has no solver of that name.

    Raises
    ------
    NotInstalledError
        cvxpy knows the solver, but it is not installed.
    """
    if importlib.util.find_spec("cvxpy") is None:
        return None
    kinds = _kinds_of(name.upper())
    if not kinds:
        return None
    upper = name.upper()
    spec = BackendSpec(
        upper, __name__, "CvxpyBackend", "cvxpy", f"cvxpy[{upper}]", kinds, has_time_limit=upper in _TIME_LIMITS
    )
    if upper not in importlib.import_module("cvxpy").installed_solvers():
        raise not_installed(spec)
    return CvxpyBackend(spec)


def _kinds_of(solver: str) -> frozenset[ProgramKind]:
    """Read from cvxpy which programs a solver takes; empty for an unknown solver."""
    defines = importlib.import_module("cvxpy.reductions.solvers.defines")
    kinds = set()
    if solver in defines.SOLVER_MAP_QP:
        kinds |= {ProgramKind.LP, ProgramKind.QP}
    if solver in defines.SOLVER_MAP_CONIC:
        cones = {cone.__name__ for cone in defines.SOLVER_MAP_CONIC[solver].SUPPORTED_CONSTRAINTS}
        kinds.add(ProgramKind.LP)
        if "SOC" in cones:
            kinds |= {ProgramKind.QP, ProgramKind.SOCP}
        if "SOC" in cones and "ExpCone" in cones:
            kinds.add(ProgramKind.EXP)
    return frozenset(kinds)


def _objective(cp: Any, program: ConicProgram, x: Any) -> Any:
    linear = program.q @ x
    if program.P is None or not program.is_quadratic:
        return cp.Minimize(linear)
    diagonal = program.P.diagonal()
    if np.count_nonzero(program.P.data) == np.count_nonzero(diagonal):
        support = np.flatnonzero(diagonal)
        root = sp.csr_array(
            (np.sqrt(diagonal[support]), support, np.arange(support.size + 1)), shape=(support.size, x.size)
        )
        return cp.Minimize(linear + 0.5 * cp.sum_squares(root @ x))
    full = program.P + sp.triu(program.P, 1).T
    return cp.Minimize(linear + 0.5 * cp.quad_form(x, cp.psd_wrap(full)))


def _constraints(cp: Any, program: ConicProgram) -> tuple[Any, list[Any]]:
    """Return the unknowns and one constraint per group of rows of `_groups`, in its order."""
    x = cp.Variable(program.n_variables)
    A, b = program.A.tocsr(), program.b
    constraints = []
    for kind, rows in _groups(program):
        flat = rows.ravel()
        if kind == "zero":
            constraints.append(A[flat] @ x == b[flat])
        elif kind == "nonneg":
            constraints.append(A[flat] @ x <= b[flat])
        elif kind == "second_order":
            heads, tails = rows[:, 0], rows[:, 1:].ravel()
            tail = cp.reshape(b[tails] - A[tails] @ x, (rows.shape[1] - 1, rows.shape[0]), order="F")
            constraints.append(cp.SOC(b[heads] - A[heads] @ x, tail, axis=0))
        else:
            parts = [b[column] - A[column] @ x for column in rows.T]
            constraints.append(cp.ExpCone(*parts))
    return x, constraints


def _groups(program: ConicProgram) -> list[tuple[str, Any]]:
    """Group the rows by cone: second-order cones of equal dimension together, one cone per line of an index array."""
    rows = np.arange(program.n_rows)
    n_linear = program.n_zero + program.n_nonneg
    groups: list[tuple[str, Any]] = [("zero", rows[: program.n_zero]), ("nonneg", rows[program.n_zero : n_linear])]
    sizes = np.array(program.second_order, dtype=int)
    first = n_linear + np.cumsum(sizes) - sizes
    for size in np.unique(sizes):
        cones = first[sizes == size][:, None] + np.arange(size)
        # A cone of dimension one is a sign, and cvxpy has no cone without a tail.
        groups.append(("nonneg" if size == 1 else "second_order", cones))
    groups.append(("exponential", rows[n_linear + sizes.sum() :].reshape(-1, 3)))
    return [(kind, index) for kind, index in groups if index.size]


def _duals(program: ConicProgram, constraints: list[Any]) -> Vector:
    z = np.full(program.n_rows, np.nan)
    for (kind, rows), constraint in zip(_groups(program), constraints, strict=True):
        value = constraint.dual_value
        if value is None or (isinstance(value, list) and value[0] is None):
            continue
        if kind == "second_order":
            z[rows[:, 0]] = np.ravel(value[0])
            z[rows[:, 1:]] = np.reshape(value[1], (rows.shape[1] - 1, rows.shape[0]), order="F").T
        elif kind == "exponential":
            z[rows] = np.column_stack([np.ravel(part) for part in value])
        else:
            z[rows.ravel()] = np.ravel(value)
    return z


def _solution(model: Any, x: Vector, z: Vector) -> ConicSolution:
    status = _STATUS.get(model.status, ConicStatus.FAILED)
    iterations = getattr(model.solver_stats, "num_iters", None)
    return ConicSolution(np.asarray(x), z, status, None if iterations is None else int(iterations), str(model.status))


def _without_point(program: ConicProgram, model: Any, error: str | None) -> ConicSolution:
    empty = failed(program, error or str(model.status))
    status = ConicStatus.FAILED if error else _STATUS.get(model.status, ConicStatus.FAILED)
    return ConicSolution(empty.x, empty.z, status, None, empty.message)
