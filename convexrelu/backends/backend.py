"""The interface every backend implements, and the checks they share."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar

import numpy as np

from convexrelu.backends.capabilities import BackendSpec, available_backends, join_names
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus, ProgramKind
from convexrelu.backends.options import check_options
from convexrelu.backends.silence import flush_native
from convexrelu.errors import InvalidInputError, NotInstalledError, UnsupportedError


class Backend(ABC):
    """Solve cone programs with one particular solver.

    A backend imports its solver when it first needs it. Subclasses implement `_solve` and `_option_types`; the
    arguments they get have been checked.

    Parameters
    ----------
    spec : BackendSpec
        Name, package and capabilities.
    """

    #: Native options that have an argument of their own, and that argument.
    reserved: ClassVar[Mapping[str, str]] = {"verbose": "`verbose=True`"}

    def __init__(self, spec: BackendSpec) -> None:
        self.spec = spec

    @property
    def name(self) -> str:
        """Name of the backend, as users give it."""
        return self.spec.name

    @property
    def package(self) -> str | None:
        """Package it needs, None if it needs none."""
        return self.spec.package

    @property
    def supports(self) -> frozenset[ProgramKind]:
        """Kinds of programs it can take."""
        return self.spec.supports

    @property
    def has_time_limit(self) -> bool:
        """Whether it honours `time_limit`."""
        return self.spec.has_time_limit

    @property
    def options(self) -> frozenset[str]:
        """Native names of the options that may be passed through; empty if they cannot be known."""
        return frozenset(self._option_types()) - frozenset(self.reserved)

    def version(self) -> str:
        """Return the installed version of its package."""
        return importlib.metadata.version(self.spec.package or "convexrelu")

    def solve(
        self,
        program: ConicProgram,
        *,
        tol: float = 1e-9,
        options: Mapping[str, object] | None = None,
        verbose: bool = False,
        time_limit: float | None = None,
    ) -> ConicSolution:
        """Solve a program.

        Parameters
        ----------
        program : ConicProgram
        tol : float, default 1e-9
            Requested relative accuracy, in (0, 1). Each backend takes it as its own tolerances, as far down as it can
            go; whether it was reached is for the caller to check.
        options : mapping, optional
            Options of the solver by their native names; they win over what `tol` and `time_limit` set.
        verbose : bool, default False
            Whether the solver prints its progress.
        time_limit : float, optional
            Seconds. A backend whose `has_time_limit` is False ignores it.

        Returns
        -------
        ConicSolution

        Raises
        ------
        UnsupportedError
            The backend cannot take this kind of program; the message names installed ones that can.
        InvalidInputError
            An unknown option, a value of the wrong type, or a tolerance or time limit out of range.
        NotInstalledError
            The solver is missing.
        """
        self.check_supports(program)
        _check_range("tol", tol, upper=1.0)
        if time_limit is not None:
            _check_range("time_limit", time_limit, upper=math.inf)
        options = self._check_options(options) if options else {}
        solution = self._solve_checked(program, tol, options, verbose, time_limit)
        if verbose:
            flush_native()
        return solution

    def check_supports(self, program: ConicProgram) -> None:
        """Raise `UnsupportedError` if the backend cannot take this program."""
        kind = program.kind
        if kind not in self.supports:
            raise UnsupportedError(
                f"`backend={self.name!r}` takes {_kinds(self.supports)}, and this program is {_kinds({kind})}. "
                f"Installed backends that can take it: {join_names(available_backends(kind))}."
            )

    def _solve_checked(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        try:
            return self._solve(program, tol, options, verbose, time_limit)
        except (TypeError, ValueError, OverflowError) as error:
            if not options or isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"`options={dict(options)!r}` were refused by backend {self.name!r}: {error}."
            ) from error

    def _check_options(self, options: Mapping[str, object]) -> dict[str, object]:
        return check_options(self.name, options, self._option_types(), self.reserved)

    def _load(self) -> ModuleType:
        """Import the solver."""
        assert self.spec.package is not None
        try:
            return importlib.import_module(self.spec.package)
        except ImportError as error:
            raise not_installed(self.spec) from error

    @abstractmethod
    def _option_types(self) -> Mapping[str, type]:
        """Return the native options and the type each takes."""

    @abstractmethod
    def _solve(
        self, program: ConicProgram, tol: float, options: Mapping[str, object], verbose: bool, time_limit: float | None
    ) -> ConicSolution:
        """Solve a program; the arguments have been checked."""


def not_installed(spec: BackendSpec) -> NotInstalledError:
    """Build the error for a missing backend."""
    return NotInstalledError(
        f"`backend={spec.name!r}` is not installed. Installed backends: {join_names(available_backends())}. "
        f"Install it with `pip install {spec.install}`, or choose an installed one."
    )


def failed(program: ConicProgram, message: str) -> ConicSolution:
    """Build the solution of a backend that returned nothing."""
    x, z = np.full(program.n_variables, np.nan), np.full(program.n_rows, np.nan)
    return ConicSolution(x, z, ConicStatus.FAILED, None, message)


def _kinds(kinds: set[ProgramKind] | frozenset[ProgramKind]) -> str:
    phrases = {
        ProgramKind.LP: "LP (linear)",
        ProgramKind.QP: "QP (quadratic objective)",
        ProgramKind.SOCP: "SOCP (second-order cones)",
        ProgramKind.EXP: "EXP (exponential cones)",
        ProgramKind.SDP: "SDP (semidefinite cones)",
    }
    return ", ".join(phrase for kind, phrase in phrases.items() if kind in kinds)


def _check_range(name: str, value: float, upper: float) -> None:
    try:
        inside = 0.0 < float(value) < upper or (float(value) == upper == math.inf)
    except (TypeError, ValueError):
        inside = False
    if not inside:
        limit = "a positive number of seconds" if upper == math.inf else f"a number between 0 and {upper:g}"
        raise InvalidInputError(f"`{name}={value!r}` is out of range; pass {limit}.")
