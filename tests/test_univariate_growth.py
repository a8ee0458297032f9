"""Training on one input neuron by neuron: every loss, number of tasks and choice of parameters, against `solve`."""

import itertools
from fractions import Fraction

import numpy as np
import oracles
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import ConvexReLUError, InvalidInputError, UnsupportedError
from convexrelu.losses import HuberLoss, QuantileLoss
from convexrelu.univariate.growth import Task, grown
from convexrelu.univariate.interpolant import cost_of_rest
from convexrelu.univariate.line_certificate import certified_on_line, dual_norm_on_line, objective_on_line

LABELS = ("logistic", "hinge", "squared_hinge")
LOSSES = ("squared", "absolute", HuberLoss(0.7), QuantileLoss(0.8), *LABELS, "softmax")
MODES = [
    {"bias": bias, "output_bias": constant, "skip": skip}
    for bias, constant, skip in itertools.product(cr.problem.MODES, repeat=3)
    if bias != "free" or constant == "free"
]
# What training one task has other, faster ways for; here they are another opinion.
SPECIAL = [modes for modes in MODES if modes["bias"] == "free" and modes["skip"] != "penalized"]


def targets(loss, y):
    """Small integers (n, T) as the targets of a loss."""
    if loss in LABELS:
        return np.where(y > 0, 1.0, -1.0)
    if loss == "softmax":
        return np.eye(y.shape[1])[np.argmax(y, axis=1)]
    return y


@st.composite
def problems(draw, tasks, losses=LOSSES, most=6):
    """Points in any order, often repeated, with weights that may vanish, and all choices of parameters."""
    n, loss, modes = draw(st.integers(1, most)), draw(st.sampled_from(losses)), draw(st.sampled_from(MODES))
    weight = np.abs(draw(vectors(n, 2))) / 2
    weight[draw(st.integers(0, n - 1))] = 1.0
    Y = targets(loss, draw(vectors(n * tasks)).reshape(n, tasks))
    return draw(vectors(n, 4)), Y, draw(weight_decays()), loss, modes, weight


def problem_of(x, Y, lam, loss, modes, weight=None):
    try:
        return cr.TrainingProblem(x[:, None], Y, lam, loss, sample_weight=weight, **modes)
    except InvalidInputError:  # labels that the free part alone meets
        assume(False)


def fitted(x, Y, lam, loss, modes, weight=None):
    try:
        return uv.fit(x, Y, lam, loss, sample_weight=weight, **modes)
    except UnsupportedError:  # those of some samples
        assume(False)


@examples(40)
@given(st.sampled_from([2, 3]).flatmap(problems))
def test_every_kind_is_answered_with_a_proof(data):
    x, Y, lam, loss, modes, weight = data
    problem = problem_of(x, Y, lam, loss, modes, weight)
    result = fitted(*data)
    assert result.status is cr.Status.OPTIMAL
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-10, abs=1e-12)
    nu = result.certificate.dual
    assert result.certificate.dual_norm <= lam
    # By trust in nothing of the engine: weak duality over neurons of all directions.
    angle = np.linspace(0, 2 * np.pi, 721)
    w, b = {"penalized": (np.cos(angle), np.sin(angle)), "none": (np.array([1.0, -1.0]), np.zeros(2))}.get(
        modes["bias"], (np.repeat([1.0, -1.0], len(x)), np.concatenate([-x, x]))
    )
    seen = np.linalg.norm(np.maximum(np.outer(w, x) + b[:, None], 0) @ nu, axis=1)
    assert seen.max() <= lam * (1 + 1e-12) + 1e-14
    assert problem.dual_value(nu) >= result.certificate.lower_bound - 1e-12 * (1 + result.objective)


