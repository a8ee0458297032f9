"""Named standard programs against every backend that takes them, with the optimality conditions checked here."""

import importlib.util
import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from convexrelu.backends import (
    ConicProgram,
    ConicStatus,
    ProgramKind,
    available_backends,
    get_backend,
)
from convexrelu.backends import ecos as ecos_module
from convexrelu.backends import highs as highs_module
from convexrelu.backends import osqp as osqp_module
from convexrelu.backends import scs as scs_module
from convexrelu.backends.capabilities import SPECS
from convexrelu.backends.cvxpy import CvxpyBackend, find_solver
from convexrelu.backends.options import check_options
from convexrelu.backends.polyhedral import kkt_error, linear_form
from convexrelu.backends.scaling import Scaling
from convexrelu.backends.silence import silenced
from convexrelu.errors import InvalidInputError, NotInstalledError, UnsupportedError

REQUIRED = ("clarabel", "ecos", "scs", "osqp", "highs")

# Largest violation of any optimality condition when 1e-9 is asked for, on data of size one.
TOLERANCE = {
    "clarabel": 1e-7,  # stops on relative residuals of 1e-9, times the size of duals and a condition number
    "scs": 1e-7,  # the same, and x satisfies the cones only to its primal residual
    "osqp": 1e-7,  # the same; polishing usually does far better
    "highs": 1e-9,  # simplex and active set: exact up to rounding and its own 1e-9 feasibility tolerance
    "ecos": 2e-5,  # a gap of 1e-10 in the rewritten quadratic term leaves its square root in x
    "cvxpy": 1e-7,  # Clarabel underneath
    # With a linear objective ECOS has no such square root.
    "ecos linear": 1e-8,
}


@dataclass(frozen=True)
class Case:
    """A program with its optimal value, or the status it must be given."""

    program: ConicProgram
    value: float | None = None
    status: ConicStatus = ConicStatus.SOLVED


def sparse(rows):
    return sp.csc_array(np.array(rows, dtype=float))


def vector(*entries):
    return np.array(entries, dtype=float)


def identity(n, scale=1.0):
    return sp.csc_array(sp.diags_array(np.full(n, scale)))


def linear_program():
    # max x + 2y on x + y <= 4, x <= 3, y <= 2, x >= 0, with y = w: the corner (2, 2).
    A = sparse([[0, 1, -1], [1, 1, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0]])
    return Case(ConicProgram(None, vector(-1, -2, 0), A, vector(0, 4, 3, 2, 0), 1, 4), -6.0)


def degenerate_linear_program():
    # Three constraints and a duplicate meet in the corner (1, 1), and one row is zero: the duals are not unique.
    A = sparse([[1, 0], [0, 1], [1, 1], [1, 1], [0, 0], [-1, 0], [0, -1]])
    return Case(ConicProgram(None, vector(-1, -1), A, vector(1, 1, 2, 2, 0, 0, 0), 0, 7), -2.0)


def simplex_projection():
    # The point of the simplex closest to c = (1, 1/2, -1) is (3/4, 1/4, 0).
    c = vector(1, 0.5, -1)
    A = sp.csc_array(sp.vstack([sparse([[1, 1, 1]]), -identity(3)]))
    x = vector(0.75, 0.25, 0)
    return Case(ConicProgram(identity(3), -c, A, vector(1, 0, 0, 0), 1, 3), 0.5 * x @ x - c @ x)


def dense_quadratic():
    # 1/2 x'Px with a P that is not diagonal, minimum -(1/2) q' inv(P) q inside the constraints.
    P, q = np.array([[2.0, 1.0], [1.0, 2.0]]), vector(-1, -1)
    program = ConicProgram(sp.triu(sp.csc_array(P), format="csc"), q, sparse([[1, 1]]), vector(5), 0, 1)
    return Case(program, -0.5 * q @ np.linalg.solve(P, q))


def absolute_values():
    # 1/2 |y - u|^2 + |u|_1 with cones of dimension two, and one of dimension one: soft thresholding.
    y = vector(3, -0.5)
    # unknowns r (2), u (2), t (2), w
    A = np.zeros((7, 7))
    A[:2, :2], A[:2, 2:4] = np.eye(2), np.eye(2)
    for row, column in ((2, 4), (3, 2), (4, 6), (5, 5), (6, 3)):
        A[row, column] = -1.0
    P = sp.csc_array(sp.diags_array(vector(1, 1, 0, 0, 0, 0, 0)))
    program = ConicProgram(P, vector(0, 0, 0, 0, 1, 1, 1), sparse(A), np.append(y, np.zeros(5)), 2, 0, (2, 1, 2))
    # u = (2, 0), r = (1, -1/2)
    return Case(program, 0.5 * (1 + 0.25) + 2)


def ball():
    # The least value of q'x on the unit ball is -|q|.
    q = vector(0, 3, -4)
    A = sp.csc_array(sp.vstack([sparse([[1, 0, 0]]), -identity(3)]))
    return Case(ConicProgram(None, q, A, vector(1, 0, 0, 0), 1, 0, (3,)), -5.0)


