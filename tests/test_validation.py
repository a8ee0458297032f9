"""Each check returns the clean value, or an error that names the argument, what was received and what to write."""

import math

import numpy as np
import pytest

from convexrelu.errors import ConvexReLUError, InvalidInputError
from convexrelu.validation import (
    LARGEST,
    SMALLEST,
    check_choice,
    check_count,
    check_matrix,
    check_number,
    check_sample_weight,
    check_targets,
)


def test_what_passes_is_a_read_only_float64_copy():
    source = np.array([[1, 2], [3, 4]], dtype=np.int32)
    A = check_matrix(source, "X")
    source[0, 0] = 9
    assert A.dtype == np.float64 and A.flags.c_contiguous and A[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        A[0, 0] = 5.0


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2]],
        ((1.0, 2.0),),
        np.ones((2, 2), dtype=bool),
        np.asfortranarray(np.ones((3, 2))),
        np.ones((2, 1), np.float16),
    ],
    ids=["list", "tuple", "bool", "fortran", "float16"],
)
def test_matrices_of_many_kinds(value):
    np.testing.assert_array_equal(check_matrix(value, "X"), np.asarray(value, dtype=float))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], r"`X` must be a matrix.*shape \(2,\).*`X\.reshape\(-1, 1\)`"),
        (3.0, r"`X` must be a matrix.*shape \(\)"),
        (np.zeros((2, 2, 2)), r"`X` must be a matrix.*shape \(2, 2, 2\)"),
        (np.zeros((0, 3)), r"`X` is empty \(shape \(0, 3\)\)"),
        (np.zeros((3, 0)), r"`X` is empty \(shape \(3, 0\)\)"),
        ([[]], r"`X` is empty"),
        ([[1.0, math.nan], [2.0, 3.0]], r"`X` has 1 NaN or infinite.*index \[0, 1\].*drop"),
        ([[1.0], [math.inf], [-math.inf]], r"`X` has 2 NaN or infinite.*index \[1, 0\]"),
        ([["a", "b"]], r"`X` must be an array of real numbers, got list"),
        ([[1.0, 2.0], [3.0]], r"`X` must be an array of real numbers.*equally long"),
        ([[1j]], r"`X` must be an array of real numbers"),
        ([[None]], r"`X` has 1 NaN"),
        ([[10**400]], r"`X` must be an array of real numbers"),
        ([[10 * LARGEST]], r"`X` has entries outside.*rescale"),
        ([[0.1 * SMALLEST]], r"`X` has entries outside.*rescale"),
        (None, r"`X`"),
        ({"a": 1}, r"`X` must be an array of real numbers, got dict"),
    ],
    ids=str,
)
def test_bad_matrices(value, message):
    with pytest.raises(InvalidInputError, match=message):
        check_matrix(value, "X")


def test_the_extremes_of_the_range_pass():
    check_matrix([[LARGEST, -LARGEST, SMALLEST, 0.0, -0.0]], "X")


def test_targets_become_columns():
    assert check_targets([1, 2, 3], 3).shape == (3, 1)
    assert check_targets(np.ones((3, 2)), 3).shape == (3, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], r"`Y` must have shape \(3,\) or \(3, T\).*got \(2, 1\)"),
        (np.ones((2, 3)), r"`Y` must have shape.*got \(2, 3\)"),
        (1.0, r"`Y` must have shape.*got \(\)"),
        (np.ones((3, 1, 1)), r"`Y` must have shape.*got \(3, 1, 1\)"),
        (np.ones((3, 0)), r"`Y` is empty"),
        ([1.0, math.nan, 2.0], r"`Y` has 1 NaN or infinite"),
        (["a", "b", "c"], r"`Y` must be an array of real numbers"),
    ],
    ids=str,
)
def test_bad_targets(value, message):
    with pytest.raises(InvalidInputError, match=message):
        check_targets(value, 3)


def test_sample_weights():
    np.testing.assert_array_equal(check_sample_weight(None, 2), [1.0, 1.0])
    np.testing.assert_array_equal(check_sample_weight([0, 2], 2), [0.0, 2.0])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0], r"`sample_weight` must have shape \(2,\), got \(1,\)"),
        ([[1.0], [1.0]], r"`sample_weight` must have shape \(2,\), got \(2, 1\)"),
        ([1.0, -1.0], r"`sample_weight` must be non-negative.*minimum of -1"),
        ([0.0, 0.0], r"`sample_weight`.*not all zero"),
        ([1.0, math.nan], r"`sample_weight` has 1 NaN"),
        ("balanced", r"`sample_weight` must be an array of real numbers, got str"),
    ],
    ids=str,
)
def test_bad_sample_weights(value, message):
    with pytest.raises(InvalidInputError, match=message):
        check_sample_weight(value, 2)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2), np.int64(3)])
def test_numbers(value):
    number = check_number(value, "tol", above=0.0)
    assert type(number) is float and number == value


@pytest.mark.parametrize(
    "value", [0.0, -1, math.nan, math.inf, "1", None, True, np.bool_(True), 1j, np.ones(1)], ids=repr
)
def test_bad_numbers(value):
    with pytest.raises(InvalidInputError, match=r"`tol` must be a finite number greater than 0, got .* Try 1\."):
        check_number(value, "tol", above=0.0, hint=" Try 1.")


def test_counts():
    assert check_count(np.int32(3), "n") == 3 and type(check_count(np.int32(3), "n")) is int
    assert check_count(0, "n", least=0) == 0


@pytest.mark.parametrize("value", [0, -2, 1.0, "3", None, True, math.nan], ids=repr)
def test_bad_counts(value):
    with pytest.raises(InvalidInputError, match="`n` must be an integer of at least 1, got "):
        check_count(value, "n")


def test_choices():
    assert check_choice("a", "mode", ("a", "b")) == "a"


@pytest.mark.parametrize("value", ["c", "A", "", None, 1, ["a"], np.array(["a", "b"])], ids=repr)
def test_bad_choices(value):
    with pytest.raises(InvalidInputError, match=r"`mode` must be one of 'a', 'b'; got "):
        check_choice(value, "mode", ("a", "b"))


def test_errors_can_be_caught_as_the_builtin_or_the_base():
    for kind in (ValueError, ConvexReLUError):
        with pytest.raises(kind):
            check_matrix([1.0], "X")
