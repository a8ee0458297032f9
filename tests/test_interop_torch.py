"""PyTorch modules and state dicts in both directions. Run with `pytest -m torch` where PyTorch is installed."""

import importlib

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.__main__ import main
from convexrelu.errors import InvalidInputError, UnsupportedError

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

X = np.random.default_rng(0).standard_normal((7, 2))
SAME = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def torch():
    # Not importorskip: who asks for these tests wants them run.
    return importlib.import_module("torch")


def double(module):
    return module.double().eval()


def run(torch, module, X=X):
    like = next(module.parameters())
    with torch.no_grad():
        return module(torch.as_tensor(X, dtype=like.dtype)).double().numpy().reshape(len(X), -1)


def sequential(torch, *middle, width=5, T=1):
    nn = torch.nn
    return double(nn.Sequential(nn.Linear(2, width), *middle or (nn.ReLU(),), nn.Linear(width, T)))


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("skip", [False, True])
def test_round_trip(torch, T, skip):
    rng = np.random.default_rng(1)
    network = cr.Network(
        rng.standard_normal((9, 2)),
        rng.standard_normal(9),
        rng.standard_normal((9, T)),
        rng.standard_normal((2, T)) if skip else None,
        rng.standard_normal(T),
    )
    module = network.to_torch()
    np.testing.assert_allclose(run(torch, module), network(X), **SAME)
    again = cr.Network.from_torch(module)
    for name in ("hidden", "hidden_bias", "output", "skip", "output_bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(network, name))


def test_the_empty_network_is_a_module_too(torch):
    module = cr.Network(np.zeros((0, 2)), None, np.zeros((0, 1)), None, [3.0]).to_torch()
    np.testing.assert_array_equal(run(torch, module), np.full((len(X), 1), 3.0))


def test_float32_is_read_exactly(torch):
    module = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    network = cr.Network.from_torch(module)
    assert network.metadata["precision"] == "float32"
    np.testing.assert_array_equal(network.hidden, module[0].weight.detach().double().numpy())
    np.testing.assert_allclose(run(torch, module), network(X), rtol=1e-5, atol=1e-5)
    assert next(module.parameters()).dtype == torch.float32  # the module is left alone


def test_layers_that_do_nothing(torch):
    nn = torch.nn
    inner = nn.Sequential(nn.Flatten(), nn.Linear(2, 4, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.5))
    module = double(nn.Sequential(inner, nn.Identity(), nn.Linear(4, 2)))
    np.testing.assert_allclose(cr.Network.from_torch(module)(X), run(torch, module), **SAME)


def skip_modules(torch):
    nn, F = torch.nn, torch.nn.functional

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.out, self.hid, self.lin = nn.Linear(6, 1), nn.Linear(2, 6), nn.Linear(2, 1, bias=False)

        def forward(self, x):
            return (self.out(F.dropout(F.relu(self.hid(x)), training=self.training)) + self.lin(x)).squeeze(-1)

    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.W, self.v = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(6))
            self.c = nn.Parameter(torch.randn(1))

        def forward(self, x):
            return 2.0 * ((x @ self.W).clamp(min=0) @ self.v[:, None]) - self.c

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 2))

        def forward(self, x):
            return x + self.body(x)

    return [Functional(), Residual()], [Raw()]


def test_modules_with_a_skip(torch):
    for module in skip_modules(torch)[0]:
        double(module)
        network = cr.Network.from_torch(module)
        np.testing.assert_allclose(network(X), run(torch, module), **SAME)
        assert network.skip.any() and network.n_neurons == 6


def test_code_that_cannot_be_read_is_named(torch):
    with pytest.raises(UnsupportedError, match="getitem"):
        cr.Network.from_torch(double(skip_modules(torch)[1][0]))


