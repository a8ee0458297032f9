"""The proof of the dual norm: against an exact enumeration on tiny data, at every budget, and on a solved program."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.pricing import bound, boxes
from convexrelu.pricing.bound import bound_dual_norm
from convexrelu.pricing.slopes import Side
from tests.strategies import data, examples, vectors

ROUNDING = 1e-12  # the oracle below sums at most 6 products of 3 terms: a few units of 1e-16, with room


def correlations(Z, nu, U):
    """|nu . relu(Z u)| for each row of U."""
    return np.abs(np.maximum(U @ Z.T, 0.0) @ nu)


def exact_dual_norm(Z, nu):
    """A maximiser lies inside some face {z_i . u = 0, i in K}, along the projection of Z^T D nu: try every K and D."""
    n, k = Z.shape
    patterns = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    gradients = (patterns * nu) @ Z
    best = 0.0
    for size in range(k):
        for K in itertools.combinations(range(n), size):
            rows = Z[list(K)].reshape(size, k)
            U = gradients - gradients @ np.linalg.pinv(rows) @ rows
            U = U[np.linalg.norm(U, axis=1) > 1e-9 * (1 + np.abs(gradients).max())]
            U = U / np.linalg.norm(U, axis=1)[:, None]
            best = max(best, correlations(Z, nu, np.vstack([U, -U])).max(initial=0.0))
    return best


def exact_free_dual_norm(X, nu):
    """Anchoring: some maximiser's hyperplane passes through a sample (theory A.3)."""
    return max(exact_dual_norm(X - x, nu) for x in X)


@st.composite
def instances(draw, scales=(0,)):
    """Z, nu, p and the exact dual norm; nu sums to zero when the bias is free."""
    X = draw(data(max_n=6, max_d=3)) * 10.0 ** draw(st.sampled_from(scales))
    nu = draw(vectors(len(X)))
    if draw(st.booleans()):
        return X, nu, X.shape[1], exact_dual_norm(X, nu)
    nu[-1] -= nu.sum()
    return np.column_stack([X, np.ones(len(X))]), nu, X.shape[1], exact_free_dual_norm(X, nu)


def prove(instance, factor, max_boxes=100_000, **options):
    """Bound at a multiple of the exact value (at one if that is zero)."""
    Z, nu, p, exact = instance
    return bound_dual_norm(Z, nu[:, None], p, target=(exact or 1.0) * factor, max_boxes=max_boxes, **options)


def check_valid(instance, result):
    """What every result must satisfy, finished or not."""
    Z, nu, p, exact = instance
    assert result.upper >= exact * (1 - ROUNDING)
    assert result.lower <= exact * (1 + ROUNDING) + ROUNDING
    assert np.linalg.norm(result.neuron[:p]) == pytest.approx(1.0, abs=1e-12)  # cost one, to rounding
    size = np.abs(nu) @ np.abs(Z) @ np.abs(result.neuron)
    assert correlations(Z, nu, result.neuron[None])[0] == pytest.approx(result.lower, abs=ROUNDING * (1 + size))


@examples(150)
@given(instances(), st.sampled_from([1e-7, 1e-3, 0.5]))
def test_the_proof_finishes_just_above_the_exact_value(instance, margin):
    result = prove(instance, 1 + margin)
    check_valid(instance, result)
    assert result.finished
    assert result.upper <= (instance[3] or 1.0) * (1 + margin) * (1 + ROUNDING)


@examples(50)
@given(instances(scales=(-6, -3, 3, 6)))
def test_units_of_the_data_do_not_matter(instance):
    result = prove(instance, 1 + 1e-6)
    check_valid(instance, result)
    assert result.finished


@examples(60)
@given(instances(), st.integers(0, 2))
def test_columns_in_very_different_units(instance, column):
    Z, nu, p, _ = instance
    Z = Z.copy()
    Z[:, :p] *= 10.0 ** np.roll([6.0, -6.0, 0.0], column)[:p]
    exact = exact_dual_norm(Z, nu) if p == Z.shape[1] else exact_free_dual_norm(Z[:, :p], nu)
    result = prove((Z, nu, p, exact), 1 + 1e-3, max_boxes=20_000)
    # The oracle itself loses digits to the units, in proportion to the largest entries.
    assert result.upper >= exact * (1 - 1e-9) - 1e-9 * np.abs(nu) @ np.abs(Z).max(axis=1) * 1e-6


