"""`read_model`: a model of any library that is known here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convexrelu.errors import InvalidInputError
from convexrelu.interop.imported import Imported


def read_model(model: Any) -> Imported:
    """Read a model by its kind: PyTorch module, scikit-learn estimator, ONNX file or ModelProto, Keras.

    Raises
    ------
    UnsupportedError
        If it is not a two-layer ReLU network.
    InvalidInputError
        If the kind is not known.
    """
    if isinstance(model, Imported):
        return model
    if isinstance(model, Mapping):
        raise InvalidInputError(
            "`model` is a dict; for a PyTorch state dict write Network.from_torch(state, layers=..., activation=...)."
        )
    if isinstance(model, str | Path) and str(model).endswith(".keras"):
        from convexrelu.interop.keras import read_keras

        return read_keras(model)
    if isinstance(model, str | Path) or type(model).__name__ == "ModelProto":
        from convexrelu.interop.onnx import read_graph

        return read_graph(model)
    # The libraries of the classes, without importing any.
    families = {base.__module__.split(".")[0] for base in type(model).__mro__}
    if "keras" in families or "tf_keras" in families:
        from convexrelu.interop.keras import read_keras

        return read_keras(model)
    if "torch" in families:
        from convexrelu.interop.torch import read_module

        return read_module(model)
    if "sklearn" in families:
        from convexrelu.interop.sklearn import read_estimator

        return read_estimator(model)
    raise InvalidInputError(
        f"`model` of type {type(model).__name__} is not known: pass a Network, a torch.nn.Module, a scikit-learn "
        "MLPRegressor, MLPClassifier or Pipeline, an ONNX path or model, or a Keras model."
    )