def test_refusals_by_name(torch):
    nn = torch.nn
    for layer in (nn.LeakyReLU(), nn.GELU(), nn.Tanh(), nn.ReLU6(), nn.BatchNorm1d(5), nn.Softplus()):
        with pytest.raises(UnsupportedError, match=type(layer).__name__):
            cr.Network.from_torch(sequential(torch, layer))
    with pytest.raises(UnsupportedError, match="three layers"):
        cr.Network.from_torch(sequential(torch, nn.ReLU(), nn.Linear(5, 5), nn.ReLU()))
    dropping = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 1))
    with pytest.raises(UnsupportedError, match="Dropout in training mode"):
        cr.Network.from_torch(dropping)
    cr.Network.from_torch(dropping.eval())


def test_code_that_depends_on_its_input_is_refused(torch):
    class Branching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Linear(2, 1)

        def forward(self, x):
            return self.body(x) if x.sum() > 0 else -self.body(x)

    with pytest.raises(UnsupportedError, match="cannot be traced"):
        cr.Network.from_torch(Branching())

    class Mixing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.body(x).flatten().reshape(2, -1).reshape(-1, 1)

    with pytest.raises(UnsupportedError, match="not a row for each"):
        cr.Network.from_torch(Mixing())


def test_state_dict_needs_a_description(torch):
    module = sequential(torch, width=5, T=2)
    state = module.state_dict()
    with pytest.raises(InvalidInputError, match="alone does not say"):
        cr.Network.from_torch(state)
    layers = {"hidden": "0", "output": "2"}
    network = cr.Network.from_torch(state, layers=layers, activation="relu")
    np.testing.assert_allclose(network(X), run(torch, module), **SAME)
    with pytest.raises(UnsupportedError, match="gelu"):
        cr.Network.from_torch(state, layers=layers, activation="gelu")
    with pytest.raises(InvalidInputError, match=r"no 'one\.weight'"):
        cr.Network.from_torch(state, layers={"hidden": "one", "output": "2", "skip": "0"}, activation="relu")
    with pytest.raises(InvalidInputError, match="describe a state dict"):
        cr.Network.from_torch(module, layers=layers, activation="relu")
    with pytest.raises(UnsupportedError, match=r"a bias of shape \(1,\) at '0'"):
        cr.Network.from_torch(state | {"0.bias": state["0.bias"][:1]}, layers=layers, activation="relu")
    with pytest.raises(InvalidInputError, match=r"`0\.weight` must be an array of real numbers"):
        cr.Network.from_torch(state | {"0.weight": "a"}, layers=layers, activation="relu")
    with pytest.raises(InvalidInputError, match="must name 'hidden'"):
        cr.Network.from_torch(state, layers={"hidden": "0"}, activation="relu")
    deeper = sequential(torch, torch.nn.BatchNorm1d(5), torch.nn.ReLU()).state_dict()
    with pytest.raises(InvalidInputError, match=r"leaves out 1\.bias"):
        cr.Network.from_torch(deeper, layers={"hidden": "0", "output": "3"}, activation="relu")


def test_state_dict_with_a_skip(torch):
    network = cr.Network([[1.0, 2.0]], [1.0], [[2.0]], [[1.0], [-1.0]], [3.0])
    state = network.to_torch().state_dict()
    layers = {name: name for name in ("hidden", "output", "skip")}
    np.testing.assert_array_equal(cr.Network.from_torch(state, layers=layers, activation="relu")(X), network(X))


def test_the_graph_that_torch_writes(torch, tmp_path):
    import onnxruntime

    module = sequential(torch, T=2)
    path = tmp_path / "torch.onnx"
    torch.onnx.export(module, (torch.as_tensor(X),), str(path), dynamo=False)
    network = cr.Network.from_onnx(path)
    np.testing.assert_allclose(network(X), run(torch, module), **SAME)
    session = onnxruntime.InferenceSession(str(path))
    np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: X})[0], network(X), **SAME)


def test_verify_judges_what_torch_minimised(torch):
    y = np.abs(X[:, 0])
    module = sequential(torch, width=20)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(module(torch.as_tensor(X))[:, 0], torch.as_tensor(y))
        loss.backward()
        optimiser.step()
    problem = cr.TrainingProblem.from_torch(X, y, 0.02)
    v = cr.verify(problem, module)
    with torch.no_grad():
        loss = torch.nn.functional.mse_loss(module(torch.as_tensor(X))[:, 0], torch.as_tensor(y))
        decay = 0.01 * sum((p**2).sum() for p in module.parameters())
    # Half the number of targets: a sum of halves instead of a mean.
    assert v.objective == pytest.approx(float(loss + decay) * len(X) / 2, rel=1e-12)
    assert v.certificate.lower_bound <= v.objective
    assert v.rounding < 1e-12


