"""`Network`: evaluation, balancing, merging, saving; the function never changes."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, networks

import convexrelu as cr
from convexrelu.errors import InvalidInputError

GRID = np.array([[-3.0, 1.0], [0.0, 0.0], [0.5, -2.0], [4.0, 4.0], [1.0, -1.0]])


def any_network():
    kinds = st.sampled_from(["none", "penalized", "free"])
    return kinds.flatmap(lambda bias: networks(2, 6, bias=bias, output_bias="free", skip="free"))


def same_function(a, b, X=GRID):
    # Values up to 1000 from sums of a few products: 1e-12 is about ten roundings.
    np.testing.assert_allclose(a(X), b(X), rtol=1e-12, atol=1e-11)


def test_by_hand():
    network = cr.Network(
        [[1.0, 0.0], [0.0, -1.0]], [0.0, 1.0], [[1.0, 2.0], [3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [10.0, 20.0]
    )
    # x = (2, 3): features (2, 0); x = (-1, 0): features (0, 1).
    np.testing.assert_array_equal(network([[2.0, 3.0], [-1.0, 0.0]]), [[2 + 2 + 10, 4 + 3 + 20], [3 - 1 + 10, 20]])
    assert network.n_neurons == 2
    assert repr(network) == "Network(2 neurons, 2 inputs, 2 outputs, bias='penalized')"


def test_missing_parts_are_zero():
    network = cr.Network([[1.0]], None, [[2.0]])
    assert not network.hidden_bias.any() and not network.skip.any() and not network.output_bias.any()
    np.testing.assert_array_equal(network([[3.0], [-3.0]]), [[6.0], [0.0]])


def test_a_network_without_neurons():
    network = cr.Network(np.zeros((0, 2)), None, np.zeros((0, 1)), None, [5.0])
    np.testing.assert_array_equal(network(GRID), np.full((5, 1), 5.0))
    assert network.balanced().n_neurons == network.merged().n_neurons == 0


def test_neuron_norms():
    rows = {"hidden": [[3.0, 4.0]], "hidden_bias": [12.0], "output": [[1.0]]}
    assert cr.Network(**rows).neuron_norms() == [13.0]
    assert cr.Network(**rows, bias="free").neuron_norms() == [5.0]


@examples(80)
@given(any_network())
def test_balancing_keeps_the_function_and_balances(network):
    balanced = network.balanced()
    same_function(balanced, network)
    # Square roots and a product: three roundings.
    np.testing.assert_allclose(balanced.neuron_norms(), np.abs(balanced.output[:, 0]), rtol=4e-15)
    assert (balanced.neuron_norms() > 0).all()
    assert balanced.n_neurons <= network.n_neurons
    # The price |neuron| |output| of the neurons is what it was.
    price = network.neuron_norms() @ np.abs(network.output[:, 0])
    assert balanced.neuron_norms() @ np.abs(balanced.output[:, 0]) == pytest.approx(price, rel=1e-13)


@examples(80)
@given(any_network())
def test_merging_keeps_the_function_and_the_directions_apart(network):
    merged = network.merged()
    same_function(merged, network)
    rows = np.column_stack([merged.hidden, merged.hidden_bias])
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distances = np.linalg.norm(directions[:, None] - directions[None], axis=2) + 2 * np.eye(len(rows))
    assert distances.min(initial=2.0) > 1e-10  # the default tolerance
    price = network.neuron_norms() @ np.abs(network.output[:, 0])
    assert merged.neuron_norms() @ np.abs(merged.output[:, 0]) <= price * (1 + 1e-12)


def test_opposite_outputs_cancel_when_merged():
    network = cr.Network([[1.0], [2.0], [1.0]], [0.0, 0.0, 1.0], [[2.0], [-1.0], [1.0]])
    assert network.merged().n_neurons == 1
    same_function(network, network.merged(), GRID[:, :1])


def test_merging_with_a_tolerance():
    network = cr.Network([[1.0, 0.0], [1.0, 1e-6]], None, [[1.0], [3.0]])
    assert network.merged().n_neurons == 2
    merged = network.merged(tol=1e-5)
    assert merged.n_neurons == 1
    # The direction is that of the larger neuron.
    assert merged.hidden[0, 1] / merged.hidden[0, 0] == pytest.approx(1e-6)


def test_constant_neurons_of_a_free_bias_join_the_output_bias():
    network = cr.Network([[0.0], [0.0], [1.0]], [2.0, -2.0, 0.0], [[3.0], [5.0], [1.0]], bias="free")
    balanced = network.balanced()
    assert balanced.n_neurons == 1 and balanced.output_bias[0] == 6.0
    same_function(network, balanced, GRID[:, :1])
    # A penalised bias pays for them: they stay.
    assert cr.Network([[0.0]], [2.0], [[3.0]]).balanced().n_neurons == 1


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e160, 1e200])
def test_balancing_weights_whose_squares_vanish_or_overflow(size):
    network = cr.Network([[3.0 * size]], [4.0 * size], [[20.0 / size]])
    balanced = network.balanced()
    np.testing.assert_allclose(balanced.hidden, [[6.0]], rtol=1e-15)
    np.testing.assert_allclose(balanced.output, [[10.0]], rtol=1e-15)
    assert not balanced.output_bias.any()
    same_function(network, balanced, GRID[:, :1])


def test_a_neuron_too_small_to_have_an_effect_leaves_no_bias():
    gone = cr.Network([[1e-200]], [1e-200], [[1e-200]]).balanced()
    assert gone.n_neurons == 0 and not gone.output_bias.any()


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_balancing_extreme_scales(size):
    # A quotient of the norms would overflow or vanish; their square roots do not.
    network = cr.Network([[size]], None, [[1 / size]])
    balanced = network.balanced()
    assert balanced.hidden[0, 0] == pytest.approx(1.0, rel=1e-14) and balanced.output[0, 0] == pytest.approx(
        1.0, rel=1e-14
    )


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
def test_save_and_load(tmp_path, bias):
    rng = np.random.default_rng(0)
    metadata = {"weight_decay": 0.1, "features": ["a", "ä"], "nested": {"n": None}}
    network = cr.Network(
        rng.standard_normal((3, 2)),
        None if bias == "none" else rng.standard_normal(3),
        rng.standard_normal((3, 2)),
        rng.standard_normal((2, 2)),
        rng.standard_normal(2),
        bias,
        metadata,
    )
    path = tmp_path / "network.npz"
    network.save(path)
    loaded = cr.Network.load(str(path))
    for name in ("hidden", "hidden_bias", "output", "skip", "output_bias"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(network, name))
        assert not getattr(loaded, name).flags.writeable
    assert loaded.bias == bias and loaded.metadata == metadata


def test_save_and_load_without_neurons(tmp_path):
    network = cr.Network(np.zeros((0, 2)), None, np.zeros((0, 3)))
    network.save(tmp_path / "empty.npz")
    loaded = cr.Network.load(tmp_path / "empty.npz")
    assert loaded.hidden.shape == (0, 2) and loaded.output.shape == (0, 3)


def test_the_path_is_taken_as_it_is(tmp_path):
    cr.Network([[1.0]], None, [[1.0]]).save(tmp_path / "network")
    assert [path.name for path in tmp_path.iterdir()] == ["network"]


@pytest.mark.parametrize("content", [b"", b"not a network", b"PK\x03\x04 cut off"], ids=repr)
def test_files_that_are_no_networks(tmp_path, content):
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"file\.npz.* is not a network written by Network\.save"):
        cr.Network.load(path)


def save_raw(path, header, **arrays):
    with open(path, "wb") as file:
        np.savez(file, header=np.array(header), **arrays)


def test_archives_that_are_no_networks(tmp_path):
    path = tmp_path / "file.npz"
    one = np.ones((1, 1))
    good = {"hidden": one, "hidden_bias": one[0], "output": one, "skip": one, "output_bias": one[0]}
    header = json.dumps({"format": 1, "bias": "none", "metadata": {}})
    save_raw(path, header, **good)
    assert cr.Network.load(path).n_neurons == 1
    for text, arrays in (
        ("not json", good),
        ("{}", good),
        (json.dumps({"format": 1}), good),
        (header, {"hidden": one}),
        (header, {name: array for name, array in good.items() if name != "hidden_bias"}),
        (header, {**good, "surprise": np.ones(1)}),
        (header, {**good, "output": np.ones((2, 1))}),
        (header, {**good, "hidden": np.array([["a"]])}),
        (header, {**good, "hidden": np.array([[{"a": 1}]], dtype=object)}),
        (json.dumps({"format": 1, "bias": "odd", "metadata": {}}), good),
    ):
        save_raw(path, text, **arrays)
        with pytest.raises(InvalidInputError):
            cr.Network.load(path)


def test_later_formats_say_so(tmp_path):
    save_raw(tmp_path / "new.npz", json.dumps({"format": 99, "bias": "none", "metadata": {}}), hidden=np.ones((1, 1)))
    with pytest.raises(InvalidInputError, match="format 99; upgrade convexrelu"):
        cr.Network.load(tmp_path / "new.npz")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        cr.Network.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], None, [[1.0]]), r"`hidden` must be an array with 2 axes, got shape \(1,\)"),
        (([[1.0]], None, [1.0]), r"`output` must be an array with 2 axes"),
        (([[1.0]], None, [[1.0], [2.0]]), r"`output` must have shape \(1, 1\)|`output`"),
        (([[1.0]], [1.0, 2.0], [[1.0]]), r"`hidden_bias` must have shape \(1,\).*got \(2,\)"),
        (([[1.0]], None, [[1.0]], [[1.0, 2.0]]), r"`skip` must have shape \(1, 1\).*got \(1, 2\)"),
        (([[1.0]], None, [[1.0]], None, [1.0, 2.0]), r"`output_bias` must have shape \(1,\).*got \(2,\)"),
        (([[math.nan]], None, [[1.0]]), r"`hidden` must be finite, got nan at \[0, 0\]"),
        (([[1.0]], [math.inf], [[1.0]]), r"`hidden_bias` must be finite, got inf at \[0\]"),
        (([["a"]], None, [[1.0]]), r"`hidden` must be an array of real numbers"),
        ((np.array([[1j]]), None, [[1.0]]), r"`hidden` must be an array of real numbers"),
        (([[1.0]], None, [[1.0]], None, None, "both"), r"`bias` must be one of .*got 'both'"),
    ],
    ids=str,
)
def test_bad_networks(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.Network(*arguments)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1.0, 2.0]], r"`X` must have 1 columns, got shape \(1, 2\)"),
        ([1.0], r"`X` must be a matrix"),
        ([[math.nan]], r"`X` has 1 NaN"),
    ],
    ids=str,
)
def test_bad_inputs(X, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.Network([[1.0]], None, [[1.0]])(X)


def test_arrays_are_read_only_copies():
    hidden = np.ones((1, 1))
    network = cr.Network(hidden, [0.0], [[1.0]])
    hidden[0, 0] = 7.0
    assert network.hidden[0, 0] == 1.0
    for name in ("hidden", "hidden_bias", "output", "skip", "output_bias"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(network, name)[...] = 0.0
    with pytest.raises(AttributeError):
        network.hidden = hidden


def test_alive_keeps_the_predictions_on_the_data():
    network = cr.Network([[1.0], [-1.0], [1.0]], [0.0, 0.0, -5.0], [[1.0], [2.0], [3.0]])
    X = [[1.0], [2.0]]
    alive = network.alive(X)
    assert alive.n_neurons == 1
    np.testing.assert_array_equal(alive(X), network(X))
