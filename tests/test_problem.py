"""`TrainingProblem`: the objective by hand, conversions, choices, the largest weight decay."""

import math
import warnings

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from strategies import LEGAL_MODES, examples, kinds_of, networks, problems

import convexrelu as cr
from convexrelu.errors import InvalidInputError
from convexrelu.losses import SquaredLoss

# -- the objective ----------------------------------------------------------------------------------------------------


def test_objective_by_hand():
    # One neuron relu(2x - 1) times 3, skip 0.5 x, output bias -1; at x = 0, 2: f = -1, 9.
    network = cr.Network([[2.0]], [-1.0], [[3.0]], [[0.5]], [-1.0])
    X, y = [[0.0], [2.0]], [1.0, 7.0]

    def objective(weight_decay, **options):
        kinds = {"output_bias": "free", "skip": "free", **options}
        return cr.TrainingProblem(X, y, weight_decay, **kinds).objective(network)

    loss = 0.5 * 2**2 + 0.5 * 2**2
    assert objective(0.5) == loss + 0.25 * (4 + 1 + 9)
    assert objective(0.5, output_bias="penalized") == loss + 0.25 * (4 + 1 + 9 + 1)
    assert objective(0.5, skip="penalized") == loss + 0.25 * (4 + 1 + 9 + 0.25)
    assert objective(0.5, bias="free") == loss + 0.25 * (4 + 9)
    assert objective(0.5, sample_weight=[3.0, 0.0]) == 3 * 2 + 0.25 * (4 + 1 + 9)


def test_interpolation_objective_by_hand():
    X = [[0.0], [2.0]]
    network = cr.Network([[3.0]], [4.0], [[-2.0]], [[0.5]], [1.0])
    targets = network(X)
    kinds = {"output_bias": "penalized", "skip": "penalized"}
    penalized = cr.TrainingProblem.interpolation(X, targets, **kinds)
    assert penalized.objective(network) == 5 * 2 + 0.5 * (0.25 + 1)
    free = cr.TrainingProblem.interpolation(X, targets, bias="free", skip="free")
    assert free.objective(network) == 3 * 2
    assert (
        cr.TrainingProblem.interpolation(X, targets + np.array([[0.0], [1e-3]]), **kinds).objective(network) == math.inf
    )


def test_objective_of_several_tasks():
    network = cr.Network([[1.0]], [0.0], [[1.0, -2.0]])
    problem = cr.TrainingProblem([[1.0], [3.0]], np.zeros((2, 2)), 2.0)
    assert problem.objective(network) == 0.5 * (1 + 4 + 9 + 36) + (1 + 1 + 4)


@examples(40)
@given(st.data())
def test_objective_equals_the_raw_formula(draw):
    problem = draw.draw(problems())
    kinds = kinds_of(problem)
    net = draw.draw(networks(problem.X.shape[1], **kinds))
    parts = (net.hidden, net.hidden_bias, net.output[:, 0], net.skip[:, 0], net.output_bias[0])
    modes = (problem.bias, problem.output_bias, problem.skip)
    expected, _ = oracles.raw_objective(
        parts, problem.X, problem.Y[:, 0], problem.weight_decay, *modes, problem.sample_weight
    )
    assert problem.objective(net) == pytest.approx(expected, rel=1e-13)  # two orders of the same small sum


@examples(30)
@given(st.data())
def test_balancing_and_merging_never_cost(draw):
    problem = draw.draw(problems(weighted=False))
    network = draw.draw(networks(problem.X.shape[1], 4, **kinds_of(problem)))
    objective = problem.objective(network)
    balanced = problem.objective(network.balanced())
    # The same function at a lower or equal norm: rounding of values of size 1 to 1000.
    assert balanced <= objective * (1 + 1e-12)
    assert problem.objective(network.merged()) <= balanced * (1 + 1e-12)


# -- conversions ------------------------------------------------------------------------------------------------------