def group_lasso():
    # 1/2 |y_g - u_g|^2 + |u_g| summed over two groups of sizes 2 and 3; the second stays at zero.
    y = vector(3, 4, 0.3, 0.4, 0)
    n = 5
    A = np.zeros((n + 7, 2 * n + 2))
    A[:n, :n], A[:n, n : 2 * n] = np.eye(n), np.eye(n)
    for row, column in enumerate([10, 5, 6, 11, 7, 8, 9]):
        A[n + row, column] = -1.0
    P = sp.csc_array(sp.diags_array(np.append(np.ones(n), np.zeros(n + 2))))
    q = np.append(np.zeros(2 * n), [1.0, 1.0])
    program = ConicProgram(P, q, sparse(A), np.append(y, np.zeros(7)), n, 0, (3, 4))
    # |u_1| = 5 - 1, residual of norm 1 there; residual y_2 of norm 1/2.
    return Case(program, 0.5 * 1 + 4 + 0.5 * 0.25)


def exponential():
    # (1, 2, s) in the cone: the least s is 2 exp(1/2). The three entries differ, so their order is tested.
    A = sp.csc_array(sp.vstack([sparse([[1, 0, 0], [0, 1, 0]]), -identity(3)]))
    program = ConicProgram(None, vector(0, 0, 1), A, vector(1, 2, 0, 0, 0), 2, 0, (), 1)
    return Case(program, 2 * math.exp(0.5))


def softplus():
    # min log(1 + exp(a)) + a^2 / 2: exp(-t) + exp(a - t) <= 1, with every kind of cone but the second-order one.
    # unknowns a, t, u, v
    rows = [[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, -1, 0], [-1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, -1]]
    P = sp.csc_array(sp.diags_array(vector(1, 0, 0, 0)))
    program = ConicProgram(P, vector(0, 1, 0, 0), sparse(rows), vector(1, 0, 1, 0, 0, 1, 0), 0, 1, (), 2)
    a = 0.0
    for _ in range(60):  # Newton on sigmoid(a) + a = 0
        s = 1 / (1 + math.exp(-a))
        a -= (s + a) / (s * (1 - s) + 1)
    return Case(program, math.log1p(math.exp(a)) + a * a / 2)


def exponential_and_second_order():
    # min s + x'x / 2 - x_0 + |x| with (1, 2, s) in the exponential cone: checks the order of rows behind other cones.
    # unknowns x (2), t, s; x_0 = 0 is optimal since |x| >= x_0
    A = np.zeros((6, 4))
    A[0, 2] = A[1, 0] = A[2, 1] = A[5, 3] = -1.0
    P = sp.csc_array(sp.diags_array(vector(1, 1, 0, 0)))
    program = ConicProgram(P, vector(-1, 0, 1, 1), sparse(A), vector(0, 0, 0, 1, 2, 0), 0, 0, (3,), 1)
    return Case(program, 2 * math.exp(0.5))


def triangle(matrix):
    """The upper triangle column by column, entries off the diagonal times sqrt(2)."""
    return np.array([matrix[i, j] * (1 if i == j else 2**0.5) for j in range(len(matrix)) for i in range(j + 1)])


def matrix_of(entries):
    """The symmetric matrix of a triangle."""
    order = int((2 * len(entries)) ** 0.5)
    column, row = np.tril_indices(order)
    M = np.zeros((order, order))
    M[row, column] = M[column, row] = entries / np.where(row == column, 1.0, 2**0.5)
    return M


def nearest_matrix():
    # The semidefinite matrix nearest to one of order three without symmetry among its entries.
    A = np.array([[1.0, 2.0, -3.0], [2.0, -1.0, 0.5], [-3.0, 0.5, 4.0]])
    values, vectors = np.linalg.eigh(A)
    x, a = triangle((vectors * np.maximum(values, 0.0)) @ vectors.T), triangle(A)
    program = ConicProgram(identity(6), -a, identity(6, -1.0), np.zeros(6), semidefinite=(3,))
    return Case(program, 0.5 * x @ x - a @ x)


def largest_eigenvalue():
    # min t with t I - A semidefinite, 1 x 1 and 2 x 2 matrices and exponential cones in one program: the order of rows.
    A = sparse([[0, 0], [-1, 0], [0, 0], [-1, 0], [0, 0], [0, 0], [0, -1]])
    b = np.concatenate([[1.0], -triangle(np.array([[2.0, 1.0], [1.0, 2.0]])), [1.0, 2.0, 0.0]])
    program = ConicProgram(None, vector(1, 1), A, b, n_exponential=1, semidefinite=(1, 2))
    return Case(program, 3 + 2 * math.exp(0.5))


def infeasible_linear():
    return Case(ConicProgram(None, vector(1), sparse([[1], [-1]]), vector(-1, -1), 0, 2), status=ConicStatus.INFEASIBLE)


