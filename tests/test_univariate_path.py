"""The path in the weight decay: every point of it is the optimum that `fit` finds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, vectors

from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError


def assert_optimal(path, x, y, weight, lam):
    spline, result = path.spline(lam), uv.fit(x, y, lam, sample_weight=weight)
    objective = 0.5 * np.sum(weight * (spline(x)[:, 0] - y) ** 2) + lam * spline.total_variation
    # Where events coincide the path is interpolated over a relative step of 1e-6, an error of its square.
    assert objective == pytest.approx(result.objective, rel=1e-9, abs=1e-12)
    assert spline(x)[weight > 0] == pytest.approx(result.spline(x)[weight > 0], abs=1e-5)


@examples(60)
@given(st.integers(1, 9).flatmap(lambda n: st.tuples(vectors(n, 5), vectors(n), vectors(n, 2))), st.floats(0.01, 1.1))
def test_path_of_small_integers(data, share):
    x, y, weight = data[0], data[1], np.abs(data[2])
    weight[0] = 1.0
    path = uv.fit_path(x, y, sample_weight=weight, least=1e-3)
    assert path.complete
    lam = max(share * path.weight_decays[0], path.weight_decays[-1])
    if lam > 1e-12:
        assert_optimal(path, x, y, weight, lam)


@pytest.mark.parametrize("seed", range(4))
def test_path_of_random_data(seed):
    rng = np.random.default_rng(seed)
    x, y, ones = rng.random(60), rng.standard_normal(60), np.ones(60)
    path = uv.fit_path(x, y)
    assert path.complete
    assert np.all(np.diff(path.weight_decays) < 0)
    for lam in np.geomspace(path.weight_decays[-1], 1.2 * path.weight_decays[0], 9):
        assert_optimal(path, x, y, ones, lam)
    middle = np.sqrt(path.weight_decays[:-1] * path.weight_decays[1:])
    k = len(middle) // 2
    assert path.degrees_of_freedom(middle[k]) == uv.fit(x, y, middle[k]).spline.n_knots + 2
    norms = [spline.total_variation for spline in path.splines]
    assert np.all(np.diff(norms) >= -1e-9)


def test_degrees_of_freedom_are_the_trace_of_the_derivative():
    rng = np.random.default_rng(1)
    x, y, lam, step = rng.random(12), rng.standard_normal(12), 0.05, 1e-6
    trace = 0.0
    for i in range(12):
        moved = y + step * (np.arange(12) == i)
        trace += (uv.fit(x, moved, lam).spline(x)[i, 0] - uv.fit(x, y, lam).spline(x)[i, 0]) / step
    assert uv.fit_path(x, y, least=lam).degrees_of_freedom(lam) == pytest.approx(trace, abs=1e-4)


def test_data_on_a_line_have_no_events():
    path = uv.fit_path([0, 1, 2, 5], [1, 3, 5, 11])
    assert path.degrees_of_freedom(1e-6) == 2
    assert path.spline(1.0)([7.0])[0, 0] == pytest.approx(15)


def test_bad_input_is_named():
    with pytest.raises(InvalidInputError, match="one task"):
        uv.fit_path([0, 1, 2], np.eye(3))
    with pytest.raises(InvalidInputError, match="least"):
        uv.fit_path([0, 1, 2], [0, 1, 0], least=-1)
    path = uv.fit_path([0, 1, 2], [0, 1, 0], least=0.1)
    with pytest.raises(InvalidInputError, match="where the path ends"):
        path.spline(0.01)
    assert not uv.fit_path([0, 1, 2, 3], [0, 2, 0, 5], max_events=1).complete
