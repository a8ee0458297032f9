"""`verify`: verdicts whose truth is known, and properties that hold of any network."""

import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.descent import descended
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.improvements import RESOLVING
from convexrelu.verify import STATIONARY, missing_neuron, objective_parts

TOL = 1e-3
x = np.linspace(-1, 2, 21)


def sine(weight_decay=0.1, **options):
    return cr.TrainingProblem(x[:, None], np.sin(2 * x), weight_decay, **options)


# -- what holds of any network ----------------------------------------------------------------------------------------


@examples(30)
@given(problems(), st.data())
def test_numbers_agree_with_each_other(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    v = cr.verify(problem, network)
    # Proven below, attained above: the truth lies between.
    assert v.certificate.lower_bound <= problem.objective(v.improved) <= v.objective == problem.objective(network)
    assert v.attained_gap <= v.gap + 1e-15
    assert sum(v.parts.values()) == pytest.approx(v.objective, rel=1e-12, abs=1e-300)
    assert (v.verdict is cr.Verdict.OPTIMAL) == (v.gap <= TOL)
    if v.verdict in (cr.Verdict.STATIONARY, cr.Verdict.NOT_CONVERGED, cr.Verdict.DIFFERENT_OBJECTIVE):
        assert v.attained_gap > TOL
    assert f"{v.gap:.2e}" in str(v)


@examples(30)
@given(problems())
def test_optima_are_called_optimal(problem):
    result = cr.solve(problem)
    v = cr.verify(problem, result.network)
    if result.status is cr.Status.OPTIMAL:
        assert v.verdict is cr.Verdict.OPTIMAL


# -- verdicts ---------------------------------------------------------------------------------------------------------


def spurious():
    """One neuron that is blind to half of the data, at its own optimum: 1/2 (1 - u)^2 + 0.1 u is least at 0.9."""
    problem = cr.TrainingProblem([[1.0], [-1.0]], [1.0, 1.0], 0.1, bias="none")
    return problem, cr.Network([[np.sqrt(0.9)]], None, [[np.sqrt(0.9)]], bias="none")


def test_a_spurious_stationary_point_and_the_neuron_it_lacks():
    problem, network = spurious()
    v = cr.verify(problem, network)
    assert v.verdict is cr.Verdict.STATIONARY
    # Each side costs 1/2 0.1^2 + 0.1 0.9 = 0.095 at its optimum, and 0.5 without a neuron.
    assert v.objective == pytest.approx(0.595)
    assert v.certificate.lower_bound == pytest.approx(0.19, rel=TOL)
    assert v.missing.correlation == pytest.approx(1.0)
    assert v.missing.gain == pytest.approx((1.0 - 0.1) ** 2 / 2)  # (tau - lam)^2 / (2 |phi|^2)
    assert v.missing.hidden == pytest.approx([-np.sqrt(0.9)]) and v.missing.output == pytest.approx([np.sqrt(0.9)])
    assert "spurious" in str(v)


def test_the_counterexample_of_theory_b7_is_not_called_stationary():
    problem = cr.TrainingProblem([[1.0, -1.0], [0.0, 1.0]], [1.1, 0.5], 0.1, bias="none")
    v = cr.verify(problem, cr.Network([[1.0, 0.0]], None, [[1.0]], bias="none"))
    assert v.stationarity.residual < 1e-6
    assert v.verdict is cr.Verdict.NOT_CONVERGED


def test_an_optimum_over_its_own_patterns_that_slides_into_another_cell_is_not_stationary():
    X = [[-1.0, 2.0], [1.0, 1.0], [2.0, 1.0]]
    problem = cr.TrainingProblem(X, [-1.0, -3.0, 0.0], 0.1, bias="none")
    only = cr.Patterns.from_active(X, np.array([[True, False, False]]), bias="none")
    # Nothing to gain in its cell, but its knot sits next to a sample that pulls it across.
    v = cr.verify(problem, cr.solve(problem, patterns=only, tol=1e-9, canonical=False).network)
    *repairs, further = v.improvements
    assert sum(step.gain for step in repairs) < 1e-6 < further.gain
    assert v.stationarity.directional > 0.1
    assert v.verdict is cr.Verdict.NOT_CONVERGED


def test_a_neuron_of_several_tasks_that_lacks_another_of_its_own_pattern():
    """Of Y = 2 I one neuron fits one of two equal singular values; no descent makes two neurons of it."""
    problem = cr.TrainingProblem(np.eye(2), 2 * np.eye(2), 0.1, bias="none")
    u = np.sqrt((2 - 0.1) / 2)
    v = cr.verify(problem, cr.Network([[u, u]], None, [[u, u]], bias="none"))
    assert v.objective == pytest.approx(2.195) and problem.objective(v.improved) == pytest.approx(0.39, rel=1e-3)
    assert v.stationarity.directional < 1e-8
    assert v.verdict is cr.Verdict.STATIONARY


def test_a_network_of_another_weight_decay():
    network = cr.solve(sine(0.1)).network
    v = cr.verify(sine(2.0), network)
    assert v.verdict is cr.Verdict.DIFFERENT_OBJECTIVE
    assert v.stationarity.explanation.weight_decay == pytest.approx(0.1, rel=0.02)


def test_a_network_whose_weights_do_not_tell_the_weight_decay():
    x = np.linspace(-1, 2, 7)
    problem = cr.TrainingProblem(x[:, None], np.sin(2 * x), 1e-3, loss="absolute")
    network = cr.solve(problem, tol=1e-8).network
    unfinished = replace(
        network, hidden=3 * network.hidden, hidden_bias=3 * network.hidden_bias, output=network.output / 3
    )
    v = cr.verify(problem, unfinished)
    assert v.verdict is cr.Verdict.NOT_CONVERGED
    assert "do not tell" in v.report()


def test_dead_neurons_do_not_hide_a_spurious_point():
    problem = sine()
    optimal = cr.solve(problem).network
    dead = cr.Network(
        np.vstack([optimal.hidden, [[0.0]]]), np.append(optimal.hidden_bias, -5.0), np.vstack([optimal.output, [[5.0]]])
    )
    v = cr.verify(problem, dead)
    assert v.verdict is cr.Verdict.NOT_CONVERGED
    assert v.improvements[1].gain == pytest.approx(0.05 * 50)
    assert v.improvements[1].objective == pytest.approx(problem.objective(optimal), rel=1e-9)


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_either_side_of_the_tolerance(share):
    """The solver's own accuracy, up to a tenth of the tolerance, leaves both open here."""
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((60, 2)), rng.standard_normal(60), 0.5, loss="huber")
    best = cr.solve(problem, tol=1e-6)
    wanted = best.objective / (1 - share * TOL)

    def scaled(s):
        return replace(best.network, output=s * best.network.output)

    v = cr.verify(problem, scaled(brentq(lambda s: problem.objective(scaled(s)) - wanted, 1, 2)), time_limit=None)
    assert v.attained_gap == pytest.approx(share * TOL, rel=2e-3)
    assert v.verdict is not cr.Verdict.UNPROVEN
    assert (v.verdict is cr.Verdict.OPTIMAL) == (share < 1)


