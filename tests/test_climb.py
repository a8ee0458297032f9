"""The climb to local maxima: never lower, exact on kinks, as high as the dual norm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import dual_norm

import convexrelu.pricing.climb as climbs
from convexrelu.pricing.climb import _Climb, climb
from convexrelu.pricing.smoothing import stiffness_of
from convexrelu.problem import TrainingProblem
from convexrelu.solve import solve

whole = st.integers(-2, 2).map(float)


def heights(Z, p, a, u):
    return np.einsum("bi,bi->b", np.maximum(u @ Z.T, 0.0), a) - 0.5 * (u[:, :p] ** 2).sum(axis=1)


def instance(seed, n, k, free):
    """Gaussian rows, weights that vanish on a free bias, and starts."""
    rng = np.random.default_rng(seed)
    Z, nu, u = rng.standard_normal((n, k)), rng.standard_normal(n), rng.standard_normal((40, k))
    if free:
        Z[:, -1], nu = 1.0, nu - nu.mean()
    a = np.where(np.maximum(u @ Z.T, 0.0) @ nu > 0, 1.0, -1.0)[:, None] * nu
    return Z, k - free, a, u


@given(arrays(float, (6, 3), elements=whole), arrays(float, 6, elements=whole), arrays(float, (4, 3), elements=whole))
def test_no_climb_loses_height(Z, nu, u):
    u = u[u.any(axis=1)]
    a = np.broadcast_to(nu, (len(u), 6))
    end = climb(Z, 3, a, u, 100)
    before, after = heights(Z, 3, a, u), heights(Z, 3, a, end.u)
    assert np.all(after >= before - 1e-6)
    # Where the correlation is positive it does not fall either: at its best length a neuron has half its square.
    good = heights(Z, 0, a, u) > 0
    correlation = heights(Z, 0, a, u) / np.linalg.norm(u, axis=1)
    assert np.all(after[good] >= 0.5 * correlation[good] ** 2 - 1e-6)
    assert np.all((end.c >= 0) & (end.c <= 1))
    np.testing.assert_allclose(end.t, end.u @ Z.T, atol=1e-6)
    clear = (np.abs(end.t) > 1e-6) & (a != 0)
    assert np.all(end.c[clear] == (end.t[clear] > 0))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_climb_ends_at_a_stationary_point(seed, free):
    Z, p, a, u = instance(seed, 60, 6, free)
    end = climb(Z, p, a, u, 200)
    gradient = (end.c * a) @ Z
    gradient[:, :p] -= end.u[:, :p]
    size = np.abs(Z).sum()
    assert np.all(np.abs(gradient) <= 1e-9 * size)
    # Tight samples are on their kinks: their pre-activations are zero, and are those of the neuron.
    np.testing.assert_allclose(end.t, end.u @ Z.T, atol=1e-12 * size)
    # A stationary point that small moves cannot improve: kinks with positive weight are none of them.
    rng = np.random.default_rng(seed)
    for _ in range(20):
        moved = end.u + 1e-4 * rng.standard_normal(end.u.shape)
        assert np.all(heights(Z, p, a, moved) <= heights(Z, p, a, end.u) + 1e-9 * size)


@pytest.mark.parametrize("seed", range(3))
def test_a_climb_leaves_the_kinks_it_starts_on(seed):
    Z, p, _, _ = instance(seed, 60, 4, False)
    rng = np.random.default_rng(seed)
    nu = rng.standard_normal(60)
    # Directions on three kinks each, most of them of samples that a maximum does not sit on.
    u = np.vstack([np.linalg.svd(Z[rng.permutation(60)[:3]])[2][-1] for _ in range(40)])
    a = np.where(np.maximum(u @ Z.T, 0.0) @ nu > 0, 1.0, -1.0)[:, None] * nu
    end = climb(Z, p, a, u, 200)
    gradient = (end.c * a) @ Z - end.u
    assert np.abs(gradient).max() <= 1e-9 * np.abs(Z).sum()


@pytest.mark.parametrize("seed", range(3))
def test_the_best_climb_reaches_the_dual_norm(seed):
    Z, p, a, u = instance(seed, 12, 3, False)
    end = climb(Z, p, a, u, 100)
    values = np.einsum("bi,bi->b", np.maximum(end.u @ Z.T, 0.0), a) / np.linalg.norm(end.u, axis=1)
    assert values.max() == pytest.approx(dual_norm(Z, a[0], "none"), rel=1e-9)


@pytest.mark.parametrize("free", [False, True])
def test_how_many_climb_at_once_changes_nothing(free, monkeypatch):
    Z, p, a, u = instance(3, 60, 6, free)
    together = climb(Z, p, a, u, 200)
    monkeypatch.setattr(climbs, "_CACHED", 8 * len(Z))
    in_turns = climb(Z, p, a, u, 200)
    np.testing.assert_allclose(in_turns.u, together.u, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(in_turns.c, together.c, atol=1e-9)


@pytest.mark.parametrize("free", [False, True])
def test_the_gradient_is_kept_up_to_date(free):
    Z, p, a, u = instance(4, 60, 6, free)
    climbing = _Climb(Z, p, a, u)
    climbing.run(200)
    assert climbing.arrived.all()
    pull = (a * (climbing.side > 0)) @ Z
    np.testing.assert_allclose(climbing.pull, pull, atol=1e-12 * np.abs(Z).sum())


@pytest.mark.parametrize("free", [False, True])
def test_the_inverse_of_the_curvature_is_kept_up_to_date(free):
    Z, p, _, u = instance(5, 30, 4, free)
    Z = np.vstack([Z, Z[:10]] if free else [Z, Z[:10], -Z[:10]])  # equal samples are tight together, and opposite ones
    nu = np.random.default_rng(5).standard_normal(len(Z))
    nu -= nu.mean() if free else 0.0
    climbing = _Climb(Z, p, np.where(np.maximum(u @ Z.T, 0.0) @ nu > 0, 1.0, -1.0)[:, None] * nu, u)
    climbing.run(200)
    assert (climbing.side == 0).any()
    for inverse, side in zip(climbing.inverse, climbing.side, strict=True):
        curvature = np.diag(climbing.metric) + (Z.T * climbing.stiff * (side == 0)) @ Z
        np.testing.assert_allclose(inverse @ curvature, np.eye(4), atol=1e-4)


@pytest.mark.parametrize("scale", [1e-90, 1e90])
def test_climbs_do_not_depend_on_the_scale_of_the_data(scale):
    Z, p, a, u = instance(6, 60, 6, False)
    end, scaled = climb(Z, p, a, u, 200), climb(scale * Z, p, a, u, 200)
    np.testing.assert_allclose(scaled.u / scale, end.u, atol=1e-9 * np.abs(end.u).max())
    np.testing.assert_allclose(scaled.c, end.c, atol=1e-9)


@given(arrays(float, (3, 9), elements=st.sampled_from([1e-190, 0.25, 1.0, 2.0, 1e200, np.inf])), st.integers(1, 9))
def test_the_smallest_values_in_order(values, count):
    places, smallest = climbs._smallest(values, count)
    wanted = np.minimum(np.sort(values, axis=1)[:, :count], 1e300)
    np.testing.assert_allclose(smallest, wanted, rtol=1e-14)
    np.testing.assert_allclose(np.minimum(np.take_along_axis(values, places, axis=1), 1e300), wanted)
    assert all(len(set(row)) == count for row in places)


@pytest.mark.parametrize(
    ("X", "y", "loss"),
    [
        ([[0.0], [2e47], [-2e47], [-1e47]], [-1, 0, -1, -2], "huber"),
        ([[-1e87, 2e74], [-1e87, 1e74], [-1e87, 0.0]], [1, 0, 1], "squared"),
    ],
)
def test_climbs_on_huge_data_do_not_warn(X, y, loss):
    certificate = solve(TrainingProblem(X, y, 1.0, loss, bias="none", output_bias="free")).certificate
    assert certificate.lower_bound <= certificate.objective


def test_kinks_of_tiny_data_are_hard():
    stiffness = stiffness_of(np.array([1e-140]), np.array([[1.0], [0.0], [-2.0]]), 10.0)[1]
    np.testing.assert_array_equal(stiffness, 1e100)