def infeasible_quadratic():
    return Case(replace(infeasible_linear().program, P=identity(1)), status=ConicStatus.INFEASIBLE)


def infeasible_ball():
    # |x| <= 1 and x_0 = 2
    case = ball()
    A = sp.csc_array(sp.vstack([sparse([[1, 0, 0], [0, 1, 0]]), -identity(3)]))
    program = replace(case.program, A=A, b=vector(1, 2, 0, 0, 0), n_zero=2)
    return Case(program, status=ConicStatus.INFEASIBLE)


def unbounded_linear():
    return Case(ConicProgram(None, vector(-1), sparse([[-1]]), vector(0), 0, 1), status=ConicStatus.UNBOUNDED)


def unbounded_quadratic():
    P = sp.csc_array(sp.diags_array(vector(1, 0)))
    return Case(ConicProgram(P, vector(-1, -1), -identity(2), vector(0, 0), 0, 2), status=ConicStatus.UNBOUNDED)


def unbounded_cone():
    return Case(
        ConicProgram(None, vector(-2, 1, 0), -identity(3), np.zeros(3), 0, 0, (3,)), status=ConicStatus.UNBOUNDED
    )


SOLVABLE = {
    case.__name__: case()
    for case in (
        linear_program,
        degenerate_linear_program,
        simplex_projection,
        dense_quadratic,
        absolute_values,
        ball,
        group_lasso,
        exponential,
        softplus,
        exponential_and_second_order,
        nearest_matrix,
        largest_eigenvalue,
    )
}
HOPELESS = {
    case.__name__: case()
    for case in (
        infeasible_linear,
        infeasible_quadratic,
        infeasible_ball,
        unbounded_linear,
        unbounded_quadratic,
        unbounded_cone,
    )
}


def backend_of(name):
    """Return a backend; "cvxpy" is a solver through cvxpy, to test the model that is built there."""
    if name.startswith("cvxpy"):
        return find_solver(name.removeprefix("cvxpy").strip() or "CLARABEL")
    return get_backend(name)


def takes(name, label, program):
    supports = {spec.name: spec.supports for spec in SPECS}.get(name)
    return program.kind in (supports or backend_of(name).supports) and not (
        name == "ecos" and label == "dense_quadratic"
    )


def pairs(cases):
    return [
        pytest.param(name, case, id=f"{name}-{label}")
        for name in (*REQUIRED, "cvxpy")
        for label, case in cases.items()
        if takes(name, label, case.program)
    ]


def cone_violations(program, s, dual):
    """Return how far a vector is outside the cone (or its dual), one number per cone."""
    n_linear = program.n_zero + program.n_nonneg
    yield 0.0 if dual else np.abs(s[: program.n_zero]).max(initial=0.0)
    yield (-s[program.n_zero : n_linear]).max(initial=0.0)
    start = n_linear
    for size in program.second_order:
        yield np.linalg.norm(s[start + 1 : start + size]) - s[start]
        start += size
    for order in program.semidefinite:
        size = order * (order + 1) // 2
        yield -np.linalg.eigvalsh(matrix_of(s[start : start + size])).min()
        start += size
    for a, b, c in s[start:].reshape(-1, 3):
        if dual:  # a < 0 and -a exp(b / a) <= e c
            yield a
            yield -a * math.exp(b / a) - math.e * c
        else:  # b > 0 and b exp(a / b) <= c
            yield -b
            yield b * math.exp(a / b) - c


def violations(program, x, z):
    """Return primal feasibility, dual feasibility, stationarity and complementarity."""
    s = program.b - program.A @ x
    P = np.zeros((x.size, x.size)) if program.P is None else program.P.toarray()
    P = P + np.triu(P, 1).T
    return {
        "primal": max(cone_violations(program, s, dual=False)),
        "dual": max(cone_violations(program, z, dual=True)),
        "stationarity": np.abs(P @ x + program.q + program.A.T @ z).max(),
        "complementarity": abs(s @ z),
    }


def assert_optimal(name, case, solution):
    key = "ecos linear" if name == "ecos" and case.program.P is None else name
    tolerance = TOLERANCE[key]
    assert solution.status is ConicStatus.SOLVED, solution
    assert solution.x.shape == case.program.q.shape and solution.z.shape == case.program.b.shape
    for condition, violation in violations(case.program, solution.x, solution.z).items():
        assert violation <= tolerance, (condition, violation)
    assert abs(case.program.objective(solution.x) - case.value) <= tolerance


@pytest.mark.parametrize("name", REQUIRED)
def test_required_backends_are_installed(name):
    # Fails, never skips: everything below would otherwise pass without them.
    assert name in available_backends()
    assert get_backend(name).version()[0].isdigit()


@pytest.mark.parametrize(("name", "case"), pairs(SOLVABLE))
def test_solution_meets_the_optimality_conditions(name, case):
    assert_optimal(name, case, backend_of(name).solve(case.program))