def test_an_unfinished_proof_is_no_verdict_on_the_network():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12))
    problem = cr.TrainingProblem(X, rng.standard_normal(60), 1.0)
    problem = problem.with_weight_decay(0.3 * problem.max_weight_decay())
    network = cr.solve(problem, tol=1e-5, max_boxes=100).network
    v = cr.verify(problem, network, time_limit=1.0)
    assert v.gap > TOL and v.attained_gap < TOL
    assert v.verdict is cr.Verdict.UNPROVEN
    assert "the optimum is not proven" in v.optimal_range and "not compared with the range" in v.report()


def test_distance_to_the_range_over_all_optimal_networks():
    # x = 0, 1, 2, 3 on a convex curve, free bias and skip: between 1 and 2 the optimal networks differ (theory D.3).
    X, y = np.arange(4.0)[:, None], np.array([0.0, 0.0, 1.0, 3.0])
    problem = cr.TrainingProblem(X, y, 0.01, bias="free", skip="free")
    optimal = cr.solve(problem, tol=1e-8)
    new = np.linspace(-1, 4, 11)[:, None]
    v = cr.verify(problem, optimal.network)
    assert v.distance_to_optimal(new).max() < 1e-6
    lower, upper = optimal.optimal_set().prediction_range(new)
    assert (upper - lower).max() > 0.01
    shifted = cr.Network(
        optimal.network.hidden,
        optimal.network.hidden_bias,
        optimal.network.output,
        optimal.network.skip,
        optimal.network.output_bias + 1.0,
        "free",
    )
    distance = cr.verify(problem, shifted).distance_to_optimal(new)
    np.testing.assert_allclose(distance, np.maximum(shifted(new)[:, 0] - upper, 0), atol=1e-6)


