"""A network's predictions against the range over all optimal networks, where that range is known in closed form."""

from dataclasses import replace

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.errors import InvalidInputError, TimeLimitError
from convexrelu.optimal_range import GIVEN_UP, TOO_LONG, OptimalRange, optimal_range

# Targets on a convex curve, free bias and skip: between 1 and 2 the optimal networks differ (theory D.3).
X, Y = np.arange(4.0)[:, None], np.array([0.0, 0.0, 1.0, 3.0])


def solved(X=X, Y=Y, **options):
    return cr.solve(cr.TrainingProblem(X, Y, 0.01, **{"bias": "free", "skip": "free", **options}))


def test_the_range_of_the_envelope():
    result = solved()
    found = optimal_range(result.network, result, 0.0, np.inf)
    assert isinstance(found, OptimalRange) and found.complete and found.n_samples == 4
    assert sorted(found.points[:4, 0]) == [0, 1, 2, 3]
    assert sorted(found.points[4:, 0]) == [0.5, 1.5, 2.5]
    fit = np.array([-0.01, 0.01, 1.01, 2.99])  # what the path gives at weight decay 0.01
    np.testing.assert_allclose(np.sort(found.lower[:4, 0]), fit, atol=1e-8)
    np.testing.assert_allclose(np.sort(found.upper[:4, 0]), fit, atol=1e-8)
    # From the lines through the outer segments to the chord.
    (middle,) = np.flatnonzero(found.points[:, 0] == 1.5)
    assert found.lower[middle, 0] == pytest.approx(0.02, abs=1e-8)
    assert found.upper[middle, 0] == pytest.approx(0.51, abs=1e-8)
    assert found.width == pytest.approx(0.49 / 7, abs=1e-8)
    assert found.root_mean_square < 1e-8


def test_distances_of_a_network_that_is_shifted():
    result = solved()
    shifted = replace(result.network, output_bias=result.network.output_bias + 2.0)
    found = optimal_range(shifted, result, 0.0, np.inf)
    flat = found.upper - found.lower < 1e-8
    np.testing.assert_allclose(found.distance[flat], 2.0, atol=1e-8)
    assert 1.5 <= found.distance[~flat].item() <= 2.0


def test_several_tasks_each_have_their_range():
    result = solved(Y=np.column_stack([Y, -Y[::-1]]), bias="penalized", skip="none")
    found = optimal_range(result.network, result, 0.0, np.inf)
    assert found.distance.shape == (7, 2)
    # A solution within 1e-6 of the optimum: predictions within about the square root of that.
    assert found.root_mean_square < 3e-3


def test_equal_samples_are_one_point():
    result = solved(np.ones((3, 1)), np.ones(3), bias="penalized", skip="none")
    found = optimal_range(result.network, result, 0.0, np.inf)
    assert found.points.tolist() == [[1.0]] and found.n_samples == 1


def test_the_cost_is_bounded_and_failures_are_reasons():
    result = solved()
    assert optimal_range(result.network, result, 1.0, 1.0) == TOO_LONG
    limited = replace(result, status=cr.Status.LIMIT)
    assert "needs the optimum" in optimal_range(result.network, limited, 0.0, np.inf)


def test_it_ends_with_the_time():
    result = solved()
    assert optimal_range(result.network, result, 0.0, 1e-9) == GIVEN_UP
    with pytest.raises(TimeLimitError, match="time_limit"):
        result.optimal_set(time_limit=1e-9)
    with pytest.raises(InvalidInputError, match="time_limit"):
        result.optimal_set(time_limit=0)
