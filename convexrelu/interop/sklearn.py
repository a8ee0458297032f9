"""scikit-learn's MLPRegressor and MLPClassifier, alone or behind linear scalers in a Pipeline, as expressions.

Letters: a scaler maps x to x * s + k, feature by feature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.interop.expression import Expression, unsupported
from convexrelu.interop.imported import Imported, as_rows

FOLDED = (
    "The pipeline's scaler is folded into the hidden layer: weights and penalty are those for raw inputs, not what "
    "was penalised in training. To judge the training, verify the last step on the scaled inputs."
)


def read_estimator(estimator: Any) -> Imported:
    """Read a fitted estimator.

    Raises
    ------
    UnsupportedError
        For other estimators, activations or depths, and scalers that are not linear; by their name.
    """
    estimator = getattr(estimator, "best_estimator_", estimator)
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    *scalers, mlp = [step for step in steps if step is not None and step != "passthrough"] or [None]
    parts = _network(mlp)
    for scaler in reversed(scalers):
        parts = _folded(parts, scaler)
    notes = (FOLDED,) if scalers else ()
    about = {"classes": np.asarray(mlp.classes_).tolist()} if hasattr(mlp, "classes_") else {}
    return Imported(parts, "scikit-learn", str(mlp.coefs_[0].dtype), lambda X: _run(estimator, mlp, X), notes, about)


def _network(mlp: Any) -> Expression:
    name = type(mlp).__name__
    if not all(hasattr(mlp, part) for part in ("activation", "hidden_layer_sizes", "out_activation_")):
        if hasattr(mlp, "hidden_layer_sizes"):
            raise InvalidInputError(f"`estimator` {name} is not fitted; call `fit` first.")
        raise unsupported(f"a {name} where an MLPRegressor or MLPClassifier is expected", "estimator")
    if mlp.activation != "relu":
        raise unsupported(f"activation={mlp.activation!r}", "estimator")
    if len(mlp.coefs_) != 2:
        raise unsupported(f"{len(mlp.coefs_) - 1} hidden layers", "estimator")
    if mlp.out_activation_ not in ("identity", "logistic", "softmax"):
        raise unsupported(f"the output activation {mlp.out_activation_!r}", "estimator")
    W, V = (np.asarray(coefs, dtype=float) for coefs in mlp.coefs_)
    b, c = (np.asarray(intercepts, dtype=float) for intercepts in mlp.intercepts_)
    return Expression(W.T, b, V, np.zeros((len(W), V.shape[1])), c)


def _folded(parts: Expression, scaler: Any) -> Expression:
    """The network of x * s + k as a network of x."""
    s, k = _scaling(scaler, parts.hidden.shape[1])
    return Expression(
        parts.hidden * s, parts.hidden_bias + parts.hidden @ k, parts.output, parts.skip, parts.output_bias
    )


def _scaling(scaler: Any, d: int) -> tuple[Array, Array]:
    name = type(scaler).__name__
    one, zero = np.ones(d), np.zeros(d)
    if name in ("StandardScaler", "RobustScaler"):
        # scikit-learn keeps the mean even where it does not subtract it.
        centered = scaler.with_mean if name == "StandardScaler" else scaler.with_centering
        center = zero if not centered else scaler.mean_ if name == "StandardScaler" else scaler.center_
        scale = one if scaler.scale_ is None else scaler.scale_
        return 1 / scale, -np.asarray(center) / scale
    if name == "MaxAbsScaler":
        return 1 / scaler.scale_, zero
    if name == "MinMaxScaler" and not scaler.clip:
        return scaler.scale_, scaler.min_
    raise UnsupportedError(
        f"`estimator` has a {name} step that is not a linear scaler; transform the data yourself and pass the last "
        "step."
    )


def _run(estimator: Any, mlp: Any, X: Array) -> Array:
    """The model's own values (n, T) in its own precision; for a classifier, before the sigmoid or softmax."""
    X = X.astype(mlp.coefs_[0].dtype)
    if mlp.out_activation_ != "identity":
        inputs = estimator[:-1].transform(X) if hasattr(estimator, "steps") else X
        (W, V), (b, c) = mlp.coefs_, mlp.intercepts_
        return np.asarray(np.maximum(inputs @ W + b, 0) @ V + c, dtype=float)
    return as_rows(estimator.predict(X), len(X))
