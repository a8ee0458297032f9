"""The exact program of several tasks: against a cvxpy model of theory C.2, pattern generation, and itself."""

import itertools

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LEGAL_MODES, data, examples, vectors

import convexrelu as cr
from convexrelu.backends import get_backend
from convexrelu.backends.conic import ProgramKind
from convexrelu.descent import descended
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.joint_program import JointProgram
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import neuron_patterns
from convexrelu.recovery import program_value

TOL = 1e-6


def random_data(n, d, T, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((n, T))


def kinds(modes):
    return dict(zip(("bias", "output_bias", "skip"), modes, strict=True))


def check(problem, value=None, rel=1.1 * TOL, **options):
    """Optimal with a global proof, and of this value."""
    result = cr.solve(problem, patterns="enumerate", tol=TOL, **options)
    assert result.status is cr.Status.OPTIMAL, result
    assert result.certificate.scope == "global"
    if value is not None:
        assert result.objective == pytest.approx(value, rel=rel, abs=1e-9)
    return result


@pytest.mark.parametrize("modes", LEGAL_MODES, ids="-".join)
def test_enumeration_and_generation_agree_in_every_mode(modes):
    problem = cr.TrainingProblem(*random_data(4, 1, 2), 0.2, **kinds(modes))
    check(problem, cr.solve(problem, tol=TOL).objective)


@pytest.mark.parametrize("modes", [m for m in LEGAL_MODES if m != ("none", "none", "none")], ids="-".join)
@pytest.mark.slow
def test_interpolation_agrees_in_every_mode(modes):
    problem = cr.TrainingProblem.interpolation(*random_data(5, 2, 2), **kinds(modes))
    result = check(problem, cr.solve(problem, tol=TOL).objective)
    assert np.abs(result.network(problem.X) - problem.Y).max() <= 1e-9 * np.abs(problem.Y).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "T", "modes"),
    [
        (5, 2, 2, ("penalized", "none", "none")),
        (6, 2, 3, ("none", "none", "none")),
        (5, 3, 12, ("none", "free", "none")),
        (4, 2, 5, ("free", "free", "none")),
    ],
)
def test_the_value_is_that_of_the_kernel_form(n, d, T, modes):
    X, Y = random_data(n, d, T)
    for decay in (0.2, None):
        problem = cr.TrainingProblem(X, Y, decay, **kinds(modes)) if decay else None
        problem = problem or cr.TrainingProblem.interpolation(X, Y, **kinds(modes))
        check(problem, oracles.joint_convex_value(X, Y, decay, **kinds(modes)), rel=2 * TOL)


