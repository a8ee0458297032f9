"""Check the options a user passes through to a backend before the backend sees them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from numbers import Integral, Real

from convexrelu.errors import InvalidInputError


def check_options(
    backend: str, options: Mapping[str, object], known: Mapping[str, type], reserved: Mapping[str, str]
) -> dict[str, object]:
    """Refuse options that a backend does not have, or values of the wrong type.

    Parameters
    ----------
    backend : str
        Name of the backend, for messages.
    options : mapping of str to object
        Options by their native names.
    known : mapping of str to type
        Native names and the type each takes; types other than bool, int, float and str are not checked.
    reserved : mapping of str to str
        Native names that have an argument of their own, and what to write instead.

    Returns
    -------
    dict of str to object
        The options as plain Python bool, int, float and str: numpy scalars are not taken by every solver.

    Raises
    ------
    InvalidInputError
        The first option that is unknown, reserved or of the wrong type, by name.
    """
    for name, value in options.items():
        if name in reserved:
            raise InvalidInputError(f"`options[{name!r}]` is set by this package; use {reserved[name]} instead.")
        if name not in known:
            raise InvalidInputError(_unknown(backend, name, sorted(set(known) - set(reserved))))
        if not _fits(value, known[name]):
            raise InvalidInputError(
                f"`options[{name!r}]` of backend {backend!r} is {value!r} ({type(value).__name__}); "
                f"it takes {_ARTICLES[known[name]]}."
            )
        if isinstance(value, Real) and value < 0 and any(part in name for part in _NOT_NEGATIVE):
            raise InvalidInputError(
                f"`options[{name!r}]` of backend {backend!r} is {value!r}; it must not be negative."
            )
    return {name: known[name](value) if known[name] in _ARTICLES else value for name, value in options.items()}


def types_of(defaults: object) -> dict[str, type]:
    """Read the names and types of options from a native object that holds their default values."""
    names = [name for name in dir(defaults) if not name.startswith("_")]
    return {name: type(getattr(defaults, name)) for name in names if not callable(getattr(defaults, name))}


_ARTICLES: dict[type, str] = {
    bool: "True or False",
    int: "an integer",
    float: "a number that is not NaN",
    str: "a string",
}


# Parts of the names of tolerances and limits: some solvers take a negative one and silently never stop.
_NOT_NEGATIVE = ("tol", "eps", "time_limit", "max_iter", "iteration_limit")


def _fits(value: object, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool) or (isinstance(value, Integral) and value in (0, 1))
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)
    return isinstance(value, str) if kind is str else True


def _unknown(backend: str, name: object, names: list[str]) -> str:
    close = difflib.get_close_matches(str(name), names)
    hint = f"Close matches: {', '.join(close)}." if close else f"Its options are: {', '.join(names)}."
    return f"`options[{name!r}]` is not an option of backend {backend!r}. {hint}"
