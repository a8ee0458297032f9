"""Sliding lowers the objective, in every mode, and ends balanced."""

import numpy as np
import pytest
from strategies import LEGAL_MODES

from convexrelu.native.bridge import reduced_problem
from convexrelu.native.lengths import with_best_lengths
from convexrelu.native.reduced import Iterate, evaluate
from convexrelu.native.slide import slide
from convexrelu.problem import TrainingProblem


@pytest.mark.parametrize("mode", LEGAL_MODES, ids="-".join)
def test_sliding_lowers_the_objective(mode):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((30, 3))
    y = X[:, 0] ** 2 + X[:, 1]
    problem = TrainingProblem(X, y, 2.0, **dict(zip(("bias", "output_bias", "skip"), mode, strict=True)))
    problem = reduced_problem(problem)
    start = Iterate.of(problem, rng.standard_normal((6, problem.Z.shape[1])), np.sign(rng.standard_normal(6)))
    before, few = evaluate(problem, start), evaluate(problem, slide(problem, start, 5))
    after = evaluate(problem, slide(problem, start, 300))
    assert after.objective < few.objective < before.objective
    # Lengths and linear coefficients are where the loss wants them: a kink that stops a neuron stops little else.
    lasso = evaluate(problem, with_best_lengths(problem, after.iterate, np.ones(len(after.iterate.neurons))))
    assert after.objective - lasso.objective < 0.01 * (before.objective - after.objective)


def test_no_neurons_stay_none():
    problem = reduced_problem(TrainingProblem([[1.0], [2.0]], [1.0, 0.0], 1.0))
    assert not len(slide(problem, Iterate.empty(problem), 10).neurons)
