"""Training in one variable with other losses than the squared one: agreement with `solve`, proofs, refusals."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import examples, vectors, weight_decays

import convexrelu as cr
from convexrelu import univariate as uv
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.losses import ExactFit, HuberLoss, QuantileLoss
from convexrelu.univariate.hats import Interpolation
from convexrelu.univariate.label_radius import label_radius

LABELS = ("logistic", "hinge", "squared_hinge")
LOSSES = ("absolute", HuberLoss(0.7), QuantileLoss(0.8), *LABELS)


@st.composite
def samples_of(draw, loss, most=9):
    """Points in any order, often repeated, with weights that may vanish."""
    n = draw(st.integers(2, most))
    y = draw(vectors(n, 2))
    weight = np.abs(draw(vectors(n, 3))) / 2
    weight[draw(st.integers(0, n - 1))] = 1.0
    return draw(vectors(n, 3)), np.where(y > 0, 1.0, -1.0) if loss in LABELS else y, weight


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@examples(8)
@given(st.data(), weight_decays(), st.sampled_from(["free", "none", "penalized"]))
def test_certified_optimum_as_solve_finds_it(loss, data, lam, skip):
    x, y, weight = data.draw(samples_of(loss))
    try:
        problem = cr.TrainingProblem(x[:, None], y, lam, loss, bias="free", skip=skip, sample_weight=weight)
        result = uv.fit(x, y, lam, loss, skip=skip, sample_weight=weight, tol=1e-7)
    except (InvalidInputError, UnsupportedError):
        assume(False)
    assert result.status is cr.Status.OPTIMAL
    assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-9, abs=1e-12)
    assert result.certificate.dual_norm <= lam
    other = cr.solve(problem)
    assert result.certificate.lower_bound <= other.objective * (1 + 1e-12) + 1e-14
    assert other.certificate.lower_bound <= result.objective * (1 + 1e-12) + 1e-14


@pytest.mark.parametrize("loss", [*LOSSES, "squared"], ids=str)
@pytest.mark.parametrize("n", [300, 6000])
def test_many_points_have_few_knots_and_a_proof(loss, n):
    rng = np.random.default_rng(n)
    x = rng.random(n)
    y = np.sin(8 * x) + 0.3 * rng.standard_normal(n)
    result = uv.fit(x, np.where(y > 0, 1.0, -1.0) if loss in LABELS else y, n / 1000, loss, tol=1e-8)
    assert result.status is cr.Status.OPTIMAL
    assert 1 <= result.spline.n_knots < n / 5


def test_neighbours_of_a_knot_leave_the_answer():
    # Rounds end with candidates on both sides of each knot; trained without the small ones it is four knots.
    rng = np.random.default_rng(0)
    x = rng.random(2000)
    labels = np.sign(np.sin(8 * x) + 0.3 * rng.standard_normal(2000))
    result = uv.fit(x, labels, 2.0, "logistic")
    assert result.status is cr.Status.OPTIMAL
    assert result.spline.n_knots <= 5


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_spacings_from_1e_12_to_1(loss):
    # Seeds at which values without slopes of their own lost all digits for one of the losses.
    for seed, skip in ((0, "free"), (2, "free"), (3, "penalized"), (5, "none"), (7, "free")):
        rng = np.random.default_rng(seed)
        x, lam = np.cumsum(10 ** rng.uniform(-12, 0, 500)), 10 ** rng.uniform(-3, 1)
        y = rng.standard_normal(500) + (np.sin(x) if loss in LABELS else 3 * x * (seed % 2))
        order = rng.permutation(500)
        y = np.where(y > 0, 1.0, -1.0) if loss in LABELS else y
        result = uv.fit(x[order], y[order], lam, loss, skip=skip)
        assert result.status is cr.Status.OPTIMAL, (seed, result)
        problem = cr.TrainingProblem(x[:, None], y, lam, loss, bias="free", skip=skip)
        assert problem.objective(result.network) == pytest.approx(result.objective, rel=1e-10)


@pytest.mark.parametrize("seed", [11, 13, 15, 19])
def test_logistic_loss_with_small_weight_decay(seed):
    # The dual variable must not reach zero long before the predictions are as far.
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 600))
    x, lam = rng.random(n), 10 ** rng.uniform(-4, 1)
    y = np.where(rng.standard_normal(n) + 3 * np.sin(5 * np.sort(x)) * (seed % 2) > 0, 1.0, -1.0)
    assert uv.fit(np.sort(x), y, lam, "logistic").status is cr.Status.OPTIMAL


def test_one_sign_of_the_outer_slopes_is_not_enough():
    # With a free skip the optimum is not unique; the one in the middle has S > TV, of another the split makes S < -TV.
    x, y, weight = np.array([0.0, -2.0, 1.0]), np.array([2.0, 2.0, 0.0]), np.array([1.0, 1.5, 1.0])
    for skip in ("none", "penalized"):
        problem = cr.TrainingProblem(
            x[:, None], y, 1.0, QuantileLoss(0.5), bias="free", skip=skip, sample_weight=weight
        )
        result = uv.fit(x, y, 1.0, QuantileLoss(0.5), skip=skip, sample_weight=weight)
        assert result.objective == pytest.approx(cr.solve(problem).objective, rel=1e-6)


@examples(30)
@given(vectors(8, 4), vectors(8), vectors(3))
def test_interpolation_is_the_matrix_it_says(x, r, z):
    x = np.sort(x)
    assume(x[0] < x[3] < x[-1])
    nodes = np.array([0, int(np.searchsorted(x, x[3])), 7])
    A = Interpolation(x, nodes)
    dense = np.column_stack([np.interp(x, x[nodes], unit) for unit in np.eye(3)])
    assert np.allclose(A.values(z), dense @ z)
    assert np.allclose(A.gathered(r), dense.T @ r)
    diagonal, off = A.gram(np.abs(r))
    gram = dense.T @ np.diag(np.abs(r)) @ dense
    assert np.allclose(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1), gram)


@pytest.mark.parametrize("skip", ["free", "none"])
def test_label_radius_bounds_the_predictions(skip):
    rng, used = np.random.default_rng(0), 0
    for _ in range(6000):
        x = rng.integers(-4, 5, 6) + 0.0
        slope, constant, bend = 10 ** rng.uniform(-1, 2, 3) * rng.choice([-1, 1], 3) * [float(skip == "free"), 1, 1]
        F = slope * (x - x.min()) + bend * np.maximum(x - rng.choice(x), 0)
        F += rng.choice([constant, -rng.choice(F)])  # often zero at a sample
        # Nearly all labels are met, so that the objective says little about the size of predictions.
        y = np.where(F > 0, 1.0, -1.0) * rng.choice([1.0, 1.0, 1.0, -1.0], 6)
        y = np.where(F == 0, rng.choice([-1.0, 1.0], 6), y)
        if (y == y[0]).all() or np.ptp(x) == 0:
            continue
        radius = label_radius(x, y, 1.0, float(np.maximum(-y * F, 0).sum()), abs(bend), skip)
        used += np.isfinite(radius)
        assert np.abs(F).max() <= radius * (1 + 1e-12) + 1e-12
    assert used > 1000


def test_label_radius_is_infinite_where_a_line_separates():
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([-1.0, -1.0, 1.0, 1.0])
    assert label_radius(x, y, 1.0, 0.0, 0.0, "free") == np.inf
    assert label_radius(x, np.ones(4), 1.0, 0.0, 0.0, "none") == np.inf


@pytest.mark.parametrize(
    ("y", "options", "error", "match"),
    [
        ([1, 1, 1, 1], {"loss": "logistic", "skip": "none"}, InvalidInputError, "all equal"),
        ([-1, -1, 1, 1], {"loss": "logistic"}, InvalidInputError, "separated by a line"),
        ([0, 1, 0, 2], {"loss": "hinge"}, InvalidInputError, "`Y`"),
        ([0, 1, 2, 3], {"loss": ExactFit()}, UnsupportedError, "package's own"),
    ],
)
def test_refusals_are_by_name(y, options, error, match):
    with pytest.raises(error, match=match):
        uv.fit([0, 1, 2, 3], y, **options)
