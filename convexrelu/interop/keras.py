"""Keras models of Dense layers as expressions."""

from __future__ import annotations

from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, NotInstalledError
from convexrelu.interop.expression import Expression, Input, expression, linear, unsupported
from convexrelu.interop.imported import Imported, as_rows, check_reading

# Keras computes in float32 by default.
SAME = {"float64": 1e-9, "float32": 1e-3}


def read_keras(model: Any) -> Imported:
    """Read a Keras model whose layers follow one another: Dense, ReLU or Activation("relu"), Dense.

    Raises
    ------
    UnsupportedError
        For other layers or activations, by name, and for models with branches.
    """
    try:
        import keras
    except ImportError:
        raise NotInstalledError("Keras is not installed; write `pip install keras` and choose a backend.") from None
    if not isinstance(model, keras.Model):
        raise InvalidInputError(f"`model` must be a keras.Model, got {type(model).__name__}.")
    value: Input | Expression = Input()
    for layer in model.layers:
        value = _layer(layer, value)
    parts = expression(value, "nothing")
    precision = str(model.layers[-1].dtype)

    def run(X: Array) -> Array:
        return as_rows(model.predict_on_batch(np.asarray(X, dtype=precision)), len(X))

    # Branches do not show in the list of layers; they show here.
    check_reading(parts, run, SAME.get(precision, 0.1))
    return Imported(parts, "keras", precision, run)


def _layer(layer: Any, value: Input | Expression) -> Input | Expression:
    name, config = type(layer).__name__, layer.get_config()
    if name == "Dense":
        weights = [np.asarray(w, dtype=float) for w in layer.get_weights()]
        out = linear(value, weights[0])
        return _activation(config["activation"], out.shift(weights[1]) if len(weights) > 1 else out)
    if name == "ReLU" and not config.get("negative_slope") and not config.get("threshold") and not config["max_value"]:
        return expression(value, "a ReLU").relu()
    if name == "Activation":
        return _activation(config["activation"], expression(value, "an activation"))
    if name in ("InputLayer", "Flatten", "Dropout"):  # Keras drops nothing outside of fit
        return value
    raise unsupported(f"a {name} layer", "model")


def _activation(name: Any, value: Expression) -> Expression:
    if name == "linear":
        return value
    if name == "relu":
        return value.relu()
    raise unsupported(f"the activation {name!r}", "model")