def test_improve_gives_a_warm_start():
    problem = sine()
    start = cr.Network([[1.0], [-1.0]], [0.0, 0.5], [[0.5], [0.5]])
    better = cr.improve(problem, start)
    assert problem.objective(better) < problem.objective(start)
    assert cr.solve(problem, warm_start=better).status is cr.Status.OPTIMAL


# -- parts ------------------------------------------------------------------------------------------------------------


def test_parts_leave_out_what_is_free():
    network = cr.Network([[1.0]], [2.0], [[3.0]], None, [4.0], "free")
    parts = objective_parts(sine(bias="free"), network)
    assert list(parts) == ["loss", "weight decay of the hidden weights", "weight decay of the output weights"]
    assert parts["weight decay of the output weights"] == pytest.approx(0.05 * 9)


def test_nothing_is_missing_at_the_optimum():
    problem = sine()
    found = missing_neuron(problem, cr.solve(problem, tol=1e-8).network)
    assert found is None or found.gain < 1e-8


def test_a_neuron_that_several_tasks_lack():
    X = np.array([[1.0], [-1.0]])
    problem = cr.TrainingProblem(X, [[1.0, 1.0], [3.0, -4.0]], 0.5, bias="none")
    blind = cr.Network([[1.0]], None, [[0.5, 0.5]], bias="none")
    found = missing_neuron(problem, blind)
    # On the left the residual is (3, -4) of norm 5: (5 - 0.5)^2 / 2 is gained by a neuron of that direction.
    assert found.correlation == pytest.approx(5.0)
    assert found.gain == pytest.approx(4.5**2 / 2)
    assert found.output / np.linalg.norm(found.output) == pytest.approx([0.6, -0.8])
    assert found.hidden[0] < 0


@examples(25)
@given(problems(), st.data())
def test_the_missing_neuron_keeps_its_word(problem, data):
    network = data.draw(networks(problem.X.shape[1], **kinds_of(problem)))
    found = missing_neuron(problem, network)
    if found is not None:
        grown = cr.Network(
            np.vstack([network.hidden, found.hidden]),
            np.append(network.hidden_bias, found.hidden_bias),
            np.vstack([network.output, found.output]),
            network.skip,
            network.output_bias,
            network.bias,
        )
        assert problem.objective(grown) == pytest.approx(found.objective, rel=1e-12)
        assert found.gain > 0 and found.correlation > problem.weight_decay


# -- losses and tasks -------------------------------------------------------------------------------------------------

PLANE = np.random.default_rng(1).standard_normal((20, 2))
LABELS = np.where(PLANE[:, 0] * PLANE[:, 1] > 0, 1.0, -1.0)
CURVE = np.column_stack([np.abs(PLANE[:, 0]), np.sin(2 * PLANE[:, 1])])
KINDS = {
    "absolute": CURVE[:, 0],
    "quantile": CURVE[:, 0],
    "huber": 3 * CURVE[:, 0],
    "logistic": LABELS,
    "hinge": LABELS,
    "squared_hinge": LABELS,
    "softmax": np.digitize(PLANE[:, 0], [-0.5, 0.5]),
    "squared": CURVE,
}


