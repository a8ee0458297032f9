"""ONNX in both directions, checked by onnxruntime."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from onnx import TensorProto, helper, numpy_helper
from strategies import examples, networks

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.interop.expression import Expression
from convexrelu.interop.onnx import neuron_bounds

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 2))


def run(model, X, output=None):
    """Predictions of onnxruntime."""
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    kind = np.float64 if "double" in session.get_inputs()[0].type else np.float32
    return session.run(output, {session.get_inputs()[0].name: X.astype(kind)})[0]


def graph(nodes, weights=(), outputs=("y",), kind=TensorProto.DOUBLE, rows="n"):
    """A model of one input x (rows, 2)."""
    inits = [numpy_helper.from_array(np.asarray(a), name) for name, a in dict(weights).items()]
    x = helper.make_tensor_value_info("x", kind, [rows, 2])
    ends = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    body = helper.make_graph(nodes, "g", [x], ends, inits)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


# -- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("none", "none"), ("free", "free"), ("penalized", "penalized")], ids=str)
@examples(10)
@given(networks(2, skip="free", output_bias="free"))
def test_round_trip_gives_the_network_itself(tmp_path_factory, kinds, network):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    network.to_onnx(path)
    again = cr.Network.from_onnx(path)
    for name in ("hidden", "hidden_bias", "output", "skip", "output_bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(network, name))
    np.testing.assert_allclose(run(path, X), network(X), rtol=1e-12, atol=1e-12)
    again.to_onnx(path)
    np.testing.assert_allclose(run(path, X), network(X), rtol=1e-12, atol=1e-12)


def random_network(m=20, T=3, skip=True):
    parts = [RNG.standard_normal(s) for s in ((m, 2), m, (m, T), (2, T), T)]
    return cr.Network(*parts[:3], parts[3] if skip else None, parts[4])


def test_several_outputs_and_a_skip(tmp_path):
    network = random_network()
    network.to_onnx(tmp_path / "net.onnx")
    np.testing.assert_allclose(run(tmp_path / "net.onnx", X), network(X), rtol=1e-12, atol=1e-12)
    assert cr.Network.from_onnx(tmp_path / "net.onnx").n_neurons == network.n_neurons


def test_the_graph_is_strictly_sequential(tmp_path):
    random_network().to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Relu", "Gemm"]
    for first, second in zip(model.graph.node[:-1], model.graph.node[1:], strict=True):
        assert second.input[0] == first.output[0]
    # What OMLT asks of a Gemm, and gurobi-machinelearning.
    for node in (model.graph.node[0], model.graph.node[2]):
        assert {a.name: helper.get_attribute_value(a) for a in node.attribute} == {"alpha": 1, "beta": 1, "transB": 1}


def test_float32_where_asked(tmp_path):
    network = random_network(skip=False)
    network.to_onnx(tmp_path / "net.onnx", dtype="float32")
    np.testing.assert_allclose(run(tmp_path / "net.onnx", X), network(X), rtol=1e-4, atol=1e-4)
    assert cr.Network.from_onnx(tmp_path / "net.onnx").metadata["precision"] == "float32"
    with pytest.raises(InvalidInputError, match="dtype"):
        network.to_onnx(tmp_path / "net.onnx", dtype="float16")


def test_neuron_bounds_hold_and_are_attained(tmp_path):
    network = random_network()
    lower, upper = np.array([-1.0, 0.0]), np.array([2.0, 3.0])
    network.to_onnx(tmp_path / "net.onnx", input_box=(lower, upper))
    noted = {p.key: p.value for p in onnx.load(tmp_path / "net.onnx").metadata_props}
    bounds = json.loads(noted["convexrelu.neuron_bounds"])
    session = onnx.load(tmp_path / "net.onnx").graph.initializer
    W, b = (numpy_helper.to_array(next(t for t in session if t.name == f"hidden.{k}")) for k in ("weight", "bias"))
    corners = np.array([[x, y] for x in (-1.0, 2.0) for y in (0.0, 3.0)])
    pre = corners @ W.T + b
    assert (np.array(bounds["lower"]) <= pre.min(axis=0)).all() and (pre.max(axis=0) <= np.array(bounds["upper"])).all()
    np.testing.assert_allclose(bounds["lower"], pre.min(axis=0), atol=1e-12)
    np.testing.assert_allclose(bounds["upper"], pre.max(axis=0), atol=1e-12)


@pytest.mark.parametrize("box", [(1.0, 0.0), (-np.inf, 0.0), (np.nan, 1.0)])
def test_impossible_boxes(box):
    with pytest.raises(InvalidInputError, match="input_box"):
        neuron_bounds(Expression.identity(2).relu(), *box)


# -- graphs of others -------------------------------------------------------------------------------------------------


def test_the_graph_that_skl2onnx_writes():
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor

    mlp = MLPRegressor(hidden_layer_sizes=5, max_iter=5000, random_state=0, solver="lbfgs").fit(
        X, X[:, 0] + np.abs(X[:, 1])
    )
    model = to_onnx(mlp, X)
    assert "Reshape" in {node.op_type for node in model.graph.node}
    network = cr.Network.from_onnx(model)
    np.testing.assert_allclose(network(X), run(model, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(network(X)[:, 0], mlp.predict(X), rtol=1e-12, atol=1e-12)


def test_a_classifier_is_read_at_its_logits():
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier

    mlp = MLPClassifier(hidden_layer_sizes=4, max_iter=2000, random_state=0, solver="lbfgs").fit(X, X[:, 0] > 0)
    model = to_onnx(mlp, X, options={"zipmap": False})
    with pytest.raises(InvalidInputError, match="2 outputs"):
        cr.Network.from_onnx(model)
    with pytest.raises(UnsupportedError, match="Sigmoid"):
        cr.Network.from_onnx(model, output="probabilities")
    logits = next(node.input[0] for node in model.graph.node if node.op_type == "Sigmoid")
    F = cr.Network.from_onnx(model, output=logits)(X)
    np.testing.assert_allclose(1 / (1 + np.exp(-F[:, 0])), mlp.predict_proba(X)[:, 1], rtol=1e-12, atol=1e-12)


def test_matmul_add_with_a_residual_connection():
    W, b, v = RNG.standard_normal((2, 3)), RNG.standard_normal(3), RNG.standard_normal((3, 2))
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"]),
        helper.make_node("Add", ["b", "h"], ["p"]),
        helper.make_node("Relu", ["p"], ["a"]),
        helper.make_node("MatMul", ["a", "v"], ["o"]),
        helper.make_node("Add", ["o", "x"], ["y"]),
    ]
    model = graph(nodes, {"W": W, "b": b, "v": v})
    network = cr.Network.from_onnx(model)
    np.testing.assert_allclose(network(X), run(model, X), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(network.skip, np.eye(2))


def test_fixed_batch_size_and_scaled_gemm():
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"], alpha=0.5, beta=2.0),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "v"], ["y"], transB=1),
    ]
    weights = {"W": RNG.standard_normal((2, 3)), "b": RNG.standard_normal(3), "v": RNG.standard_normal((1, 3))}
    network = cr.Network.from_onnx(graph(nodes, weights, rows=6))
    np.testing.assert_allclose(network(X), run(graph(nodes, weights), X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("operator", ["LeakyRelu", "Gelu", "Tanh", "Softplus", "BatchNormalization", "Dropout"])
def test_operators_are_refused_by_name(operator):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["h"]),
        helper.make_node(operator, ["h"], ["y"]),
    ]
    with pytest.raises(UnsupportedError, match=operator):
        cr.Network.from_onnx(graph(nodes, {"W": np.eye(2)}))


def test_three_layers_are_refused():
    nodes = []
    for i, (a, b) in enumerate((("x", "r1"), ("r1", "r2"))):
        nodes += [helper.make_node("MatMul", [a, "W"], [f"h{i}"]), helper.make_node("Relu", [f"h{i}"], [b])]
    with pytest.raises(UnsupportedError, match="three layers"):
        cr.Network.from_onnx(graph(nodes, {"W": np.eye(2)}, outputs=("r2",)))


def test_shapes_that_mix_samples_are_refused():
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"]), helper.make_node("Reshape", ["h", "s"], ["y"])]
    with pytest.raises(UnsupportedError, match="not a row for each"):
        cr.Network.from_onnx(graph(nodes, {"W": np.eye(2), "s": np.array([1, -1])}))


def test_bad_files_and_names(tmp_path):
    with pytest.raises(FileNotFoundError):
        cr.Network.from_onnx(tmp_path / "missing.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(InvalidInputError, match="not an ONNX model"):
        cr.Network.from_onnx(tmp_path / "bad.onnx")
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"])]
    with pytest.raises(InvalidInputError, match="'z' is not a tensor"):
        cr.Network.from_onnx(graph(nodes, {"W": np.eye(2)}), output="z")
