"""Breast cancer by logistic and squared hinge loss: test accuracy and certified gap, next to scikit-learn.

Run `python tests/benchmarks/breast_cancer.py`; about four minutes on one core. The 30 features put a global proof
out of reach (rank 31), so the gap there is large and the status UNPROVEN: no better neuron was found. On the first
three principal components the optimum is proven.
"""

import os
import sys
import time
import warnings
from pathlib import Path

# Small matrices all along: beside other processes a second thread makes them up to twenty times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import convexrelu as cr

FRACTION = 0.02  # of the weight decay above which the optimal network is empty
TOL = 1e-4
ROW = "{:<34}{:>10}{:>11}{:>11}{:>12}{:>9}{:>9}"


def main():
    X, y = load_breast_cancer(return_X_y=True)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    print(ROW.format("model", "accuracy", "objective", "gap", "status", "neurons", "seconds"))
    for n_components in (3, None):
        print(f"-- {n_components or X.shape[1]} {'principal components' if n_components else 'features'}, 5 folds")
        for loss in ("logistic", "squared_hinge"):
            row(f"convexrelu, {loss}", [fitted(X, y, fold, n_components, loss) for fold in folds])
        for name, model in baselines():
            row(name, [baseline(X, y, fold, n_components, model) for fold in folds])


def prepared(X, train, n_components):
    scaler = StandardScaler().fit(X[train])
    Z = scaler.transform(X)
    return PCA(n_components, random_state=0).fit(Z[train]).transform(Z) if n_components else Z


def fitted(X, y, fold, n_components, loss):
    train, test = fold
    Z = prepared(X, train, n_components)
    began = time.process_time()
    problem = cr.TrainingProblem(Z[train], y[train], loss=loss, output_bias="free")
    problem = problem.with_weight_decay(FRACTION * problem.max_weight_decay())
    result = cr.solve(problem, tol=TOL)
    seconds = time.process_time() - began
    accuracy = np.mean((result.network(Z[test])[:, 0] > 0) == (y[test] == 1))
    certificate = result.certificate
    return accuracy, certificate.objective, certificate.gap, result.status.name, result.network.n_neurons, seconds


def baselines():
    yield "LogisticRegression(C=1)", LogisticRegression()
    yield "MLPClassifier(100), default", MLPClassifier((100,), random_state=0)
    yield "MLPClassifier(100), same decay", None


def baseline(X, y, fold, n_components, model):
    train, test = fold
    Z = prepared(X, train, n_components)
    if model is None:
        # scikit-learn's alpha is the weight decay of the logistic problem (`TrainingProblem.from_sklearn`).
        problem = cr.TrainingProblem(Z[train], y[train], loss="logistic", output_bias="free")
        model = MLPClassifier((100,), alpha=FRACTION * problem.max_weight_decay(), random_state=0)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(Z[train], y[train])
    seconds = time.process_time() - began
    return model.score(Z[test], y[test]), None, None, "", getattr(model, "hidden_layer_sizes", [0])[0], seconds


def row(name, folds):
    accuracy, objective, gap, status, neurons, seconds = zip(*folds, strict=True)
    known = objective[0] is not None
    print(
        ROW.format(
            name,
            f"{np.mean(accuracy):.4f}",
            f"{np.mean(objective):.4f}" if known else "",
            f"{max(gap):.1e}" if known else "",
            "/".join(sorted(set(status))),
            f"{np.mean(neurons):.1f}",
            f"{np.mean(seconds):.1f}",
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
