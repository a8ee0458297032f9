"""The proof of the joint dual norm of several tasks: never below any neuron, tight, and as for one task where T = 1."""

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import data, examples, vectors

from convexrelu.errors import InvalidInputError
from convexrelu.patterns.arrangement import arrange
from convexrelu.pricing import task_boxes
from convexrelu.pricing.dual_norm import dual_norm
from convexrelu.pricing.task_bound import bound_joint_norm
from convexrelu.pricing.task_boxes import TaskBoxes, TaskSide
from convexrelu.problem import MODES


@st.composite
def cases(draw, max_n=5, max_d=2):
    """Small integer data, a bias convention and an integer dual variable that is feasible for it."""
    X, bias, tasks = draw(data(max_n, max_d)), draw(st.sampled_from(MODES)), draw(st.integers(2, 4))
    N = draw(vectors(len(X) * tasks)).reshape(len(X), tasks)
    if bias == "free":
        N = len(X) * N - N.sum(axis=0)
    return X, bias, N


@given(cases())
@examples(25)
def test_proof_encloses_the_norm_over_all_faces(case):
    X, bias, N = case
    norm = dual_norm(arrange(X, bias), N)
    exact = oracles.joint_dual_norm(X, N, bias)
    assert norm.upper >= exact * (1 - 1e-12)  # the oracle's own rounding
    assert norm.upper <= exact * (1 + 1e-6) + 1e-9  # the default target is 1e-7 above the best neuron
    assert norm.lower <= norm.upper


@pytest.mark.parametrize("bias", MODES)
def test_no_neuron_of_ten_thousand_exceeds_the_proven_norm(bias):
    rng = np.random.default_rng(0)
    X, N = rng.standard_normal((12, 3)), rng.standard_normal((12, 3))
    N -= N.mean(axis=0) if bias == "free" else 0.0
    norm = dual_norm(arrange(X, bias), N)
    W, b = rng.standard_normal((10_000, 3)), rng.standard_normal(10_000) * (bias != "none")
    for _ in range(30):  # local improvement: the steepest ascent of |N^T relu| at cost one
        size = np.sqrt((W**2).sum(axis=1) + (b**2 if bias == "penalized" else 0.0))
        W, b = W / size[:, None], b / size
        pre = W @ X.T + b[:, None]
        P = np.maximum(pre, 0.0) @ N
        values = np.linalg.norm(P, axis=1)
        assert values.max() <= norm.upper
        back = (pre > 0) * (P @ N.T) / np.maximum(values, 1e-9)[:, None]
        step = 0.2 / np.maximum(np.linalg.norm(back @ X, axis=1), 1e-9)
        W, b = W + step[:, None] * (back @ X), b + step * back.sum(axis=1) * (bias != "none")
    assert values.max() >= 0.9 * norm.lower  # the ascent does get near: the test could fail


@given(cases(), st.integers(0, 1000))
@examples(60)
def test_form_bounds_the_norm_at_every_point_of_a_box(case, seed):
    X, bias, N = case
    arrangement, rng = arrange(X, bias), np.random.default_rng(seed)
    p, target = arrangement.n_penalized, 1.0
    side = TaskSide.of(arrangement.Z, N, p)
    if not p or not len(side.Z):
        return
    k = arrangement.Z.shape[1]
    C = rng.uniform(-1, 1, (30, k))
    H = rng.uniform(0, 1, (30, k)) * 2.0 ** -rng.integers(0, 8, (30, 1))
    face = rng.integers(p, size=30)
    C[range(30), face], H[range(30), face] = np.where(rng.random(30) < 0.5, 1.0, -1.0), 0.0
    boxes = TaskBoxes(C, H, np.full(30, np.inf), np.arange(len(side.Z)), np.zeros(side.maps.shape[1]))
    boxes, t, r = task_boxes.intervals(side, boxes)
    open_ = task_boxes.relax(side, boxes, t, r, target, margin=1e-12)
    task_boxes.improve(open_, side, boxes, rng.random(t.shape), target, margin=1e-12)
    U = C + H * rng.uniform(-1, 1, (200, 30, k))
    P = np.maximum(U @ side.Z.T, 0.0) @ side.N
    true = (P**2).sum(axis=2) - target**2 * (U[:, :, :p] ** 2).sum(axis=2)
    form = np.einsum("sbi,bij,sbj->sb", U, open_.G, U)
    scale = 1 + (P**2).sum(axis=2).max()
    assert (form >= true - 1e-9 * scale).all()
    assert (open_.x >= form - 1e-9 * scale).all()


def test_one_task_gets_the_bound_of_one_task():
    rng = np.random.default_rng(1)
    Z, nu = rng.standard_normal((30, 3)), rng.standard_normal((30, 1))
    scalar = dual_norm(arrange(Z, "none"), nu)
    joint = bound_joint_norm(Z, nu, 3, target=scalar.upper, max_boxes=100_000, starts=scalar.neuron[None])
    assert joint.finished and joint.upper == pytest.approx(scalar.upper, rel=1e-12)


def test_rotating_duplicating_and_permuting_tasks_keeps_the_norm():
    rng = np.random.default_rng(2)
    arrangement, N = arrange(rng.standard_normal((10, 2)), "penalized"), rng.standard_normal((10, 3))
    value = dual_norm(arrangement, N).upper
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert dual_norm(arrangement, N @ rotation).upper == pytest.approx(value, rel=1e-7)
    assert dual_norm(arrangement, N[:, [2, 0, 1]]).upper == pytest.approx(value, rel=1e-7)
    assert dual_norm(arrangement, np.hstack([N, N]) / np.sqrt(2)).upper == pytest.approx(value, rel=1e-7)


def test_a_neuron_above_the_target_ends_the_proof():
    rng = np.random.default_rng(3)
    arrangement, N = arrange(rng.standard_normal((10, 2)), "penalized"), rng.standard_normal((10, 2))
    best = dual_norm(arrangement, N).lower
    norm = dual_norm(arrangement, N, target=0.9 * best)
    assert norm.lower > 0.9 * best and norm.upper >= best


def test_budget_leaves_a_valid_bound():
    rng = np.random.default_rng(4)
    arrangement, N = arrange(rng.standard_normal((30, 4)), "penalized"), rng.standard_normal((30, 3))
    full, short = dual_norm(arrangement, N), dual_norm(arrangement, N, max_boxes=200)
    assert short.upper >= full.lower


def test_target_must_be_positive():
    with pytest.raises(InvalidInputError, match="target"):
        bound_joint_norm(np.eye(2), np.eye(2), 2, target=0.0, max_boxes=10)


def test_samples_that_cancel_do_not_hide_the_norm_in_rounding():
    # |P(w)| = 1e-4 for all unit w >= 0, though single samples have correlations of 1/2.
    Z = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    N = np.array([[0.5, 0.0], [1e-4 - 0.5, 0.0], [0.0, 1e-4]])
    norm = bound_joint_norm(Z, N, 2, target=1e-4 * (1 + 1e-6), max_boxes=1_000)
    assert norm.finished and norm.lower <= norm.upper
