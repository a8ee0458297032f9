"""Keras models of Dense layers as expressions.

A functional model is read from its configuration, which names the layers that feed each layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, NotInstalledError, UnsupportedError
from convexrelu.interop.expression import Expression, Input, expression, linear, total, unsupported
from convexrelu.interop.imported import Imported, as_rows, check_reading

# Keras computes in float32 by default.
SAME = {"float64": 1e-9, "float32": 1e-3}


def require_keras() -> Any:
    """The package keras, or an error that says how to get it."""
    try:
        import keras
    except ImportError:
        raise NotInstalledError(
            "Keras or its backend is not installed; write `pip install convexrelu[keras]`, and choose a backend by "
            "`KERAS_BACKEND=torch`."
        ) from None
    return keras


def read_keras(model: Any) -> Imported:
    """Read a Keras model: Dense, ReLU or Activation("relu"), Dense, in sequence or with a linear skip that is added.

    Parameters
    ----------
    model : keras.Model, or path of a .keras file

    Raises
    ------
    UnsupportedError
        For other layers or activations, by name.
    """
    keras = require_keras()
    if isinstance(model, str | Path):
        model = _load(keras, str(model))
    if not isinstance(model, keras.Model):
        raise InvalidInputError(f"`model` must be a keras.Model, got {type(model).__name__}.")
    parts = expression(_value(model), "nothing")
    precision = _precision(model)

    def run(X: Array) -> Array:
        return as_rows(model.predict_on_batch(np.asarray(X, dtype=precision)), len(X))

    # What a model of the user's own class does with its layers shows here.
    check_reading(parts, run, SAME.get(precision, 0.1))
    return Imported(parts, "keras", precision, run)


def _load(keras: Any, path: str) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)  # runs no code from the file
    except Exception as error:
        raise InvalidInputError(f"`path` {path!r} is not a Keras model: {str(error).splitlines()[0]}.") from None


def _precision(model: Any) -> str:
    """The least precise type on the way: inputs are float32 unless they are declared otherwise."""
    types = [str(part.dtype) for part in [*(getattr(model, "inputs", None) or []), *model.layers]]
    return max(types, key=lambda name: SAME.get(name, 0.1), default="float32")


def _value(model: Any) -> Input | Expression:
    """What a model computes of its input: layer after layer, or along the graph of a functional model."""
    if type(model).__name__ == "Sequential":
        return _in_a_row(model.layers)
    graph = _configuration(model)
    if "output_layers" not in graph:
        try:
            return _in_a_row(model.layers)
        except UnsupportedError as error:
            raise UnsupportedError(f"{type(model).__name__} is read layer after layer: {error}") from None
    values: dict[str, Input | Expression] = {}
    inputs = [entry["name"] for entry in graph["layers"] if not entry["inbound_nodes"]]
    outputs = list(dict.fromkeys(_names(graph["output_layers"])))
    if len(inputs) != 1 or len(outputs) != 1:
        raise unsupported(f"{len(inputs)} inputs and {len(outputs)} outputs")
    for entry in graph["layers"]:
        if len(entry["inbound_nodes"]) > 1:
            raise unsupported(f"the layer {entry['name']!r} in two places")
        sources = [values[name] for name in _names(entry["inbound_nodes"])]
        values[entry["name"]] = _step(model, entry, sources) if sources else Input()
    return values[outputs[0]]


def _in_a_row(layers: list[Any]) -> Input | Expression:
    value: Input | Expression = Input()
    for layer in layers:
        value = _layer(layer, value)
    return value


def _step(model: Any, entry: dict[str, Any], sources: list[Input | Expression]) -> Input | Expression:
    """One layer of a functional model, or one bare operation on tensors."""
    name = entry["class_name"]
    if name == "Add":
        return reduce(total, sources)
    layer = next((layer for layer in model.layers if layer.name == entry["name"]), None)
    if layer is None:
        raise unsupported(f"the operation {name}")
    if len(sources) > 1:
        raise unsupported(f"a {name} layer")
    return _layer(layer, sources[0])


def _configuration(model: Any) -> dict[str, Any]:
    """What a model says of itself; models of the user's own class need not say anything."""
    try:
        return dict(model.get_config())
    except NotImplementedError:
        return {}


def _names(part: Any) -> Iterator[str]:
    """The layers that a part of a configuration refers to, by [name, node, tensor]."""
    if isinstance(part, dict):
        yield from _names(list(part.values()))
    elif isinstance(part, list | tuple) and len(part) >= 3 and isinstance(part[0], str) and isinstance(part[1], int):
        yield part[0]
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _names(item)


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
