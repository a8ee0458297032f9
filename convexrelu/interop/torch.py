"""PyTorch modules and state dicts as expressions, and networks as modules.

A module is traced symbolically (torch.fx), so any module that computes a two-layer ReLU network will do, however it is
written; the reading is checked by running a double precision copy.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, NotInstalledError, UnsupportedError
from convexrelu.interop.expression import Expression, Input, expression, linear, total, unsupported
from convexrelu.interop.imported import Imported, as_rows, check_reading
from convexrelu.validation import check_numeric

# Relative difference that double precision leaves between two orders of summation.
SAME = 1e-9


def require_torch() -> Any:
    """The package torch, or an error that says how to get it."""
    try:
        import torch
    except ImportError:
        raise NotInstalledError("PyTorch is not installed; write `pip install convexrelu[torch]`.") from None
    return torch


def read_module(module: Any) -> Imported:
    """Read a module.

    Raises
    ------
    UnsupportedError
        If it is not a two-layer ReLU network; the message names the layer.
    """
    torch = require_torch()
    if not isinstance(module, torch.nn.Module):
        raise InvalidInputError(
            f"`module` must be a torch.nn.Module or a state dict, got {type(module).__name__}; for plain arrays write "
            "Network(hidden, hidden_bias, output)."
        )
    module = getattr(module, "_orig_mod", module)  # torch.compile
    if isinstance(module, torch.nn.DataParallel):
        module = module.module
    parts = _Reader(torch, module).read()
    double = copy.deepcopy(module).double().cpu()
    check_reading(parts, lambda X: _run(torch, double, X), SAME)
    precisions = {str(p.dtype).removeprefix("torch.") for p in module.parameters()}
    return Imported(parts, "torch", min(precisions, default="float64"), lambda X: _run(torch, module, X))


def _run(torch: Any, module: Any, X: Array) -> Array:
    """The module's own predictions (n, T)."""
    like = next(iter(module.parameters()))
    with torch.no_grad():
        out = module(torch.as_tensor(np.array(X), dtype=like.dtype, device=like.device))
    return as_rows(out.detach().cpu().double().numpy(), len(X))


class _Reader:
    """Pushes expressions through the traced graph of a module."""

    def __init__(self, torch: Any, module: Any) -> None:
        self.torch, self.module = torch, module
        self.values: dict[Any, Any] = {}

    def read(self) -> Expression:
        """What the module computes."""
        for child in self.module.modules():
            _refuse_layer(self.torch, child)
        try:
            graph = self.torch.fx.symbolic_trace(self.module)
        except Exception as error:
            raise UnsupportedError(
                f"`module` {type(self.module).__name__} cannot be traced ({str(error).splitlines()[0]}); pass its "
                "state_dict() with `layers` instead."
            ) from None
        self.module = graph  # constants met while tracing are attributes of the traced module
        for node in graph.graph.nodes:
            if node.op == "output":
                return expression(self._value(node.args[0]), "nothing")
            self.values[node] = self._step(node)
        raise unsupported("no output")

    def _step(self, node: Any) -> Any:
        args = [self._value(a) for a in node.args]
        options = {name: self._value(a) for name, a in node.kwargs.items()}
        match node.op:
            case "placeholder":
                if any(isinstance(v, Input) for v in self.values.values()):
                    raise unsupported("two inputs", "module")
                return Input()
            case "get_attr":
                return _array(_attribute(self.module, node.target))
            case "call_module":
                return self._layer(_attribute(self.module, node.target), args[0])
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        return _call(name, args, options)

    def _value(self, argument: Any) -> Any:
        """An argument with the nodes in it replaced by their values."""
        if isinstance(argument, tuple | list):
            return [self._value(a) for a in argument]
        return self.values.get(argument, argument) if isinstance(argument, self.torch.fx.Node) else argument

    def _layer(self, layer: Any, value: Any) -> Any:
        nn = self.torch.nn
        if isinstance(layer, nn.Linear):
            out = linear(value, _array(layer.weight).T)
            return out if layer.bias is None else out.shift(_array(layer.bias))
        if isinstance(layer, nn.ReLU):
            return expression(value, "a ReLU").relu()
        return value  # every other layer was either refused or changes nothing


