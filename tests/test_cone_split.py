"""Splits of vectors into vectors of a cone, and the width that bounds their cost."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from convexrelu.backends import get_backend
from convexrelu.cone_split import cone_width, split

CLARABEL = get_backend("clarabel")


def cone(seed, free):
    """Rows with an interior vector, and penalised coordinates."""
    rng = np.random.default_rng(seed)
    k = rng.integers(2, 4)
    Z = rng.integers(-2, 3, (rng.integers(1, 5), k)).astype(float)
    if free:
        Z[:, -1] = 1.0
    c = rng.standard_normal(k)
    K = np.sign(Z @ c)[:, None] * Z
    return K[Z.any(axis=1)], k - free, rng.standard_normal(k)


def cheapest(w, K, p):
    u, v = cp.Variable(len(w)), cp.Variable(len(w))
    cost = cp.norm(u[:p]) + cp.norm(v[:p])
    program = cp.Problem(cp.Minimize(cost), [u - v == w, K @ u >= 0, K @ v >= 0])
    return float(program.solve(solver="CLARABEL"))


@given(st.integers(0, 1000), st.booleans())
@examples(25)
def test_the_split_is_cheapest_and_bounded(seed, free):
    K, p, w = cone(seed, int(free))
    if not len(K):
        return
    u, v = split(w, K, p, CLARABEL)
    np.testing.assert_allclose(u - v, w, atol=1e-14 * np.abs(v).max() + 1e-15)
    assert min((K @ u).min(), (K @ v).min()) >= -1e-8 * np.abs(np.stack([u, v])).max()
    cost = np.linalg.norm(u[:p]) + np.linalg.norm(v[:p])
    assert cost == pytest.approx(cheapest(w, K, p), rel=1e-6, abs=1e-7)
    width = cone_width(K, p, CLARABEL)
    assert cost <= (np.linalg.norm(w[:p]) + 2 * width.kappa * np.linalg.norm(w)) * (1 + 1e-7)
    # What it rests on: the margin of the centre is its cost over kappa.
    rows = K / np.linalg.norm(K, axis=1)[:, None]
    assert width.kappa * (rows @ width.center).min() >= np.linalg.norm(width.center[:p]) * (1 - 1e-12)


def test_the_width_of_a_sector():
    # Between angles -a and a the middle has margin sin a.
    a = 0.3
    K = np.array([[np.sin(a), np.cos(a)], [np.sin(a), -np.cos(a)]])
    width = cone_width(K, 2, CLARABEL)
    assert width.kappa == pytest.approx(1 / np.sin(a), rel=1e-6)
    np.testing.assert_allclose(width.center, [1.0, 0.0], atol=1e-6)


def test_a_flat_cone_has_no_width():
    assert np.isinf(cone_width(np.array([[1.0, 0.0], [-1.0, 0.0]]), 2, CLARABEL).kappa)
    assert cone_width(np.zeros((0, 2)), 2, CLARABEL).kappa == 0.0