@examples(60)
@given(instances(), st.sampled_from([1.0, 1 + 1e-9, 1 + 1e-4]))
def test_every_budget_gives_a_valid_bound_and_a_larger_one_no_worse(instance, factor):
    uppers = []
    for budget in (0, 130, 300, 1000, 3000):
        result = prove(instance, factor, max_boxes=budget)
        check_valid(instance, result)
        assert result.boxes <= budget
        uppers.append(result.upper)
    assert all(later <= earlier for earlier, later in itertools.pairwise(uppers))


@examples(60)
@given(instances(), st.sampled_from([0.3, 0.9, 0.999]))
def test_a_target_below_the_maximum_is_refuted_by_a_neuron(instance, factor):
    Z, nu, _, exact = instance
    result = prove(instance, factor)
    check_valid(instance, result)
    if exact > 0:
        assert not result.finished
        assert correlations(Z, nu, result.neuron[None])[0] > factor * exact


@examples(40)
@given(instances(), st.integers(0, 5))
def test_starts_may_be_anything(instance, seed):
    starts = np.random.default_rng(seed).standard_normal((4, instance[0].shape[1]))
    starts[0] = 0.0
    result = prove(instance, 1 + 1e-6, starts=starts)
    check_valid(instance, result)
    assert result.finished


def gaussian_instance(n, k, seed, free=False):
    """A dual variable of no particular problem."""
    rng = np.random.default_rng(seed)
    Z, nu = rng.standard_normal((n, k)), rng.standard_normal(n)
    return (np.column_stack([Z, np.ones(n)]), nu - nu.mean()) if free else (Z, nu)


@pytest.mark.parametrize("free", [False, True])
def test_no_random_neuron_exceeds_the_bound(free):
    Z, nu = gaussian_instance(40, 4, 0, free)
    result = bound_dual_norm(Z, nu, 4, target=1e-3, max_boxes=200)
    while not result.finished:  # each refutation raises the target: ends at the maximum, proven to 1e-6
        tau = result.lower
        result = bound_dual_norm(Z, nu, 4, target=tau * (1 + 1e-6), max_boxes=200_000)
    U = np.random.default_rng(1).standard_normal((100_000, Z.shape[1])) * ([1, 1, 1, 1, 2] if free else 1)
    U /= np.linalg.norm(U[:, :4], axis=1)[:, None]
    assert correlations(Z, nu, U).max() <= result.upper
    assert tau < 1.1 * correlations(Z, nu, U).max()  # 100 000 directions in rank 4 come within 10 %


def relaxed_boxes(seed, free, target):
    """A batch of boxes, bounded in every way there is one after the other, and points (200, boxes, k) in them."""
    rng = np.random.default_rng(seed)
    Z, nu = gaussian_instance(30, 3, seed, free)
    radius = np.linalg.norm(Z[:, :3], axis=1).max() if free else 0.0
    side = Side.of(Z, nu, 3, radius)
    side.climb(rng.standard_normal((1, Z.shape[1])))
    batch = boxes.first_boxes(side, 16.0, np.inf)
    for _ in range(4):
        batch = boxes.halve(batch, rng.integers(0, Z.shape[1], len(batch)))
    batch = batch.part(slice(100, 400))
    corners = rng.choice([-1.0, 1.0], (200, *batch.C.shape)) * rng.uniform(0, 1, (200, *batch.C.shape)) ** 0.2
    W = batch.C + batch.H * corners
    batch, rows, t, r = boxes.intervals(batch)
    open_ = boxes.relax(batch, t, r, target)
    yield side, open_, W
    boxes.refine(open_, batch, rows, target)
    yield side, open_, W
    boxes.recall(open_, side, target)
    yield side, open_, W


def correlation_at(side, W):
    """h at points of any leading shape."""
    return np.maximum(W @ side.Z.T, 0.0) @ side.v


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_linear_bounds_hold_at_every_stage(seed, free):
    target = 6.0
    for side, open_, W in relaxed_boxes(seed, free, target):
        h = correlation_at(side, W)
        linear = open_.q + np.einsum("sbk,bk->sb", W, open_.g)
        assert np.all(h <= linear + 1e-11)  # sums of 30 products of size up to 100
        assert np.all(linear - target * np.linalg.norm(W[..., :3], axis=2) <= open_.x + 1e-11)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_cut_off_a_box_is_below_the_target(seed, free):
    target = 1.5  # low enough that boxes stay open
    *_, (_, open_, W) = relaxed_boxes(seed, free, target)
    still = open_.x > 0
    open_.keep(still)
    W, whole = W[:, still], open_.H.copy()
    boxes.shrink(open_, 0.0, np.full(W.shape[2], boxes.FINEST))
    outside = (np.abs(W - open_.C) > open_.H * (1 + 1e-12)).any(axis=2)
    assert outside.any()
    assert np.all(whole >= open_.H)
    linear = open_.q + np.einsum("sbk,bk->sb", W, open_.g)
    # The linear bound itself is below the target there, not only the correlation.
    assert np.all((linear - target * np.linalg.norm(W[..., :3], axis=2))[outside] <= 1e-11)


