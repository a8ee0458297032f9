"""`Imported`: a foreign model as read, with its own predictions to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import UnsupportedError
from convexrelu.interop.expression import Expression

# A graph is executed once after reading: twenty inputs of size one, in double precision where the library has it.
PROBES = 20


@dataclass(frozen=True, eq=False)
class Imported:
    """A model of another library.

    Attributes
    ----------
    parts : Expression
    source : str
        The library.
    precision : str
        The type of its weights, "float32" for example.
    predict : callable or None
        X (n, d) to the (n, T) values that the model itself computes, before any sigmoid or softmax; None if it cannot
        be run.
    notes : tuple of str
        What a reader of the numbers must know.
    """

    parts: Expression
    source: str
    precision: str
    predict: Callable[[Array], Array] | None = None
    notes: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """For `Network.metadata`."""
        return {"source": self.source, "precision": self.precision, "notes": list(self.notes)} | self.about


def evaluate(parts: Expression, X: Array) -> Array:
    """The network's values (n, T) in float64."""
    values: Array = np.maximum(X @ parts.hidden.T + parts.hidden_bias, 0.0) @ parts.output
    return values + X @ parts.skip + parts.output_bias


def as_rows(values: Any, n: int) -> Array:
    """What a model returned for n samples, as float64 (n, T)."""
    array = np.asarray(values, dtype=float)
    if array.ndim == 0 or len(array) != n:
        raise UnsupportedError(f"`model` returns an array of shape {array.shape} for {n} samples, not a row for each.")
    return array.reshape(n, -1)


def check_reading(parts: Expression, predict: Callable[[Array], Array], tol: float) -> None:
    """Raise an error if the model does not compute what was read from it: code that depends on its input."""
    X = np.random.default_rng(0).standard_normal((PROBES, len(parts.skip)))
    wanted, got = as_rows(predict(X), PROBES), evaluate(parts, X)
    size = max(float(np.abs(wanted).max()), float(np.abs(got).max()), 1e-300)
    if wanted.shape != got.shape or not np.abs(wanted - got).max() <= tol * size:
        raise UnsupportedError(
            "`model` does not compute what its layers say (shapes or code that depend on the input); write the weights "
            "out: Network(hidden, hidden_bias, output)."
        )