@examples(15)
@given(problems(1, ["squared"], 5))
def test_one_task_agrees_with_the_convex_program(data):
    x, Y, lam, loss, modes, weight = data
    problem = problem_of(x, Y, lam, loss, modes, weight)
    network, nu = grown(problem, 1e-9)
    found = certified_on_line(problem, network, nu)
    value = oracles.convex_value(x[:, None], Y[:, 0], lam, sample_weight=weight, **modes)
    assert found.objective == pytest.approx(value, rel=1e-7, abs=1e-7)
    exact = oracles.exact_objective(x[:, None], Y[:, 0], lam, network, sample_weight=weight, **modes)
    assert Fraction(found.lower_bound) <= exact


@pytest.mark.parametrize("loss", LOSSES[:-1], ids=str)
def test_other_ways_find_the_same(loss):
    rng = np.random.default_rng(0)
    x, y = rng.integers(-4, 5, 12) + 0.0, rng.integers(-3, 4, (12, 1)) + 0.0
    for modes in SPECIAL:
        problem = cr.TrainingProblem(x[:, None], targets(loss, y), 0.3, loss, **modes)
        found = certified_on_line(problem, *grown(problem, 1e-9))
        other = uv.fit(x, targets(loss, y), 0.3, loss, **modes).certificate
        assert found.gap <= 1e-8
        assert found.objective == pytest.approx(other.objective, rel=1e-7)


@examples(15)
@given(st.sampled_from([1, 3]), st.data(), st.sampled_from(MODES))
def test_interpolation_in_every_mode(T, data, modes):
    n = data.draw(st.integers(1, 6))
    x, Y = data.draw(vectors(n, 4)), data.draw(vectors(n * T)).reshape(n, T)
    try:
        problem = cr.TrainingProblem.interpolation(x[:, None], Y, **modes)
    except InvalidInputError:
        assume(False)
    result = uv.interpolate(x, Y, **modes)
    assert result.status is cr.Status.OPTIMAL
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-9, abs=1e-12)
    assert problem.dual_value(result.certificate.dual) == pytest.approx(result.objective, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("modes", [MODES[0], MODES[-1], *SPECIAL[:1], {"bias": "penalized", "skip": "free"}], ids=str)
@pytest.mark.parametrize("T", [1, 2])
def test_interpolants_of_many_points_meet_them(T, modes):
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(300))
    Y = np.sin(8 * x[:, None] + np.arange(T)) + 0.3 * rng.standard_normal((300, T))
    if modes.get("bias") == "none":
        x, Y = x[:1], Y[:1]
    result = uv.interpolate(x, Y, **modes)
    assert result.status is cr.Status.OPTIMAL
    assert result.spline(x) == pytest.approx(Y, rel=1e-13, abs=1e-13)
    # The spline is the network's, which holds fewer digits of such curvature.
    t = np.linspace(-1, 2, 61)
    assert result.spline(t) == pytest.approx(result.network(t[:, None]), rel=1e-7, abs=1e-5)


def test_zonotope_not_the_largest_of_norms():
    # theory D.2: |S| < TV, but S is no sum of multiples of the curvatures by numbers between -1 and 1.
    x, Y = np.arange(4.0), np.array([[0.0, 0.0], [7.0, 3.0], [10.0, 10.0], [9.0, 13.0]])
    slopes = np.diff(Y, axis=0)
    delta, S = np.diff(slopes, axis=0), slopes[0] + slopes[-1]
    variation = np.linalg.norm(delta, axis=1).sum()
    result = uv.interpolate(x, Y, skip="none")
    assert np.linalg.norm(S) < variation

    def cost(z):  # of the two knots' shares of S, the rest of it beyond the data
        parts = z.reshape(2, 2)
        halves = np.linalg.norm(delta + parts, axis=1).sum() + np.linalg.norm(delta - parts, axis=1).sum()
        return halves / 2 + np.linalg.norm(S - parts.sum(axis=0))

    exact = min(
        minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12}).fun
        for start in (np.ones(4), np.array([-1.0, 1.0, 3.0, 2.0]))
    )
    assert exact > variation * 1.01
    assert result.objective == pytest.approx(exact, rel=1e-6)
    scalar = uv.interpolate(x, np.repeat(Y[:, :1], 2, axis=1) / np.sqrt(2), skip="none").objective
    assert scalar == pytest.approx(uv.interpolate(x, Y[:, 0], skip="none").objective, rel=1e-8)


