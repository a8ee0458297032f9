"""Dual variables: into the box of the loss and orthogonal to the free columns."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

from convexrelu.dual_domain import DualDomain
from convexrelu.losses import get_loss

BINARY = ("logistic", "hinge", "squared_hinge")
REGRESSION = ("squared", "absolute", "huber", "quantile")


def domain_of(name, Y, weight, free):
    loss = get_loss(name)
    return DualDomain(loss, loss.targets(Y), weight, free)


@st.composite
def domains(draw, names):
    """Domains with a constant, or a constant and a linear column, and a dual variable."""
    X = draw(data(max_n=6, max_d=2))
    n = len(X)
    free = np.column_stack([X, np.ones(n)])[:, draw(st.sampled_from([slice(-1, None), slice(None)]))]
    weight = np.abs(draw(vectors(n, 2))) / 2
    weight[draw(st.integers(0, n - 1))] = 1.0
    Y = draw(vectors(n, 3))[:, None]
    name = draw(st.sampled_from(names))
    domain = domain_of(name, np.where(Y > 0, 1.0, -1.0) if name in BINARY else Y, weight, free)
    return domain, draw(vectors(n, 3))[:, None] / 2


@examples(100)
@given(domains(BINARY))
def test_the_nearest_dual_variable_is_feasible(case):
    domain, nu = case
    found = domain.nearest(nu)
    lower, upper = domain.loss.domain(domain.Y, domain.weight)
    assert ((found >= lower) & (found <= upper)).all()
    assert not found[~domain.used].any()
    # Orthogonal to rounding: the entries are at most a few, the columns of the basis have length one.
    assert np.abs(domain.basis.T @ found).max(initial=0.0) <= 1e-13
    assert np.abs(np.where(domain.used[:, None], domain.free, 0.0).T @ found).max() <= 1e-12


@examples(50)
@given(domains(REGRESSION))
def test_losses_with_zero_inside_are_projected(case):
    domain, nu = case
    lower, upper = domain.loss.domain(domain.Y, domain.weight)
    Q, clipped = domain.basis, np.clip(nu, lower, upper)
    np.testing.assert_allclose(domain.nearest(nu), clipped - Q @ (Q.T @ clipped), atol=1e-14)


@examples(50)
@given(domains(BINARY))
def test_feasible_dual_variables_stay(case):
    domain, nu = case
    found = domain.nearest(nu)
    np.testing.assert_allclose(domain.nearest(found), found, atol=1e-12)


@pytest.mark.parametrize("name", BINARY)
def test_samples_are_used_unless_they_cost_nothing(name):
    ones = np.ones((3, 1))
    assert domain_of(name, np.array([[1.0], [-1.0], [1.0]]), np.ones(3), ones).used.all()
    alone = domain_of(name, np.array([[1.0], [-1.0], [1.0]]), np.array([1.0, 0.0, 2.0]), ones)
    assert not alone.used.any() and alone.n_separated == 2
    assert domain_of(name, np.ones((3, 1)), np.ones(3), np.zeros((3, 0))).n_separated == 0


def test_solver_errors_are_moved_by_the_entries_inside():
    # Three entries at the boundary, one inside: it alone can take up the slip without costing a margin.
    Y = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    domain = domain_of("hinge", Y, np.ones(4), np.ones((4, 1)))
    nu = np.array([[1.0], [0.25 + 1e-9], [-1.0], [-0.25]])
    found = domain.nearest(nu)
    assert found[0, 0] == 1.0 and found[2, 0] == -1.0
    assert abs(found.sum()) <= 1e-15 and np.abs(found - nu).max() <= 1.1e-9


def test_softmax_rows_and_columns_sum_to_zero():
    rng = np.random.default_rng(0)
    Y = get_loss("softmax").targets(np.array([[0.0], [1.0], [2.0], [0.0], [1.0]]))
    for free in (np.ones((5, 1)), np.zeros((5, 0))):
        domain = domain_of("softmax", Y, np.ones(5), free)
        nu = -domain.loss.gradient(30 * rng.standard_normal(Y.shape), Y, domain.weight)
        found = domain.nearest(nu)
        assert np.abs(found.sum(axis=1)).max() <= 1e-14
        assert np.abs(free.T @ found).max(initial=0.0) <= 1e-14
        if free.size:
            assert np.isfinite(domain.loss.dual_value(found, Y, domain.weight)[0])
    missing = domain_of(
        "softmax", Y[:3] * [1, 1, 0] + np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0]]), np.ones(3), free[:3]
    )
    assert missing.n_separated == 0  # nothing is free
    assert domain_of("softmax", missing.Y, np.ones(3), np.ones((3, 1))).n_separated == 3


@examples(50)
@given(domains(BINARY), st.integers(0, 99))
def test_the_fit_radius_is_one(case, seed):
    """Whatever the free part, predictions of at most this objective and hidden size are within the radius."""
    domain, _ = case
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal(domain.Y.shape)
    for size in (0.1, 1.0, 10.0, 1e3):
        F = hidden + domain.free @ (size * rng.standard_normal((domain.free.shape[1], 1)))
        used = F[domain.used]
        value = domain.loss.value(F, domain.Y, domain.weight)
        radius = domain.fit_radius(value, float(np.linalg.norm(hidden)))
        assert not used.size or np.linalg.norm(used) <= radius


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", [*BINARY, "softmax"])
def test_many_samples_have_an_interior_point(name, columns):
    rng = np.random.default_rng(0)
    x, weight = rng.random(300), rng.integers(0, 3, 300) / 2
    free = np.column_stack([np.ones(300), x])[:, :columns]
    T = 3 if name == "softmax" else 2
    Y = np.sin(8 * x[:, None] + np.arange(T)) + rng.standard_normal((300, T))
    labels = np.eye(T)[Y.argmax(axis=1)] if name == "softmax" else np.where(Y > 0, 1.0, -1.0)
    domain = domain_of(name, labels, weight, free)
    inside = domain._interior
    lower, upper = domain.loss.domain(labels, weight)
    assert domain.n_separated == 0
    assert not inside[weight == 0].any()
    assert np.abs(free.T @ inside).max() <= 1e-12
    assert np.abs(inside.sum(axis=1)).max() <= 1e-14 or name != "softmax"
    assert (np.minimum(inside - lower, upper - inside)[weight > 0].min(axis=1) > 5e-4).all()


def test_separated_labels_of_many_samples_are_told():
    x = np.linspace(-1, 1, 300)
    domain = domain_of("hinge", np.where(x > 0.1, 1.0, -1.0)[:, None], np.ones(300), np.column_stack([np.ones(300), x]))
    assert domain.n_separated == 300


@examples(60)
@given(domains(BINARY))
def test_the_leak_bounds_what_rounding_leaves(case):
    domain, nu = case
    found = domain.nearest(nu)
    rows = np.flatnonzero(domain.used)
    Q, exact = oracles.fractions(domain.free[rows]), oracles.fractions(found[rows])
    bound = Fraction(domain.leak(found))
    for beta in ((1, 0), (0, 1), (3, -2), (-1, 4)):
        fit = [sum(b * q for b, q in zip(beta, row, strict=False)) for row in Q]
        seen = sum(f * v[0] for f, v in zip(fit, exact, strict=True))
        assert seen**2 <= bound**2 * sum(f * f for f in fit)
