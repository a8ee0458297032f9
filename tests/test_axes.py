"""Turned coordinates: bounds that hold for the data as given, and fewer boxes where columns are correlated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing import axes
from convexrelu.pricing.axes import box_axes
from convexrelu.pricing.dual_norm import dual_norm


def shifted_problem(bias, T=2):
    """Columns far from zero: nearly parallel, as raw measurements are."""
    rng = np.random.default_rng(0)
    arrangement = arrange(rng.standard_normal((20, 3)) + 5.0, bias)
    nu = rng.standard_normal((20, T))
    return arrangement, nu - nu.mean(axis=0)


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
@pytest.mark.parametrize("T", [1, 2])
def test_the_neuron_is_one_of_the_data_as_given(bias, T):
    arrangement, nu = shifted_problem(bias, T)
    norm = dual_norm(arrangement, nu)
    assert arrangement.cost(norm.neuron[None])[0] == pytest.approx(1.0, abs=1e-12)
    correlation = np.linalg.norm(nu.T @ np.maximum(arrangement.Z @ norm.neuron, 0.0))
    assert correlation == pytest.approx(norm.lower, rel=1e-12)
    assert norm.lower <= norm.upper <= norm.lower * (1 + 1e-6)


@given(data(5, 3), st.sampled_from(["none", "penalized", "free"]), st.data())
@examples(25)
def test_no_neuron_exceeds_the_bound(X, bias, draw):
    nu = draw.draw(vectors(2 * len(X))).reshape(len(X), 2)
    nu = nu - nu.mean(axis=0)
    arrangement = arrange(X + draw.draw(st.sampled_from([0.0, 3.0])), bias)
    U = np.random.default_rng(0).standard_normal((200, arrangement.Z.shape[1]))
    U = U[arrangement.cost(U) > 0]
    values = np.linalg.norm(np.maximum(U @ arrangement.Z.T, 0.0) @ nu, axis=1) / arrangement.cost(U)
    if bias != "free":
        assert dual_norm(arrangement, nu).upper >= values.max(initial=0.0)
    else:
        # Beyond the last kink nothing changes, but there rounding grows with the bias.
        assert dual_norm(arrangement, nu).upper >= values.max(initial=0.0) * (1 - 1e-12)


def test_turning_is_orthonormal_and_accounted_for():
    arrangement, nu = shifted_problem("penalized")
    turned = box_axes(arrangement, nu)
    defect = np.linalg.norm(turned.V.T @ turned.V - np.eye(len(turned.V)))
    assert 0 < defect < turned.stretch - 1 < 1e-12
    assert np.abs(turned.Z - arrangement.Z @ turned.V).max() < turned.slack < 1e-10


def test_centred_columns_stay_as_they_are():
    X = np.random.default_rng(0).integers(-3, 4, (20, 2)).astype(float)
    arrangement = arrange(X, "none")
    assert box_axes(arrangement, np.ones((20, 1))).Z is arrangement.Z


def test_correlated_columns_take_fewer_boxes(monkeypatch):
    arrangement, nu = shifted_problem("penalized")
    boxes = dual_norm(arrangement, nu).boxes
    monkeypatch.setattr(axes, "WORTHWHILE", 0.0)
    assert boxes < 0.5 * dual_norm(arrangement, nu).boxes
