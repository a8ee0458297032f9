"""`subgradient`: the gradient of the loss at a network, chosen where the loss has kinks.

Letters: `F` (n, T) predictions, `G` (n, T) subgradient, `H` (n, M) derivatives of the predictions in the weights, `V`
(M,) these weights, zero where they are not penalised; `lam` weight decay.

At an optimum of the absolute or the hinge loss many predictions sit on kinks, where any slope between the two sides is
a subgradient, and only one of them is minus the dual variable: that at which the weights are stationary, H^T G + lam V
= 0. Any choice within the sides is valid; a bad one only tells less (theory F.1).
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
from scipy.optimize import lsq_linear

from convexrelu.arrays import Array, IntArray, row_norms
from convexrelu.losses import PiecewiseLoss
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem

# Predictions this near a kink, in the loss's unit, are on it: gradient descent rarely ends nearer.
KINK = 1e-3
# Singular values of the derivatives of predictions, relative to the largest, down to which descent comes to rest.
SLOW = 1e-2


def has_kinks(problem: TrainingProblem) -> bool:
    """Whether the loss has kinks whose place is known."""
    return isinstance(problem.loss, PiecewiseLoss) and not problem.loss.is_smooth


def subgradient(problem: TrainingProblem, network: Network, kink: float = KINK, known_decay: bool = True) -> Array:
    """A subgradient (n, T) of the loss at the network's predictions; of smooth losses, the gradient.

    Parameters
    ----------
    problem : TrainingProblem
    network : Network
    kink : float
        Distance of a prediction from a kink that counts as none, in units of the loss.
    known_decay : bool
        Whether the weight decay is the problem's; otherwise the subgradient is the best for any weight decay.

    Notes
    -----
    Cost: that of a bounded least squares problem with an unknown for each sample on a kink.
    """
    F = network(problem.X)
    G = problem.loss.gradient(F, problem.Y, problem.sample_weight)
    if not has_kinks(problem):
        return G
    for t in range(G.shape[1]):
        rows, box = _on_kinks(problem, network, kink, t)
        if len(rows):
            H, V = _equations(problem, network, kink, t)
            G[rows, t] = _balancing(H, G[:, t], rows, box, problem.weight_decay * V, known_decay)
    return G


def unbalanced_decay(problem: TrainingProblem, network: Network, kink: float = KINK) -> float:
    """How much of the stated weight decay the samples on kinks of the loss cannot balance, relative to what they feel.

    The decay pulls at the predictions. Samples that sit on kinks push back with any slope between the two sides: as
    long as that suffices they stay there, and the weights look the same under every weight decay, none included. Only
    a rest proves that the stated decay was not in force: it would have moved these samples.

    Returns
    -------
    float
        Zero if the decay can be balanced, or if no sample pulls at all; infinite where no sample is on a kink.

    Notes
    -----
    Directions of the weights that hardly move these predictions are left out: descent does not come to rest in them.
    """
    F = network(problem.X)
    G = problem.loss.gradient(F, problem.Y, problem.sample_weight)
    if not G.any():
        return 0.0
    if not has_kinks(problem):
        return math.inf
    rests = [_unbalanced(problem, network, kink, t, G[:, t].copy()) for t in range(G.shape[1])]
    left, felt = (float(np.linalg.norm(part)) for part in zip(*rests, strict=True))
    return left / felt if felt > 0 else math.inf


def _unbalanced(problem: TrainingProblem, network: Network, kink: float, t: int, g: Array) -> tuple[float, float]:
    """The norms of what is left of the decay, and of the decay, along the predictions of task t that are on kinks."""
    rows, box = _on_kinks(problem, network, kink, t)
    H, V = _equations(problem, network, kink, t)
    if not len(rows) or not H[rows].any():
        return 0.0, 0.0
    _, sizes, basis = np.linalg.svd(H[rows], full_matrices=False)
    basis = basis[sizes > SLOW * sizes[0]].T
    H, pull = H @ basis, problem.weight_decay * (V @ basis)
    g[rows] = _balancing(H, g, rows, box, pull, True)
    return float(np.linalg.norm(H.T @ g + pull)), float(np.linalg.norm(pull))


def _on_kinks(problem: TrainingProblem, network: Network, kink: float, t: int) -> tuple[IntArray, tuple[Array, Array]]:
    """The samples whose predictions of task t are on kinks, and the slopes between whose bounds they may choose."""
    off = np.abs(network(problem.X)[:, t] - problem.Y[:, t])
    lower, upper = (side[:, t] for side in problem.loss.domain(problem.Y, problem.sample_weight))
    rows = np.flatnonzero((off <= kink * problem.loss.unit(problem.Y)) & (lower < upper))
    return rows, (-upper[rows], -lower[rows])


def _equations(problem: TrainingProblem, network: Network, kink: float, t: int) -> tuple[Array, Array]:
    """H and V of task t, the equations of all weights."""
    pre = problem.X @ network.hidden.T + network.hidden_bias
    blocks, pulls = [np.maximum(pre, 0.0)], [network.output[:, t]]
    linear = (problem.skip, problem.X, network.skip[:, t]), (problem.output_bias, None, network.output_bias[t : t + 1])
    ones = np.ones((len(problem.X), 1))
    for kind, columns, weights in linear:
        if kind != "none":
            blocks.append(ones if columns is None else columns)
            pulls.append(weights * (kind == "penalized"))
    if network.output.shape[1] == 1:  # with several tasks the hidden weights couple them
        biased = problem.bias != "none"
        Xt = np.hstack([problem.X, ones]) if biased else problem.X
        Wt = np.column_stack([network.hidden, network.hidden_bias]) if biased else network.hidden
        decayed = Wt.copy()
        decayed[:, problem.X.shape[1] :] *= problem.bias == "penalized"
        near = np.abs(pre) <= kink * row_norms(Xt)[:, None] * row_norms(Wt)
        for j in range(len(Wt)):
            # What the slopes at the samples of a knot can change lies in the span of these samples: it is left out.
            rest = scipy.linalg.null_space(Xt[near[:, j]]) if near[:, j].any() else np.eye(Xt.shape[1])
            blocks.append(((pre[:, j] > 0) * network.output[j, t])[:, None] * (Xt @ rest))
            pulls.append(decayed[j] @ rest)
    return np.hstack(blocks), np.concatenate(pulls)


def _balancing(H: Array, g: Array, rows: IntArray, box: tuple[Array, Array], pull: Array, known_decay: bool) -> Array:
    """Entries of g (n,) at `rows`, within the box, for which H^T g + s pull is shortest; s is one if it is known."""
    others = g.copy()
    others[rows] = 0.0
    A, b, (lower, upper) = H[rows].T, -(H.T @ others), box
    if known_decay:
        b = b - pull
    else:
        A, lower, upper = np.column_stack([A, pull]), np.append(lower, 0.0), np.append(upper, np.inf)
    # As many equations as unknowns say the same.
    R = np.asarray(np.linalg.qr(np.column_stack([A, b]), mode="r"))
    found = lsq_linear(R[:, :-1], R[:, -1], bounds=(lower, upper), lsq_solver="exact").x
    return np.asarray(np.clip(found[: len(rows)], *box))