@pytest.mark.parametrize(("name", "case"), pairs(HOPELESS))
def test_infeasible_and_unbounded_programs_are_called_so(name, case):
    solution = backend_of(name).solve(case.program)
    assert solution.status is case.status
    assert solution.message


@pytest.mark.parametrize("seed", range(3))
def test_backends_agree_on_random_programs(seed):
    rng = np.random.default_rng(seed)
    n, blocks = 8, 6
    for k in (1, 2):
        case = Case(random_program(rng, n, blocks, k))
        names = [name for name in (*REQUIRED, "cvxpy") if takes(name, "", case.program)]
        assert len(names) == (6 if k == 1 else 4)
        values = []
        for name in names:
            solution = backend_of(name).solve(case.program)
            values.append(case.program.objective(solution.x))
            # Data up to 10 and duals up to 10 enter the absolute violations.
            worst = max(violations(case.program, solution.x, solution.z).values())
            assert worst <= 100 * TOLERANCE[name], (name, worst)
        # Relative gap 1e-9 asked; the primal residuals, times duals of size 10, may shift the value.
        assert np.ptp(values) <= 1e-7 * (1 + abs(values[0]))


def random_program(rng, n, blocks, k):
    """Return 1/2 |y - F u|^2 + sum of |u_i| with two facets per block: the shape of the programs of this package."""
    F, y = rng.standard_normal((n, blocks * k)), 3 * rng.standard_normal(n)
    facets = sp.block_diag([-rng.standard_normal((2, k)) for _ in range(blocks)])
    width = n + blocks * (k + 1)
    fit = sp.hstack([sp.eye_array(n), F, sp.csc_array((n, blocks))])
    signs = sp.hstack([sp.csc_array((2 * blocks, n)), facets, sp.csc_array((2 * blocks, blocks))])
    cones = np.zeros((blocks * (k + 1), width))
    for i in range(blocks):
        cones[i * (k + 1), n + blocks * k + i] = -1.0
        cones[np.arange(i * (k + 1) + 1, (i + 1) * (k + 1)), np.arange(n + i * k, n + (i + 1) * k)] = -1.0
    A = sp.csc_array(sp.vstack([fit, signs, sp.csc_array(cones)]))
    P = sp.csc_array(sp.diags_array(np.append(np.ones(n), np.zeros(width - n))))
    q = np.append(np.zeros(n + blocks * k), np.full(blocks, 0.5))
    return ConicProgram(P, q, A, np.append(y, np.zeros(A.shape[0] - n)), n, 2 * blocks, (k + 1,) * blocks)


@pytest.mark.parametrize("label", ["linear_program", "dense_quadratic"])
def test_scaling_changes_the_units_only(label):
    # Powers of two round nothing, so the scaled program is the same one; the solver sees other numbers.
    program = SOLVABLE[label].program
    rng = np.random.default_rng(0)
    unknowns = 2.0 ** rng.integers(-8, 9, program.n_variables)
    rows = 2.0 ** rng.integers(-8, 9, program.n_rows)
    assert program.second_order == ()
    scaling = Scaling(unknowns, rows, 2.0**-6)
    solution = scaling.undo(backend_of("clarabel").solve(scaling.apply(program)))
    assert program.objective(solution.x) == pytest.approx(SOLVABLE[label].value, abs=1e-6)
    # Factors up to 2^8 on rows and unknowns, times Clarabel's 1e-8.
    assert violations(program, solution.x, solution.z)["stationarity"] <= 1e-4


def test_ecos_aims_lower_than_asked():
    # The square root of a gap of 1e-11, not of 1e-9.
    case = SOLVABLE["group_lasso"]
    solution = get_backend("ecos").solve(case.program, tol=1e-9)
    assert violations(case.program, solution.x, solution.z)["stationarity"] <= 4e-6


def test_quadratic_term_through_a_cvxpy_solver_without_one():
    case = SOLVABLE["dense_quadratic"]
    solution = get_backend("ECOS_BB").solve(case.program)
    assert case.program.objective(solution.x) == pytest.approx(case.value, abs=1e-8)
    assert violations(case.program, solution.x, solution.z)["stationarity"] <= TOLERANCE["ecos"]


@pytest.mark.parametrize("name", [*REQUIRED, "cvxpy"])
def test_tighter_tolerance_is_passed_on(name):
    case = SOLVABLE["simplex_projection"]
    loose, tight = (backend_of(name).solve(case.program, tol=tol) for tol in (1e-2, 1e-9))
    if name == "highs":  # an active-set method ends at the exact point either way
        assert loose.iterations <= tight.iterations
        assert highs_module._settings(case.program, 1e-9, 4.0, None)["primal_feasibility_tolerance"] == 4e-9
    else:
        assert loose.iterations < tight.iterations


