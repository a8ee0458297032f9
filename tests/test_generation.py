"""Training with every loss: pattern generation against the oracle, gaps, gradient descent."""

import importlib
import itertools

import numpy as np
import oracles
import pytest
from strategies import LEGAL_MODES

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.losses import HingeLoss, get_loss
from convexrelu.native.bridge import is_proximal
from convexrelu.native.proximal import ProximalLoss
from convexrelu.result import Status

LOSSES = tuple(oracles.LOSSES)
BINARY = ("logistic", "hinge", "squared_hinge")


def instance(name, seed):
    """A small problem, every other one of integers with ties, every third one weighted; None if it is refused."""
    rng = np.random.default_rng(seed)
    n, d = rng.integers(2, 7), rng.integers(1, 3)
    X = rng.integers(-2, 3, (n, d)).astype(float) if seed % 2 else rng.standard_normal((n, d))
    y = rng.integers(-3, 4, n).astype(float) if seed % 2 else rng.standard_normal(n)
    if name in BINARY:
        y = rng.choice([-1.0, 1.0], n)
    weight = np.where(rng.random(n) < 0.2, 0.0, rng.integers(1, 5, n) / 2) if seed % 3 == 0 else None
    weight = weight if weight is not None and weight.any() else None
    kinds = dict(zip(("bias", "output_bias", "skip"), LEGAL_MODES[seed % len(LEGAL_MODES)], strict=True))
    options = {"loss": name, "sample_weight": weight, **kinds}
    try:
        return cr.TrainingProblem(X, y, 10 ** rng.uniform(-2.0, 0.5), **options), options
    except InvalidInputError as error:
        assert "penalise" in str(error)
        return None, options


def check(name, seed, patterns="generate"):
    problem, options = instance(name, seed)
    if problem is None:
        return None
    X, y, lam = problem.X, problem.Y[:, 0], problem.weight_decay
    value = oracles.convex_value(X, y, lam, **options)
    result = cr.solve(problem, patterns=patterns)
    assert result.status is Status.OPTIMAL, seed
    # The oracle's accuracy is 1e-10 to 1e-8, of its value or of the loss at zero.
    slack = 1e-8 * problem.loss.value(0 * problem.Y, problem.Y, problem.sample_weight)
    assert abs(result.objective - value) <= 1e-6 * value + slack, seed
    assert result.certificate.lower_bound <= value * (1 + 1e-8) + slack, seed
    descent = oracles.gradient_descent(X, y, lam, seeds=1, widths=(8,), **options)
    assert descent >= result.certificate.lower_bound * (1 - 1e-12), seed
    return result


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_agrees_with_the_oracle(name, seed):
    check(name, seed)


@pytest.fixture
def generated(monkeypatch):
    """Generation where small problems have their patterns listed, or are of one input."""
    solve = importlib.import_module("convexrelu.solve")
    monkeypatch.setattr(solve, "FEW", 0)
    monkeypatch.setattr(solve, "takes_one_input", lambda problem: False)


@pytest.fixture
def native(generated, monkeypatch):
    """Generation by the native solver, also for losses with kinks, which a conic one solves where data are few."""
    monkeypatch.setattr("convexrelu.native.bridge.SMALL", -1)


@pytest.mark.parametrize("name", LOSSES)
def test_generation_agrees_with_the_oracle(name, native):
    for seed in (0, 3):
        check(name, seed)


# Kinks of the data coincide with opposite pull; the curvature of the smoothed loss jumps; neurons come and go in turns.
# All of these made it circle.
@pytest.mark.parametrize(
    ("name", "seed"), [("absolute", 1), ("absolute", 18), ("quantile", 39), ("hinge", 13), ("hinge", 73)]
)
def test_losses_with_kinks_natively_where_kinks_coincide(name, seed, native):
    assert check(name, seed).solution.message == "native"


def test_a_stopped_minimisation_leaves_the_neurons_found(generated, monkeypatch):
    def stopped(loop, joined, tol):
        raise KeyboardInterrupt

    monkeypatch.setattr("convexrelu.backends.native._Loop._improve", stopped)
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((20, 3)), rng.standard_normal(20), 0.1)
    result = cr.solve(problem)
    assert result.status is Status.INTERRUPTED
    assert result.network.n_neurons > 0
    empty = problem.loss.value(0 * problem.Y, problem.Y, problem.sample_weight)
    assert result.objective < empty


