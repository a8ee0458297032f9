"""Find a backend by its name; nothing is imported for the ones that are not asked for."""

from __future__ import annotations

import importlib

from convexrelu.backends.backend import Backend, not_installed
from convexrelu.backends.capabilities import SPECS, available_backends, join_names
from convexrelu.errors import InvalidInputError


def get_backend(name: str) -> Backend:
    """Return the backend of a name.

    Parameters
    ----------
    name : str
        One of the package's own backends (`available_backends()`), or any other solver installed in cvxpy, by cvxpy's
        name for it. Upper and lower case are the same.

    Returns
    -------
    Backend

    Raises
    ------
    InvalidInputError
        No backend or cvxpy solver of that name.
    NotInstalledError
        Known but not installed; the message says how to install it.

    Examples
    --------
    >>> get_backend("clarabel").name
    'clarabel'
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"`backend={name!r}` is a {type(name).__name__}; pass a name such as 'clarabel'.")
    for spec in SPECS:
        if spec.name == name.lower():
            if not spec.is_installed:
                raise not_installed(spec)
            backend: Backend = getattr(importlib.import_module(spec.module), spec.class_name)(spec)
            return backend
    return _through_cvxpy(name)


def _through_cvxpy(name: str) -> Backend:
    # Imported here and not above: an unknown name is the only case that needs to ask cvxpy.
    from convexrelu.backends.cvxpy import find_solver, installed_solvers

    backend = find_solver(name)
    if backend is not None:
        return backend
    raise InvalidInputError(
        f"`backend={name!r}` is unknown. Known backends: {join_names([spec.name for spec in SPECS])}; "
        f"installed: {join_names(available_backends())}. "
        f"Further solvers installed in cvxpy: {join_names(installed_solvers())}."
    )