@pytest.mark.parametrize("loss", KINDS)
def test_every_loss_and_several_tasks(loss):
    problem = cr.TrainingProblem(PLANE, KINDS[loss], 1.0, loss=loss, output_bias="penalized")
    problem = problem.with_weight_decay(0.1 * problem.max_weight_decay())
    optimum = cr.solve(problem, tol=1e-5)
    v = cr.verify(problem, optimum.network, time_limit=None)
    assert v.verdict is cr.Verdict.OPTIMAL
    # Knots sit on samples, and predictions on the kinks of the loss: the plain gradient does not see an optimum.
    assert v.stationarity.directional < STATIONARY
    assert v.stationarity.implied_weight_decay == pytest.approx(problem.weight_decay, rel=0.05)
    assert sum(v.parts.values()) == pytest.approx(v.objective)
    worse = cr.verify(problem, problem.linear_network(), time_limit=None)
    assert worse.certificate.lower_bound <= optimum.objective
    assert optimum.certificate.lower_bound <= problem.objective(worse.improved)
    assert worse.gap <= 2 * (worse.objective - optimum.certificate.lower_bound) / worse.objective
    # With all predictions of a class on a kink of the hinge no single neuron need be a gain.
    assert loss == "hinge" or worse.missing.gain > 0
    assert worse.missing is None or worse.missing.output.shape == (problem.Y.shape[1],)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_objective_of_scikit_learns_classifier(classes):
    y = np.digitize(PLANE[:, 0], [-0.5, 0.5]) if classes == 3 else (LABELS > 0).astype(int)
    mlp = MLPClassifier(hidden_layer_sizes=8, alpha=0.5, solver="lbfgs", random_state=0, max_iter=3000).fit(PLANE, y)
    problem = cr.TrainingProblem.from_sklearn(PLANE, y, 0.5, loss="softmax" if classes == 3 else "logistic")
    v = cr.verify(problem, mlp, time_limit=None)
    # scikit-learn's own loss is this objective over n.
    assert mlp.loss_ * len(PLANE) == pytest.approx(v.objective, rel=1e-6)
    assert v.certificate.lower_bound <= v.objective and v.gap < 2 * v.attained_gap + TOL
    assert v.stationarity.implied_weight_decay == pytest.approx(0.5, rel=0.05)


# -- models of others -------------------------------------------------------------------------------------------------


def trained(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp = MLPRegressor(hidden_layer_sizes=10, solver="lbfgs", alpha=0.1, random_state=0, max_iter=3000, **options)
        return mlp.fit(x[:, None], np.sin(2 * x))


def test_scikit_learn_models_are_read():
    problem = cr.TrainingProblem.from_sklearn(x[:, None], np.sin(2 * x), 0.1)
    mlp = trained()
    v = cr.verify(problem, mlp)
    # scikit-learn's own loss is this objective over n.
    assert mlp.loss_ * len(x) == pytest.approx(v.objective, rel=1e-6)
    assert v.rounding < 1e-14 * 100
    assert v.certificate.lower_bound <= v.objective


def test_a_float32_model_reports_the_difference(tmp_path):
    path = tmp_path / "net.onnx"
    cr.solve(sine()).network.to_onnx(path, dtype="float32")
    v = cr.verify(sine(), path)
    assert v.verdict is cr.Verdict.OPTIMAL
    assert 0 < v.rounding < 1e-5


def test_a_folded_scaler_is_noted():
    pipeline = make_pipeline(StandardScaler(), trained()).fit(x[:, None], np.sin(2 * x))
    problem = cr.TrainingProblem.from_sklearn(x[:, None], np.sin(2 * x), 0.1)
    assert "folded" in str(cr.verify(problem, pipeline))


@pytest.mark.parametrize("size", [1e-200, 1e-150, 1e150])
def test_weights_of_any_size(size):
    """The bound does not depend on the network; what its squares cannot hold must not change a verdict or a kind."""
    network = cr.Network([[size], [-size]], [size, size], [[1.0], [0.5]])
    v = cr.verify(sine(), network)
    assert v.verdict is cr.Verdict.NOT_CONVERGED
    assert v.certificate.lower_bound <= sine().objective(v.improved) <= 1.001 * v.certificate.lower_bound
    assert np.isfinite([v.stationarity.gradient, v.stationarity.residual]).all()


def test_weights_whose_gradient_overflows():
    problem = cr.TrainingProblem([[1e4], [0.0]], [1.0, 0.0], 0.1)
    for size in (1e153, 1e200):  # of the gradient alone, and of the objective
        with pytest.raises(InvalidInputError, match="or its gradient, overflows: its training diverged"):
            cr.verify(problem, cr.Network([[1e-4]], [0.0], [[size]]))


def test_what_cannot_be_verified():
    with pytest.raises(UnsupportedError, match="penalised problems"):
        cr.verify(cr.TrainingProblem.interpolation([[0.0], [1.0]], [0.0, 1.0]), cr.Network([[1.0]], [0.0], [[1.0]]))
    with pytest.raises(InvalidInputError, match="state dict"):
        cr.verify(sine(), {"weight": 1})
    with pytest.raises(InvalidInputError, match="type int is not known"):
        cr.verify(sine(), 3)
    with pytest.raises(InvalidInputError, match="maps 2 inputs"):
        cr.verify(sine(), cr.Network([[1.0, 2.0]], [0.0], [[1.0]]))
    with pytest.raises(InvalidInputError, match="bias='none'"):
        cr.verify(sine(bias="none"), cr.Network([[1.0]], [1.0], [[1.0]]))
    with pytest.raises(InvalidInputError, match="diverged"):
        cr.verify(sine(), cr.Network([[1e90]], [0.0], [[1e90]]))
    with pytest.raises(InvalidInputError, match="tol"):
        cr.verify(sine(), cr.Network([[1.0]], [0.0], [[1.0]]), tol=0)


def test_distance_to_the_range_for_several_tasks():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])
    Y = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    problem = cr.TrainingProblem(X, Y, 0.1, output_bias="free")
    optimal = cr.solve(problem, tol=1e-8).network
    points = X[:2]  # as many points as tasks
    assert cr.verify(problem, optimal).distance_to_optimal(points) == pytest.approx(np.zeros((2, 2)), abs=1e-5)
    shifted = replace(optimal, output_bias=optimal.output_bias + np.array([0.0, 1.0]))
    distance = cr.verify(problem, shifted).distance_to_optimal(points)
    assert distance == pytest.approx(np.array([[0.0, 1.0], [0.0, 1.0]]), abs=1e-5)


