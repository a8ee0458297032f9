"""A network's neurons moved within their cells onto the targets."""

import numpy as np
import pytest

import convexrelu as cr
from convexrelu.targets import onto_targets

KINDS = [
    {"bias": "none"},
    {},
    {"bias": "free"},
    {"bias": "free", "skip": "free"},
    {"output_bias": "penalized", "skip": "penalized"},
]


def miss(problem, network):
    return float(np.abs(network(problem.X) - problem.Y).max() / np.abs(problem.Y).max())


def perturbed(network, size, seed):
    rng = np.random.default_rng(seed)
    parts = ((network.hidden, True), (network.hidden_bias, network.hidden_bias.any()), (network.output, True))
    hidden, hidden_bias, output = (p * (1 + changed * size * rng.standard_normal(p.shape)) for p, changed in parts)
    return cr.Network(hidden, hidden_bias, output, network.skip, network.output_bias, network.bias)


@pytest.mark.parametrize("kinds", KINDS, ids=str)
@pytest.mark.parametrize("size", [1e-5, 1e-8])
def test_small_misses_are_mended(kinds, size):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 2)), rng.standard_normal(6)
    problem = cr.TrainingProblem.interpolation(X, y, **kinds)
    solved = cr.solve(problem, patterns="enumerate", backend="clarabel").network
    for seed in range(5):
        network = perturbed(solved, size, seed)
        moved = onto_targets(problem, network)
        # A least squares step over a dozen unknowns: rounding of 1e-16 times a condition number.
        assert miss(problem, moved) <= 1e-12
        # A least-norm correction: the cost moves by about the perturbation.
        assert problem.objective(moved) <= problem.objective(solved) * (1 + 100 * size)


def test_a_network_on_its_targets_stays():
    problem = cr.TrainingProblem.interpolation([[0.0], [1.0], [3.0]], [0.0, 1.0, 3.0], bias="none")
    network = cr.Network([[1.0]], None, [[1.0]])
    moved = onto_targets(problem, network)
    np.testing.assert_allclose(moved.hidden, network.hidden, rtol=1e-15)
    assert miss(problem, moved) <= 1e-15


def test_kinks_on_samples_stay_on_them():
    # relu(x - 1) + ...: the kink sits on the second sample up to a solver's 1e-7, and must end there exactly.
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 0.0, 1.0, 2.0])
    problem = cr.TrainingProblem.interpolation(X, y, bias="free")
    moved = onto_targets(problem, cr.Network([[1.0 + 1e-8]], [-1.0 + 3e-7], [[1.0]], bias="free"))
    assert miss(problem, moved) <= 1e-13
    # The kink in input space; its own rounding.
    assert -moved.hidden_bias[0] / moved.hidden[0, 0] == pytest.approx(1.0, abs=1e-13)


def test_targets_out_of_reach_leave_the_network_no_worse():
    problem = cr.TrainingProblem.interpolation([[0.0], [1.0], [3.0]], [1.0, -1.0, 2.0])
    one = cr.Network([[1.0]], [0.5], [[1.0]])
    assert miss(problem, onto_targets(problem, one)) < 0.9 * miss(problem, one)
    for network in (one, cr.Network(np.zeros((0, 1)), None, np.zeros((0, 1)))):
        moved = onto_targets(problem, network)
        assert miss(problem, moved) <= miss(problem, network)
        assert np.isinf(problem.objective(moved))


def test_zero_targets():
    problem = cr.TrainingProblem.interpolation([[1.0], [2.0]], [0.0, 0.0])
    moved = onto_targets(problem, cr.Network([[1e-9]], [0.0], [[1e-9]]))
    assert np.isfinite(moved.hidden).all()


def test_several_tasks_are_moved_too():
    problem = cr.TrainingProblem.interpolation([[1.0], [2.0]], [[1.0, 2.0], [2.0, 4.0]], bias="none")
    moved = onto_targets(problem, cr.Network([[4.0]], None, [[0.25, 0.5001]]))
    np.testing.assert_allclose(moved(problem.X), problem.Y, rtol=1e-14)