@pytest.mark.parametrize("name", REQUIRED)
def test_equality_rows_without_entries(name):
    # ECOS itself reads beyond its arrays on these.
    program = ConicProgram(identity(1), vector(1), sp.csc_array((1, 1)), vector(0), 1)
    assert get_backend(name).solve(program).x == pytest.approx([-1], abs=TOLERANCE[name])


# --- what a backend cannot take --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["osqp", "highs"])
@pytest.mark.parametrize("label", ["ball", "exponential"])
def test_unsupported_program_names_backends_that_can(name, label):
    program = SOLVABLE[label].program
    with pytest.raises(UnsupportedError, match=f"`backend='{name}'` takes LP .*, QP .*{program.kind}.*clarabel, ecos"):
        get_backend(name).solve(program)


def test_cvxpy_solver_for_linear_programs_refuses_a_quadratic_one():
    backend = get_backend("SCIPY")
    assert backend.supports == {ProgramKind.LP}
    with pytest.raises(UnsupportedError, match=r"takes LP .*QP .*osqp, highs"):
        backend.solve(SOLVABLE["simplex_projection"].program)


def test_ecos_refuses_a_quadratic_term_that_is_not_diagonal():
    with pytest.raises(UnsupportedError, match=r"diagonal.*clarabel"):
        get_backend("ecos").solve(SOLVABLE["dense_quadratic"].program)


def test_kinds():
    kinds = {label: case.program.kind for label, case in SOLVABLE.items()}
    assert kinds["linear_program"] == ProgramKind.LP
    assert kinds["absolute_values"] == kinds["dense_quadratic"] == ProgramKind.QP
    assert kinds["ball"] == kinds["group_lasso"] == ProgramKind.SOCP
    assert kinds["exponential_and_second_order"] == ProgramKind.EXP
    # A quadratic term that is stored but zero is none.
    assert replace(SOLVABLE["linear_program"].program, P=identity(3, scale=0.0)).kind == ProgramKind.LP


# --- options, tolerances, limits -------------------------------------------------------------------------------------