@pytest.mark.parametrize(
    ("T", "loss", "modes"),
    [
        (3, "absolute", {"bias": "free", "skip": "free"}),
        (3, "logistic", {"bias": "penalized", "skip": "none"}),
        (1, "huber", {"bias": "penalized", "skip": "free"}),
        (3, "squared", {"bias": "penalized", "skip": "penalized", "output_bias": "penalized"}),
        (1, "quantile", {"bias": "none", "skip": "free"}),
        (4, "softmax", {"bias": "free", "skip": "none"}),
    ],
)
def test_a_thousand_points(T, loss, modes):
    rng = np.random.default_rng(0)
    x = rng.random(1000)
    Y = np.sin(8 * x[:, None] + np.arange(T)) + 0.3 * rng.standard_normal((1000, T))
    result = uv.fit(x, targets(loss, Y), 1.0, loss, **modes)
    assert result.status is cr.Status.OPTIMAL
    assert result.network.n_neurons < 60


def test_bounds_on_the_dual_norm_hold_in_exact_arithmetic():
    rng = np.random.default_rng(0)
    for bias in cr.problem.MODES * 10:  # the largest faces either way
        x, nu = np.sort(rng.standard_normal(6)) * np.pi, rng.standard_normal((6, 1)) * np.e
        nu = nu - nu.mean() if bias == "free" else nu
        upper = Fraction(dual_norm_on_line(x, nu, bias))
        exact_x, exact_nu = oracles.fractions(x), [row[0] for row in oracles.fractions(nu)]
        sides = [(s, -s * t if bias == "free" else Fraction(0)) for s in (1, -1) for t in exact_x]
        seen = [abs(sum(v * max(w * t + b, 0) for v, t in zip(exact_nu, exact_x, strict=True))) for w, b in sides]
        assert upper >= max(seen)
        assert bias == "penalized" or float(upper) <= float(max(seen)) * (1 + 1e-9)


def test_what_the_neurons_leave_is_added_to_the_cost():
    problem = cr.TrainingProblem.interpolation([[0.0], [3.0], [4.0]], [0.0, 0.0, 0.0])
    x, none = np.array([0.0, 3.0, 4.0]), np.zeros(1)
    assert cost_of_rest(problem, x, np.array([[-2.0]]), none, none) == pytest.approx(2 * np.hypot(1, 3))
    # The constant one: relu(x) / 4 and relu(4 - x) / 4.
    assert cost_of_rest(problem, x, np.zeros((1, 1)), none + 1, none) == pytest.approx((1 + np.hypot(1, 4)) / 4)


def test_a_bad_dual_variable_gives_a_low_bound_not_a_wrong_one():
    rng = np.random.default_rng(1)
    x, Y = rng.integers(-4, 5, 9) + 0.0, rng.integers(-3, 4, (9, 2)) + 0.0
    for modes in MODES:
        problem = cr.TrainingProblem(x[:, None], Y, 0.3, **modes)
        network, nu = grown(problem, 1e-9)
        best = objective_on_line(problem, network)
        for bad in (rng.standard_normal(Y.shape), 1e3 * Y, 0 * Y, 1.5 * nu, -nu):
            assert certified_on_line(problem, network, bad).lower_bound <= best


def test_far_knots_leave_the_digits_of_the_others():
    # A nearly constant neuron has its knot far away.
    network = cr.Network([[0.7], [-5e-16]], [-2.1, 0.1], [[2.0], [-0.1]], bias="penalized")
    x = np.array([0.0, 3.0, 4.0])
    assert uv.from_network(network)(x) == pytest.approx(network(x[:, None]), rel=1e-14, abs=1e-14)


