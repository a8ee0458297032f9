"""Newton's step for neurons of one input: it rests at an optimum, and near one its error falls with the square."""

from dataclasses import replace

import numpy as np
import pytest

from convexrelu.univariate.exchange import exchanged
from convexrelu.univariate.interval_pricing import correlations
from convexrelu.univariate.neuron_step import neuron_step
from convexrelu.univariate.neurons import Line, Neurons, network_of, objective_of

MODES = [("penalized", "free"), ("penalized", "none"), ("free", "none"), ("free", "free")]


def task(bias, skip, T, seed=0, n=12, lam=0.1):
    """Targets that loose neurons fit; weights that are not all one."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, n))
    Y = np.sin(np.outer(x, 2 + np.arange(T))) + 0.2 * rng.standard_normal((n, T))
    return Line(x, Y, rng.uniform(0.5, 2, n), lam, bias, skip)


def stepped(line, neurons):
    """The neurons after a whole step that meets no event."""
    _, r = objective_of(line, neurons)
    step = neuron_step(line, neurons, correlations(line, r, neurons))
    along = np.einsum("ij,ij->i", neurons.d, step.v)
    U = along[:, None] * neurons.u + step.kappa[:, None] * neurons.across()
    size = np.linalg.norm(U, axis=1)
    length = np.linalg.norm(step.v, axis=1)
    u = np.where(neurons.loose[:, None], U / size[:, None], neurons.u)
    c = np.where(neurons.loose, size * length / along, length)
    return Neurons(neurons.place, neurons.loose, neurons.side, u, step.v / length[:, None], c), step


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize(("bias", "skip"), MODES)
def test_an_optimum_is_at_rest(bias, skip, T):
    loose = 0
    for seed in range(3):
        line = task(bias, skip, T, seed)
        neurons, _ = exchanged(line, 1e-12)
        assert len(neurons)
        loose += int(neurons.loose.sum())
        _, step = stepped(line, neurons)
        # Training ends where the objective is flat to rounding: half its digits are left for the neurons.
        assert step.v == pytest.approx(neurons.c[:, None] * neurons.d, abs=1e-6)
        assert step.kappa == pytest.approx(0.0, abs=1e-6)
        assert step.r == pytest.approx(objective_of(line, neurons)[1], abs=1e-6)
    assert loose or bias == "free"


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize(("bias", "skip"), MODES)
def test_steps_converge_with_the_square(bias, skip, T):
    seen = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        line = task(bias, skip, T, seed)
        best, _ = exchanged(line, 1e-12)
        least, _ = objective_of(line, best)
        for size in (1e-3, 1e-4):
            u = best.u + size * best.loose[:, None] * rng.standard_normal((len(best), 1)) * best.across()
            d = best.d + size * rng.standard_normal(best.d.shape)
            moved = replace(
                best,
                u=u / np.linalg.norm(u, axis=1)[:, None] if bias == "penalized" else best.u,
                d=d / np.linalg.norm(d, axis=1)[:, None],
                c=best.c * (1 + size * rng.uniform(-1, 1, len(best))),
            )
            after, step = stepped(line, moved)
            ends = np.minimum(*after.edges(line.x, after.u))
            if np.any(after.loose & (ends < 0)):
                continue  # a knot has left its interval
            seen += 1 + int(after.loose.any())
            # Not the neurons themselves: the same function may be made of others.
            assert objective_of(line, after)[0] - least < 1e5 * size**4 + 1e-14
            assert np.abs(step.r - objective_of(line, best)[1]).max() < 1e2 * size**2
    assert seen >= (6 if bias == "penalized" else 5)


def test_a_new_neuron_grows_along_its_directions():
    # Nothing is divided by its size, which is zero: a step of a single neuron has a closed form.
    line = task("penalized", "none", 2, lam=0.01)
    u, d = np.array([[1.0, 3.0]]) / np.sqrt(10), np.array([[0.6, 0.8]])
    one = Neurons(np.array([-1]), np.array([True]), np.ones(1), u, d, np.zeros(1))
    r = line.weight[:, None] * line.Y
    step = neuron_step(line, one, correlations(line, r, one))
    z = np.column_stack([line.x, np.ones(12)]) @ u[0]
    size = (d[0] @ (r.T @ z) - line.lam) / (line.weight @ z**2)
    assert step.v == pytest.approx(size * d, rel=1e-6)
    assert step.kappa[0] == pytest.approx(0.0, abs=1e-9)
    assert step.r == pytest.approx(r - line.weight[:, None] * np.outer(z, step.v[0]), rel=1e-6, abs=1e-9)


def test_neurons_on_one_point_are_held_apart():
    # Three neurons on two points: what they make is one function of many.
    line = task("free", "none", 1)
    place, side = np.array([4, 4, 7]), np.array([1.0, -1.0, 1.0])
    u = line.unit(line.x[place], side)
    neurons = Neurons(place, np.zeros(3, dtype=bool), side, u, np.ones((3, 1)), np.ones(3))
    after, step = stepped(line, neurons)
    assert np.isfinite(step.v).all()
    assert objective_of(line, after)[0] == pytest.approx(_least(line, neurons), rel=1e-6)


def _least(line, neurons):
    """The least of the model: output weights by least squares, their sum priced."""
    H = np.maximum(np.outer(line.x, neurons.u[:, 0]) + neurons.u[:, 1], 0.0)
    A = np.column_stack([H, line.free_columns])
    price = np.concatenate([np.full(len(neurons), line.lam), np.zeros(line.free_columns.shape[1])])
    sign = neurons.d[:, 0]
    W = line.weight[:, None]
    value = np.linalg.lstsq(A.T @ (W * A), A.T @ (W[:, 0] * line.Y[:, 0]) - price * np.append(sign, 1.0), rcond=None)[0]
    F = A @ value
    return 0.5 * line.weight @ (line.Y[:, 0] - F) ** 2 + line.lam * np.abs(value[: len(neurons)]).sum()


@pytest.mark.parametrize("T", [1, 2])
@pytest.mark.parametrize(("bias", "skip"), MODES)
def test_the_free_part_fits_best(bias, skip, T):
    line = task(bias, skip, T)
    neurons, _ = exchanged(line, 1e-6)
    network, F = network_of(line, neurons)
    assert network(line.x[:, None]) == pytest.approx(F, abs=1e-12)
    value, r = objective_of(line, neurons)
    assert line.free_columns.T @ r == pytest.approx(0.0, abs=1e-12)
    assert line.free_columns.shape[1] == {"free": 2, "none": 1 if bias == "free" else 0}[skip]
    assert value == pytest.approx(0.5 * np.sum(line.weight[:, None] * (line.Y - F) ** 2) + line.lam * neurons.c.sum())
    assert np.linalg.norm(neurons.u if bias == "penalized" else neurons.u[:, :1], axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_units_and_edges(side, bias):
    line = task(bias, "none", 1)
    x = line.x
    on_point = line.unit(x[[3]], side)[0]
    assert np.maximum(x * on_point[0] + on_point[1], 0)[[3, 3 + int(side)]] == pytest.approx(
        [0.0, abs(x[3 + int(side)] - x[3]) / (np.hypot(1, x[3]) if bias == "penalized" else 1.0)]
    )
    # Two neurons with knots at both ends are the one between them at all points.
    t = 0.3 * x[3] + 0.7 * x[4]
    u = line.unit(np.array([t]), side)
    one = Neurons(np.array([3]), np.array([True]), np.full(1, side), u, np.ones((1, 1)), np.ones(1))
    first, second = one.edges(x, one.u)
    pair = first * np.maximum(side * (x - x[3]), 0) + second * np.maximum(side * (x - x[4]), 0)
    assert pair == pytest.approx(np.maximum(u[0, 0] * x + u[0, 1], 0), abs=1e-12)


def test_edges_of_a_neuron_that_is_on_everywhere_are_its_values_at_both_ends():
    line = task("penalized", "none", 1)
    u = np.array([[0.6, 0.8 * 3]])
    one = Neurons(np.array([-1]), np.array([True]), np.ones(1), u, np.ones((1, 1)), np.ones(1))
    first, second = one.edges(line.x, u)
    assert [first[0], second[0]] == pytest.approx(0.6 * line.x[[0, -1]] + 2.4)
    assert one.across() @ u[0] == pytest.approx(0.0)
    assert one.across()[0] == pytest.approx([-2.4, 0.6])