ONE_ITERATION = {
    "clarabel": {"max_iter": 1},
    "ecos": {"max_iters": np.int64(1)},
    "scs": {"max_iters": 1},
    "osqp": {"max_iter": 1},
    "highs": {"qp_iteration_limit": np.int32(0)},
}
MISSPELT = {
    "clarabel": ("max_iters", "max_iter"),
    "ecos": ("max_iter", "max_iters"),
    "scs": ("max_iter", "max_iters"),
    "osqp": ("max_iters", "max_iter"),
    "highs": ("qp_iterations_limit", "qp_iteration_limit"),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_options_reach_the_solver_by_their_native_names(name):
    solution = get_backend(name).solve(SOLVABLE["absolute_values"].program, options=ONE_ITERATION[name])
    assert solution.status is ConicStatus.LIMIT, solution
    assert set(ONE_ITERATION[name]) <= get_backend(name).options


@pytest.mark.parametrize("name", REQUIRED)
def test_unknown_option_is_named_with_close_matches(name):
    wrong, right = MISSPELT[name]
    with pytest.raises(InvalidInputError, match=rf"options\['{wrong}'\].*'{name}'.*{right}"):
        get_backend(name).solve(SOLVABLE["linear_program"].program, options={wrong: 5})


@pytest.mark.parametrize("name", REQUIRED)
def test_unknown_option_without_a_close_match_lists_all(name):
    with pytest.raises(InvalidInputError, match=f"Its options are: .*{next(iter(ONE_ITERATION[name]))}"):
        get_backend(name).solve(SOLVABLE["linear_program"].program, options={"zzz": 5})


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", ["many", 2.5, None, True])
def test_option_of_the_wrong_type(name, value):
    option = next(iter(ONE_ITERATION[name]))
    with pytest.raises(InvalidInputError, match=f"{option}.*it takes an integer"):
        get_backend(name).solve(SOLVABLE["linear_program"].program, options={option: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clarabel", {"tol_feas": -1.0}),
        ("clarabel", {"tol_feas": float("nan")}),
        ("clarabel", {"max_iter": 2**80}),
        ("scs", {"alpha": -3.0}),
        ("scs", {"linear_solver": "none"}),
        ("osqp", {"alpha": -3.0}),
        ("osqp", {"polishing": 2}),
        ("highs", {"primal_feasibility_tolerance": -1.0}),
        ("highs", {"random_seed": -1}),
        ("highs", {"solver": "none"}),
        ("ECOS_BB", {"no_such_option": 1}),
        ("ECOS_BB", {"max_iters": "many"}),
    ],
)
def test_value_out_of_range_is_refused_by_name(name, options):
    with pytest.raises(InvalidInputError, match=next(iter(options))) as caught:
        get_backend(name).solve(SOLVABLE["linear_program"].program, options=options)
    # Said once: an error that is already ours is not wrapped in another.
    assert not isinstance(caught.value.__cause__, InvalidInputError)


@pytest.mark.parametrize("name", [*REQUIRED, "ECOS_BB"])
def test_printing_has_an_argument_of_its_own(name):
    option = "output_flag" if name == "highs" else "verbose"
    with pytest.raises(InvalidInputError, match="use `verbose=True`"):
        get_backend(name).solve(SOLVABLE["linear_program"].program, options={option: True})
    assert option not in get_backend(name).options


@pytest.mark.parametrize("name", ["clarabel", "scs", "osqp", "highs"])
def test_time_limit(name):
    backend = get_backend(name)
    assert backend.has_time_limit
    assert backend.solve(SOLVABLE["absolute_values"].program, time_limit=1e-9).status is ConicStatus.LIMIT
    assert backend.solve(SOLVABLE["absolute_values"].program, time_limit=math.inf if name == "clarabel" else 60.0)


def test_ecos_says_that_it_has_no_time_limit():
    backend = get_backend("ecos")
    assert not backend.has_time_limit
    assert backend.solve(SOLVABLE["linear_program"].program, time_limit=1e-9).status is ConicStatus.SOLVED


@pytest.mark.parametrize("tol", [0, 1, -1e-9, math.nan, "tight", None])
def test_tolerance_out_of_range(tol):
    with pytest.raises(InvalidInputError, match="`tol="):
        get_backend("clarabel").solve(SOLVABLE["linear_program"].program, tol=tol)


@pytest.mark.parametrize("limit", [0, -1, math.nan, "long"])
def test_time_limit_out_of_range(limit):
    with pytest.raises(InvalidInputError, match="`time_limit="):
        get_backend("clarabel").solve(SOLVABLE["linear_program"].program, time_limit=limit)


def test_flags_of_osqp_may_be_given_as_flags():
    # OSQP itself keeps them as integers.
    case = SOLVABLE["simplex_projection"]
    solution = get_backend("osqp").solve(case.program, options={"polishing": False, "adaptive_rho": 1})
    assert_optimal("osqp", case, solution)


def test_options_become_plain_python_values():
    known = {"a": int, "b": float, "c": bool, "d": str, "e": list}
    given = {"a": np.int32(3), "b": np.float32(0.5), "c": np.int8(1), "d": np.str_("x"), "e": [1]}
    checked = check_options("any", given, known, {})
    assert checked == {"a": 3, "b": 0.5, "c": True, "d": "x", "e": [1]}
    assert [type(value) for value in checked.values()] == [int, float, bool, str, list]


# --- silence ---------------------------------------------------------------------------------------------------------

QUIET = """
import sys
sys.path.insert(0, {tests!r})
import test_backends as t
for cases in (t.SOLVABLE, t.HOPELESS):
    for label, case in cases.items():
        if t.takes({name!r}, label, case.program):
            t.backend_of({name!r}).solve(case.program)
try:
    t.get_backend("osqp").solve(t.SOLVABLE["linear_program"].program, options={{"alpha": -3.0}})
except t.InvalidInputError:
    pass
"""


@pytest.mark.parametrize("name", [*REQUIRED, "cvxpy", "cvxpy HIGHS"])
def test_nothing_is_printed_unless_asked(name, request):
    # A process of its own: HiGHS prints its banner once per process, and C may print only on leaving.
    code = QUIET.format(tests=str(request.path.parent), name=name)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=request.config.rootpath
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", [*REQUIRED, "cvxpy"])
def test_verbose_prints(name, capfd):
    backend_of(name).solve(SOLVABLE["simplex_projection"].program, verbose=True)
    printed = capfd.readouterr().out
    backend_of(name).solve(SOLVABLE["simplex_projection"].program)
    assert len(printed) > 200
    assert capfd.readouterr().out == ""


def test_silenced_restores_the_descriptors(capfd):
    with pytest.raises(RuntimeError), silenced():
        os.write(1, b"lost")
        os.write(2, b"lost")
        raise RuntimeError
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_silenced_without_descriptors_runs_the_block(monkeypatch):
    def refuse(descriptor):
        raise OSError

    monkeypatch.setattr(os, "dup", refuse)
    ran = []
    with silenced():
        ran.append(True)
    assert ran


# --- the registry ----------------------------------------------------------------------------------------------------


def test_registry_imports_no_solver(request):
    code = (
        "import sys; from convexrelu.backends import available_backends, get_backend; available_backends();"
        "[get_backend(name).supports for name in available_backends()];"
        "print(sorted({'clarabel', 'ecos', 'scs', 'osqp', 'highspy', 'cvxpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=request.config.rootpath
    )
    assert done.stdout.strip() == "[]"


def test_a_backend_imports_only_its_own_solver(request):
    code = (
        "import sys; from convexrelu.backends import get_backend; get_backend('ecos').options;"
        "get_backend('clarabel').options;"
        "print(sorted({'clarabel', 'scs', 'osqp', 'highspy', 'cvxpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=request.config.rootpath
    )
    assert done.stdout.strip() == "['clarabel']"


@pytest.mark.parametrize("name", ["clarabel", "CLARABEL", "Highs"])
def test_names_are_case_insensitive(name):
    assert get_backend(name).name == name.lower()


def test_unknown_name_lists_known_and_installed_ones():
    with pytest.raises(InvalidInputError, match=r"'gradient'.*Known backends: .*clarabel.*installed: .*scs.*ECOS_BB"):
        get_backend("gradient")
    with pytest.raises(InvalidInputError, match="pass a name"):
        get_backend(3)


def hide(monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))