def torch_objective(network, X, Y, weight_decay, reduction, decayed):
    """What PyTorch minimises: the mean or sum of squares plus half the decay times all squared parameters, by hand."""
    squares = (network(X) - Y) ** 2
    loss = squares.mean() if reduction == "mean" else squares.sum()
    return loss + 0.5 * weight_decay * sum(float(np.sum(part**2)) for part in decayed)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("T", [1, 3])
def test_from_torch(reduction, T):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 2)), rng.standard_normal((5, T))
    network = cr.Network(
        rng.standard_normal((4, 2)), rng.standard_normal(4), rng.standard_normal((4, T)), None, rng.standard_normal(T)
    )
    problem = cr.TrainingProblem.from_torch(X, Y, 0.3, reduction=reduction)
    parts = (network.hidden, network.hidden_bias, network.output, network.output_bias)
    theirs = torch_objective(network, X, Y, 0.3, reduction, parts)
    factor = 5 * T / 2 if reduction == "mean" else 0.5
    assert problem.objective(network) == pytest.approx(factor * theirs, rel=1e-13)  # two orders of the same sum
    assert kinds_of(problem) == {"bias": "penalized", "output_bias": "penalized", "skip": "none"}


def test_from_torch_without_biases():
    problem = cr.TrainingProblem.from_torch([[1.0], [2.0]], [1.0, 2.0], 0.1, bias="none", output_bias="none")
    assert kinds_of(problem) == {"bias": "none", "output_bias": "none", "skip": "none"}
    assert problem.weight_decay == 0.1 * 2 / 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("T", [1, 2])
def test_from_sklearn_is_the_loss_of_a_fitted_regressor(T, weighted):
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((12, 3)), rng.standard_normal((12, T))
    alpha = 0.7
    mlp = MLPRegressor(hidden_layer_sizes=(5,), alpha=alpha, solver="lbfgs", max_iter=30, random_state=0)
    weight = rng.uniform(0.5, 2, 12) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # thirty steps are plenty for comparing formulas
        mlp.fit(X, Y if T > 1 else Y[:, 0], **({"sample_weight": weight} if weighted else {}))
    network = cr.Network(mlp.coefs_[0].T, mlp.intercepts_[0], mlp.coefs_[1], None, mlp.intercepts_[1], bias="free")
    problem = cr.TrainingProblem.from_sklearn(X, Y, alpha, sample_weight=weight)
    total = 12 if weight is None else weight.sum()
    # `loss_` is 1/2 mean squares + alpha / (2 n) |coefficients|^2; both sides are sums of about fifty terms.
    assert problem.objective(network) == pytest.approx(total * T * mlp.loss_, rel=1e-12)
    assert problem.weight_decay == alpha * T
    assert kinds_of(problem) == {"bias": "free", "output_bias": "free", "skip": "none"}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, "0.1", None], ids=repr)
def test_conversions_name_their_own_arguments(value):
    with pytest.raises(InvalidInputError, match="`weight_decay` must be a finite number greater than 0"):
        cr.TrainingProblem.from_torch([[1.0]], [1.0], value)
    with pytest.raises(InvalidInputError, match="`alpha` must be a finite number greater than 0"):
        cr.TrainingProblem.from_sklearn([[1.0]], [1.0], value)


def test_conversions_check_the_rest():
    with pytest.raises(InvalidInputError, match=r"`reduction` must be one of 'mean', 'sum'; got 'none'"):
        cr.TrainingProblem.from_torch([[1.0]], [1.0], 0.1, reduction="none")
    for make in (cr.TrainingProblem.from_torch, cr.TrainingProblem.from_sklearn):
        with pytest.raises(InvalidInputError, match="`Y` must have shape"):
            make([[1.0]], [1.0, 2.0], 0.1)


# -- choices and arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bias", "skip", "expected"),
    [("none", "none", "none"), ("penalized", "none", "none"), ("free", "none", "free"), ("none", "free", "free"),
     ("penalized", "penalized", "none"), ("free", "penalized", "free")],
)  # fmt: skip
def test_the_output_bias_that_none_stands_for(bias, skip, expected):
    problem = cr.TrainingProblem([[1.0]], [1.0], bias=bias, skip=skip)
    assert problem.output_bias == expected
    assert cr.TrainingProblem.interpolation([[1.0]], [1.0], bias=bias, skip=skip).output_bias == expected


