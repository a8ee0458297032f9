"""Paths: invariants of theory G.5, points solved cold, events against roots found by solving again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, modes, vectors

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError

TOL = 1e-6


def sine(**kinds):
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 2, 12)
    return cr.TrainingProblem(x[:, None], np.sin(2 * x) + 0.1 * rng.standard_normal(12), 1.0, **kinds)


@pytest.fixture(scope="module")
def path():
    return cr.solve_path(sine(), n_points=12)


def test_every_point_is_certified_and_equals_a_cold_solve(path):
    assert len(path) == 12 and (path.gaps <= TOL).all()
    assert all(result.status is cr.Status.OPTIMAL for result in path.results)
    for result in path.results[::4]:
        cold = cr.solve(result.problem)
        assert result.objective == pytest.approx(cold.objective, rel=2 * TOL)


def test_the_optimal_value_is_concave_with_the_norm_as_its_slope(path):
    # What gaps of 1e-6 may bend: chords by about as much, relative to the value.
    assert path.concavity_violation <= 2 * TOL and path.slope_violation <= 2 * TOL
    assert (np.diff(path.norms) >= -1e-4 * path.norms.max()).all()
    assert (np.diff(path.losses) <= 1e-4 * path.losses.max()).all()


def test_events_are_where_the_number_of_neurons_changes(path):
    assert sum(event.kind == "enters" for event in path.events) >= 3
    for event in path.events:
        assert event.accuracy <= 1e-8
        above, below = (path.problem.with_weight_decay(event.weight_decay * (1 + s * 1e-4)) for s in (1, -1))
        counts = [cr.solve(p, patterns="enumerate").optimal_set().minimal_network().n_neurons for p in (above, below)]
        assert counts[1] - counts[0] == (1 if event.kind == "enters" else -1)


def test_the_first_event_of_the_path_to_zero_is_the_largest_weight_decay():
    problem = sine()
    largest = problem.max_weight_decay()
    path = cr.solve_path(problem, [1.05 * largest, 0.9 * largest])
    assert [event.kind for event in path.events] == ["enters"]
    assert path.events[0].weight_decay == pytest.approx(largest, rel=1e-7)


@examples(12)
@given(st.data())
def test_paths_of_small_integer_data(draw):
    X = draw.draw(data(max_n=5))
    y, kinds = draw.draw(vectors(len(X))), draw.draw(modes())
    path = cr.solve_path(cr.TrainingProblem(X, y, 1.0, **kinds), [3.0, 1.0, 0.3, 0.1])
    assert (path.gaps[path.objectives > 1e-9] <= TOL).all()
    size = 0.5 * float(y @ y)
    # Gaps are relative to each value; where all values are rounding there is nothing to bend.
    assert path.objectives.max() <= 1e-12 * size or max(path.concavity_violation, path.slope_violation) <= 4 * TOL


def test_weight_decays_are_sorted_and_made_distinct():
    path = cr.solve_path(sine(), [0.1, 1.0, 0.1])
    assert path.weight_decays.tolist() == [1.0, 0.1]
    assert path.is_unique == (True, True)


def test_what_cannot_be_used_is_said():
    with pytest.raises(InvalidInputError, match="`n_points`"):
        cr.solve_path(sine(), n_points=0)
    with pytest.raises(InvalidInputError, match="`weight_decays`"):
        cr.solve_path(sine(), [0.1, -1.0])
    with pytest.raises(InvalidInputError, match="`weight_decays`"):
        cr.solve_path(sine(), [])
    with pytest.raises(InvalidInputError, match="interpolation"):
        cr.solve_path(cr.TrainingProblem.interpolation([[0.0], [1.0]], [0.0, 1.0]))
    with pytest.raises(InvalidInputError, match="no weight decay needs neurons"):
        cr.solve_path(cr.TrainingProblem([[1.0], [2.0]], [0.0, 0.0]))
    with pytest.raises(UnsupportedError, match="2 tasks"):
        cr.solve_path(cr.TrainingProblem([[0.0], [1.0]], [[0.0, 1.0], [1.0, 0.0]], 0.1))
