"""Grow a network of several tasks where Newton's method is out of reach: many neurons at once, and let them slide.

Letters as in `convexrelu.native.joint`. It begins with many small random neurons that slide by L-BFGS over rounded
kinks. A round then ascends to neurons with |N^T relu(Z u)| > lam, adds what it finds at lengths that lower the
objective together, merges neurons that have become alike, and slides all again: over harder kinks, and longer, the
later the round. On 1797 digits (ten classes, squared loss) 60 s of that end at 45.5; of hard kinks throughout, 46.9.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.native.group_lasso import joint_lengths
from convexrelu.native.joint import JointEvaluation, JointIterate, JointProblem, evaluate
from convexrelu.native.joint_slide import slide
from convexrelu.pricing.task_search import ascend_joint_neurons

# Rounded kinks (`slide`): their softness at first, in a repetition, how it falls each round, and where it ends.
_SOFT, _SOFT_AGAIN, _HARDENING, _HARD = 0.06, 0.02, 0.6, 1e-4
# Relative decrease per step at which sliding ends: at first, by how much it falls each round, and at last.
_FIRST, _FALLING, _LAST = 1e-4, 0.7, 1e-8
# Relative decrease of the objective by which a descent from soft to hard kinks earns another.
_WORTHWHILE = 1e-4
# Random neurons to begin with, in units of the rank, and their cost in units of the loss without them. Many: with 500
# it took longer to get less far on digits than with 750, of which 550 were left in the end.
_WIDTH, _SMALL = 12, 0.02
# Neurons nearer than this, as unit vectors, become one unless that costs more than some steps; sliding makes copies.
_NEAR, _STEPS = 1e-2, 40
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
    """Grow until hard kinks gain nothing more over soft ones, nothing found is above lam (1 + tol), or steps are short.

    It never ends higher than it began.

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
    rounds, softness, before = _Rounds(problem, state, rng, tol, should_stop, callback), _SOFT_AGAIN, np.inf
    if not len(state.iterate.U):
        softness = _SOFT
        rounds.slide(scattered(problem, state, _WIDTH * problem.Z.shape[1], rng), softness, _FIRST)
    while rounds.best.objective < before * (1 - _WORTHWHILE) and not should_stop():
        before = rounds.best.objective
        rounds.descend(softness)
        softness, rounds.state = _SOFT_AGAIN, rounds.best
    rounds.finish()
    return rounds.best


class _Rounds:
    """The state of a growth: `state` goes on, `best` is the lowest met."""

    def __init__(
        self,
        problem: JointProblem,
        state: JointEvaluation,
        rng: np.random.Generator,
        tol: float,
        should_stop: Callable[[], bool],
        callback: Callable[[float, int], object],
    ) -> None:
        self.problem, self.state, self.best, self.rng, self.tol = problem, state, state, rng, tol
        self.should_stop, self.callback = should_stop, callback

    def slide(self, iterate: JointIterate, softness: float, rate: float) -> None:
        """Slide, and merge what has become alike."""
        moved = slide(self.problem, iterate, rate=rate, softness=softness, should_stop=self.should_stop)
        apart = evaluate(self.problem, moved)
        merged = evaluate(self.problem, moved.merged(self.problem, _NEAR))
        self.state = merged if merged.objective <= apart.objective * (1 + _STEPS * rate) else apart
        self.best = min(self.best, self.state, apart, key=lambda each: each.objective)
        self.callback(self.best.objective, len(self.best.iterate.U))

    def ascend(self) -> Array:
        """A few neurons above the threshold that are missing."""
        k = self.problem.Z.shape[1]
        return ascend_joint_neurons(
            self.problem.Z,
            self.state.N,
            self.problem.n_penalized,
            threshold=self.problem.weight_decay * (1 + self.tol),
            starts=self.state.iterate.U,
            rng=self.rng,
            n_random=4 * k,
            most=max(k // 2, 1),
            should_stop=self.should_stop,
        )[0]

    def descend(self, softness: float) -> None:
        """Rounds of missing neurons and sliding over ever harder kinks, the longer the later the round."""
        rate = _FIRST * softness / _SOFT
        while softness > _HARD and not self.should_stop():
            self.slide(joined(self.problem, self.state, self.ascend()), softness, rate)
            rate, softness = rate * _FALLING, softness * _HARDENING
        self.slide(self.state.iterate, 0.0, rate)

    def finish(self) -> None:
        """Rounds with the kinks of relu until an ascent finds nothing or steps get too short."""
        rate = _FIRST
        while rate > _LAST and not self.should_stop():
            U = self.ascend()
            if not len(U) and rate <= self.tol * _FIRST:
                break
            self.slide(joined(self.problem, self.state, U), 0.0, rate)
            rate *= _FALLING**3


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
