"""The program over gates: its sizes, and the constants that free biases bring."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.gated_program import gated_program, with_constants
from convexrelu.patterns.enumeration import enumerate_arrangement


def problem(bias, T=1):
    rng = np.random.default_rng(0)
    return cr.TrainingProblem(rng.standard_normal((5, 2)), rng.standard_normal((5, T)), 0.1, bias=bias)


def test_no_cone_restricts_the_neurons():
    one, two = problem("penalized"), problem("penalized", 2)
    gates = enumerate_arrangement(one.arrangement)
    program = gated_program(one, gates)
    assert program.conic.n_nonneg == 0
    assert len(program.gate_of_neurons) == 2 * len(gates)
    program = gated_program(two, gates)
    assert program.conic.n_nonneg == 0
    assert program.conic.semidefinite == (3 + 2,) * len(gates)
    np.testing.assert_array_equal(program.gate_of_neurons, np.repeat(np.arange(len(gates)), 2))


def test_constants_of_gates_are_free_columns():
    free = problem("free")
    gates = cr.enumerate_patterns(free.X, bias="free").take(np.arange(2))
    wider, own = with_constants(free, gates)
    np.testing.assert_array_equal(own, [0, 1])
    np.testing.assert_array_equal(wider.linear.free[:, :2], gates.active.T)
    assert wider.arrangement.Z.shape[1] == free.arrangement.Z.shape[1] - 1
    # The problem itself stays what it was.
    assert free.linear.free.shape[1] == free.dual_domain.free.shape[1] == 1
    nu = wider.feasible_direction(free.Y)
    assert np.abs(wider.linear.free.T @ nu).max() <= 1e-13
    assert with_constants(problem("penalized"), gates)[1].size == 0


def test_dependent_constants_are_left_out():
    X = np.arange(5.0)[:, None]
    line = cr.TrainingProblem(X, X[:, 0] ** 2, 0.1, bias="free")
    gates = cr.enumerate_patterns(X, bias="free")
    wider, own = with_constants(line, gates)
    # Eight steps up or down, which with the constant span five dimensions.
    assert len(gates) == 8 and len(own) == 4
    assert np.linalg.matrix_rank(wider.linear.free) == wider.linear.free.shape[1] == 5


@pytest.mark.parametrize("T", [1, 2])
def test_complementary_gates_with_a_free_skip(T):
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((6, 2)), rng.standard_normal((6, T))
    base = cr.TrainingProblem(X, Y, 0.1, skip="free")
    gates = cr.enumerate_patterns(X)
    gated = cr.solve(base, gates, activation="gated")
    # One of each pair does: w on a gate is -w on its complement, and w in the skip.
    some = gates.take(np.flatnonzero(gates.active[:, 0]))
    assert cr.solve(base, some, activation="gated").objective == pytest.approx(gated.objective, rel=1e-6)