@pytest.mark.parametrize(
    ("name", "package", "install"),
    [("ecos", "ecos", r"convexrelu\[ecos\]"), ("highs", "highspy", r"convexrelu\[highs\]"), ("scs", "scs", "scs")],
)
def test_missing_package_gives_the_command_to_install_it(name, package, install, monkeypatch):
    hide(monkeypatch, package)
    assert name not in available_backends()
    with pytest.raises(NotInstalledError, match=f"'{name}'` is not installed.*clarabel.*`pip install {install}`"):
        get_backend(name)


def test_missing_cvxpy_leaves_the_own_backends(monkeypatch):
    hide(monkeypatch, "cvxpy")
    assert get_backend("clarabel").name == "clarabel"
    with pytest.raises(InvalidInputError, match="solvers installed in cvxpy: none"):
        get_backend("CVXOPT")


def test_missing_package_at_solve_time(monkeypatch):
    backend = get_backend("ecos")
    monkeypatch.setitem(sys.modules, "ecos", None)
    with pytest.raises(NotInstalledError, match="pip install"):
        backend.solve(SOLVABLE["linear_program"].program)


def test_cvxpy_solver_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("cvxpy.installed_solvers", lambda: ["CLARABEL"])
    with pytest.raises(NotInstalledError, match=r"'MOSEK'` is not installed.*pip install cvxpy\[MOSEK\]"):
        get_backend("mosek")


@pytest.mark.parametrize("name", ["scipy", "ecos_bb"])
def test_other_solvers_of_cvxpy(name):
    backend = get_backend(name)
    assert isinstance(backend, CvxpyBackend) and backend.solver == name.upper()
    case = SOLVABLE["linear_program"]
    solution = backend.solve(case.program)
    # Both stop at 1e-9 on this program of size one.
    assert max(violations(case.program, solution.x, solution.z).values()) <= 1e-8
    assert case.program.objective(solution.x) == pytest.approx(case.value, abs=1e-8)


def test_able_backends_by_kind():
    assert available_backends(ProgramKind.SOCP)[-3:] == ["clarabel", "ecos", "scs"]
    assert {"osqp", "highs"} <= set(available_backends(ProgramKind.QP))


# --- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"A": sparse([[1, 0, 0]])}, "`A` has shape"),
        ({"A": sp.csr_array(np.eye(5, 3))}, "csc format"),
        ({"A": np.eye(5, 3)}, "csc format"),
        ({"b": vector(0, 4, 3, 2, np.nan)}, "`b` .* finite"),
        ({"q": vector(-1, np.inf, 0)}, "`q` .* finite"),
        ({"A": sparse([[0, 1, -1], [1, 1, 0], [1, 0, np.nan], [0, 1, 0], [-1, 0, 0]])}, "`A` contains NaN"),
        ({"n_nonneg": 3}, "The cones have 4 rows, `A` has 5"),
        ({"n_zero": -1, "n_nonneg": 6}, "must not be negative"),
        ({"n_nonneg": 4, "second_order": (0,)}, "at least one row"),
        ({"P": sp.csc_array(np.tri(3))}, "below its diagonal"),
        ({"P": identity(2)}, "`P` has shape"),
        ({"P": identity(3, scale=-1.0)}, "not convex"),
        ({"A": sp.csc_array((0, 3)), "b": vector(), "n_zero": 0, "n_nonneg": 0}, "needs an unknown and a row"),
    ],
)
def test_programs_that_do_not_fit_together(change, message):
    with pytest.raises(InvalidInputError, match=message):
        replace(SOLVABLE["linear_program"].program, **change)


def test_program_objective_uses_both_triangles():
    program = SOLVABLE["dense_quadratic"].program
    x = vector(1, 2)
    # 1/2 (2 + 2 * 2 + 8) - 3
    assert program.objective(x) == 4.0
    assert repr(program) == "ConicProgram(QP, 2 variables, 1 rows, zero=0, nonneg=1, second_order=0, exponential=0)"


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=4),
    n_zero=st.integers(0, 1),
    n_nonneg=st.integers(0, 2),
    data=st.data(),
)
def test_linear_form_describes_the_same_cone(sizes, n_zero, n_nonneg, data):
    m = n_zero + n_nonneg + sum(sizes)
    integers = st.lists(st.integers(-2, 2), min_size=m, max_size=m)
    s, z = np.array(data.draw(integers), dtype=float), np.array(data.draw(integers), dtype=float)
    program = ConicProgram(None, vector(1), sp.csc_array(np.ones((m, 1))), s, n_zero, n_nonneg, tuple(sizes))
    linear, M = linear_form(program)
    # x = 0 makes b the slack.
    inside = max(cone_violations(program, s, dual=False)) <= 0
    assert (max(cone_violations(linear, linear.b, dual=False)) <= 0) == inside
    # A multiplier of the linear form that is in its dual cone comes back to one that is in the dual cone.
    z[n_zero:] = np.abs(z[n_zero:])
    assert max(cone_violations(program, M.T @ z, dual=True)) <= 0
    assert linear.b @ z == s @ (M.T @ z)
    assert np.array_equal(linear.A.T @ z, program.A.T @ (M.T @ z))


