"""Real data sets that ship with scikit-learn, over all patterns: the global optimum, proven."""

from fractions import Fraction

import numpy as np
import oracles
import pytest
from sklearn.datasets import load_diabetes, load_linnerud

import convexrelu as cr


def diabetes():
    data = load_diabetes()
    return data.data[:, [data.feature_names.index("bmi")]], data.target


def linnerud():
    data = load_linnerud()
    return data.target, data.data[:, data.feature_names.index("Chins")]


def check(problem, record_property):
    result = cr.solve(problem, patterns="enumerate", backend="clarabel")
    seconds = sum(result.timings.values())
    for name, value in (("seconds", seconds), ("gap", result.certificate.gap), ("patterns", len(result.patterns))):
        record_property(name, value)
    print(f"\n{problem}: {result}, {len(result.patterns)} patterns, {seconds:.2f} s", dict(result.timings))
    assert result.status is cr.Status.OPTIMAL
    assert result.certificate.scope == "global"
    assert result.certificate.gap <= 1e-6
    kinds = {"bias": problem.bias, "output_bias": problem.output_bias, "skip": problem.skip}
    exact = oracles.exact_objective(problem.X, problem.Y[:, 0], problem.weight_decay, result.network, **kinds)
    assert Fraction(result.certificate.lower_bound) <= exact
    return result


@pytest.mark.parametrize("weight_decay", [1.0, 10.0, 100.0])
def test_diabetes_with_one_feature(weight_decay, record_property):
    X, y = diabetes()
    result = check(cr.TrainingProblem(X, y, weight_decay), record_property)
    assert result.problem.arrangement.Z.shape[1] == 2
    # One pattern pair per distinct value, at most.
    assert len(result.patterns) <= 2 * len(np.unique(X))


@pytest.mark.parametrize(("bias", "rank"), [("none", 3), ("penalized", 4)])
def test_linnerud_with_three_features(bias, rank, record_property):
    X, y = linnerud()
    result = check(cr.TrainingProblem(X, y, 1.0, bias=bias), record_property)
    assert result.problem.arrangement.Z.shape[1] == rank


def test_linnerud_against_gradient_descent():
    X, y = linnerud()
    X = (X - X.mean(axis=0)) / X.std(axis=0)  # gradient descent needs it
    result = cr.solve(cr.TrainingProblem(X, y, 1.0, bias="none"), patterns="enumerate", backend="clarabel")
    reached = oracles.gradient_descent(X, y, 1.0, bias="none", widths=(10,), seeds=5)
    assert result.status is cr.Status.OPTIMAL
    # A proof, so the slack is for the rounding of the two sums only.
    assert result.certificate.lower_bound <= reached * (1 + 1e-13)