def test_the_command_line_reads_state_dicts_and_no_pickles(torch, tmp_path, capsys):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    state, whole, data = (str(tmp_path / name) for name in ("state.pt", "whole.pt", "data.csv"))
    torch.save(module.state_dict(), state)
    torch.save(module, whole)
    np.savetxt(data, np.hstack([X, X[:, :1] ** 2]), delimiter=",", header="a,b,y", comments="")
    arguments = [data, "--target", "y", "--weight-decay", "0.1", "--reduction", "mean"]
    described = ["--layers", "hidden=0,output=2", "--activation", "relu"]
    assert main(["verify", state, *arguments, *described]) == 0
    assert "(3 neurons)" in capsys.readouterr().out
    wrong = ["--layers", "hidden=0,output=2", "--activation", "gelu"]
    for path, more, told in (
        (state, [], "does not say what lies between its layers"),
        (state, wrong, "only ReLU networks"),
        (whole, described, "not a state dict"),
        ("missing.pt", described, "No such file"),
    ):
        assert main(["verify", path, *arguments, *more]) == 2
        assert told in capsys.readouterr().err


@pytest.fixture(scope="module")
def keras():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        yield importlib.import_module("keras")


def test_keras_models_with_a_skip(keras, tmp_path):
    layers = keras.layers
    start = keras.Input((2,))
    hidden = layers.Dense(5, activation="relu")(start)
    straight = layers.Dense(1, use_bias=False)
    for out in (layers.Add()([layers.Dense(1)(hidden), straight(start)]), layers.Dense(1)(hidden) + straight(start)):
        model = keras.Model(start, out)
        network = cr.Network.from_keras(model)
        np.testing.assert_array_equal(network.skip, np.asarray(straight.get_weights()[0], dtype=float))
        np.testing.assert_allclose(network(X), model.predict_on_batch(X.astype("float32")), rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "model.keras")
    v = cr.verify(
        cr.TrainingProblem(X, X[:, 0], 0.1, output_bias="penalized", skip="penalized"), tmp_path / "model.keras"
    )
    assert 0 < v.rounding < 1e-5
    twice = layers.Dense(2, activation="relu")
    for out, named in (
        (layers.Dense(1)(layers.Concatenate()([hidden, start])), "Concatenate"),
        (layers.Dense(1)(layers.Dense(3, activation="relu")(hidden)), "three layers"),
        (twice(twice(start)), "two places"),
        (layers.Dense(1)(layers.Multiply()([hidden, hidden])), "Multiply"),
    ):
        with pytest.raises(UnsupportedError, match=named):
            cr.Network.from_keras(keras.Model(start, out))


def test_keras_models(keras):
    layers = keras.layers
    for middle in ([layers.Dense(5, activation="relu")], [layers.Dense(5), layers.ReLU()]):
        model = keras.Sequential([keras.Input((2,)), *middle, layers.Dense(2)])
        network = cr.Network.from_keras(model)
        # Keras computes in float32.
        np.testing.assert_allclose(network(X), model.predict_on_batch(X.astype("float32")), rtol=1e-4, atol=1e-5)
        assert network.metadata["precision"] == "float32"
    for layer in (layers.LeakyReLU(), layers.BatchNormalization(), layers.ReLU(max_value=6.0)):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(5), layer, layers.Dense(1)])
        with pytest.raises(UnsupportedError, match=type(layer).__name__):
            cr.Network.from_keras(model)
    deep = keras.Sequential([keras.Input((2,)), *(layers.Dense(4, activation="relu") for _ in range(2))])
    with pytest.raises(UnsupportedError, match="three layers"):
        cr.Network.from_keras(deep)
