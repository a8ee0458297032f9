"""Splines, their integrals, and the way between splines and networks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from strategies import examples, networks, vectors

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError, UnsupportedError

POINTS = np.linspace(-5, 5, 101)


@st.composite
def splines(draw, n_tasks=None):
    """Splines through integer points at distinct integers."""
    x = np.array(sorted(draw(st.sets(st.integers(-4, 4), min_size=1, max_size=6))), dtype=float)
    T = n_tasks or draw(st.integers(1, 3))
    return uv.Spline.through(x, draw(vectors(len(x) * T)).reshape(len(x), T))


@examples(100)
@given(networks(1, 4, bias="free", output_bias="free", skip="free"))
def test_network_to_spline_computes_the_same(network):
    spline = uv.from_network(network)
    assert spline(POINTS) == pytest.approx(network(POINTS[:, None]), abs=1e-13)
    assert uv.knots(network) == pytest.approx(spline.pruned().knots[: spline.n_knots])
    assert uv.curvature(network).shape == (spline.n_knots, 1)


@examples(100)
@given(splines(), st.sampled_from(["free", "penalized"]))
def test_spline_to_network_and_back(spline, bias):
    network = uv.to_network(spline, bias)
    assert network(POINTS[:, None]) == pytest.approx(spline(POINTS), abs=1e-12)
    assert network.n_neurons == spline.n_knots
    assert np.linalg.norm(network.output, axis=1) == pytest.approx(network.neuron_norms())
    back = uv.from_network(network)
    assert back(POINTS) == pytest.approx(spline(POINTS), abs=1e-12)


@examples(100)
@given(splines(1), st.integers(-3, 3), st.integers(-3, 3))
def test_without_a_skip_neurons_face_both_ways(spline, first, last):
    slopes = spline.slopes.copy()
    slopes[[0, -1]] = [[first], [last]]
    spline = uv.Spline(spline.knots, spline.values, slopes)
    network = uv.to_network(spline, skip="none")
    assert not network.skip.any()
    assert network(POINTS[:, None]) == pytest.approx(spline(POINTS), abs=1e-12)
    norm = network.neuron_norms() @ np.linalg.norm(network.output, axis=1)
    # Savarese et al. 2019: the least norm of a network that computes the function.
    assert norm == pytest.approx(max(spline.total_variation, abs(first + last)), abs=1e-12)


@examples(60)
@given(splines(2), splines(2), st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]))
def test_integral_agrees_with_quadrature(f, g, p):
    lower, upper = -4.5, 4.25
    breaks = [lower, *np.arange(-4, 5), upper]
    parts = [
        quad(lambda t, k=k: abs((f([t]) - g([t]))[0, k]) ** p, a, b, limit=200)[0]
        for k in range(2)
        for a, b in itertools.pairwise(breaks)
    ]
    value = uv.integral(f, g, p=p, lower=lower, upper=upper)
    assert value == pytest.approx(sum(parts), rel=1e-5, abs=1e-7)  # quadrature is coarse at the roots
    assert uv.distance(f, g, p=p, lower=lower, upper=upper) == pytest.approx(value ** (1 / p))


def test_integral_of_nearly_constant_difference_keeps_its_digits():
    line = uv.Spline.through([0.0, 1.0], [1.0, 1.0 + 1e-9])
    assert uv.integral(line, p=3, lower=0, upper=1) == pytest.approx(1 + 1.5e-9, rel=1e-15)
    steep = [uv.Spline.through([0.0, 1.0], [1.0, 1.0 + d]) for d in (0.0201, 0.0203)]  # either side of the switch
    for spline, d in zip(steep, (0.0201, 0.0203), strict=True):
        assert uv.integral(spline, p=3, lower=0, upper=1) == pytest.approx(((1 + d) ** 4 - 1) / (4 * d), rel=1e-12)


def test_neurons_without_weight_are_constants():
    spline = uv.from_network(cr.Network([[0.0], [0.0]], [2.0, -1.0], [[3.0], [5.0]], bias="free"))
    assert spline([0.0, 1.0]).ravel().tolist() == [6.0, 6.0]
    assert spline.n_knots == 0
    assert uv.knots(uv.to_network(spline)).size == 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: uv.Spline([1.0, 0.0], np.zeros((2, 1)), np.zeros((3, 1))), "increase"),
        (lambda: uv.Spline([0.0], np.zeros((1, 1)), np.zeros((1, 1))), "slopes"),
        (lambda: uv.Spline.through([[0.0, 1.0]], [0.0]), "points on a line"),
        (lambda: uv.Spline.through([0.0, np.nan], [0.0, 1.0]), "x"),
        (lambda: uv.from_network(cr.Network([[1.0, 1.0]], [0.0], [[1.0]])), "one input"),
        (lambda: uv.from_network(cr.Network([[1e-300]], [1.0], [[1.0]])), "knot beyond"),
        (lambda: uv.integral(uv.Spline.through([0.0], [0.0]), lower=1, upper=0), "upper"),
        (lambda: uv.integral(uv.Spline.through([0.0], [0.0]), p=-1, lower=0, upper=1), "p"),
    ],
)
def test_bad_input_is_named(make, match):
    with pytest.raises(InvalidInputError, match=match):
        make()


def test_several_tasks_need_a_skip():
    with pytest.raises(UnsupportedError, match="skip"):
        uv.to_network(uv.Spline.through([0.0, 1.0], np.eye(2)), skip="none")