@given(data(4, 2), st.integers(2, 3), st.sampled_from(LEGAL_MODES), st.data())
@examples(8)
def test_ties_zeros_and_duplicates(X, T, modes, draw):
    Y = draw.draw(vectors(len(X) * T)).reshape(len(X), T)
    weight = np.ones(len(X))
    weight[0] = draw.draw(st.sampled_from([0.0, 0.5, 2.0])) if len(X) > 1 else 1.0
    problem = cr.TrainingProblem(X, Y, 0.3, sample_weight=weight, **kinds(modes))
    result = cr.solve(problem, patterns="enumerate", tol=TOL)
    assert result.status is cr.Status.OPTIMAL
    assert result.objective == pytest.approx(cr.solve(problem, tol=TOL).objective, rel=2 * TOL, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("modes", [("penalized", "none", "none"), ("free", "free", "none"), ("none", "none", "none")])
def test_rank_four(modes):
    d = 4 if modes[0] == "none" else 3
    X, Y = random_data(6, d, 3)
    for problem in (
        cr.TrainingProblem(X, Y, 0.2, **kinds(modes)),
        cr.TrainingProblem.interpolation(X, Y, **kinds(modes)),
    ):
        result = check(problem, cr.solve(problem, tol=TOL).objective)
        # Cells of rank four have more than four facets on average.
        assert result.effort["cones"] > 2 * len(result.patterns)


@pytest.mark.parametrize("loss", ["absolute", "huber", "quantile", "logistic", "hinge", "squared_hinge", "softmax"])
def test_every_loss(loss):
    X, Y = random_data(5, 1, 2)
    weight = [0.5, 1.0, 2.0, 1.0, 0.0]
    Y = np.sign(Y) if loss in ("logistic", "hinge", "squared_hinge") else Y
    Y = np.array([0, 2, 1, 1, 0]) if loss == "softmax" else Y
    problem = cr.TrainingProblem(X, Y, 0.1, loss, sample_weight=weight)
    value = oracles.joint_loss_value(X, problem.Y, 0.1, loss=loss, sample_weight=weight)
    check(problem, value, rel=2 * TOL)


def test_one_task_is_the_scalar_program():
    problem = cr.TrainingProblem(*random_data(6, 2, 1), 0.1)
    patterns = enumerate_arrangement(problem.arrangement)
    solution = JointProgram(problem, patterns).solve(get_backend("clarabel"), 1e-10)
    assert program_value(problem, solution) == pytest.approx(cr.solve(problem).objective, rel=TOL)


def test_scs_agrees():
    problem = cr.TrainingProblem(*random_data(5, 1, 2), 0.2)
    check(problem, cr.solve(problem, tol=TOL).objective, backend="scs")


def test_the_program_is_semidefinite_and_reduces_tasks():
    X, Y = random_data(5, 2, 2)
    problem = cr.TrainingProblem(X, np.hstack([Y, Y, Y]), 0.2)
    program = JointProgram(problem, enumerate_arrangement(problem.arrangement))
    conic = program.conic
    assert conic.kind is ProgramKind.SDP
    assert conic.semidefinite == (3 + 2,) * len(program.cones)  # rank three, two tasks of six


def test_what_is_not_exact_is_refused():
    problem = cr.TrainingProblem(*random_data(9, 4, 2), 0.2)
    with pytest.raises(UnsupportedError, match=r"rank at most 4 .*, and these have rank 5"):
        cr.solve(problem, patterns="enumerate")
    problem = cr.TrainingProblem(*random_data(6, 2, 2), 0.2)
    with pytest.raises(UnsupportedError, match=r"backend='ecos'.*SDP.*clarabel, scs"):
        cr.solve(problem, patterns="enumerate", backend="ecos")


@pytest.mark.parametrize("modes", [m for m in LEGAL_MODES if m[1:] in (("none", "none"), ("free", "none"))])
def test_given_patterns(modes):
    problem = cr.TrainingProblem(*random_data(5, 2, 2), 0.2, **kinds(modes))
    best = cr.solve(problem)
    few = cr.solve(problem, patterns=2)
    assert few.status is cr.Status.PATTERN_OPTIMAL and few.certificate.scope == "patterns"
    assert few.objective >= best.objective * (1 - TOL)
    # Those of an optimal network are enough for it.
    network = best.network
    own = neuron_patterns(problem.arrangement, problem.arrangement.from_weights(network.hidden, network.hidden_bias))
    result = cr.solve(problem, patterns=own)
    assert result.status is cr.Status.PATTERN_OPTIMAL
    assert result.objective == pytest.approx(best.objective, rel=2 * TOL)


def check_softmax(seed):
    """One small instance: generation against the oracle over all patterns, gap, and gradient descent.

    Whether there was one: labels that a free constant separates have no optimum.
    """
    rng = np.random.default_rng(seed)
    n, d, C = rng.integers(2, 6), rng.integers(1, 3), rng.integers(2, 4)
    X = rng.integers(-2, 3, (n, d)).astype(float) if seed % 2 else rng.standard_normal((n, d))
    Y, decay = np.eye(C)[rng.integers(0, C, n)], 10 ** rng.uniform(-1.5, 0.5)
    weight = rng.integers(1, 4, n) / 2 if seed % 3 == 0 else np.ones(n)
    biases = [("penalized", "none"), ("none", "none"), ("free", "free")][seed % 3 if d == 1 or seed % 2 else 0]
    options = dict(zip(("bias", "output_bias"), biases, strict=True))
    try:
        problem = cr.TrainingProblem(X, Y, decay, "softmax", sample_weight=weight, **options)
    except InvalidInputError as error:
        assert "penalise" in str(error)
        return False
    if np.linalg.matrix_rank(oracles.hidden_data(X, biases[0])) == X.shape[1] + (biases[0] != "none") >= 2:
        value = oracles.joint_loss_value(X, Y, decay, loss="softmax", sample_weight=weight, **options)
    else:
        value = check(problem).objective
    result = cr.solve(problem, tol=TOL)
    assert result.status is cr.Status.OPTIMAL, seed
    assert abs(result.objective - value) <= TOL * value + 1e-8, seed
    descent = oracles.softmax_descent(X, Y, decay, sample_weight=weight, **options)
    assert descent >= result.certificate.lower_bound * (1 - 1e-12), seed
    return True


# At 104 the neuron's length was 1e-5 off when the search had nothing left to find.
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 104])
def test_softmax_agrees_with_the_oracle(seed):
    check_softmax(seed)


@pytest.mark.slow
def test_softmax_agrees_with_the_oracle_200_times():
    seeds = itertools.count()
    assert sum(1 for _ in itertools.islice(filter(check_softmax, seeds), 200)) == 200


def check_squared(seed):
    """One small instance of several tasks: generation against the oracle over all patterns, gap, and descent."""
    rng = np.random.default_rng(seed)
    n, d, T = rng.integers(2, 6), rng.integers(1, 3), rng.integers(2, 4)
    X = rng.integers(-2, 3, (n, d)).astype(float) if seed % 2 else rng.standard_normal((n, d))
    Y = rng.integers(-2, 3, (n, T)).astype(float) if seed % 2 else rng.standard_normal((n, T))
    modes = [("penalized", "none", "none"), ("none", "free", "none"), ("free", "free", "none")][seed % 3]
    problem = cr.TrainingProblem(X, Y, 10 ** rng.uniform(-1.5, 0.5), **kinds(modes))
    A = oracles.hidden_data(X, modes[0])
    if np.linalg.matrix_rank(A) == A.shape[1] >= 2:
        value = oracles.joint_convex_value(X, Y, problem.weight_decay, **kinds(modes))
    else:
        value = check(problem).objective
    result = cr.solve(problem, tol=TOL)
    assert result.status is cr.Status.OPTIMAL, seed
    assert abs(result.objective - value) <= TOL * value + 1e-8, seed
    biases = None if modes[0] == "none" else rng.standard_normal(8)
    start = cr.Network(rng.standard_normal((8, d)), biases, rng.standard_normal((8, T)), bias=modes[0])
    descent = problem.objective(descended(problem, start, 300))
    assert descent >= result.certificate.lower_bound * (1 - 1e-12), seed


@pytest.mark.slow
def test_squared_loss_of_several_tasks_agrees_with_the_oracle_200_times():
    for seed in range(200):
        check_squared(seed)


@pytest.mark.slow
@pytest.mark.parametrize("T", [1, 2, 5, 12])
@pytest.mark.parametrize("d", [2, 3])
def test_generation_is_the_exact_program(d, T):
    X, Y = random_data(6 if d == 2 else 5, d, T)
    for problem in (cr.TrainingProblem(X, Y, 0.2), cr.TrainingProblem.interpolation(X, Y)):
        result = check(problem, cr.solve(problem, tol=TOL).objective, rel=TOL)
        assert T == 1 or result.effort["cones"] >= 1
