"""Growth by cheap steps: it goes down, near the optimum where that is known, and stops when told."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.losses import DataLoss, SquaredLoss
from convexrelu.multitask import JointMethod
from convexrelu.native import joint_generation
from convexrelu.native.joint import JointIterate, JointProblem, evaluate
from convexrelu.native.joint_growth import grow, joined
from convexrelu.pricing.task_search import ascend_joint_neurons, find_joint_neurons

WEIGHT_DECAY = 1.0


def joint_problem():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((40, 4))
    Y = np.maximum(Z @ rng.standard_normal((4, 5)), 0.0) @ rng.standard_normal((5, 3))
    none = np.zeros((40, 0))
    return JointProblem(Z, 4, WEIGHT_DECAY, DataLoss(SquaredLoss(), Y, np.ones(40)), none, none)


def nothing(problem):
    return evaluate(problem, JointIterate.empty(problem))


def test_growth_comes_near_the_optimum():
    problem = joint_problem()
    grown = grow(problem, nothing(problem), rng=np.random.default_rng(0), tol=1e-4)
    result = cr.solve(cr.TrainingProblem(problem.Z, problem.loss.Y, WEIGHT_DECAY, bias="none"), tol=1e-2)
    assert result.certificate.lower_bound <= grown.objective <= 1.02 * result.objective


def test_neurons_join_where_they_lower_the_objective():
    problem = joint_problem()
    state = nothing(problem)
    U = np.random.default_rng(0).standard_normal((6, 4))
    more = joined(problem, state, U / np.linalg.norm(U, axis=1)[:, None])
    assert len(more.U) and evaluate(problem, more).objective < state.objective
    # Nothing violates the constraint of a vast weight decay.
    calm = JointProblem(problem.Z, 4, 1e6, problem.loss, problem.free, problem.penalized)
    assert joined(calm, nothing(calm), U) is not None and not len(joined(calm, nothing(calm), U).U)


def test_an_ascent_finds_what_the_search_finds():
    problem = joint_problem()
    N, empty = nothing(problem).N, np.zeros((0, 4))
    options = {"threshold": 0.0, "starts": empty, "n_random": 40}
    U, values = ascend_joint_neurons(problem.Z, N, 4, rng=np.random.default_rng(0), most=1000, **options)
    assert np.linalg.norm(N.T @ np.maximum(problem.Z @ U[0], 0.0)) == pytest.approx(values[0], rel=1e-12)
    found = find_joint_neurons(problem.Z, N, 4, rng=np.random.default_rng(0), **options)
    assert 0.95 * found.best <= values[0] <= found.best * (1 + 1e-9)


def test_an_ascent_stops_when_it_has_enough():
    problem = joint_problem()
    rng, N = np.random.default_rng(0), nothing(problem).N
    options = {"threshold": 0.1, "starts": np.zeros((0, 4)), "rng": rng, "n_random": 40}
    assert len(ascend_joint_neurons(problem.Z, N, 4, most=3, **options)[0]) == 3


@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_where_newton_is_dear_results_are_certified_all_the_same(monkeypatch, bias):
    monkeypatch.setattr(joint_generation, "_DEAR", 0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((12, 2)), rng.standard_normal((12, 3))
    result = cr.solve(cr.TrainingProblem(X, Y, 1.0, bias=bias), tol=1e-3)
    assert result.status is cr.Status.OPTIMAL
    assert result.certificate.scope == "global"


def test_the_time_limit_holds_within_a_search(monkeypatch):
    from convexrelu.monitor import Monitor

    class Impatient(Monitor):
        asked = 0

        def should_stop(self):
            self.asked += 1
            return self.asked > 3

    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((30, 3)), rng.standard_normal((30, 2)), 0.1)
    monitor = Impatient()
    JointMethod(problem, 1e-6, 0, monitor, None).run(None, None)
    # One search alone asks before each of its twelve coarse steps and up to sixty fine ones.
    assert monitor.asked < 12
