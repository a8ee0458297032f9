"""The finite convex program: its cone form against the definition, its size, and the way back."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LEGAL_MODES, examples, problems

import convexrelu as cr
from convexrelu.backends import ProgramKind, get_backend
from convexrelu.backends.conic import ConicSolution
from convexrelu.errors import UnsupportedError
from convexrelu.program import Program
from convexrelu.recovery import program_value
from convexrelu.result import Solution


def full_program(problem):
    return Program(problem, cr.enumerate_patterns(problem.X, bias=problem.bias))


def feasible_solution(program, seed):
    """Random block weights inside their cones, and random coefficients of the linear part."""
    problem, rng = program.problem, np.random.default_rng(seed)
    Z, (index, sign) = problem.arrangement.Z, program.blocks
    U = np.zeros((len(index), Z.shape[1]))
    for u in rng.standard_normal((30, Z.shape[1])):
        inside = ((Z @ u > 0) == program.patterns.active[index]) | ~Z.any(axis=1)
        U += inside.all(axis=1)[:, None] * (rng.random(len(index)) < 0.7)[:, None] * u
    free = rng.standard_normal((problem.linear.free.shape[1], 1))
    penalized = rng.standard_normal((problem.linear.penalized.shape[1], 1))
    return Solution(U, sign[:, None], free, penalized, np.zeros_like(problem.Y))


def point(program, solution):
    """The cone program's variables (u, t, free, penalised, f) at a solution; free ones are relative to a first fit."""
    problem = program.problem
    shift = program.recover(
        ConicSolution(np.zeros(program.conic.n_variables), np.zeros(program.conic.n_rows), None, 0, "")
    ).free
    free = solution.free - shift
    fit = np.maximum(problem.arrangement.Z @ solution.neurons.T, 0.0) @ solution.outputs
    fit += problem.linear.free @ free + problem.linear.penalized @ solution.penalized
    blocks = np.linalg.solve(program._basis, solution.neurons.T).T
    parts = (blocks, problem.arrangement.cost(solution.neurons), free, solution.penalized, fit)
    return np.concatenate([np.ravel(part) for part in parts])


def violation(conic, slack):
    """How far a slack vector is from the cones."""
    parts = [np.abs(slack[: conic.n_zero]).max(initial=0.0)]
    start = conic.n_zero + conic.n_nonneg
    parts.append(-slack[conic.n_zero : start].min(initial=0.0))
    for size in conic.second_order:
        parts.append(np.linalg.norm(slack[start + 1 : start + size]) - slack[start])
        start += size
    assert start == len(slack)
    return max(parts)


@examples(60)
@given(problems(max_n=5), st.integers(0, 99))
def test_the_cone_form_says_what_the_program_says(problem, seed):
    program = full_program(problem)
    solutions = [feasible_solution(program, seed + i) for i in range(2)]
    values = []
    for solution in solutions:
        x, conic = point(program, solution), program.conic
        assert len(x) == conic.n_variables
        # Values up to a hundred, sums of up to sixty products.
        assert violation(conic, conic.b - conic.A @ x) <= 1e-11
        values.append(0.5 * x @ (conic.P @ x) + conic.q @ x)
    # The two objectives differ by a constant: what the loss has at zero.
    expected = program_value(problem, solutions[1]) - program_value(problem, solutions[0])
    assert values[1] - values[0] == pytest.approx(expected, rel=1e-11, abs=1e-10)


@examples(30)
@given(problems(max_n=5), st.integers(0, 99))
def test_points_outside_a_cone_are_infeasible(problem, seed):
    program = full_program(problem)
    if not len(program.blocks[0]):
        return
    solution = feasible_solution(program, seed)
    rng = np.random.default_rng(seed)
    block = rng.integers(len(solution.neurons))
    u = rng.standard_normal(solution.neurons.shape[1])
    signs = np.where(program.patterns.active[program.blocks[0][block]], 1.0, -1.0)
    outside = (signs * (problem.arrangement.Z @ u)).min() < -1e-6
    solution.neurons[block] = u
    x = point(program, solution)
    # Repair what the definition of `point` assumed: f from the block's own pattern, not from relu.
    n, start = len(problem.X), len(x) - len(problem.X)
    active = program.patterns.active[program.blocks[0]]
    fit = np.einsum("bi,ik,bk,b->i", active, problem.arrangement.Z, solution.neurons, solution.outputs[:, 0])
    linear = x[solution.neurons.size + len(solution.neurons) : start]
    x[start:] = fit + np.hstack([problem.linear.free, problem.linear.penalized]) @ linear
    slack = program.conic.b - program.conic.A @ x
    assert np.abs(slack[:n]).max() <= 1e-11
    assert (violation(program.conic, slack) > 1e-9) == outside


