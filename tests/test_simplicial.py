"""Simplicial cones cover the cones of patterns, and do not overlap."""

import numpy as np
import pytest
from hypothesis import given
from strategies import data, examples

from convexrelu.patterns.arrangement import arrange
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.simplicial import extreme_rays, simplicial_cones


def check(arrangement, n_points=400):
    """Random directions lie in exactly one simplicial cone, that of their pattern, or in none if that is not listed."""
    Z = arrangement.Z
    patterns = enumerate_arrangement(arrangement)
    cones = simplicial_cones(Z, patterns)
    points = np.random.default_rng(0).standard_normal((n_points, Z.shape[1]))
    # Coordinates in the rays of every cone: all non-negative inside.
    inside = (np.linalg.inv(cones.rays.transpose(0, 2, 1)) @ points.T >= 0).all(axis=1)
    index = {row.tobytes(): i for i, row in enumerate(patterns.active)}
    for point, cover in zip(points, inside.T, strict=True):
        own = index.get((Z @ point > 0).tobytes())
        assert [cones.pattern[c] for c in np.flatnonzero(cover)] == ([] if own is None else [own])
    return patterns, cones


@pytest.mark.parametrize(("n", "d"), [(5, 1), (5, 2), (6, 3), (5, 4)])
def test_every_direction_is_in_one_cone(n, d):
    X = np.random.default_rng(n).standard_normal((n, d))
    patterns, cones = check(arrange(X, "none"))
    assert len(cones) >= len(patterns)
    if d <= 2:
        assert len(cones) == len(patterns)


@given(data(6, 3))
@examples(25)
def test_ties_are_no_exception(X):
    for bias in ("none", "free"):
        arrangement = arrange(X, bias)
        if arrangement.n_penalized:
            check(arrangement, 50)


def test_rays_of_a_square_cone():
    K = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, -1.0, 1.0]]) / np.sqrt(2)
    rays = extreme_rays(K)
    np.testing.assert_allclose(np.sort(rays[:, 0] / rays[:, 2]), [-1, -1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(np.sort(rays[:, 1] / rays[:, 2]), [-1, -1, 1, 1], atol=1e-12)


def test_flat_cones_have_none():
    K = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert len(extreme_rays(K)) == 1
