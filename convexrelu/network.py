"""`Network`: a two-layer ReLU network f(x) = sum_j v_j relu(w_j . x + b_j) + A x + c with T outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen, row_norms, safe_row_norms
from convexrelu.errors import InvalidInputError
from convexrelu.interop.expression import Expression
from convexrelu.interop.imported import Imported
from convexrelu.validation import check_choice, check_matrix, check_numeric

FORMAT = 1
# A neuron of smaller norms, multiplied, has no effect.
NO_EFFECT = 1e-300
ARRAYS = ("hidden", "hidden_bias", "output", "skip", "output_bias")


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A two-layer ReLU network; arrays are float64 and read-only.

    Parameters
    ----------
    hidden : array (m, d)
        Weights w_j of the m >= 0 neurons.
    hidden_bias : array (m,) or None
        Biases b_j; None for zeros.
    output : array (m, T)
        Output weights v_j.
    skip : array (d, T) or None
        Linear map A; None for zeros.
    output_bias : array (T,) or None
        Constant c; None for zeros.
    bias : {"none", "penalized", "free"}, default "penalized"
        How a neuron is measured: by (w_j, b_j), or by w_j alone when the bias is free.
    metadata : dict, optional
        Anything JSON can hold; saved with the network.

    Raises
    ------
    InvalidInputError
        If shapes do not fit together or entries are not finite.

    Examples
    --------
    >>> import convexrelu as cr
    >>> network = cr.Network([[1.0]], [-1.0], [[2.0]])
    >>> network([[0.0], [3.0]])
    array([[0.],
           [4.]])
    """

    hidden: Array
    hidden_bias: Array
    output: Array
    skip: Array = None  # type: ignore[assignment]
    output_bias: Array = None  # type: ignore[assignment]
    bias: str = "penalized"
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hidden = _array(self.hidden, "hidden", 2)
        output = _array(self.output, "output", 2)
        (m, d), T = hidden.shape, output.shape[1]
        shapes = {"hidden_bias": (m,), "output": (m, T), "skip": (d, T), "output_bias": (T,)}
        object.__setattr__(self, "hidden", hidden)
        for name, shape in shapes.items():
            given = getattr(self, name)
            array = frozen(np.zeros(shape)) if given is None else _array(given, name, len(shape))
            if array.shape != shape:
                raise InvalidInputError(
                    f"`{name}` must have shape {shape} to fit `hidden` {hidden.shape} and `output` {output.shape}, "
                    f"got {array.shape}."
                )
            object.__setattr__(self, name, array)
        check_choice(self.bias, "bias", ("none", "penalized", "free"))

    def __repr__(self) -> str:
        d, T = self.skip.shape
        return f"Network({self.n_neurons} neurons, {d} inputs, {T} outputs, bias={self.bias!r})"

    @property
    def n_neurons(self) -> int:
        """The number m of neurons."""
        return len(self.hidden)

    def __call__(self, X: Any) -> Array:
        """Predictions (n, T) at X (n, d)."""
        X = check_matrix(X, "X")
        if X.shape[1] != self.hidden.shape[1]:
            raise InvalidInputError(f"`X` must have {self.hidden.shape[1]} columns, got shape {X.shape}.")
        features = np.maximum(X @ self.hidden.T + self.hidden_bias, 0.0)
        out: Array = features @ self.output + X @ self.skip + self.output_bias
        return out

    def neuron_norms(self) -> Array:
        """The penalised norm |(w_j, b_j)|, or |w_j| where the bias is free, of each neuron (m,)."""
        if self.bias == "free":
            return safe_row_norms(self.hidden)
        return safe_row_norms(np.column_stack([self.hidden, self.hidden_bias]))

    def balanced(self) -> Network:
        """The same function with |neuron| = |output weight| for each neuron, the cheapest scaling.

        Neurons without effect (no output weight, or no weights at all, up to 1e-300) are dropped; with a free bias,
        neurons that are constant move into the output bias.
        """
        inner, outer = self.neuron_norms(), safe_row_norms(self.output)
        keep = inner * outer > NO_EFFECT
        # A product of square roots: the square root of a quotient can overflow.
        scale = (np.sqrt(outer[keep]) / np.sqrt(inner[keep]))[:, None]
        constant = (inner == 0) & (self.hidden_bias > 0)  # only where biases are free
        shift = self.hidden_bias[constant] @ self.output[constant]
        return replace(
            self,
            hidden=self.hidden[keep] * scale,
            hidden_bias=self.hidden_bias[keep] * scale[:, 0],
            output=self.output[keep] / scale,
            output_bias=self.output_bias + shift,
        )

    def alive(self, X: Any) -> Network:
        """Without the neurons that are off at all rows of X (n, d): the same predictions there."""
        pre = check_matrix(X, "X") @ self.hidden.T + self.hidden_bias
        on = np.flatnonzero((pre > 0).any(axis=0))
        return replace(self, hidden=self.hidden[on], hidden_bias=self.hidden_bias[on], output=self.output[on])

    def merged(self, tol: float = 1e-10) -> Network:
        """Merge neurons whose (w_j, b_j) point the same way, then balance: the same function, a lower or equal norm.

        Parameters
        ----------
        tol : float
            Two directions are the same when they differ by no more than this, as unit vectors.
        """
        network = self.balanced()
        rows = np.column_stack([network.hidden, network.hidden_bias])
        norms = row_norms(rows)
        directions = rows / norms[:, None]
        group = _groups(directions, norms * row_norms(network.output), tol)
        leaders = np.unique(group)
        output = np.zeros((self.n_neurons, self.output.shape[1]))
        np.add.at(output, group, network.output * norms[:, None])
        merged = replace(
            network,
            hidden=directions[leaders, :-1],
            hidden_bias=directions[leaders, -1],
            output=output[leaders],
        )
        return merged.balanced()

    def save(self, path: str | Path) -> None:
        """Write an npz file with the arrays and the metadata."""
        header = json.dumps({"format": FORMAT, "bias": self.bias, "metadata": self.metadata})
        with open(path, "wb") as file:
            np.savez_compressed(file, header=np.array(header), **{name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a file written by `save`.

        Raises
        ------
        InvalidInputError
            If the file is not such a file, or was written by a later version.
        FileNotFoundError
            If there is no such file.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            header = json.loads(str(arrays.pop("header")))
            known = header["format"] <= FORMAT
            bias, metadata = (header["bias"], header["metadata"]) if known else ("", {})
        except FileNotFoundError:
            raise
        except Exception as error:
            raise InvalidInputError(
                f"`path` {str(path)!r} is not a network written by Network.save: {error}."
            ) from None
        if not known:
            raise InvalidInputError(
                f"`path` {str(path)!r} has format {header['format']}; upgrade convexrelu to read it."
            )
        unknown = set(arrays) ^ set(ARRAYS)
        if unknown:
            raise InvalidInputError(f"`path` {str(path)!r} lacks or has unknown arrays: {', '.join(sorted(unknown))}.")
        return cls(**arrays, bias=bias, metadata=metadata)

    # -- other libraries ------------------------------------------------------------------------------------------

    @classmethod
    def from_torch(
        cls, module: Any, *, layers: Mapping[str, str] | None = None, activation: str | None = None
    ) -> Network:
        """The network that a PyTorch module computes.

        Parameters
        ----------
        module : torch.nn.Module or state dict
            Any module that amounts to linear - ReLU - linear, with or without a linear skip. Its float32 weights are
            taken as they are, in float64.
        layers : mapping, for a state dict only
            {"hidden": name, "output": name} and optionally "skip": names as in the state dict without ".weight".
        activation : "relu", for a state dict only
            The names of a state dict do not tell.

        Raises
        ------
        UnsupportedError
            If it is anything else; the message names the layer.
        InvalidInputError
            If weights are not finite, or the description does not fit the state dict.
        NotInstalledError
            If PyTorch is missing.
        """
        from convexrelu.interop.torch import read_module, read_state_dict

        if isinstance(module, Mapping):
            return cls.from_imported(read_state_dict(module, layers, activation))
        if layers is not None or activation is not None:
            raise InvalidInputError("`layers` and `activation` describe a state dict; a module says itself what it is.")
        return cls.from_imported(read_module(module))

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Network:
        """The network of a fitted `MLPRegressor` or `MLPClassifier`, before any sigmoid or softmax.

        Parameters
        ----------
        estimator : estimator or Pipeline
            One hidden ReLU layer. The linear scalers of a Pipeline are folded into the hidden layer: the network then
            takes raw inputs, and its penalty is not the one of the training (`metadata["notes"]` says so).

        Raises
        ------
        UnsupportedError
            If it is anything else, by name.
        """
        from convexrelu.interop.sklearn import read_estimator

        return cls.from_imported(read_estimator(estimator), bias="free")

    @classmethod
    def from_onnx(cls, model: Any, *, output: str | None = None) -> Network:
        """The network that an ONNX model computes.

        Parameters
        ----------
        model : path or onnx.ModelProto
        output : str, optional
            The tensor to read; by default the only output. Name the logits where a sigmoid or softmax follows.

        Raises
        ------
        UnsupportedError
            If the graph is not that of a two-layer ReLU network; the message names the operator.
        NotInstalledError
            If the package onnx is missing.
        """
        from convexrelu.interop.onnx import read_graph

        return cls.from_imported(read_graph(model, output))

    @classmethod
    def from_keras(cls, model: Any) -> Network:
        """The network of a Keras model whose layers follow one another: Dense, ReLU, Dense.

        Raises
        ------
        UnsupportedError
            If it is anything else, by name.
        NotInstalledError
            If Keras is missing.
        """
        from convexrelu.interop.keras import read_keras

        return cls.from_imported(read_keras(model))

    @classmethod
    def from_imported(cls, imported: Imported, bias: str = "penalized") -> Network:
        """The network of a model that was read; its metadata names library and precision."""
        parts = {name: getattr(imported.parts, name) for name in ARRAYS}
        return cls(**parts, bias=bias, metadata=imported.metadata)

    def to_torch(self, dtype: str = "float64") -> Any:
        """A torch Sequential(Linear, ReLU, Linear) of this network, or a small module where there is a skip."""
        from convexrelu.interop.torch import to_module

        return to_module(self._parts, dtype, self.bias != "none")

    def to_onnx(self, path: str | Path, dtype: str = "float64", input_box: tuple[Any, Any] | None = None) -> None:
        """Write an ONNX file, strictly Gemm - Relu - Gemm.

        Parameters
        ----------
        path : path
        dtype : {"float64", "float32"}
            gurobi-machinelearning and OMLT read either.
        input_box : (lower, upper), optional
            Arrays (d,), or numbers: bounds of the inputs. The neurons' bounds over the box go into the metadata of the
            file as JSON, under "convexrelu.neuron_bounds".

        Notes
        -----
        A skip becomes two neurons for each output, relu(t) - relu(-t) = t; `from_onnx` turns them back.
        """
        from convexrelu.interop.onnx import write_graph

        write_graph(self._parts, path, dtype, input_box)

    @property
    def _parts(self) -> Expression:
        return Expression(**{name: getattr(self, name) for name in ARRAYS})


def _array(value: Any, name: str, ndim: int) -> Array:
    """A finite read-only float64 array of `ndim` axes; empty ones are fine."""
    array = frozen(check_numeric(value, name))
    if array.ndim != ndim:
        raise InvalidInputError(f"`{name}` must be an array with {ndim} axes, got shape {array.shape}.")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise InvalidInputError(
            f"`{name}` must be finite, got {array[at]} at {list(at)}: its training diverged, or the file is damaged."
        )
    return array


def _groups(directions: Array, sizes: Array, tol: float) -> np.ndarray[Any, np.dtype[np.intp]]:
    """For each unit vector the index of its group's leader: the largest neuron within `tol` of it."""
    group = np.full(len(sizes), -1, dtype=np.intp)
    for leader in np.argsort(-sizes, kind="stable"):
        if group[leader] < 0:
            near = row_norms(directions - directions[leader]) <= tol
            group[near & (group < 0)] = leader
    return group
