"""Pairs of points in second-order cones: scalings, eliminations and steps to the boundary."""

import numpy as np
import pytest

from convexrelu.cones import ConePair, is_inside, reach


def interior_points(seed, m=7, T=3):
    """Points of second-order cones, some of them near the boundary."""
    rng = np.random.default_rng(seed)
    tail = rng.standard_normal((m, T))
    return np.column_stack([np.linalg.norm(tail, axis=1) + 10.0 ** rng.uniform(-6, 1, m), tail])


@pytest.mark.parametrize("seed", range(5))
def test_scalings(seed):
    x, y = interior_points(seed), interior_points(seed + 100)
    pair, v = ConePair(x, y), np.random.default_rng(seed).standard_normal(x.shape)
    np.testing.assert_allclose(pair.squared(y), x, rtol=1e-6, atol=1e-6)
    # Products of x + W^2 dy = aim / y with y are the aim.
    aimed = pair.towards(0.5)
    np.testing.assert_allclose(np.einsum("bj,bj->b", aimed, y), 0.5, rtol=1e-6)
    # Eliminating the first coordinate of W^2 v leaves the rest.
    image = pair.squared(v)
    left = np.einsum("bij,bj->bi", pair.rest, v[:, 1:])
    size = np.abs(image).max()
    np.testing.assert_allclose(left, image[:, 1:] - pair.tilt * image[:, :1], rtol=1e-5, atol=1e-6 * size)
    first = image[:, 0] / pair.first - np.einsum("bj,bj->b", pair.tilt, v[:, 1:])
    np.testing.assert_allclose(first, v[:, 0], rtol=1e-5, atol=1e-5 * np.abs(v).max())


@pytest.mark.parametrize("seed", range(20))
def test_the_reach_of_a_step_ends_on_the_boundary(seed):
    x = interior_points(seed, m=1)
    dx = np.random.default_rng(seed).standard_normal(x.shape)
    length = reach(x, dx)
    if np.isfinite(length):
        assert is_inside(x + length * (1 - 1e-6) * dx)
        assert not is_inside(x + (length * (1 + 1e-6) + 1e-12) * dx)
    else:
        assert is_inside(x + 1e6 * dx)
