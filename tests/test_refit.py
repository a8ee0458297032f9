"""Refitted solutions: as few neurons as the objective allows, copies of one joined at their sum."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.recovery import program_value
from convexrelu.refit import refitted_solution
from convexrelu.result import Solution


def solution(neurons):
    neurons = np.array(neurons)
    nothing = np.zeros((0, 1))
    return Solution(neurons, np.ones((len(neurons), 1)), nothing, nothing, np.zeros((2, 1)))


@pytest.mark.parametrize("rest", [[1.0, 5e-7], [1e-9, 1e-9]], ids=["copy", "remainder"])
def test_what_a_solver_leaves_is_joined_or_dropped(rest):
    # Samples of which the first neuron alone misses the second by far more than the tolerance.
    whole = solution([[1.0, 0.0], rest])
    y = whole.neurons.sum(axis=0)
    problem = cr.TrainingProblem(np.eye(2), y, 1e-3, "absolute", bias="none")
    refitted = refitted_solution(problem, whole, 1e-8)
    assert len(refitted.neurons) == (1 if rest[0] == 1.0 else 2)
    assert program_value(problem, refitted) <= program_value(problem, whole) * (1 + 1e-8)


def test_small_neurons_are_dropped_where_others_make_up_for_them():
    # The second predicts a millionth of what the first does.
    whole = solution([[1.0, 0.0], [1e-6, 0.0]])
    problem = cr.TrainingProblem(np.eye(2), whole.neurons.sum(axis=0), 1e-3, "absolute", bias="none")
    refitted = refitted_solution(problem, whole, 1e-8)
    assert refitted.neurons == pytest.approx(np.array([[1 + 1e-6, 0.0]]), abs=1e-9)