def test_kkt_error_sees_each_violation():
    case = SOLVABLE["simplex_projection"]
    program = case.program
    x = vector(0.75, 0.25, 0)
    z = vector(0.25, 0, 0, 1.25)
    assert kkt_error(program, x, z) <= 1e-15
    assert kkt_error(program, x + vector(0, 0, -0.1), z) > 1e-2
    assert kkt_error(program, x, z + vector(0, -0.1, 0, 0)) > 1e-2
    assert kkt_error(program, x, z + vector(0.1, 0, 0, 0)) > 1e-2
    assert kkt_error(program, x, vector(np.nan, 0, 0, 0)) == np.inf
    # Feasible, stationary and of the right signs, but not complementary.
    slack = ConicProgram(None, vector(1), sparse([[-1]]), vector(0), 0, 1)
    assert kkt_error(slack, vector(1), vector(1)) == 0.5
    # Nothing wrong but the sign of the slack, and nothing but that of the multiplier: 1 over 1 + 1.
    assert kkt_error(replace(slack, q=vector(0)), vector(-1), vector(0)) == 0.5
    assert kkt_error(replace(slack, q=vector(-1)), vector(0), vector(-1)) == 0.5


# --- what solvers get wrong ------------------------------------------------------------------------------------------


def spoil(monkeypatch, spoils):
    """Make OSQP return a far too large dual and call it solved, where `spoils(settings)` says so."""
    honest, polishing = osqp_module._run, []

    def run(osqp, program, settings):
        polishing.append(settings["polishing"])
        solution = honest(osqp, program, settings)
        return replace(solution, z=solution.z + 0.2) if spoils(settings) else solution

    monkeypatch.setattr(osqp_module, "_run", run)
    return polishing


def test_bad_polishing_of_osqp_is_found_and_undone(monkeypatch):
    polishing = spoil(monkeypatch, lambda settings: settings["polishing"])
    case = SOLVABLE["simplex_projection"]
    assert_optimal("osqp", case, get_backend("osqp").solve(case.program))
    assert polishing == [True, False]


def test_bad_answer_of_osqp_is_not_called_solved(monkeypatch):
    spoil(monkeypatch, lambda settings: True)
    solution = get_backend("osqp").solve(SOLVABLE["simplex_projection"].program)
    assert solution.status is ConicStatus.INACCURATE


@pytest.mark.parametrize("small", [1e-3, 1e-5, 1e-7, 1e-9, 1e-11])
def test_highs_with_targets_of_very_different_sizes(small):
    # In plain units its active-set method ends in a "solve error" at 1e-5.
    rng = np.random.default_rng(5)
    program = random_program(rng, 30, 40, 1)
    b = program.b.copy()
    b[0] = small
    program = replace(program, b=b)
    solution = get_backend("highs").solve(program)
    assert solution.status is ConicStatus.SOLVED
    # Data of size 10 and 1e-9 of it.
    assert max(violations(program, solution.x, solution.z).values()) <= 1e-8


def test_ecos_is_solved_only_within_the_tolerance_asked():
    native = {
        "x": np.zeros(1),
        "y": np.zeros(0),
        "z": np.zeros(1),
        "info": {"exitFlag": 10, "pres": 1e-12, "dres": 1e-6, "iter": 3, "infostring": "Close"},
    }
    program = unbounded_linear().program
    assert ecos_module._solution(program, native, 1e-9).status is ConicStatus.INACCURATE
    assert ecos_module._solution(program, native, 1e-5).status is ConicStatus.SOLVED


def test_interruption_is_passed_on():
    program = unbounded_linear().program
    with pytest.raises(KeyboardInterrupt):
        scs_module._solution({"info": {"status_val": -5}}, np.arange(0))
    with pytest.raises(KeyboardInterrupt):
        ecos_module._solution(program, {"info": {"exitFlag": -4}}, 1e-9)
    with pytest.raises(KeyboardInterrupt):
        osqp_module._solution(program, SimpleNamespace(info=SimpleNamespace(status_val=10, status="interrupted")))
    solver = SimpleNamespace(
        getModelStatus=lambda: SimpleNamespace(name="kInterrupt"), getInfo=lambda: None, getSolution=lambda: None
    )
    with pytest.raises(KeyboardInterrupt):
        highs_module._solution(solver, program)
