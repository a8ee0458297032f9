"""The group lasso of several tasks over neurons at hand: optimal, also where their fits depend on each other."""

import numpy as np
import pytest

from convexrelu.losses import DataLoss, SquaredLoss
from convexrelu.native.group_lasso import solve_group_lasso
from convexrelu.native.joint import JointProblem


def problem_of(Y, lam):
    n = len(Y)
    loss = DataLoss(SquaredLoss(), Y, np.ones(n))
    return JointProblem(np.eye(n), n, lam, loss, np.zeros((n, 0)), np.zeros((n, 0)))


def objective(problem, Phi, W):
    return problem.loss.value(Phi.T @ W) + problem.weight_decay * np.linalg.norm(W, axis=1).sum()


@pytest.mark.parametrize("seed", [0, 3])
def test_weight_goes_along_flat_trades_to_their_end(seed):
    # Every fit twice, the second a hair cheaper: Newton's steps along these trades are far too short.
    rng = np.random.default_rng(seed)
    problem, Phi = problem_of(rng.standard_normal((8, 2)), 0.05), np.abs(rng.standard_normal((3, 8)))
    both, none = np.vstack([Phi, Phi * (1 + 1e-8)]), np.zeros((0, 2))
    W, _ = solve_group_lasso(problem, both, 0.1 * rng.standard_normal((6, 2)), none, 1e-11)
    best, _ = solve_group_lasso(problem, both[3:], W[3:], none, 1e-12)
    assert not W[:3].any()
    assert objective(problem, both, W) == pytest.approx(objective(problem, both[3:], best), rel=1e-13)