def _refuse_layer(torch: Any, layer: Any) -> None:
    """Raise UnsupportedError for a layer of torch.nn that is not part of a two-layer ReLU network."""
    nn = torch.nn
    name = type(layer).__name__
    if isinstance(layer, nn.Dropout) and layer.training and layer.p > 0:
        raise UnsupportedError("`module` has Dropout in training mode; call `module.eval()` first.")
    plain = (nn.Linear, nn.ReLU, nn.Identity, nn.Flatten, nn.Dropout, nn.Sequential, nn.ModuleList, nn.ModuleDict)
    # Modules written by users are traced; only their parts matter.
    own = type(layer).__module__.startswith("torch.") and not isinstance(layer, plain)
    if own and not isinstance(layer, torch.fx.GraphModule):
        raise unsupported(f"a {name} layer", "module")


def _relu(args: list[Any], options: dict[str, Any]) -> Any:
    return expression(args[0], "a ReLU").relu()


def _clamp(args: list[Any], options: dict[str, Any]) -> Any:
    low = args[1] if len(args) > 1 else options.get("min")
    high = args[2] if len(args) > 2 else options.get("max")
    if low != 0 or high is not None:
        raise unsupported("a clamp other than clamp(min=0)", "module")
    return _relu(args, options)


def _add(args: list[Any], options: dict[str, Any]) -> Any:
    if options.get("alpha", 1) != 1:
        raise unsupported("an addition with `alpha`", "module")
    return total(*args[:2])


def _subtract(args: list[Any], options: dict[str, Any]) -> Any:
    a, b = args[:2]
    if isinstance(a, Input):
        return Expression.identity(len(expression(b, "a difference").skip)).plus(b.scale(-1.0))
    if isinstance(b, Input):
        return a.plus(Expression.identity(len(expression(a, "a difference").skip)).scale(-1.0))
    return total(a, b.scale(-1.0) if isinstance(b, Expression) else -np.asarray(b, dtype=float))


def _multiply(args: list[Any], options: dict[str, Any]) -> Any:
    a, b = args[:2] if isinstance(args[0], Expression) else args[1::-1]
    if isinstance(b, Expression | Input) or isinstance(a, Input):
        raise unsupported("a product of two layers, or a factor before the first one", "module")
    return expression(a, "a product").scale(b)


def _matmul(args: list[Any], options: dict[str, Any]) -> Any:
    if not isinstance(args[1], np.ndarray) or args[1].ndim != 2:
        raise unsupported("a matrix product with something that is not a weight matrix", "module")
    return linear(args[0], args[1])


def _functional_linear(args: list[Any], options: dict[str, Any]) -> Any:
    weight = args[1] if len(args) > 1 else options["weight"]
    bias = args[2] if len(args) > 2 else options.get("bias")
    out = linear(args[0], weight.T)
    return out if bias is None else out.shift(bias)


def _dropout(args: list[Any], options: dict[str, Any]) -> Any:
    p = args[1] if len(args) > 1 else options.get("p", 0.5)
    if (args[2] if len(args) > 2 else options.get("training", True)) and p > 0:
        raise UnsupportedError("`module` has dropout in training mode; call `module.eval()` first.")
    return args[0]


def _transposed(args: list[Any], options: dict[str, Any]) -> Any:
    if not isinstance(args[0], np.ndarray):
        raise unsupported("a transposition of its layers", "module")
    return args[0].T


def _same(args: list[Any], options: dict[str, Any]) -> Any:
    return args[0]


_CALLS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    **dict.fromkeys(("relu", "relu_"), _relu),
    **dict.fromkeys(("clamp", "clamp_min"), _clamp),
    **dict.fromkeys(("add", "iadd", "add_"), _add),
    **dict.fromkeys(("sub", "isub", "sub_"), _subtract),
    **dict.fromkeys(("mul", "imul", "mul_"), _multiply),
    **dict.fromkeys(("matmul", "mm"), _matmul),
    **dict.fromkeys(("t",), _transposed),
    "linear": _functional_linear,
    "dropout": _dropout,
    # Reshaping is checked when the reading is run against the module.
    **dict.fromkeys(("flatten", "squeeze", "unsqueeze", "view", "reshape", "contiguous", "float", "double"), _same),
}


