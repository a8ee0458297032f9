"""The joint dual norm over cones, face by face: never below a neuron, equal to the oracle and to the proof by boxes."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

import convexrelu as cr
from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing.dual_norm import dual_norm, dual_norm_over_patterns
from convexrelu.problem import MODES


def dual_variable(X, N, bias):
    """Integers whose columns add up to zero where the bias is free."""
    N = N.reshape(len(X), -1)
    return len(X) * N - N.sum(axis=0) if bias == "free" else N


def over_all(X, N, bias):
    return dual_norm_over_patterns(arrange(X, bias), cr.enumerate_patterns(X, bias=bias), N)


@given(data(5, 2), st.sampled_from(MODES), st.integers(2, 3), st.data())
@examples(40)
def test_bound_is_never_below_the_norm(X, bias, tasks, draw):
    N = dual_variable(X, draw.draw(vectors(len(X) * tasks)), bias)
    norm, exact = over_all(X, N, bias), oracles.joint_dual_norm(X, N, bias)
    assert norm.scope == "global"
    assert norm.upper >= exact * (1 - 1e-12)  # the oracle's own rounding
    assert norm.lower <= exact * (1 + 1e-12)


@pytest.mark.parametrize("bias", MODES)
@pytest.mark.parametrize(("d", "tasks"), [(2, 2), (2, 5), (3, 2), (3, 12)])
def test_equal_to_the_oracle_and_to_boxes(d, tasks, bias, monkeypatch):
    rng = np.random.default_rng(d + tasks)
    X, N = rng.standard_normal((5, d)), rng.standard_normal((5, tasks))
    N -= N.mean(axis=0) if bias == "free" else 0.0
    norm, exact = over_all(X, N, bias), oracles.joint_dual_norm(X, N, bias)
    # Gaps between singular values are rarely below 1e-2: what spans are off by, 1e-10, counts 1e-8 at most.
    assert norm.lower == pytest.approx(exact, rel=1e-12)
    assert exact * (1 - 1e-12) <= norm.upper <= exact * (1 + 1e-8)
    monkeypatch.setattr("convexrelu.pricing.dual_norm.FACES_RANK", 0)
    # Boxes end at 1e-7 above the best neuron.
    assert dual_norm(arrange(X, bias), N).upper == pytest.approx(norm.upper, rel=1e-6)


@pytest.mark.parametrize("bias", MODES)
def test_over_given_patterns_it_holds_for_their_neurons(bias):
    rng = np.random.default_rng(1)
    X, N = rng.standard_normal((8, 2)), rng.standard_normal((8, 3))
    N -= N.mean(axis=0) if bias == "free" else 0.0
    arrangement, patterns = arrange(X, bias), cr.sample_patterns(X, 6, bias=bias)
    norm = dual_norm_over_patterns(arrangement, patterns, N)
    assert norm.scope == "patterns"
    W, b = rng.standard_normal((20_000, 2)), rng.standard_normal(20_000) * (bias != "none")
    if bias == "free":  # the bound is for kinks at samples (theory A.3), in one of the two cells there
        b = -(W @ X.T)[np.arange(len(W)), rng.integers(len(X), size=len(W))] * (1 - 1e-9)
    pre = W @ X.T + b[:, None]
    known = {tuple(row) for row in patterns.active.tolist()}
    mine = np.array([tuple(row) in known for row in (pre > 0).tolist()])
    cost = np.linalg.norm(W if bias == "free" else np.column_stack([W, b]), axis=1)
    values = np.linalg.norm(np.maximum(pre, 0) @ N, axis=1) / cost
    assert mine.sum() > 100
    # As drawn, kinks are 1e-9 beside samples where the bias is free.
    assert 0.9 * norm.upper <= values[mine].max() <= norm.upper * (1 + 1e-8)


def test_coinciding_singular_values_leave_a_valid_bound():
    # In the cell where both samples are on, |M u| is one for every u; elsewhere it is less.
    norm = over_all(np.eye(2), np.eye(2), "none")
    assert 1.0 <= norm.upper <= 1.0 + 1e-8
    # Where they coincide outside the cone of a pattern the bound may be loose, but the proof by boxes takes over.
    X, N = np.array([[1.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]]), np.array([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    exact = oracles.joint_dual_norm(X, N, "none")
    assert exact * (1 - 1e-12) <= dual_norm(arrange(X, "none"), N).upper <= exact * (1 + 1e-6)


def test_no_weights_no_norm():
    assert over_all(np.zeros((3, 1)), np.ones((3, 2)), "none").upper <= 1e-12
    assert over_all(np.eye(3), np.zeros((3, 2)), "penalized").upper == 0.0