def test_a_target_met_exactly_is_not_called_proven():
    result = bound_dual_norm(np.array([[3.0]]), np.array([1.0]), 1, target=3.0, max_boxes=100)
    assert not result.finished  # within rounding of the target: neither above nor below it
    assert result.upper >= 3.0
    assert result.upper <= 3.0 * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_do_not_pile_up_at_a_maximiser(seed):
    Z, nu = gaussian_instance(40, 3, seed)
    tau = 1e-3
    while not (result := bound_dual_norm(Z, nu, 3, target=tau * (1 + 1e-10), max_boxes=200_000)).finished:
        tau = result.lower
    loose = bound_dual_norm(Z, nu, 3, target=tau * (1 + 1e-4), max_boxes=200_000)
    # Without shared slopes the boxes around a maximiser would be halved some twenty times more.
    assert result.boxes <= 3 * loose.boxes


@pytest.mark.parametrize("nu", [[0.0, 0.0], [-1.0, -2.0], [1.0, 2.0]])
def test_one_sided_and_zero_dual_variables(nu):
    Z = np.array([[3.0], [-4.0]])
    result = bound_dual_norm(Z, np.array(nu), 1, target=8.0 * (1 + 1e-9), max_boxes=100)
    assert result.finished
    assert result.upper == pytest.approx(max(3 * abs(nu[0]), 4 * abs(nu[1])), rel=1e-8)  # one coordinate: no relaxation


def test_no_penalised_coordinate_and_no_sample():
    assert bound_dual_norm(np.ones((2, 1)), np.array([1.0, -1.0]), 0, target=1.0, max_boxes=10).upper == 0
    assert bound_dual_norm(np.zeros((2, 2)), np.array([1.0, -1.0]), 2, target=1.0, max_boxes=10).upper == 0


def test_the_bound_holds_in_exact_arithmetic_under_cancellation():
    rng = np.random.default_rng(0)
    Z = np.column_stack([1e7 + rng.integers(-3, 4, 12), rng.integers(-3, 4, 12)]).astype(float)
    nu = rng.integers(-3, 4, 12).astype(float)
    nu[-1] -= nu.sum()
    found = bound_dual_norm(Z, nu, 2, target=1e-3, max_boxes=2000)
    result = bound_dual_norm(Z, nu, 2, target=found.lower, max_boxes=5000, starts=found.neuron[None])
    for u in (found.neuron, result.neuron):
        u = [Fraction(x) for x in u]
        pre = [sum(Fraction(z) * x for z, x in zip(row, u, strict=True)) for row in Z]
        value = sum(Fraction(v) * max(s, Fraction(0)) for v, s in zip(nu, pre, strict=True))
        assert value**2 <= Fraction(result.upper) ** 2 * sum(x * x for x in u)


def test_same_call_same_result():
    Z, nu = gaussian_instance(40, 4, 5)
    first, second = (bound_dual_norm(Z, nu, 4, target=30.0, max_boxes=5000) for _ in range(2))
    assert (first.upper, first.lower, first.boxes) == (second.upper, second.lower, second.boxes)
    assert np.array_equal(first.neuron, second.neuron)


def test_depth_first_beyond_the_memory_limit(monkeypatch):
    Z, nu = gaussian_instance(20, 3, 2)
    tau = bound_dual_norm(Z, nu, 3, target=1e-3, max_boxes=1000).lower
    wide = bound_dual_norm(Z, nu, 3, target=1.2 * tau, max_boxes=100_000)
    monkeypatch.setattr(bound, "OPEN_LIMIT", 0)
    deep = bound_dual_norm(Z, nu, 3, target=1.2 * tau, max_boxes=100_000)
    assert wide.finished == deep.finished


def test_time_limit_keeps_the_bound_valid():
    Z, nu = gaussian_instance(60, 8, 4)
    result = bound_dual_norm(Z, nu, 8, target=1.0, max_boxes=10**9, time_limit=0.0)
    assert result.boxes == 0
    assert result.upper >= result.lower > 0


def test_refusals():
    Z, nu = gaussian_instance(5, 2, 0)
    with pytest.raises(UnsupportedError, match="2 tasks"):
        bound_dual_norm(Z, np.column_stack([nu, nu]), 2, target=1.0, max_boxes=10)
    with pytest.raises(InvalidInputError, match="target"):
        bound_dual_norm(Z, nu, 2, target=0.0, max_boxes=10)