@pytest.mark.parametrize("output_bias", ["none", "penalized"])
def test_a_free_bias_wants_a_free_output_bias(output_bias):
    with pytest.raises(InvalidInputError, match=rf"`output_bias='{output_bias}'` with bias='free'.*output_bias='free'"):
        cr.TrainingProblem([[1.0]], [1.0], bias="free", output_bias=output_bias)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": "yes"}, r"`bias` must be one of 'none', 'penalized', 'free'; got 'yes'"),
        ({"bias": True}, r"`bias` must be one of .*got True"),
        ({"bias": None}, r"`bias` must be one of .*got None"),
        ({"output_bias": "zero"}, r"`output_bias` must be one of .*got 'zero'"),
        ({"skip": "residual"}, r"`skip` must be one of .*got 'residual'"),
        ({"loss": "absolute-ish"}, r"`loss` must be one of .*got 'absolute-ish'"),
        ({"weight_decay": 0}, r"`weight_decay`.*greater than 0, got 0.*TrainingProblem\.interpolation"),
        ({"weight_decay": -0.1}, r"`weight_decay`.*got -0\.1"),
        ({"weight_decay": math.nan}, r"`weight_decay`.*got nan"),
        ({"weight_decay": math.inf}, r"`weight_decay`.*got inf"),
        ({"weight_decay": "0.1"}, r"`weight_decay`.*got '0\.1'"),
        ({"weight_decay": None}, r"`weight_decay`.*got None"),
        ({"weight_decay": [0.1]}, r"`weight_decay`.*got \[0\.1\]"),
        ({"sample_weight": [1.0]}, r"`sample_weight` must have shape \(2,\)"),
        ({"sample_weight": [1.0, -1.0]}, r"`sample_weight` must be non-negative"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.TrainingProblem([[1.0], [2.0]], [1.0, 2.0], **options)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], r"`X` must be a matrix.*reshape"),
        ([[1.0], [math.nan]], [1.0, 2.0], r"`X` has 1 NaN"),
        ([[1.0], [2.0]], [1.0, -math.inf], r"`Y` has 1 NaN or infinite"),
        ([[1.0], [2.0]], [1.0, 2.0, 3.0], r"`Y` must have shape \(2,\)"),
        (np.zeros((0, 2)), np.zeros(0), r"`X` is empty"),
        (np.zeros((2, 0)), np.zeros(2), r"`X` is empty"),
    ],
    ids=str,
)
def test_bad_data_are_named(X, Y, message):
    with pytest.raises(InvalidInputError, match=message):
        cr.TrainingProblem(X, Y)
    with pytest.raises(InvalidInputError, match=message):
        cr.TrainingProblem.interpolation(X, Y)


def test_a_loss_object_is_welcome():
    loss = SquaredLoss()
    assert cr.TrainingProblem([[1.0]], [1.0], loss=loss).loss is loss


def test_the_problem_keeps_its_own_read_only_data():
    X, y = np.ones((2, 1)), np.array([1.0, 2.0])
    problem = cr.TrainingProblem(X, y)
    X[0, 0], y[0] = 5.0, 5.0
    assert problem.X[0, 0] == 1.0 and problem.Y[0, 0] == 1.0
    for array in (problem.X, problem.Y, problem.sample_weight, problem.arrangement.Z, problem.linear.free):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_repr_says_everything_but_the_data():
    problem = cr.TrainingProblem([[1.0, 2.0]], [[1.0, 2.0, 3.0]], 0.5, bias="free")
    assert repr(problem) == (
        "TrainingProblem(n=1, d=2, T=3, loss='squared', weight_decay=0.5, bias='free', output_bias='free', skip='none')"
    )
    assert "weight_decay" not in repr(cr.TrainingProblem.interpolation([[1.0]], [1.0]))


