"""scikit-learn estimators as networks: the same predictions, and refusals by name."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

import convexrelu as cr
from convexrelu.errors import ConvexReLUError, InvalidInputError, UnsupportedError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 0.0]
Y = X @ RNG.standard_normal((3, 2)) + np.abs(X[:, :1])
# Sums of ten products in another order.
SAME = {"rtol": 1e-12, "atol": 1e-12}


def fitted(estimator, y=Y[:, 0], X=X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


def regressor(**options):
    return MLPRegressor(**{"hidden_layer_sizes": 7, "max_iter": 30, "random_state": 0, **options})


@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["one task", "two tasks"])
def test_regressor(y):
    mlp = fitted(regressor(), y)
    network = cr.Network.from_sklearn(mlp)
    np.testing.assert_allclose(network(X), mlp.predict(X).reshape(len(X), -1), **SAME)
    assert network.bias == "free" and network.metadata["source"] == "scikit-learn"


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False, with_scaling=False),
        MaxAbsScaler(),
        MinMaxScaler((-1, 2)),
        "passthrough",
    ],
    ids=str,
)
def test_scalers_are_folded_in(scaler):
    pipeline = fitted(make_pipeline(scaler, regressor()))
    network = cr.Network.from_sklearn(pipeline)
    np.testing.assert_allclose(network(X)[:, 0], pipeline.predict(X), rtol=1e-11, atol=1e-11)
    assert bool(network.metadata["notes"]) == (scaler != "passthrough")


def test_two_scalers_in_their_order():
    pipeline = fitted(make_pipeline(StandardScaler(), MinMaxScaler(), regressor()))
    np.testing.assert_allclose(cr.Network.from_sklearn(pipeline)(X)[:, 0], pipeline.predict(X), rtol=1e-11)


def test_classifiers_are_read_before_the_sigmoid_or_softmax():
    for y, outputs in ((Y[:, 0] > 0, 1), (np.digitize(Y[:, 0], np.quantile(Y[:, 0], [0.3, 0.7])), 3)):
        mlp = fitted(MLPClassifier(hidden_layer_sizes=5, max_iter=20, random_state=0), y)
        F = cr.Network.from_sklearn(mlp)(X)
        assert F.shape[1] == outputs
        proba = mlp.predict_proba(X)
        if outputs == 1:
            np.testing.assert_allclose(1 / (1 + np.exp(-F[:, 0])), proba[:, 1], **SAME)
        else:
            shifted = np.exp(F - F.max(axis=1, keepdims=True))
            np.testing.assert_allclose(shifted / shifted.sum(axis=1, keepdims=True), proba, **SAME)


def test_float32_weights_are_evaluated_in_float64():
    mlp = fitted(regressor(), X=X.astype(np.float32), y=Y[:, 0].astype(np.float32))
    network = cr.Network.from_sklearn(mlp)
    assert network.metadata["precision"] == "float32"
    difference = np.abs(network(X)[:, 0] - mlp.predict(X.astype(np.float32))).max()
    assert 0 < difference < 1e-4 * np.abs(network(X)).max()


def test_grid_search_is_its_best_estimator():
    search = fitted(GridSearchCV(regressor(), {"alpha": [0.1, 1.0]}, cv=2))
    np.testing.assert_allclose(cr.Network.from_sklearn(search)(X)[:, 0], search.predict(X), **SAME)


@pytest.mark.parametrize(
    ("estimator", "named"),
    [
        (regressor(activation="tanh"), "activation='tanh'"),
        (regressor(activation="identity"), "activation='identity'"),
        (regressor(hidden_layer_sizes=(4, 4)), "2 hidden layers"),
        (Ridge(), "Ridge"),
        (make_pipeline(PowerTransformer(), regressor()), "PowerTransformer"),
        (make_pipeline(QuantileTransformer(n_quantiles=5), regressor()), "QuantileTransformer"),
        (make_pipeline(MinMaxScaler(clip=True), regressor()), "MinMaxScaler"),
    ],
    ids=str,
)
def test_refusals_by_name(estimator, named):
    with pytest.raises(UnsupportedError, match=named):
        cr.Network.from_sklearn(fitted(estimator))


def test_unfitted_and_foreign_objects():
    with pytest.raises(UnsupportedError, match="a NoneType where an MLPRegressor"):
        cr.Network.from_sklearn(make_pipeline("passthrough"))
    with pytest.raises(InvalidInputError, match="not fitted"):
        cr.Network.from_sklearn(regressor())
    with pytest.raises(ConvexReLUError):
        cr.Network.from_sklearn([1, 2])
