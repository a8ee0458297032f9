"""`verify`: verdicts whose truth is known, and properties that hold of any network."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from strategies import examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.verify import missing_neuron, objective_parts

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


def test_a_network_of_another_weight_decay():
    network = cr.solve(sine(0.1)).network
    v = cr.verify(sine(2.0), network)
    assert v.verdict is cr.Verdict.DIFFERENT_OBJECTIVE
    assert v.stationarity.explanation.weight_decay == pytest.approx(0.1, rel=0.02)


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


def test_an_unfinished_proof_is_no_verdict_on_the_network():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 12))
    problem = cr.TrainingProblem(X, rng.standard_normal(60), 1.0)
    problem = problem.with_weight_decay(0.3 * problem.max_weight_decay())
    network = cr.solve(problem, tol=1e-5, max_boxes=100).network
    v = cr.verify(problem, network, time_limit=1.0)
    assert v.gap > TOL and v.attained_gap < TOL
    assert v.verdict is cr.Verdict.UNPROVEN


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


def test_nothing_is_missing_at_the_optimum_and_several_tasks_are_not_searched():
    problem = sine()
    found = missing_neuron(problem, cr.solve(problem, tol=1e-8).network)
    assert found is None or found.gain < 1e-8
    tasks = cr.TrainingProblem(x[:, None], np.column_stack([x, -x]), 0.1)
    assert missing_neuron(tasks, cr.Network([[1.0]], [0.0], [[1.0, 1.0]])) is None


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
    with pytest.raises(InvalidInputError, match="tol"):
        cr.verify(sine(), cr.Network([[1.0]], [0.0], [[1.0]]), tol=0)
