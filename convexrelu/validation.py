"""Checks of arguments: each returns the clean value or raises an error that names the argument and the remedy."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen
from convexrelu.errors import InvalidInputError

# Squares of larger entries, summed over a data set, would overflow; squares of smaller ones would vanish.
LARGEST = 1e100
SMALLEST = 1e-100


def check_matrix(value: Any, name: str) -> Array:
    """A finite float64 matrix (n, d) with n, d >= 1, read-only."""
    A = check_numeric(value, name)
    if A.ndim != 2:
        hint = f"; write `{name}.reshape(-1, 1)` for one feature" if A.ndim == 1 else ""
        raise InvalidInputError(f"`{name}` must be a matrix (n_samples, n_features), got shape {A.shape}{hint}.")
    return _finite(A, name)


def check_targets(value: Any, n_samples: int, name: str = "Y") -> Array:
    """Finite float64 targets (n, T) from an array (n,) or (n, T), read-only."""
    A = check_numeric(value, name)
    if A.ndim == 1:
        A = A[:, None]
    if A.ndim != 2 or len(A) != n_samples:
        raise InvalidInputError(
            f"`{name}` must have shape ({n_samples},) or ({n_samples}, T), one row for each row of `X`; got {A.shape}."
        )
    return _finite(A, name)


def check_sample_weight(value: Any, n_samples: int) -> Array:
    """Non-negative weights (n,), not all zero; ones for None."""
    if value is None:
        return frozen(np.ones(n_samples))
    w = check_numeric(value, "sample_weight")
    if w.shape != (n_samples,):
        raise InvalidInputError(f"`sample_weight` must have shape ({n_samples},), got {w.shape}.")
    w = _finite(w, "sample_weight")
    if w.min() < 0 or w.max() == 0:
        raise InvalidInputError(
            f"`sample_weight` must be non-negative and not all zero, got a minimum of {w.min():g} "
            f"and a maximum of {w.max():g}; drop the samples you do not want."
        )
    return w


def check_number(value: Any, name: str, *, above: float, hint: str = "") -> float:
    """A finite number strictly greater than `above`."""
    ok = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    if not ok or not math.isfinite(value) or value <= above:
        raise InvalidInputError(f"`{name}` must be a finite number greater than {above:g}, got {value!r}.{hint}")
    return float(value)


def check_count(value: Any, name: str, *, least: int = 1) -> int:
    """An integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool | np.bool_) or value < least:
        raise InvalidInputError(f"`{name}` must be an integer of at least {least}, got {value!r}.")
    return int(value)


def check_choice(value: Any, name: str, choices: Sequence[str]) -> str:
    """One of the given words."""
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return value


def check_numeric(value: Any, name: str) -> Array:
    """A float64 array, or an error that says what was received."""
    try:
        A = np.asarray(value)
        if A.dtype.kind == "c":
            raise TypeError
        return A.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        kind = type(value).__name__
        raise InvalidInputError(
            f"`{name}` must be an array of real numbers, got {kind} that numpy cannot convert to float64; "
            "encode categories as numbers and make all rows equally long."
        ) from None


def _finite(A: Array, name: str) -> Array:
    """A read-only copy of A after checking that it is neither empty, nor non-finite, nor out of range."""
    if A.size == 0:
        raise InvalidInputError(f"`{name}` is empty (shape {A.shape}); at least one row and one column are needed.")
    bad = ~np.isfinite(A)
    if bad.any():
        where = np.argwhere(bad)[0].tolist()
        raise InvalidInputError(
            f"`{name}` has {int(bad.sum())} NaN or infinite entries, the first at index {where}; "
            "impute them or drop those samples."
        )
    size = np.abs(A)
    if size.max() > LARGEST or np.any((size > 0) & (size < SMALLEST)):
        raise InvalidInputError(
            f"`{name}` has entries outside [{SMALLEST:g}, {LARGEST:g}] in size, whose squares are not representable; "
            "rescale it."
        )
    return frozen(A)
