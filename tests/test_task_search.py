"""The search over neurons of several tasks: its values are those of neurons, its best is usually the best."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from strategies import examples
from test_task_bound import cases

from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing.search import find_neurons
from convexrelu.pricing.task_search import find_joint_neurons


def search(arrangement, N, **options):
    defaults = {"threshold": 0.0, "starts": np.zeros((0, arrangement.Z.shape[1])), "n_random": 200}
    rng = np.random.default_rng(0)
    return find_joint_neurons(arrangement.Z, N, arrangement.n_penalized, rng=rng, **(defaults | options))


@given(cases())
@examples(25)
def test_values_are_those_of_neurons_and_the_best_is_found(case):
    X, bias, N = case
    arrangement = arrange(X, bias)
    if not arrangement.n_penalized:
        return
    found = search(arrangement, N)
    P = np.maximum(found.neurons @ arrangement.Z.T, 0.0) @ N
    assert np.allclose(np.linalg.norm(P, axis=1), found.values, rtol=1e-12)
    assert np.allclose(P, found.outputs * found.values[:, None], rtol=1e-9, atol=1e-12)
    assert np.allclose(arrangement.cost(found.neurons), 1.0, rtol=1e-12)
    exact = oracles.joint_dual_norm(X, N, bias)
    # At least one of 200 starts meets the maximum of six samples; power iteration leaves 1e-9.
    assert exact * (1 - 1e-8) <= found.best <= exact * (1 + 1e-12) + 1e-12


def test_threshold_is_kept():
    rng = np.random.default_rng(0)
    found = search(arrange(rng.standard_normal((20, 3)), "penalized"), rng.standard_normal((20, 2)), threshold=5.0)
    assert (found.values > 5.0).all() and (np.diff(found.values) <= 0).all()


def test_one_task_finds_what_the_search_for_one_task_finds():
    rng = np.random.default_rng(1)
    Z, nu = rng.standard_normal((30, 3)), rng.standard_normal(30)
    one = find_neurons(Z, nu, 3, threshold=0.0, starts=np.zeros((0, 3)), rng=rng)
    assert search(arrange(Z, "none"), nu[:, None]).best == pytest.approx(one.best, rel=1e-9)