def test_with_weight_decay_changes_nothing_else():
    problem = cr.TrainingProblem([[1.0], [2.0]], [1.0, 3.0], 0.5, bias="none", skip="free", sample_weight=[1.0, 2.0])
    other = problem.with_weight_decay(2.0)
    assert other.weight_decay == 2.0 and problem.weight_decay == 0.5
    assert kinds_of(other) == kinds_of(problem)
    np.testing.assert_array_equal(other.sample_weight, problem.sample_weight)
    with pytest.raises(InvalidInputError, match="`weight_decay`"):
        problem.with_weight_decay(0.0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (cr.Network([[1.0, 2.0]], None, [[1.0]]), r"`network` maps 2 inputs to 1 outputs; this problem"),
        (cr.Network([[1.0]], None, [[1.0, 1.0]]), r"`network` maps 1 inputs to 2 outputs"),
        (cr.Network([[1.0]], [1.0], [[1.0]]), r"`network` has non-zero bias weights.*bias='none'.*bias='penalized'"),
        (cr.Network([[1.0]], None, [[1.0]], [[1.0]]), r"`network` has non-zero skip weights"),
        (cr.Network([[1.0]], None, [[1.0]], None, [1.0]), r"`network` has non-zero output_bias weights"),
        (np.ones((1, 1)), r"`network` must be a convexrelu\.Network, got ndarray"),
    ],
    ids=str,
)
def test_networks_that_do_not_fit(network, message):
    problem = cr.TrainingProblem([[1.0], [2.0]], [1.0, 2.0], bias="none")
    with pytest.raises(InvalidInputError, match=message):
        problem.objective(network)


def test_dual_value_checks_its_argument():
    problem = cr.TrainingProblem([[1.0], [2.0]], [1.0, 2.0])
    assert problem.dual_value([1.0, 1.0]) == 3.0 - 1.0
    for wrong in ([1.0], [math.nan, 1.0], "nu"):
        with pytest.raises(InvalidInputError, match="`nu`"):
            problem.dual_value(wrong)


def test_dual_value_with_penalised_columns_by_hand():
    problem = cr.TrainingProblem([[1.0], [2.0]], [1.0, 2.0], 0.5, output_bias="penalized", skip="penalized")
    # <nu, y> - |nu|^2 / 2 - ((x . nu)^2 + (1 . nu)^2) / (2 lam) at nu = (1, 1)
    assert problem.dual_value([1.0, 1.0]) == 3.0 - 1.0 - (9 + 4) / 1.0


# -- the largest weight decay -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("modes", [m for m in LEGAL_MODES if "penalized" not in m[1:]], ids="-".join)
def test_max_weight_decay_is_the_dual_norm_of_the_residual(modes):
    bias, output_bias, skip = modes
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
        X = np.round(X) if seed % 2 else X
        parts = [X] * (skip == "free") + [np.ones((6, 1))] * (output_bias == "free")
        Q = np.hstack([np.zeros((6, 0)), *parts])
        residual = y - Q @ np.linalg.lstsq(Q, y)[0] if Q.shape[1] else y
        problem = cr.TrainingProblem(X, y, bias=bias, output_bias=output_bias, skip=skip)
        # The accuracy that the docstring gives.
        assert problem.max_weight_decay() == pytest.approx(oracles.dual_norm(X, residual, bias), rel=1e-8)


@pytest.mark.parametrize(
    ("X", "y"), [([[-2], [-2], [-1]], [1, -1, -1]), ([[0, -2], [0, -2], [-1, 2], [0, 0]], [2, -1, 2, 1])]
)
def test_max_weight_decay_is_nothing_where_free_columns_take_what_neurons_could(X, y):
    # Only rounding is left for neurons, of which a bias far from the data would make anything.
    problem = cr.TrainingProblem(X, y, bias="free", output_bias="free", skip="free")
    assert problem.max_weight_decay() < 1e-12
    assert cr.solve(problem).optimal_set().is_unique