def test_a_callback_sees_the_best_network_so_far(generated):
    rng = np.random.default_rng(1)
    problem = cr.TrainingProblem(rng.standard_normal((40, 4)), rng.standard_normal(40), 0.02, bias="none")
    states = []
    result = cr.solve(problem, max_iter=4, callback=states.append, tol=1e-10)
    assert np.all(np.diff([state.objective for state in states]) <= 0)
    assert states[-1].objective == pytest.approx(result.objective, rel=1e-9)
    # Within a round, when neurons have been added, and at its end.
    assert [state.iteration for state in states] == [0, 1, 1, 2, 2, 3, 3, 4]
    assert result.status is Status.LIMIT


def accepted(name, count):
    """The first seeds of problems that are not refused."""
    return itertools.islice((seed for seed in itertools.count() if instance(name, seed)[0] is not None), count)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_agrees_with_the_oracle_200_times(name):
    for seed in accepted(name, 200):
        check(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_generation_agrees_with_the_oracle_200_times(name, generated):
    for seed in accepted(name, 200):
        check(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["absolute", "quantile", "hinge"])
def test_native_generation_agrees_with_the_oracle_200_times(name, native):
    for seed in accepted(name, 200):
        result = check(name, seed)
        # What the free part meets without loss leaves a native solver, whose gaps are relative, only rounding.
        assert result.solution.message == "native" or result.objective <= result.problem.negligible, seed


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_over_enumerated_patterns(name):
    for seed in (10, 11):
        check(name, seed, "enumerate")


@pytest.mark.parametrize("name", LOSSES)
def test_the_best_weight_decay_separates_empty_from_not(name):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((7, 2)), rng.standard_normal(7)
    y = np.sign(y) if name in BINARY else y
    for output_bias in ("none", "penalized", "free"):
        problem = cr.TrainingProblem(X, y, loss=name, output_bias=output_bias)
        largest = problem.max_weight_decay()
        assert cr.solve(problem.with_weight_decay(1.001 * largest)).network.n_neurons == 0
        assert cr.solve(problem.with_weight_decay(0.98 * largest)).network.n_neurons > 0


@pytest.mark.parametrize("name", LOSSES)
def test_certify_takes_every_loss(name):
    problem, options = instance(name, 4)
    value = oracles.convex_value(problem.X, problem.Y[:, 0], problem.weight_decay, **options)
    empty = problem.linear_network()
    certificate = cr.certify(problem, empty)
    assert certificate.scope == "global"
    # The lower bound is good to the tolerance of certify.
    assert value * (1 - 1e-3) <= certificate.lower_bound <= value * (1 + 1e-8)


def test_an_optimum_without_loss_is_zero():
    # The skip alone meets two targets: what is left of the absolute loss is rounding.
    result = cr.solve(cr.TrainingProblem([[0.3, 1.0], [1.7, 0.4]], [1.0, -0.7], 0.6, "absolute", skip="free"))
    assert result.status is Status.OPTIMAL and result.network.n_neurons == 0


@pytest.mark.parametrize("name", ["squared", "absolute", "huber", "quantile"])
def test_targets_of_zero(name):
    result = cr.solve(cr.TrainingProblem(np.eye(3), np.zeros(3), 0.1, name, output_bias="free"))
    assert result.status is Status.OPTIMAL and result.objective == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_weights_of_very_different_size(name):
    # The heavy sample alone decides when neurons are needed: it is (2, -1), with the bias of length sqrt(6).
    X, y = [[0.0, 1.0], [1.0, 0.0], [2.0, -1.0], [3.0, 1.0], [1.0, 2.0]], [1.0, -1.0, 1.0, 1.0, -1.0]
    problem = cr.TrainingProblem(X, y, 1.0, name, sample_weight=[1e-12, 1.0, 1e12, 0.0, 1.0])
    slope = {"quantile": 0.5, "logistic": 0.5}.get(name, 1.0)
    assert problem.max_weight_decay() == pytest.approx(slope * np.sqrt(6) * 1e12, rel=1e-8)


def test_data_of_zeros():
    problem = cr.TrainingProblem(np.zeros((3, 1)), [1.0, 2.0, 3.0], bias="none")
    result = cr.solve(problem)
    assert result.status is Status.OPTIMAL and result.objective == 7.0


def test_a_circling_native_solver_hands_over():
    # All kinks of the data coincide, with opposite pull.
    X, y = [[1.0, 2.0], [-2.0, -2.0], [2.0, 2.0], [-1.0, -1.0]], [3.0, -1.0, -2.0, 2.0]
    result = cr.solve(cr.TrainingProblem(X, y, 0.105438, "huber", bias="none", skip="penalized"))
    assert result.status is Status.OPTIMAL
    assert result.solution.message != "native"


@pytest.mark.parametrize("name", ["hinge", "quantile"])
def test_losses_with_kinks_natively(name):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    y = np.sign(y - 1) if name == "hinge" else y
    problem = cr.TrainingProblem(X, y, loss=name, output_bias="free")
    problem = problem.with_weight_decay(0.2 * problem.max_weight_decay())
    assert is_proximal(problem)
    result, other = cr.solve(problem), cr.solve(problem, backend="clarabel")
    assert result.status is other.status is Status.OPTIMAL
    assert result.solution.message == "native" != other.solution.message
    # Both are within 1e-6 of the optimum.
    assert result.objective == pytest.approx(other.objective, rel=1e-6)


def test_a_smoothed_loss_is_the_loss_at_its_reference():
    rng = np.random.default_rng(0)
    Y, weight = rng.choice([-1.0, 1.0], (6, 1)), np.array([0.0, 0.5, 1.0, 1.0, 2.0, 2.0])
    hinge, F = HingeLoss(), rng.standard_normal((6, 1))
    nu = -hinge.gradient(F, Y, weight)
    smooth = ProximalLoss(hinge, nu, 0.3)
    np.testing.assert_array_equal(smooth.gradient(F, Y, weight), -nu)
    assert smooth.value(F, Y, weight) == pytest.approx(hinge.value(F, Y, weight), rel=1e-14)
    other, step = ProximalLoss(hinge, 0.3 * nu, 0.3), 1e-6 * rng.standard_normal((6, 1))
    change = other.value(F + step, Y, weight) - other.value(F - step, Y, weight)
    assert change == pytest.approx(2 * np.sum(other.gradient(F, Y, weight) * step), rel=1e-6)
    assert other.value(F, Y, weight) <= hinge.value(F, Y, weight)


def test_a_penalised_column_within_the_free_ones():
    # A feature is constant, as the free output bias is: what projection leaves of it is rounding.
    check("logistic", 79)


def test_quantiles_of_a_constant():
    y = np.arange(10.0)
    problem = cr.TrainingProblem(np.zeros((10, 1)), y, loss=cr.losses.QuantileLoss(0.25), output_bias="free")
    constant = cr.solve(problem).network.output_bias[0]
    assert 2.0 - 1e-6 <= constant <= 3.0 + 1e-6


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_samples_that_a_free_skip_satisfies_cost_nothing(name):
    # The first two samples lie on their own axis: the skip meets them whatever it does for the others.
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 1.5]])
    y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    options = {"bias": "penalized", "output_bias": "none", "skip": "free"}
    problem = cr.TrainingProblem(X, y, 0.1, name, **options)
    np.testing.assert_array_equal(problem.dual_domain.used, [False, False, True, True, True])
    result = cr.solve(problem)
    assert result.status is Status.OPTIMAL
    assert result.objective == pytest.approx(oracles.convex_value(X, y, 0.1, loss=name, **options), rel=1e-6)
    with pytest.raises(InvalidInputError, match=r"2 of 5 samples .* free skip falls for ever"):
        cr.TrainingProblem(X, y, 0.1, "logistic", **options)


@pytest.mark.parametrize("name", BINARY)
def test_labels_that_need_no_network_are_refused(name):
    X = [[0.0], [1.0]]
    with pytest.raises(InvalidInputError, match=r"labels in `Y` are all equal.*output bias"):
        cr.TrainingProblem(X, [1, 1], loss=name, output_bias="free")
    with pytest.raises(InvalidInputError, match=r"2 of 2 samples .*free skip"):
        cr.TrainingProblem(X, [0, 1], loss=name, skip="free")
    assert get_loss(name).targets(cr.TrainingProblem(X, [1, 1], loss=name).Y).all()


def test_data_of_zeros_natively(generated):
    # No listing: the search must take data of rank zero.
    problem = cr.TrainingProblem(np.zeros((2, 1)), [1.0, -1.0], 0.1, "logistic", bias="none", output_bias="free")
    assert cr.solve(problem).status is Status.OPTIMAL


def test_sliding_may_leave_no_neuron(generated):
    check("huber", 197)


def test_missing_neurons_next_to_the_cell_that_is_on_everywhere(generated):
    # Both have their kink on samples whose one side is that cell; the other side is the one to add.
    check("hinge", 249)
