"""Problems of one input through `solve`: the engine's answer against the ordinary route's, and when each is taken."""

import importlib

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.one_input import takes_one_input

MODULE = importlib.import_module("convexrelu.solve")
LOSSES = ("squared", "absolute", "huber", "logistic", "hinge", "squared_hinge")


def ordinary(problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "takes_one_input", lambda problem: False)
        return cr.solve(problem)


@examples(12)
@given(st.integers(2, 9), st.data(), weight_decays(), st.sampled_from(LOSSES), st.sampled_from(cr.problem.MODES))
def test_agrees_with_the_ordinary_route(n, data, lam, loss, skip):
    x, y = data.draw(vectors(n, 3)), data.draw(vectors(n, 2))
    assume(np.ptp(x) > 0)
    labels = "log" in loss or "hinge" in loss
    X = data.draw(st.sampled_from([x[:, None], np.column_stack([x, 1 - 2 * x])]))
    try:
        problem = cr.TrainingProblem(X, np.where(y > 0, 1.0, -1.0) if labels else y, lam, loss, bias="free", skip=skip)
    except InvalidInputError:
        assume(False)
    result, other = cr.solve(problem), ordinary(problem)
    assert result.solution.message != "univariate" or result.status is cr.Status.OPTIMAL
    assert problem.objective(result.network) == result.objective
    assert result.certificate.scope == "global"
    assert result.certificate.lower_bound <= other.objective * (1 + 1e-12) + 1e-14
    assert other.certificate.lower_bound <= result.objective * (1 + 1e-12) + 1e-14


def problem_of(n, **options):
    x = np.linspace(0, 1, n)[:, None]
    return cr.TrainingProblem(x, np.sin(9 * x[:, 0]), 0.01, **{"bias": "free", **options})


def test_takes_many_points_without_listing_patterns():
    result = cr.solve(problem_of(3000))
    assert result.solution.message == "univariate"
    assert result.status is cr.Status.OPTIMAL


def test_result_serves_what_other_results_do():
    result = cr.solve(problem_of(12, skip="free"))
    assert result.solution.message == "univariate"
    assert result.optimal_set().contains(result.network)
    assert len(result.patterns) >= 1


@pytest.mark.parametrize(
    "options",
    [{"backend": "clarabel"}, {"patterns": "enumerate"}, {"time_limit": 60.0}, {"warm_start": "network"}],
    ids=lambda options: next(iter(options)),
)
def test_other_arguments_go_the_ordinary_way(options):
    problem = problem_of(8)
    if "warm_start" in options:
        options = {"warm_start": cr.solve(problem).network}
    assert cr.solve(problem, **options).solution.message != "univariate"


@pytest.mark.parametrize("options", [{"bias": "penalized"}, {"bias": "none"}])
def test_other_biases_go_the_ordinary_way_where_patterns_are_few(options):
    assert cr.solve(problem_of(8, **options)).solution.message != "univariate"


def test_other_biases_with_many_patterns_go_the_way_of_one_input():
    result = cr.solve(problem_of(300, bias="penalized", loss="huber"))
    assert result.solution.message == "univariate"
    assert result.status is cr.Status.OPTIMAL


def test_a_line_off_the_origin_is_not_one_input_for_penalised_biases():
    x = np.linspace(0, 1, 300)
    problem = cr.TrainingProblem(np.column_stack([x, 1 - x]), np.sin(9 * x), 0.01)
    assert not takes_one_input(problem)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": "free", "skip": "none"},
        {"bias": "free", "skip": "free", "loss": "absolute"},
        {"bias": "penalized", "skip": "penalized", "output_bias": "penalized", "loss": "huber"},
        {"bias": "none", "output_bias": "free", "loss": "squared_hinge"},
        {"bias": "penalized", "loss": "softmax"},
    ],
    ids=str,
)
def test_several_tasks(options):
    rng = np.random.default_rng(0)
    x, Y = rng.integers(-4, 5, 9) + 0.0, rng.integers(-3, 4, (9, 3)) + 0.0
    if options.get("loss") == "softmax":
        Y = np.eye(3)[np.argmax(Y, axis=1)]
    elif "hinge" in options.get("loss", ""):
        Y = np.where(Y > 0, 1.0, -1.0)
    columns = [x[:, None], np.column_stack([x, 1 - 2 * x])]
    for X in columns[: 2 if options["bias"] == "free" else 1]:
        problem = cr.TrainingProblem(X, Y, 0.4, **options)
        result = cr.solve(problem)
        assert result.solution.message == "univariate"
        assert result.status is cr.Status.OPTIMAL
        assert problem.objective(result.network) == result.objective
        other = cr.certify(problem, result.network, time_limit=20)
        assert other.lower_bound <= result.objective * (1 + 1e-12)
        assert result.certificate.lower_bound <= result.objective