@pytest.mark.parametrize("modes", LEGAL_MODES, ids="-".join)
def test_max_weight_decay_separates_empty_from_not(modes):
    rng = np.random.default_rng(11)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    kinds = dict(zip(("bias", "output_bias", "skip"), modes, strict=True))
    largest = cr.TrainingProblem(X, y, **kinds).max_weight_decay()
    above = cr.TrainingProblem(X, y, 1.001 * largest, **kinds)
    below = cr.TrainingProblem(X, y, 0.98 * largest, **kinds)
    solve = {"patterns": "enumerate", "backend": "clarabel", "tol": 1e-8}
    assert cr.solve(above, **solve).network.n_neurons == 0
    assert cr.solve(below, **solve).network.n_neurons > 0


def test_max_weight_decay_in_corner_cases():
    assert cr.TrainingProblem([[1.0], [2.0]], [0.0, 0.0]).max_weight_decay() == 0.0
    assert cr.TrainingProblem(np.zeros((2, 1)), [1.0, 2.0], bias="none").max_weight_decay() == 0.0
    # One sample: |y| |row|.
    assert cr.TrainingProblem([[3.0, 4.0]], [-2.0], bias="none").max_weight_decay() == pytest.approx(10.0, rel=1e-8)
    weighted = cr.TrainingProblem([[3.0, 4.0], [1.0, 0.0]], [-2.0, 9.0], bias="none", sample_weight=[0.5, 0.0])
    assert weighted.max_weight_decay() == pytest.approx(5.0, rel=1e-8)
    with pytest.raises(InvalidInputError, match=r"`max_weight_decay` is for penalised problems"):
        cr.TrainingProblem.interpolation([[1.0]], [1.0]).max_weight_decay()


def test_max_weight_decay_does_not_depend_on_the_weight_decay():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    for kinds in ({}, {"output_bias": "penalized"}, {"skip": "penalized"}):
        values = [cr.TrainingProblem(X, y, decay, **kinds).max_weight_decay() for decay in (1e-3, 1.0, 1e3)]
        assert values[0] == values[1] == values[2]


# -- other losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "y", "mean", "total"),
    [
        ("squared", [0.0, 2.0, 1.0], 1.5, 0.5),
        ("absolute", [0.0, 2.0, 1.0], 3.0, 1.0),
        ("huber", [0.0, 2.0, 1.0], 3.0, 1.0),
        ("logistic", [0, 1, 1], 3.0, 1.0),
        ("softmax", [0, 2, 1], 3.0, 1.0),
    ],
)
def test_weight_decay_of_torch_for_every_loss(loss, y, mean, total):
    X = [[1.0], [2.0], [3.0]]
    for reduction, factor in (("mean", mean), ("sum", total)):
        problem = cr.TrainingProblem.from_torch(X, y, 0.1, loss=loss, reduction=reduction)
        assert problem.weight_decay == pytest.approx(0.1 * factor, rel=1e-15)
        assert problem.loss.name == loss and problem.output_bias == "penalized"


def test_weight_decay_of_sklearn_classifiers_is_alpha():
    X = [[1.0], [2.0], [3.0]]
    assert cr.TrainingProblem.from_sklearn(X, [0, 1, 0], 0.1, loss="logistic").weight_decay == 0.1
    assert cr.TrainingProblem.from_sklearn(X, [0, 1, 2], 0.1, loss="softmax").weight_decay == 0.1


def test_labels_are_kept_when_a_problem_is_changed():
    problem = cr.TrainingProblem([[1.0], [2.0], [3.0]], [0, 1, 0], loss="logistic")
    np.testing.assert_array_equal(problem.Y[:, 0], [-1, 1, -1])
    np.testing.assert_array_equal(problem.with_weight_decay(2.0).Y, problem.Y)
    classes = cr.TrainingProblem([[1.0], [2.0], [3.0]], [0, 2, 1], loss="softmax")
    assert classes.Y.shape == (3, 3)
    np.testing.assert_array_equal(classes.with_weight_decay(2.0).Y, classes.Y)


def test_a_missing_class_is_named():
    with pytest.raises(InvalidInputError, match=r"classes in `Y` do not include \[1\].*output bias"):
        cr.TrainingProblem([[1.0], [2.0]], [0, 2], loss="softmax", output_bias="free")