def test_next_to_a_stationary_point_behind_a_kink():
    # L-BFGS stops where a knot meets a sample, next to a spurious stationary point: training on gains little.
    rng = np.random.default_rng(1)
    problem = cr.TrainingProblem(rng.standard_normal((12, 2)), rng.standard_normal((12, 2)), 0.2)
    network = cr.Network(rng.standard_normal((6, 2)), rng.standard_normal(6), rng.standard_normal((6, 2)))
    v = cr.verify(problem, descended(problem, network, 3000))
    assert v.stationarity.directional > STATIONARY and v.attained_gap > 0.01
    assert v.verdict is cr.Verdict.STATIONARY


def test_what_the_time_limit_cut_short_is_told():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((60, 4)), rng.standard_normal((60, 2)), 0.3)
    network = cr.Network(rng.standard_normal((10, 4)), rng.standard_normal(10), rng.standard_normal((10, 2)))
    v = cr.verify(problem, network, time_limit=1e-3)
    assert len(v.left_out) == 3 and "cut short by the time limit: re-solving" in v.report()
    assert v.gap >= v.attained_gap > 0
    small = sine()
    assert cr.verify(small, cr.solve(small, tol=0.1).network).left_out == ()


def test_large_problems_skip_what_would_take_minutes(monkeypatch):
    problem, network = sine(), cr.Network([[1.0], [-1.0]], [0.5, 0.5], [[0.3], [0.2]])
    whole = cr.verify(problem, network)
    monkeypatch.setattr("convexrelu.improvements.MOST_PRODUCTS", 0)
    monkeypatch.setattr(sys.modules["convexrelu.verify"], "SEARCH_WORK", 0)
    v = cr.verify(problem, network)
    assert [step.name for step in v.improvements] == [s.name for s in whole.improvements if s.name != RESOLVING]
    assert "not re-solved over its own patterns: too many for seconds\n" in v.report()
    # Ten random starts find the neuron as well as a hundred and fifty do, on one input.
    assert v.missing.objective == pytest.approx(whole.missing.objective, rel=1e-6)
