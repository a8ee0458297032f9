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


@examples(6)
@given(st.data())
def test_paths_of_small_integer_data(draw):
    # Solving from scratch with free biases takes seconds on some data with ties: those are for the slow test.
    check_path_of_integers(draw, modes().filter(lambda kinds: kinds["bias"] != "free"))


@pytest.mark.slow
@examples(40)
@given(st.data())
def test_paths_of_small_integer_data_at_length(draw):
    check_path_of_integers(draw, modes())


def check_path_of_integers(draw, kinds_of_networks):
    X = draw.draw(data(max_n=5))
    y, kinds = draw.draw(vectors(len(X))), draw.draw(kinds_of_networks)
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


@pytest.mark.parametrize("seed", range(3))
def test_events_in_one_dimension_are_those_of_the_exact_path(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1, 2, 12))
    y = np.sin(2 * x) + 0.2 * rng.standard_normal(12)
    exact = cr.univariate.fit_path(x, y)
    decays = exact.weight_decays[0] * np.geomspace(1.05, 0.05, 8)
    path = cr.solve_path(cr.TrainingProblem(x[:, None], y, bias="free", skip="free"), decays)
    expected = exact.weight_decays[exact.weight_decays > decays[-1]]
    assert len(expected) >= 3
    np.testing.assert_allclose([event.weight_decay for event in path.events], expected, rtol=1e-8)
    kinds = ["enters" if more > 0 else "leaves" for more in np.diff(exact.n_knots, prepend=0)[: len(expected)]]
    assert [event.kind for event in path.events] == kinds
    assert path.n_neurons.tolist() == [int(exact.degrees_of_freedom(decay)) - 2 for decay in path.weight_decays]


def labelled(loss, two=False):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((12, 2))
    y = X[:, 0] * X[:, 1] + 0.3 * rng.standard_normal(12)
    targets = np.column_stack([y, X[:, 0]]) if two else np.sign(y) if "hinge" in loss or loss == "logistic" else y
    return cr.TrainingProblem(X, targets, loss=loss)


@pytest.mark.parametrize("loss", ["logistic", "huber", "squared_hinge", "absolute", "hinge"])
def test_paths_of_other_losses_are_certified_and_concave(loss):
    problem = labelled(loss)
    path = cr.solve_path(problem, problem.max_weight_decay() * np.geomspace(0.9, 0.05, 5))
    check_points(path)
    followed = [result.solution.message == "followed" for result in path.results]
    assert sum(followed) == (4 if problem.loss.is_smooth else 0)


def test_paths_of_several_tasks_are_certified_and_concave():
    problem = labelled("squared", two=True)
    path = cr.solve_path(problem, problem.max_weight_decay() * np.array([0.9, 0.4, 0.2]))
    check_points(path)
    assert path.is_unique[0] in (True, None)
    with pytest.raises(UnsupportedError, match="several tasks"):
        path.events  # noqa: B018


def check_points(path):
    assert (path.gaps <= TOL).all()
    assert max(path.concavity_violation, path.slope_violation) <= 2 * TOL
    cold = cr.solve(path.results[-1].problem)
    assert path.objectives[-1] == pytest.approx(cold.objective, rel=2 * TOL)


def test_events_of_a_smooth_loss_are_where_the_optimum_says_so():
    problem = labelled("logistic")
    largest = problem.max_weight_decay()
    path = cr.solve_path(problem, [1.05 * largest, 0.9 * largest])
    assert [event.kind for event in path.events] == ["enters"]
    assert path.events[0].weight_decay == pytest.approx(largest, rel=1e-7)


def test_losses_with_kinks_have_no_events():
    problem = labelled("absolute")
    path = cr.solve_path(problem, [1.0, 0.5])
    with pytest.raises(UnsupportedError, match="'absolute'"):
        path.events  # noqa: B018