def test_far_knots_alone_leave_digits():
    network = cr.Network([[4.9e-14], [-1e-15]], [1.67, 0.0], [[0.5, -2.0], [0.3, 1.0]], bias="penalized")
    x = np.array([-2.0, 0.0, 1e3])
    assert uv.from_network(network)(x) == pytest.approx(network(x[:, None]), rel=1e-15, abs=1e-15)
    # Seen with a free skip next to no output bias, where a nearly constant neuron is all there is.
    x, Y = [-2.0, -2.0, -1.0, -2.0], [[2.0, 3.0, 1.0], [-3.0, -3.0, -1.0], [0.0, 1.0, 0.0], [-2.0, -2.0, 1.0]]
    assert uv.fit(x, Y, 0.016878896, bias="penalized", output_bias="none").status is cr.Status.OPTIMAL


def test_units_do_not_matter():
    x, Y = np.array([0.0, 1.0, 2.0, 4.0, 5.0]), np.array([[0, 1], [1, 0], [2, 2], [0, 1], [1, 1.0]])
    one = uv.fit(x, Y, 0.3, "absolute", bias="free").objective
    assert uv.fit(1e6 * x, Y, 0.3e6, "absolute", bias="free").objective == pytest.approx(one, rel=1e-7)
    assert uv.fit(x, 1e6 * Y, 0.3, "absolute", bias="free").objective == pytest.approx(1e6 * one, rel=1e-7)
    heavy = uv.fit(x, Y, 0.3e6, "absolute", bias="free", sample_weight=np.full(5, 1e6)).objective
    assert heavy == pytest.approx(1e6 * one, rel=1e-7)


def test_labels_met_in_part_are_refused_by_name():
    x, Y = [0.0, 1.0, 2.0, 3.0], [[1, 1], [-1, 1], [1, -1], [-1, -1]]
    with pytest.raises(ConvexReLUError, match=r"skip|linear"):
        uv.fit(x, Y, 0.1, "hinge", skip="free")


def test_tasks_of_softmax_are_centred():
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.random((30, 1)), rng.integers(0, 3, 30), 0.1, "softmax")
    assert Task.of(problem).slopes.basis.shape == (3, 2)
    network = grown(problem, 1e-8)[0]
    assert network.output.sum(axis=1) == pytest.approx(0, abs=1e-12)


def instance(seed, T, modes):
    """A random problem of a few integers, most with ties, and what the two ways of solving it find."""
    rng = np.random.default_rng(seed)
    # Proofs of the general solver for several tasks take seconds from five points on.
    n, far = int(rng.integers(2, 8 if T == 1 else 5)), 4 if T == 1 else 2
    x, Y = rng.integers(-far, far + 1, n) + 0.0, rng.integers(-3, 4, (n, T)) + 0.0
    lam = 10 ** rng.uniform(-2, 0)
    problem = cr.TrainingProblem(x[:, None], Y, lam, **modes)
    # Gaps of 5e-8 are enough to compare to 1e-7.
    way = {"patterns": "enumerate", "tol": 1e-8} if T == 1 else {"patterns": "generate", "tol": 5e-8}
    return uv.fit(x, Y, lam, **modes), cr.solve(problem, **way, time_limit=10)


@pytest.mark.slow
@pytest.mark.parametrize("modes", MODES, ids=lambda modes: "-".join(modes.values()))
@pytest.mark.parametrize("T", [1, 3])
def test_agrees_with_the_general_solver(T, modes, record_property):
    """Eight instances that both have proved, in each of 42 cases: 336 in all."""
    differences = []
    for seed in range(16):
        result, general = instance(seed, T, modes)
        assert result.status is cr.Status.OPTIMAL
        # Each bound holds for the other's network, however far the general solver came.
        assert general.certificate.lower_bound <= result.objective * (1 + 1e-12) + 1e-12
        assert result.certificate.lower_bound <= general.objective * (1 + 1e-12) + 1e-12
        if general.status is cr.Status.OPTIMAL:
            assert result.objective == pytest.approx(general.objective, rel=1e-7, abs=1e-9)
            differences.append(abs(result.objective - general.objective) / max(general.objective, 1e-2))
        if len(differences) == 8:
            break
    record_property("largest difference", max(differences))
    record_property("unproved", seed + 1 - len(differences))
    assert len(differences) == 8
