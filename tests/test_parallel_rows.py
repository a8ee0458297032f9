"""Samples on one line: one sample in the proof of a dual norm, with what rounding adds accounted for."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing.parallel_rows import merge_parallel
from convexrelu.problem import TrainingProblem
from convexrelu.result import Status
from convexrelu.solve import solve


@given(data(5, 3), st.sampled_from(["none", "penalized", "free"]), st.sampled_from([1, 2]), st.data())
@examples(60)
def test_correlations_of_merged_samples_are_those_of_all(X, bias, T, draw):
    scales = draw.draw(
        st.sampled_from([[1.0], [1.0, 3.0], [1.0, -1.0], [0.1, 1.0 / 3.0, 7.0], [-0.1, 1.0 / 3.0, -7.0]])
    )
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((X.shape[1],) * 2))[0]
    arrangement = arrange(np.vstack([s * X for s in scales]) @ turn, bias)
    Z, p = arrangement.Z, arrangement.n_penalized
    nu = draw.draw(vectors(T * len(Z))).reshape(len(Z), T) / 3.0
    merged = merge_parallel(Z, nu, p)
    radius = np.linalg.norm(Z[:, :p], axis=1).max(initial=0.0)
    U = np.random.default_rng(0).standard_normal((50, Z.shape[1]))
    U[:, :p] /= np.linalg.norm(U[:, :p], axis=1, keepdims=True)
    U[:, p:] = np.clip(U[:, p:], -1, 1) * radius
    size = np.linalg.norm(nu, axis=1) @ (np.linalg.norm(Z[:, :p], axis=1) + radius)
    # More digits than the merged sums have: what is left between the two is what the slack is for.
    exact = [a.astype(np.longdouble) for a in (U, Z, nu, merged.Z, merged.nu)]
    U, Z, nu, fewer_Z, fewer_nu = exact
    off = np.maximum(U @ Z.T, 0.0) @ nu - np.maximum(U @ fewer_Z.T, 0.0) @ fewer_nu
    assert np.sqrt((off**2).sum(axis=1)).max() <= merged.slack + 4 * len(Z) * np.finfo(np.longdouble).eps * size
    assert merged.slack <= 1e-13 * (size or np.abs(nu).sum())


def test_what_is_merged():
    Z = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, 6.0], [-1.0, -2.0], [1.0, 2.0 + 1e-13], [0.0, 0.0]])
    merged = merge_parallel(Z, np.arange(1.0, 7.0)[:, None], 2)
    rows = {tuple(z): v for z, v in zip(merged.Z.tolist(), merged.nu[:, 0], strict=True)}
    assert rows[3.0, 6.0] == pytest.approx(3.0 + 1.0 / 3.0)
    # Opposite samples have the same kink but are on where the other is off; nearly equal ones have their own.
    assert rows[-1.0, -2.0] == 4.0
    assert rows[1.0, 2.0 + 1e-13] == 5.0
    assert len(rows) == 4


@pytest.mark.parametrize("T", [1, 2])
def test_opposite_samples_are_one_and_a_linear_part(T):
    half = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0], [5.0, 1.0], [-1.0, 1.0]])
    merged = merge_parallel(np.vstack([half, -2 * half]), np.ones((10, T)), 2)
    assert len(merged.Z) == 5 + 2 * T
    np.testing.assert_allclose(merged.nu[:5], 1.5)
    # relu(z . u) = relu(-2 z . u) / 2 + z . u: the linear parts are together sum_z z . u.
    linear = np.maximum(merged.Z[5:] @ [1.0, 1.0], 0.0) @ merged.nu[5:]
    np.testing.assert_allclose(linear, half.sum())


def test_data_without_parallel_samples_are_the_same_arrays():
    Z, nu = np.random.default_rng(0).standard_normal((5, 2)), np.ones((5, 1))
    merged = merge_parallel(Z, nu, 2)
    assert merged.Z is Z
    assert merged.nu is nu
    assert merged.slack == 0


def test_tiny_samples_are_not_taken_for_zeros():
    # Their squares vanish.
    Z = np.array([[1e-200, 0.0], [0.0, 1e-200], [0.0, 0.0], [1.0, 1.0]])
    assert len(merge_parallel(Z, np.ones((4, 1)), 2).Z) == 4


def test_a_proof_that_duplicated_inputs_kept_open():
    # The last two samples share an input, and their dual variables differ in sign: one by one they used up any budget.
    X = [[-2, -2, 2], [-1, -2, 1], [1, 0, -1], [0, -2, 0], [-2, -1, -2], [-3, 3, 0], [3, 2, 3], [2, 0, 2], [-2, 0, 3]]
    X += [[-2, 0, 0], [-3, 1, 2], [-2, 1, 3], [-2, 1, 3]]
    y = [0, 0, -1, 1, 0, -2, 2, 2, 3, -3, 2, -3, -1]
    result = solve(TrainingProblem(X, y, 1.0, bias="free"), max_boxes=10_000, canonical=False)
    assert result.status == Status.OPTIMAL


def test_a_proof_over_the_cube():
    # Half the inputs are opposite to the others; one by one they used up 20 million boxes without a proof.
    X = np.array(list(product([-1.0, 1.0], repeat=5)))
    problem = TrainingProblem(X, np.random.default_rng(0).standard_normal(32), bias="none")
    problem = problem.with_weight_decay(0.1 * problem.max_weight_decay())
    assert solve(problem, max_boxes=100_000, canonical=False).status == Status.OPTIMAL
