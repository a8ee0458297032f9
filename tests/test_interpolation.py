"""Which targets a network can meet: refused by name of the rows if contradictory, solved otherwise."""

import numpy as np
import pytest
from hypothesis import given
from strategies import examples, interpolation_problems, kinds_of

import convexrelu as cr
from convexrelu.errors import InvalidInputError


def make(X, Y, **kinds):
    return cr.TrainingProblem.interpolation(X, Y, **kinds)


def test_equal_inputs_with_different_targets_are_named():
    with pytest.raises(InvalidInputError, match=r"`Y` contradicts itself: rows 1 and 3 .*\[2\.0\] and \[5\.0\]"):
        make([[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [1.0, 2.0]], [1.0, 2.0, 3.0, 5.0])


@pytest.mark.parametrize("bias", ["none", "penalized", "free"])
def test_equal_inputs_are_compared_with_their_signed_zeros(bias):
    with pytest.raises(InvalidInputError, match="rows 0 and 1"):
        make([[0.0, 1.0], [-0.0, 1.0]], [1.0, 2.0], bias=bias)


def test_equal_inputs_in_one_of_several_tasks():
    with pytest.raises(InvalidInputError, match="rows 0 and 1"):
        make([[1.0], [1.0]], [[1.0, 2.0], [1.0, 3.0]])


def test_equal_inputs_with_equal_targets_are_fine():
    make([[1.0], [1.0]], [2.0, 2.0])


@pytest.mark.parametrize(
    ("X", "y"),
    [([[1.0, 0.0], [2.0, 0.0]], [1.0, 3.0]), ([[0.0, 0.0], [1.0, 1.0]], [1.0, 0.0]), ([[0.1], [0.3]], [0.2, 0.7])],
    ids=["ray", "zero row", "rounded ray"],
)
def test_rays_without_hidden_biases_are_named(X, y):
    with pytest.raises(InvalidInputError, match=r"row \d of `X` is \S+ times row \d.*bias='penalized'"):
        make(X, y, bias="none")
    make(X, y, bias="penalized")
    make(X, y, bias="free")


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1.0, 0.0], [2.0, 0.0]], [1.5, 3.0]),
        ([[0.1, 0.2], [0.3, 0.6]], [0.7, 2.1]),  # in proportion up to rounding
        ([[1.0], [-1.0]], [1.0, 5.0]),  # opposite rays are two rays
        ([[0.0], [1.0]], [0.0, 5.0]),
    ],
    ids=["ray", "rounded ray", "opposite", "zero row"],
)
def test_rays_in_proportion_are_fine_without_hidden_biases(X, y):
    make(X, y, bias="none")


def test_an_output_bias_shifts_every_ray_by_the_same_constant():
    # f - c is linear on rays: c = 1 here, and c = 1 must do for the second ray as well.
    X = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]
    make(X, [3.0, 5.0, 2.0, 4.0], bias="none", output_bias="free")
    make(X, [3.0, 5.0, 2.0, 4.0], bias="none", output_bias="penalized")
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        make(X, [3.0, 5.0, 2.0, 4.5], bias="none", output_bias="free")
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        make(X, [3.0, 5.0, 2.0, 4.0], bias="none")


def test_a_skip_does_not_help_on_rays():
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        make([[1.0], [2.0]], [1.0, 3.0], bias="none", skip="free", output_bias="none")


def test_zero_data_without_hidden_biases():
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        make([[0.0], [0.0]], [1.0, 1.0], bias="none")
    make([[0.0], [0.0]], [1.0, 1.0], bias="none", output_bias="free")
    make([[0.0], [0.0]], [0.0, 0.0], bias="none")


def test_wrong_data_are_refused_like_anywhere():
    for X, y, message in (([[1.0]], [1.0, 2.0], "`Y` must have shape"), ([[np.nan]], [1.0], "`X` has 1 NaN")):
        with pytest.raises(InvalidInputError, match=message):
            make(X, y)
    with pytest.raises(TypeError):
        make([[1.0]], [1.0], weight_decay=1.0)


@examples(60)
@given(interpolation_problems(max_n=8, max_d=3))
def test_what_is_accepted_can_be_met(problem):
    result = cr.solve(problem, patterns="enumerate", backend="clarabel")
    assert np.isfinite(result.objective), kinds_of(problem)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_size_of_the_targets_does_not_decide(scale):
    X = np.array([[1.0, 0.0], [3.0, 0.0]])
    make(X, scale * np.array([1.0, 3.0]), bias="none")
    with pytest.raises(InvalidInputError, match="contradicts itself"):
        make(X, scale * np.array([1.0, 3.001]), bias="none")