@pytest.mark.parametrize("n", [5, 40])
def test_two_facets_per_cone_at_rank_two(n):
    X = np.random.default_rng(0).standard_normal((n, 2))
    program = full_program(cr.TrainingProblem(X, X[:, 0], bias="none"))
    conic, patterns = program.conic, 2 * n
    assert len(program.blocks[0]) == 2 * patterns
    assert conic.n_nonneg == 2 * 2 * patterns
    assert conic.n_zero == n and conic.second_order == (3,) * (2 * patterns)
    assert conic.n_variables == 2 * patterns * 3 + n


def test_about_four_facets_per_cone_at_rank_three():
    X = np.random.default_rng(0).standard_normal((30, 3))
    program = full_program(cr.TrainingProblem(X, X[:, 0], bias="none"))
    # Every edge of a planar arrangement on the sphere bounds two cells: 4 - 8 / P facets on average.
    average = program.conic.n_nonneg / len(program.blocks[0])
    assert 3.9 <= average <= 4.0


def test_a_free_affine_skip_halves_the_program():
    X = np.random.default_rng(0).standard_normal((6, 2))
    y = X[:, 0]

    def n_blocks(**kinds):
        return len(full_program(cr.TrainingProblem(X, y, **kinds)).blocks[0])

    assert n_blocks(bias="none", skip="free") == n_blocks(bias="none") / 2
    assert n_blocks(bias="free", skip="free") == n_blocks(bias="free") / 2
    # All on and all off are complements, but all off is not listed.
    assert n_blocks(skip="free") == (n_blocks() + 2) / 2
    # A skip that costs, or has no constant where neurons have biases, exchanges nothing.
    assert n_blocks(bias="none", skip="penalized") == n_blocks(bias="none")
    assert n_blocks(skip="free", output_bias="none") == n_blocks()


def test_complements_that_are_not_listed_are_kept():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    problem = cr.TrainingProblem(X, X[:, 0], bias="none", skip="free")
    one = cr.Patterns.from_active(X, np.array([[False, True, True]]), bias="none")
    assert len(Program(problem, one).blocks[0]) == 2


@pytest.mark.parametrize("interpolation", [False, True])
def test_kinds_of_programs(interpolation):
    X, y = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 1.0]]), np.array([0.0, 1.0, 0.0])
    make = cr.TrainingProblem.interpolation if interpolation else cr.TrainingProblem
    assert full_program(make(X[:, :1], y, bias="free")).conic.kind is (
        ProgramKind.LP if interpolation else ProgramKind.QP
    )
    assert full_program(make(X, y, bias="free")).conic.kind is ProgramKind.SOCP
    assert full_program(make(X[:, :1], y)).conic.kind is ProgramKind.SOCP


@pytest.mark.parametrize("modes", LEGAL_MODES, ids="-".join)
def test_the_dual_variable_is_the_residual(modes):
    rng = np.random.default_rng(1)
    X, y, weight = rng.standard_normal((6, 2)), rng.standard_normal(6), rng.uniform(0.5, 2, 6)
    kinds = dict(zip(("bias", "output_bias", "skip"), modes, strict=True))
    problem = cr.TrainingProblem(X, y, 0.1, sample_weight=weight, **kinds)
    solution = full_program(problem).solve(get_backend("clarabel"), tol=1e-10)
    fit = np.maximum(problem.arrangement.Z @ solution.neurons.T, 0.0) @ solution.outputs
    fit += problem.linear.free @ solution.free + problem.linear.penalized @ solution.penalized
    # The solver's 1e-10, times the size of the program's condition.
    np.testing.assert_allclose(solution.dual, weight[:, None] * (y[:, None] - fit), atol=1e-7)
    np.testing.assert_allclose(problem.linear.free.T @ solution.dual, 0.0, atol=1e-7)
    assert oracles.dual_norm(X, solution.dual[:, 0] - (modes[0] == "free") * solution.dual.mean(), modes[0]) <= 0.1 * (
        1 + 1e-5
    )


def test_a_backend_without_an_answer_leaves_the_zero_solution():
    problem = cr.TrainingProblem.interpolation([[0.0], [1.0], [3.0]], [0.0, 1.0, 0.0])
    few = cr.Patterns.from_active(problem.X, np.array([[True, True, True]]))
    solution = Program(problem, few).solve(get_backend("clarabel"), tol=1e-8)
    assert solution.neurons.shape == (0, 2) and not solution.dual.any() and solution.message
    result = cr.solve(problem, patterns=few, backend="clarabel")
    assert result.status is cr.Status.FAILED and result.objective == np.inf


def test_several_tasks_are_refused():
    problem = cr.TrainingProblem([[1.0], [2.0]], np.eye(2))
    with pytest.raises(UnsupportedError, match="`Y` has 2 tasks"):
        full_program(problem)
