"""ONNX graphs as expressions, and networks as ONNX graphs.

Reading evaluates the graph with expressions in place of tensors, then runs it once to check. Written graphs are
strictly Gemm - Relu - Gemm with named nodes, transB = 1 and a fixed input width: what OMLT and gurobi-machinelearning
read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, NotInstalledError
from convexrelu.interop.expression import Expression, Input, expression, linear, total, unsupported
from convexrelu.interop.imported import Imported, as_rows, check_reading

# Relative difference between the graph's own arithmetic and double precision.
SAME = {"float64": 1e-9, "float32": 1e-3, "float16": 0.1}
# Widely supported: opset 13 (2020) with the file format of its time.
OPSET, IR_VERSION = 13, 8
SKIP = "convexrelu.skip_neurons"
BOUNDS = "convexrelu.neuron_bounds"


def require_onnx() -> Any:
    """The package onnx, or an error that says how to get it."""
    try:
        import onnx
    except ImportError:
        raise NotInstalledError("The package onnx is not installed; write `pip install convexrelu[onnx]`.") from None
    return onnx


def read_graph(model: Any, output: str | None = None) -> Imported:
    """Read an ONNX file or ModelProto.

    Parameters
    ----------
    model : path or onnx.ModelProto
    output : str, optional
        The tensor to read; by default the graph's only output. Write the name of the logits where a sigmoid or softmax
        follows.

    Raises
    ------
    UnsupportedError
        If it is not a two-layer ReLU network; the message names the operator.
    """
    onnx = require_onnx()
    proto = model if isinstance(model, onnx.ModelProto) else _load(onnx, model)
    graph = proto.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    inputs = [i.name for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise unsupported(f"{len(inputs)} inputs ({', '.join(inputs)})", "onnx model")
    wanted = _output_name(graph, output)
    values: dict[str, Any] = {**constants, inputs[0]: Input()}
    for node in _needed(graph, wanted):
        values[node.output[0]] = _evaluate(onnx, node, [values[name] if name else None for name in node.input])
    parts = _with_skip(expression(values.get(wanted), "nothing"), proto)
    precision = max((str(a.dtype) for a in constants.values() if a.dtype.kind == "f"), default="float32")
    run = _runner(onnx, proto, inputs[0], wanted)
    check_reading(parts, run, SAME.get(precision, 0.1))
    return Imported(parts, "onnx", precision, run)


def _load(onnx: Any, path: Any) -> Any:
    try:
        return onnx.load(str(path))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InvalidInputError(f"`path` {str(path)!r} is not an ONNX model: {str(error).splitlines()[0]}.") from None


def _output_name(graph: Any, output: str | None) -> str:
    if output is not None:
        return output
    if len(graph.output) != 1:
        names = ", ".join(o.name for o in graph.output)
        raise InvalidInputError(
            f"The ONNX model has {len(graph.output)} outputs ({names}); write `output=` with the name of the tensor "
            "before any sigmoid, softmax or label."
        )
    return str(graph.output[0].name)


def _needed(graph: Any, output: str) -> list[Any]:
    """The nodes that the output depends on, in the order of the graph."""
    makers = {name: node for node in graph.node for name in node.output}
    known = {name for node in graph.node for name in [*node.input, *node.output]}
    if output not in known:
        raise InvalidInputError(f"`output` {output!r} is not a tensor of the ONNX model: {', '.join(sorted(known))}.")
    needed, todo = set(), [output]
    while todo:
        name = todo.pop()
        if name in makers and id(makers[name]) not in needed:
            needed.add(id(makers[name]))
            todo.extend(makers[name].input)
    return [node for node in graph.node if id(node) in needed]


def _runner(onnx: Any, proto: Any, name: str, output: str) -> Callable[[Array], Array]:
    """The model's own arithmetic, by onnx's reference evaluator."""
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    del whole.graph.output[:]
    whole.graph.output.append(onnx.ValueInfoProto(name=output))
    tensor = next(i for i in proto.graph.input if i.name == name).type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    batch = [dim.dim_value for dim in tensor.shape.dim][:1]

    def run(X: Array) -> Array:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(whole)
        # A graph exported with a fixed batch size takes no other.
        size = batch[0] if batch and batch[0] > 0 else len(X)
        batches = [X[i : i + size] for i in range(0, len(X), size)]
        padded = [np.concatenate([b, np.zeros((size - len(b), X.shape[1]))]).astype(dtype) for b in batches]
        outs: list[Any] = [evaluator.run(None, {name: b}) for b in padded]
        values: Array = np.concatenate([as_rows(out[0], size) for out in outs])
        return values[: len(X)]

    return run


# -- operators --------------------------------------------------------------------------------------------------------


def _evaluate(onnx: Any, node: Any, values: list[Any]) -> Any:
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        value = next(iter(options.values()))
        return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    if node.op_type not in _OPERATORS:
        raise unsupported(f"the operator {node.op_type} (node {node.name!r})", "onnx model")
    return _OPERATORS[node.op_type](values, options)


def _gemm(values: list[Any], options: dict[str, Any]) -> Any:
    x, B, *rest = values
    if options.get("transA", 0) or not isinstance(B, np.ndarray):
        raise unsupported("a Gemm that does not multiply its input by weights", "onnx model")
    B = B.astype(float)
    out = linear(x, options.get("alpha", 1.0) * (B.T if options.get("transB", 0) else B))
    constants = [r for r in rest if r is not None]
    return out.shift(options.get("beta", 1.0) * constants[0].astype(float)) if constants else out


def _matmul(values: list[Any], options: dict[str, Any]) -> Any:
    if not isinstance(values[1], np.ndarray) or values[1].ndim != 2:
        raise unsupported("a MatMul that does not multiply its input by weights", "onnx model")
    return linear(values[0], values[1].astype(float))


def _add(values: list[Any], options: dict[str, Any]) -> Any:
    return total(*(v.astype(float) if isinstance(v, np.ndarray) else v for v in values))


def _subtract(values: list[Any], options: dict[str, Any]) -> Any:
    a, b = values
    return total(a, b.scale(-1.0) if isinstance(b, Expression) else -np.asarray(b, dtype=float))


def _multiply(values: list[Any], options: dict[str, Any]) -> Any:
    a, b = values if isinstance(values[0], Expression) else values[::-1]
    if not isinstance(b, np.ndarray):
        raise unsupported("a product of two layers", "onnx model")
    return expression(a, "a product").scale(b.astype(float))


def _relu(values: list[Any], options: dict[str, Any]) -> Any:
    return expression(values[0], "a Relu").relu()


def _transpose(values: list[Any], options: dict[str, Any]) -> Any:
    if not isinstance(values[0], np.ndarray):
        raise unsupported("a Transpose of its layers", "onnx model")
    return np.transpose(values[0], options.get("perm"))


def _same(values: list[Any], options: dict[str, Any]) -> Any:
    return values[0]


_OPERATORS: dict[str, Callable[[list[Any], dict[str, Any]], Any]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Relu": _relu,
    "Transpose": _transpose,
    # Shapes are checked when the reading is run against the graph.
    **dict.fromkeys(("Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), _same),
}


# -- export -----------------------------------------------------------------------------------------------------------


def write_graph(parts: Expression, path: str | Path, dtype: str, box: tuple[Any, Any] | None) -> None:
    """Write Gemm - Relu - Gemm.

    A skip becomes two neurons for each output, relu(t) - relu(-t) = t, the last ones of the hidden layer; their number
    is kept in the file's metadata, and so are the neurons' bounds over an input box.
    """
    onnx = require_onnx()
    parts.check_export(dtype)
    sequential, n_skip = without_skip(parts)
    weights = {
        "hidden.weight": sequential.hidden,
        "hidden.bias": sequential.hidden_bias,
        "output.weight": sequential.output.T,
        "output.bias": sequential.output_bias,
    }
    helper = onnx.helper
    kind = onnx.TensorProto.DOUBLE if dtype == "float64" else onnx.TensorProto.FLOAT
    arrays = [onnx.numpy_helper.from_array(np.array(a, dtype=dtype, order="C"), name) for name, a in weights.items()]
    gemm = {"alpha": 1.0, "beta": 1.0, "transB": 1}
    nodes = [
        helper.make_node("Gemm", ["input", "hidden.weight", "hidden.bias"], ["pre"], name="hidden", **gemm),
        helper.make_node("Relu", ["pre"], ["activation"], name="relu"),
        helper.make_node("Gemm", ["activation", "output.weight", "output.bias"], ["prediction"], name="output", **gemm),
    ]
    d, T = parts.skip.shape
    ends = [helper.make_tensor_value_info(n, kind, ["batch", w]) for n, w in (("input", d), ("prediction", T))]
    graph = helper.make_graph(nodes, "two_layer_relu_network", ends[:1], ends[1:], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    notes = {SKIP: str(n_skip)} if n_skip else {}
    if box is not None:
        lower, upper = neuron_bounds(sequential, *box)
        notes[BOUNDS] = json.dumps({"lower": lower.tolist(), "upper": upper.tolist()})
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def without_skip(parts: Expression) -> tuple[Expression, int]:
    """The same function with neurons in place of the skip, and how many."""
    d, T = parts.skip.shape
    if not parts.skip.any():
        return parts, 0
    hidden = np.vstack([parts.hidden, parts.skip.T, -parts.skip.T])
    output = np.vstack([parts.output, np.eye(T), -np.eye(T)])
    bias = np.concatenate([parts.hidden_bias, np.zeros(2 * T)])
    return Expression(hidden, bias, output, np.zeros((d, T)), parts.output_bias), 2 * T


def _with_skip(parts: Expression, proto: Any) -> Expression:
    """Undo `without_skip` where the file says that it was done."""
    noted = {p.key: p.value for p in proto.metadata_props}.get(SKIP, "0")
    T = parts.width
    m = len(parts.hidden) - 2 * T
    if noted != str(2 * T) or m < 0:
        return parts
    rest = Expression(
        parts.hidden[:m], parts.hidden_bias[:m], parts.output[:m], parts.hidden[m : m + T].T, parts.output_bias
    )
    again, _ = without_skip(rest)
    same = np.array_equal(again.hidden, parts.hidden) and np.array_equal(again.output, parts.output)
    return rest if same and not parts.hidden_bias[m:].any() else parts


def neuron_bounds(parts: Expression, lower: Any, upper: Any) -> tuple[Array, Array]:
    """Smallest and largest pre-activation (m,), (m,) of each neuron over a box of inputs, rounded outwards."""
    low, high = (np.broadcast_to(np.asarray(end, dtype=float), parts.hidden.shape[1]) for end in (lower, upper))
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise InvalidInputError("`input_box` must be a pair (lower, upper) of finite arrays (d,) with lower <= upper.")
    center, radius = (low + high) / 2, (high - low) / 2
    middle, reach = parts.hidden @ center + parts.hidden_bias, np.abs(parts.hidden) @ radius
    size = np.abs(parts.hidden) @ (np.abs(center) + radius) + np.abs(parts.hidden_bias)
    slack = 4 * (len(center) + 4) * np.finfo(float).eps * size
    return middle - reach - slack, middle + reach + slack
