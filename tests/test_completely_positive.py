"""Non-negative roots of matrices with non-negative entries and eigenvalues."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from convexrelu.completely_positive import nonnegative_root


@given(st.integers(1, 4), st.integers(1, 6), st.data())
@examples(60)
def test_the_root_is_non_negative_and_has_the_matrix_as_its_square(k, s, draw):
    entries = draw.draw(st.lists(st.integers(0, 3), min_size=k * s, max_size=k * s))
    B = np.array(entries, dtype=float).reshape(k, s)
    G = B @ B.T
    root = nonnegative_root(G)
    assert root.shape[0] == k and root.shape[1] <= k * (k + 1) // 2
    assert root.min(initial=0.0) >= 0
    np.testing.assert_allclose(root @ root.T, G, atol=1e-9 * max(G.max(), 1.0))  # roots of eigenvalues of 1e-13


def test_a_square_of_one_vector_has_one_column():
    b = np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(nonnegative_root(np.outer(b, b)), b[:, None], atol=1e-12)


def test_what_a_solver_leaves_of_zeros_is_part_of_the_matrix():
    rng = np.random.default_rng(0)
    for _ in range(20):
        B = rng.random((4, 2)) * (rng.random((4, 2)) < 0.6)
        G = B @ B.T + 1e-9 * np.eye(4)
        root = nonnegative_root(G)
        assert root.min(initial=0.0) >= 0
        np.testing.assert_allclose(root @ root.T, G, atol=1e-12)


def test_zero_has_no_columns():
    assert nonnegative_root(np.zeros((3, 3))).shape == (3, 0)


def test_what_a_solver_leaves_of_zeros():
    # The first entry of its diagonal is a solver's zero, the entries beside it are not: no root was found at all.
    G = np.array([[9.0e-09, 3.3e-09, 2.9e-05], [3.3e-09, 1.014788821828634, 0.157], [2.9e-05, 0.157, 0.1947]])
    B = nonnegative_root(G)
    assert B.min() >= 0
    assert np.abs(B @ B.T - G).max() <= 3e-5
