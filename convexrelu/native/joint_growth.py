"""Grow a network of several tasks where Newton's method is out of reach: many neurons at once, and let them slide.

Letters as in `convexrelu.native.joint`. It begins with many small random neurons that slide by L-BFGS: on 1797 digits
that reached within 20 s what neurons joining a few at a time did not reach in 60. A round then ascends to neurons with
|N^T relu(Z u)| > lam, adds what it finds at lengths that lower the objective together, and slides all again, the longer
the later the round.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.native.group_lasso import joint_lengths
from convexrelu.native.joint import JointEvaluation, JointIterate, JointProblem, evaluate
from convexrelu.native.joint_slide import slide
from convexrelu.pricing.task_search import ascend_joint_neurons

# Relative decrease per step at which sliding ends: at first, by how much it falls each round, and at last.
_FIRST, _FALLING, _LAST = 1e-5, 0.3, 1e-8
# Random neurons to begin with, in units of the rank, and their cost in units of the loss without them.
_WIDTH, _SMALL = 8, 0.02
# Neurons nearer than this, as unit vectors, become one; sliding makes copies.
_NEAR = 1e-4
# Halvings of the lengths of new neurons before they are left out.
_HALVINGS = 20


def grow(
    problem: JointProblem,
    state: JointEvaluation,
    *,
    rng: np.random.Generator,
    tol: float,
    should_stop: Callable[[], bool] = lambda: False,
    callback: Callable[[float, int], object] = lambda objective, n_neurons: None,
) -> JointEvaluation:
    """Grow until an ascent finds nothing above lam (1 + tol), or steps get too short; never ends higher than it began.

    Parameters
    ----------
    problem : JointProblem
    state : JointEvaluation
        The start.
    rng : numpy.random.Generator
    tol : float
        Relative violation of the dual constraint that matters.
    should_stop : callable
        Asked before every step; True ends the work with the best network so far.
    callback : callable
        Called with the objective and the number of neurons after every round.
    """
    k, rate, last = problem.Z.shape[1], _FIRST, False
    if not len(state.iterate.U):
        iterate = scattered(problem, state, _WIDTH * k, rng)
        state = evaluate(problem, slide(problem, iterate, rate=rate, should_stop=should_stop))
        callback(state.objective, len(state.iterate.U))
    while not (last or should_stop()):
        last = rate <= _LAST
        U = ascend_joint_neurons(
            problem.Z,
            state.N,
            problem.n_penalized,
            threshold=problem.weight_decay * (1 + tol),
            starts=state.iterate.U,
            rng=rng,
            n_random=4 * k,
            most=2 * k,
            should_stop=should_stop,
        )[0]
        last |= not len(U) and rate <= tol * _FIRST
        moved = slide(problem, joined(problem, state, U), rate=rate, should_stop=should_stop)
        slid = evaluate(problem, moved.merged(problem, _NEAR))
        state = min(state, slid, evaluate(problem, moved), key=lambda each: each.objective)
        callback(state.objective, len(state.iterate.U))
        rate *= _FALLING
    return state


def scattered(problem: JointProblem, state: JointEvaluation, m: int, rng: np.random.Generator) -> JointIterate:
    """The network with m small random neurons, which have yet to find what to do."""
    U, V = rng.standard_normal((m, problem.Z.shape[1])), rng.standard_normal((m, problem.n_tasks))
    size = np.sqrt(_SMALL * problem.loss.value(state.F) / (problem.weight_decay * m))
    U, V = U * (size / problem.costs(U)[:, None]), V * (size / row_norms(V)[:, None])
    return state.iterate.joined(U, V, (U @ problem.Z.T > 0).astype(float))


def joined(problem: JointProblem, state: JointEvaluation, U: Array) -> JointIterate:
    """The network with further neurons U (m, k) of cost one, outputs along N^T relu(Z u), as long as that helps."""
    features = np.maximum(U @ problem.Z.T, 0.0)
    P = features @ state.N
    norms = row_norms(P)
    rows = norms > problem.weight_decay
    if not rows.any():
        return state.iterate
    U, V, features = U[rows], P[rows] / norms[rows, None], features[rows]
    cost = state.objective - problem.loss.value(state.F)
    for lengths in joint_lengths(problem, state.F, features, V, norms[rows] - problem.weight_decay):
        for part in 0.5 ** np.arange(_HALVINGS):
            F = state.F + (features * (part * lengths)[:, None]).T @ V
            if problem.loss.value(F) + cost + problem.weight_decay * part * float(lengths.sum()) < state.objective:
                root = np.sqrt(part * lengths)[:, None]
                return state.iterate.joined(U * root, V * root, (U @ problem.Z.T > 0).astype(float))
    return state.iterate
