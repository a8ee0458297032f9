"""The network that a rule chooses among all optimal ones: not the seed, the order or the copies of the samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, modes, vectors

import convexrelu as cr
from convexrelu.monitor import Monitor
from convexrelu.optimal_set import canonical
from convexrelu.optimal_set.generic import generic_costs
from convexrelu.recovery import program_value

LOSSES = ["squared", "huber", "logistic", "squared_hinge", "absolute", "hinge", "quantile", "interpolation"]
SAME = 1e-6  # what is asked for; the differences measured are below 1e-12
ROUNDING = 1e-13


def made(loss, X, Y, weight=None, weight_decay=0.2, **kind):
    if loss == "interpolation":
        return cr.TrainingProblem.interpolation(X, Y, **kind)
    return cr.TrainingProblem(X, Y, weight_decay, loss=loss, sample_weight=weight, **kind)


def retold(loss, X, Y, order, **kind):
    """The same problem three times: as it is, in another order, and with the first sample in two halves."""
    weight = np.ones(len(X) + 1)
    weight[[0, -1]] = 0.5
    again = np.arange(len(X) + 1) % len(X)
    yield made(loss, X, Y, **kind)
    yield made(loss, X[order], Y[order], **kind)
    yield made(loss, X[again], Y[again], weight, **kind)


def assert_one_network(problems, points):
    """Of every problem, whatever the seed; each as certain as without the rule. Return the first result."""
    results = []
    for seed, problem in enumerate(problems):
        any_optimum = cr.solve(problem, random_state=seed, canonical=False)
        result = cr.solve(problem, random_state=seed)
        assert result.status is any_optimum.status is cr.Status.OPTIMAL
        assert result.objective == problem.objective(result.network)
        assert result.objective <= any_optimum.objective + ROUNDING * max(any_optimum.objective, problem.negligible)
        assert result.canonical
        assert not any_optimum.canonical
        assert program_value(problem, result.solution) == pytest.approx(result.objective, abs=1e-9)
        results.append(result)
    first = results[0].network(points)
    for result in results[1:]:
        assert result.network(points) == pytest.approx(first, abs=SAME * max(np.abs(first).max(), 1.0))
    assert results[0].network.n_neurons <= problems[0].Y.size
    return results[0]


def points_of(X, skip):
    """The samples and, where a free skip is not left open by them, random points."""
    anywhere = np.random.default_rng(0).standard_normal((20, X.shape[1]))
    return X if skip == "free" else np.vstack([X, anywhere])


@examples(40)
@given(st.data())
def test_a_rule_chooses_the_network(drawn):
    X = drawn.draw(data(max_n=7))
    y, kind, loss = drawn.draw(vectors(len(X))), drawn.draw(modes()), drawn.draw(st.sampled_from(LOSSES))
    order = np.array(drawn.draw(st.permutations(range(len(X)))))
    if loss in ("logistic", "squared_hinge", "hinge"):
        y = np.where(y > 0, 1.0, -1.0)
    try:
        problems = list(retold(loss, X, y, order, **kind))
    except cr.errors.InvalidInputError:
        return  # targets that contradict each other; labels without a best network
    # Not where labels let a free skip grow for ever, nor where objectives are zero up to rounding.
    if not problems[0].dual_domain.n_separated and cr.solve(problems[0]).objective > problems[0].negligible:
        assert_one_network(problems, points_of(X, kind["skip"]))


@examples(8)
@given(st.data())
def test_a_rule_chooses_the_network_of_several_tasks(drawn):
    X, loss = drawn.draw(data(max_n=4)), drawn.draw(st.sampled_from(["squared", "huber"]))
    Y, order = drawn.draw(vectors(2 * len(X))).reshape(-1, 2), np.array(drawn.draw(st.permutations(range(len(X)))))
    kind = {"bias": drawn.draw(st.sampled_from(["none", "penalized"]))}
    if cr.solve(made(loss, X, Y, **kind)).canonical:  # not where infinitely many neurons are optimal
        assert_one_network(list(retold(loss, X, Y, order, **kind)), points_of(X, "none"))


def polygon(k):
    angle = 2 * np.pi * np.arange(k) / k
    return np.column_stack([np.cos(angle), np.sin(angle)])


# A plane in space: the coordinates that data are reduced to depend on the order of the samples.
PLANE = np.array([[1.0, 2.0, 2.0], [2.0, 1.0, -2.0]]) / 3
HEPTAGONS = np.vstack([polygon(7), 2 * polygon(7)]) @ PLANE
LINE = np.arange(4.0)[:, None]
NOT_UNIQUE = {
    "square": ("squared", polygon(4), np.ones(4), {"bias": "none"}),
    "pentagon": ("squared", polygon(5), np.ones(5), {"bias": "none"}),
    "hexagon, absolute": ("absolute", polygon(6), np.ones(6), {"bias": "none"}),
    "hexagon, huber": ("huber", polygon(6), np.ones(6), {"bias": "none"}),
    "pentagon in space": ("squared", polygon(5) @ PLANE, np.ones(5), {"bias": "none"}),
    "heptagons in space, skip": ("squared", HEPTAGONS, np.repeat([0.0, 3.0], 7), {"bias": "none", "skip": "free"}),
    "median": ("absolute", np.eye(4) / 100, np.array([0.0, 1.0, 0.0, 1.0]), {"output_bias": "free"}),
    "line": ("interpolation", LINE, np.array([0.0, 0.0, 1.0, 3.0]), {"bias": "free"}),
    "line, skip": ("interpolation", LINE, np.array([0.0, 0.0, 1.0, 3.0]), {"bias": "free", "skip": "free"}),
    "bend": ("squared", LINE, np.array([0.0, 1.0, 1.0, 3.0]), {"bias": "free"}),
    "hinge": ("hinge", np.vstack([polygon(4), 2 * polygon(4)]), np.repeat([1.0, -1.0], 4), {"bias": "penalized"}),
}


@pytest.mark.parametrize("name", NOT_UNIQUE)
def test_one_of_many_optimal_networks_is_chosen(name):
    loss, X, y, kind = NOT_UNIQUE[name]
    order = np.random.default_rng(0).permutation(len(X))
    problems = list(retold(loss, X, y, order, **kind))
    points = points_of(X, "free" if "space, skip" in name else "none")
    result = assert_one_network(problems, points)
    assert not result.optimal_set().is_unique
    listed = cr.solve(problems[0], patterns="enumerate")
    assert listed.network(points) == pytest.approx(result.network(points), abs=SAME)


def columns(*digits):
    """Small integers as digits, 5 for zero."""
    return np.array([[int(digit) for digit in column] for column in digits], dtype=float).T - 5


BOTH = {"bias": "free", "output_bias": "free"}
NEARLY_DEPENDENT = {
    # Newton's full step takes neurons past the point where another one vanishes.
    "steps, squared": ("squared", columns("643557456343735", "754743767333574"),
                       [-2, -3, 0, -2, 1, 1, 3, 3, 3, -3, -3, 2, 0, -1, -3], {"weight_decay": 0.02, **BOTH}),
    "steps, squared hinge": ("squared_hinge", columns("453564467654", "537577776356", "736437757437"),
                             [-1, 1, -1, -1, 1, -1, -1, 1, -1, -1, -1, 1], {"weight_decay": 0.005, **BOTH}),
    # The residual rises before it falls; in another order there is a linear program that presolving calls infeasible.
    "patience, squared": ("squared", columns("334757364476354", "357577564655753"),
                          [2, -2, 0, 3, 0, -3, 2, -1, -2, 0, -3, 0, 0, 1, -3], {"weight_decay": 0.005, "bias": "none"}),
    "linear program, squared": ("squared", columns("543476735673434", "733776555555674"),
                                [0, -3, 2, 0, -3, -1, -3, 2, 1, 0, 3, -2, 0, 0, -2],
                                {"weight_decay": 0.005, "bias": "none"}),
    "patience, absolute": ("absolute", columns("637737744554", "453735456447", "456753377657"),
                           [1, 1, 2, 0, 3, 2, 2, -3, -1, 3, 1, 3], {"weight_decay": 0.005, **BOTH}),
    # A neuron of next to no weight is missing: its direction is above the price of norm by 6e-5.
    "exchange, squared": ("squared", columns("753573374753", "773743446733"),
                          [1, -3, -2, 3, 1, -3, -2, -3, 0, -3, 3, -3], {"weight_decay": 0.005, "bias": "penalized"}),
    # A direction next to one of the neurons is above the price of norm by 1e-9.
    "pivot, hinge": ("hinge", columns("77435677444554", "34634356747363", "75755734767737"),
                     [1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, -1, -1, -1], {"weight_decay": 0.1, **BOTH}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEARLY_DEPENDENT)
def test_the_rule_holds_where_predictions_are_nearly_dependent(name):
    loss, X, y, kind = NEARLY_DEPENDENT[name]
    assert cr.solve(made(loss, X, np.asarray(y, dtype=float), **kind)).canonical


@pytest.mark.parametrize(("n", "d", "weight_decay", "seed"), [(50, 2, 0.2, 61), (60, 4, 0.05, 7)])
def test_the_rule_holds_on_a_lattice(n, d, weight_decay, seed):
    # A direction that is not active has 1e-10 less correlation; one that is has 1e-8 more than the neurons found.
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (n, d)).astype(float)
    y = np.abs(X).sum(axis=1) + 0.1 * rng.standard_normal(n)
    assert cr.solve(made("huber", X, y, weight_decay=weight_decay, **BOTH)).canonical


def test_a_sample_in_two_halves_counts_once_where_predictions_can_move():
    # The hinge loss is flat beyond the margin, where the first and the last sample are.
    X = np.array([[1.0, 0.0], [2.0, 3.0], [-1.0, 2.0], [3.0, 0.0], [1.0, 2.0]])
    y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    weight = np.array([0.5, 1, 1, 1, 1, 0.5])
    halves = [0, 1, 2, 3, 4, 0]
    whole = cr.solve(cr.TrainingProblem(X, y, 0.015, loss="hinge", bias="free"))
    halved = cr.solve(cr.TrainingProblem(X[halves], y[halves], 0.015, "hinge", "free", sample_weight=weight))
    assert whole.optimal_set().fits.open.any()
    assert whole.network(X) == pytest.approx(halved.network(X), abs=1e-9)


def test_samples_of_weight_zero_do_not_matter():
    X, y = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), np.ones(4)
    more = np.vstack([X, [[9.0, 9.0]]]), np.append(y, 5.0)
    few = cr.solve(cr.TrainingProblem(X, y, 0.1, bias="none"))
    many = cr.solve(cr.TrainingProblem(*more, 0.1, bias="none", sample_weight=[1.0, 1.0, 1.0, 1.0, 0.0]))
    assert few.canonical
    assert many.canonical
    assert many.network(more[0]) == pytest.approx(few.network(more[0]), abs=1e-12)


def test_costs_tell_opposite_neurons_and_samples_apart():
    rows = np.vstack([np.eye(3), -np.eye(3)])
    assert np.diff(np.sort(generic_costs(rows))).min() > 0.01


@pytest.fixture(scope="module")
def pentagon():
    return cr.solve(cr.TrainingProblem(polygon(5), np.ones(5), 0.1, bias="none"), canonical=False)


def test_a_network_that_would_cost_more_is_not_taken(pentagon):
    better = replace(pentagon, certificate=replace(pentagon.certificate, objective=pentagon.objective * (1 - 1e-6)))
    assert canonical.with_canonical_network(better, Monitor(), 1000) is better
    assert canonical.with_canonical_network(pentagon, Monitor(), 1000).canonical


def test_the_rule_waits_for_nothing(pentagon):
    late = Monitor(time_limit=1e-9)
    assert canonical.with_canonical_network(pentagon, late, 1000) is pentagon
    stopped = replace(pentagon, status=cr.Status.UNPROVEN)
    assert canonical.with_canonical_network(stopped, Monitor(), 1000) is stopped
    assert canonical.with_canonical_network(pentagon, Monitor(), 10) is pentagon  # 5 samples times 4 neurons


def test_what_is_not_at_the_optimum_to_rounding_is_not_called_canonical(pentagon, monkeypatch):
    monkeypatch.setattr(canonical, "GOOD", 0.0)
    assert not canonical.with_canonical_network(pentagon, Monitor(), 1000).canonical


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, np.linalg.LinAlgError, cr.errors.UnsupportedError])
def test_whatever_comes_between_the_optimal_network_is_returned(pentagon, monkeypatch, trouble):
    def fails(*_):
        raise trouble

    monkeypatch.setattr(canonical, "_canonical_weights", fails)
    assert canonical.with_canonical_network(pentagon, Monitor(), 1000) is pentagon


def test_infinitely_many_optimal_neurons_are_not_chosen_from():
    # Every direction of the plane is as good: two tasks that are the inputs turned.
    X = polygon(8)
    result = cr.solve(cr.TrainingProblem(X, X, 0.1, bias="none"))
    assert result.status is cr.Status.OPTIMAL
    assert not result.canonical
    assert not result.optimal_set().is_finite
