"""Cone programs and the solvers that take them; importing this imports no solver."""

from convexrelu.backends.backend import Backend
from convexrelu.backends.capabilities import BackendSpec, available_backends
from convexrelu.backends.conic import ConicProgram, ConicSolution, ConicStatus, ProgramKind
from convexrelu.backends.registry import get_backend

__all__ = [
    "Backend",
    "BackendSpec",
    "ConicProgram",
    "ConicSolution",
    "ConicStatus",
    "ProgramKind",
    "available_backends",
    "get_backend",
]
