"""What each backend is called, needs and can take: data only, so asking costs no import of a solver."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from convexrelu.backends.conic import ProgramKind

POLYHEDRAL = frozenset({ProgramKind.LP, ProgramKind.QP})
EVERY_KIND = frozenset(ProgramKind)
ALL_BUT_SDP = EVERY_KIND - {ProgramKind.SDP}


@dataclass(frozen=True)
class BackendSpec:
    """Describe a backend without importing it.

    Parameters
    ----------
    name : str
        Name users give, in lower case.
    module, class_name : str
        Where the class lives that implements it.
    package : str or None
        Importable package it needs; None if it needs nothing.
    install : str
        What to hand to pip when the package is missing.
    supports : frozenset of ProgramKind
        Programs it can take.
    has_time_limit : bool
        Whether `time_limit` is honoured; without one the backend stops at its iteration limit only.
    """

    name: str
    module: str
    class_name: str
    package: str | None
    install: str
    supports: frozenset[ProgramKind]
    has_time_limit: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether the package it needs can be found (it is not imported)."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


def _spec(name: str, package: str, install: str, supports: frozenset[ProgramKind], **extra: bool) -> BackendSpec:
    return BackendSpec(
        name, f"convexrelu.backends.{name}", f"{name.capitalize()}Backend", package, install, supports, **extra
    )


# The order is the order of suggestions in error messages. "native" belongs at the top of this tuple, as a
# BackendSpec with package=None and the programs it takes; nothing else has to change for it to be found.
SPECS: tuple[BackendSpec, ...] = (
    _spec("clarabel", "clarabel", "clarabel", EVERY_KIND),
    _spec("ecos", "ecos", "convexrelu[ecos]", ALL_BUT_SDP, has_time_limit=False),
    _spec("scs", "scs", "scs", EVERY_KIND),
    _spec("osqp", "osqp", "osqp", POLYHEDRAL),
    _spec("highs", "highspy", "convexrelu[highs]", POLYHEDRAL),
)


def available_backends(kind: ProgramKind | None = None) -> list[str]:
    """List the installed backends, without importing any.

    Parameters
    ----------
    kind : ProgramKind, optional
        Keep only the backends that can take such programs.

    Returns
    -------
    list of str
        Names for `get_backend`. Solvers reached through cvxpy are not listed: finding them means importing cvxpy
        (`cvxpy.installed_solvers()` lists those).

    Examples
    --------
    >>> "clarabel" in available_backends()
    True
    """
    return [spec.name for spec in SPECS if spec.is_installed and (kind is None or kind in spec.supports)]


def join_names(names: list[str]) -> str:
    """Join names for a message; "none" if there are none."""
    return ", ".join(names) or "none"
