"""The algebra behind reading models: every operation against the function it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors

from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.interop.expression import Expression, Input, linear, total
from convexrelu.interop.imported import check_reading, evaluate

X = np.array([[1.0, -2.0], [0.0, 3.0], [-1.0, 0.0], [2.0, 2.0]])


@st.composite
def expressions(draw, T=2):
    """An affine map with a ReLU half of the time, of two inputs."""
    M, k = draw(vectors(6)).reshape(2, 3), draw(vectors(3))
    value = Expression.identity(2).linear(M).shift(k)
    value = value.relu() if draw(st.booleans()) else value
    return value.linear(draw(vectors(3 * T)).reshape(3, T)).shift(draw(vectors(T)))


@examples(50)
@given(expressions(), expressions(), vectors(4), vectors(2))
def test_operations_are_those_of_functions(f, g, M, k):
    F, G, M = evaluate(f, X), evaluate(g, X), M.reshape(2, 2)
    # Small integers: exact.
    np.testing.assert_array_equal(evaluate(f.plus(g), X), F + G)
    np.testing.assert_array_equal(evaluate(f.plus(f), X), 2 * F)
    np.testing.assert_array_equal(evaluate(f.linear(M), X), F @ M)
    np.testing.assert_array_equal(evaluate(f.shift(k), X), F + k)
    np.testing.assert_array_equal(evaluate(f.scale(k), X), F * k)
    if not len(f.hidden):
        np.testing.assert_array_equal(evaluate(f.relu(), X), np.maximum(F, 0))


def test_shared_neurons_are_counted_once():
    hidden = Expression.identity(2).relu()
    both = hidden.linear(np.ones((2, 1))).plus(hidden.linear(np.eye(2)[:, :1]))
    assert len(both.hidden) == 2


def test_the_input_joins_whatever_meets_it():
    branch = linear(Input(), np.eye(2)).relu()
    np.testing.assert_array_equal(evaluate(total(Input(), branch), X), X + np.maximum(X, 0))


@pytest.mark.parametrize(
    ("operation", "named"),
    [
        (lambda e: e.relu().relu(), "three layers"),
        (lambda e: e.linear(np.ones((5, 1))), "a linear map of 5 values where 2 arrive"),
        (lambda e: e.shift(np.ones(3)), "an addition of 3 constants to 2 values"),
        (lambda e: e.plus(e.linear(np.ones((2, 1)))), "a sum of 2 and 1 values"),
        (lambda e: total(Input(), Input()), "a sum"),
        (lambda e: linear(np.eye(2), np.eye(2)), "two constants"),
    ],
)
def test_refusals_say_what(operation, named):
    with pytest.raises(UnsupportedError, match=named):
        operation(Expression.identity(2))


def test_a_reading_that_is_not_the_model_is_refused():
    parts = Expression.identity(2).linear(np.ones((2, 1)))
    check_reading(parts, lambda X: X.sum(axis=1), 1e-12)
    with pytest.raises(UnsupportedError, match="does not compute"):
        check_reading(parts, lambda X: np.abs(X).sum(axis=1), 1e-3)
    with pytest.raises(UnsupportedError, match="does not compute"):
        check_reading(parts, lambda X: np.full(len(X), np.nan), 1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_of_a_training_that_diverged(bad):
    for layer in (lambda x: x.linear(np.array([[bad], [1.0]])), lambda x: x.shift(bad), lambda x: x.scale(bad)):
        with pytest.raises(InvalidInputError, match="diverged"):
            layer(Expression.identity(2))


def test_float32_cannot_hold_every_weight():
    parts = Expression.identity(2).linear(np.array([[1e200], [1.0]]))
    parts.check_export("float64")
    with pytest.raises(InvalidInputError, match=r"float32 cannot hold a weight of size 1e\+200"):
        parts.check_export("float32")