def _call(name: str, args: list[Any], options: dict[str, Any]) -> Any:
    if name not in _CALLS:
        raise unsupported(f"a call of `{name}`", "module")
    return _CALLS[name](args, options)


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().double().numpy().copy()
    return array


# -- state dicts ------------------------------------------------------------------------------------------------------


def read_state_dict(state: Mapping[str, Any], layers: Mapping[str, str] | None, activation: str | None) -> Imported:
    """Read the weights of named linear layers; what lies between them is the caller's word.

    Parameters
    ----------
    state : mapping of str to tensor or array
    layers : mapping
        {"hidden": name, "output": name} and optionally "skip", names as in the state dict without ".weight".
    activation : str
        Must be "relu": the names of a state dict do not tell.
    """
    keys = sorted(str(key) for key in state)
    example = 'layers={"hidden": "0", "output": "2"}, activation="relu"'
    if layers is None or activation is None:
        raise InvalidInputError(
            f"A state dict alone does not say what lies between its layers; write `from_torch(state, {example})`, the "
            f"names without '.weight'. Its keys are: {', '.join(keys)}."
        )
    if activation != "relu":
        raise UnsupportedError(f"`activation={activation!r}` is not 'relu'; only ReLU networks can be read.")
    if set(layers) - {"hidden", "output", "skip"} or not {"hidden", "output"} <= set(layers):
        raise InvalidInputError(f"`layers` must name 'hidden', 'output' and perhaps 'skip', got {sorted(layers)}.")
    unread = set(keys) - {f"{name}.{kind}" for name in layers.values() for kind in ("weight", "bias")}
    if unread:
        raise InvalidInputError(
            f"`layers` leaves out {', '.join(sorted(unread))}; every tensor must belong to a layer."
        )
    W, b = _weights(state, layers["hidden"])
    V, c = _weights(state, layers["output"])
    parts = Expression.identity(W.shape[1]).linear(W.T).shift(b).relu().linear(V.T).shift(c)
    if "skip" in layers:
        A, shift = _weights(state, layers["skip"])
        parts = parts.plus(Expression.identity(A.shape[1]).linear(A.T).shift(shift))
    dtype = str(getattr(state[f"{layers['hidden']}.weight"], "dtype", "float64")).removeprefix("torch.")
    return Imported(parts, "torch state dict", dtype)


def _weights(state: Mapping[str, Any], name: str) -> tuple[Array, Array]:
    if f"{name}.weight" not in state:
        raise InvalidInputError(f"`layers` names {name!r}, but the state dict has no '{name}.weight'.")
    W = _numbers(state, f"{name}.weight")
    if W.ndim != 2:
        raise unsupported(f"a weight of shape {W.shape} at {name!r}, not a linear layer", "state dict")
    b = np.zeros(len(W)) if state.get(f"{name}.bias") is None else _numbers(state, f"{name}.bias")
    if b.shape != (len(W),):
        raise unsupported(f"a bias of shape {b.shape} at {name!r}, whose weight has shape {W.shape}", "state dict")
    return W, b


def _numbers(state: Mapping[str, Any], key: str) -> Array:
    """A tensor of a state dict, or an array in its place."""
    value = state[key]
    return _array(value) if hasattr(value, "detach") else check_numeric(value, key)


# -- export -----------------------------------------------------------------------------------------------------------


def to_module(parts: Expression, dtype: str, hidden_bias: bool = True) -> Any:
    """Sequential(Linear, ReLU, Linear); with a skip, a module of the layers `hidden`, `output` and `skip`."""
    torch = require_torch()
    parts.check_export(dtype)
    hidden = _linear_layer(torch, parts.hidden, parts.hidden_bias if hidden_bias else None)
    output = _linear_layer(torch, parts.output.T, parts.output_bias)
    if not parts.skip.any():
        return torch.nn.Sequential(hidden, torch.nn.ReLU(), output).to(getattr(torch, dtype))
    from convexrelu.interop.skip_module import SkipModule

    return SkipModule(hidden, output, _linear_layer(torch, parts.skip.T, None)).to(getattr(torch, dtype))


def _linear_layer(torch: Any, weight: Array, bias: Array | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a layer without neurons has nothing to initialise
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.array(weight)))
        if bias is not None:
            layer.bias.copy_(torch.tensor(np.array(bias)))
    return layer
