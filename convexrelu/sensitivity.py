"""How the optimum moves with weight decay, targets and sample weights: `sensitivity`.

Letters as in `convexrelu.optimal_set.stationary`: the optimum solves a system of smooth equations as long as its
neurons stay on the faces of their cells, and the derivative of the solution is one linear solve (theory B.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array, BoolArray, frozen, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.optimal_set import OptimalSet
from convexrelu.optimal_set.polytope import POSITIVE
from convexrelu.optimal_set.stationary import Stationary, tie_sizes
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result

# Relative distance from a boundary (a multiplier of a kink from 0 and 1) below which a condition fails.
STRICT = 1e-7
TIGHT = 1e-9


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Derivatives of the optimum; the n samples are those of positive weight.

    Attributes
    ----------
    objective_by_weight_decay : float
        p' = R: the cost of the network per unit of weight decay.
    objective_by_targets, objective_by_sample_weight : float64 (n,)
        The dual variable, and each sample's loss. These three hold without conditions. For losses of labels a target
        that moves by t stands for the loss at f - t.
    fit_by_weight_decay : float64 (n,)
    fit_by_targets : float64 (n, n)
        Row i: the derivatives of prediction i.
    fit_by_sample_weight : float64 (n, n)
    leave_one_out : float64 (n,)
        Prediction at each sample of the network trained without it, to first order in what that changes: for the
        squared loss y_i - (y_i - f_i) / (1 - h_i) with h the diagonal of `fit_by_targets`; NaN where h_i = 1.
    leave_one_out_in_cells : bool (n,)
        Whether the neurons keep their cells, to first order, when the sample is left out. Where they do not, a kink
        passes over another sample or leaves one, and `leave_one_out` may miss much of the change.
    failures : tuple of str
        Conditions of the derivatives of the fit that fail; empty if they hold. Where one fails the fit may have a kink:
        the numbers are then at best those of one side.
    complete : bool
        Whether it is proven that no other direction is active (see `OptimalSet`).
    """

    objective_by_weight_decay: float
    objective_by_targets: Array
    objective_by_sample_weight: Array
    fit_by_weight_decay: Array
    fit_by_targets: Array
    fit_by_sample_weight: Array
    leave_one_out: Array
    leave_one_out_in_cells: BoolArray
    failures: tuple[str, ...]
    complete: bool

    @property
    def degrees_of_freedom(self) -> float:
        """The trace of `fit_by_targets`: for the squared loss Stein's estimate of the degrees of freedom of the fit."""
        return float(np.trace(self.fit_by_targets))

    def __repr__(self) -> str:
        state = "conditions hold" if not self.failures else f"{len(self.failures)} conditions fail"
        n = len(self.fit_by_weight_decay)
        return f"Sensitivity(n={n}, degrees_of_freedom={self.degrees_of_freedom:.6g}, {state})"


def sensitivity(result: Result) -> Sensitivity:
    """Derivatives of the optimal fit and objective with respect to weight decay, targets and sample weights.

    Parameters
    ----------
    result : Result
        Of a problem with one task and a smooth loss.

    Returns
    -------
    Sensitivity

    Raises
    ------
    InvalidInputError
        If the result is not a Result, or not optimal.
    UnsupportedError
        For several tasks, losses with kinks, and interpolation.

    Notes
    -----
    One symmetric solve with a matrix of size N + q, N at most the number of weights. Valid until a neuron vanishes or
    appears, or a kink reaches or leaves a sample. Leaving out a sample is no small change: `leave_one_out_in_cells`
    says for which samples the formula errs to second order only, unless a neuron appears. Measured on the diabetes
    data, 3 neurons: where no cell changes (75 of 442 samples) predictions move by 3e-3 and it errs by 1e-5; elsewhere
    by 1e-2 and by 2e-3 (means).

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.5], weight_decay=0.1)
    >>> s = cr.sensitivity(cr.solve(problem))
    >>> s.failures
    ()
    >>> round(s.degrees_of_freedom, 3)
    3.0
    """
    if not isinstance(result, Result):
        raise InvalidInputError(f"`result` must be a Result, got {type(result).__name__}; write solve(problem).")
    _check_differentiable(result.problem)
    optimal = OptimalSet.of(result)
    state = optimal.state
    problem, split = state.problem, state.columns.shape[1]
    weight = problem.sample_weight
    shift = state.response(np.vstack([np.zeros((split, len(weight))), np.eye(len(weight))]))
    by_shift = state.columns @ shift[:split]
    left_out = _leave_one_out(state, np.diag(by_shift))
    by_decay = state.columns @ state.rate[:split]
    return Sensitivity(
        objective_by_weight_decay=float(state.costs.sum() + 0.5 * np.sum(optimal.penalized**2)),
        objective_by_targets=frozen(state.nu),
        objective_by_sample_weight=frozen(_losses(state)),
        fit_by_weight_decay=frozen(by_decay),
        fit_by_targets=frozen(by_shift * state.weights),
        # A weight multiplies the sample's part of the dual variable.
        fit_by_sample_weight=frozen(by_shift * (state.nu / weight)),
        leave_one_out=frozen(left_out),
        leave_one_out_in_cells=_keep_their_cells(state, shift, left_out),
        failures=tuple(_failures(optimal)),
        complete=optimal.complete,
    )


def _check_differentiable(problem: TrainingProblem) -> None:
    if problem.is_interpolation:
        raise UnsupportedError(
            "`result` is of an interpolation problem, whose fit is the targets; `sensitivity` is for penalised ones."
        )
    if problem.Y.shape[1] > 1:
        raise UnsupportedError(
            f"`Y` has {problem.Y.shape[1]} tasks; `sensitivity` takes one: solve a problem for each column."
        )
    if not problem.loss.is_smooth:
        raise UnsupportedError(
            f"`loss={problem.loss.name!r}` has kinks, on which predictions stay while the problem changes, so that the "
            "formula does not hold; write a smooth loss, such as 'huber' for 'absolute' or 'squared_hinge' "
            "for 'hinge'."
        )


def _losses(state: Stationary) -> Array:
    """The loss of each sample (n,), its weight left out."""
    problem, one = state.problem, np.ones(1)
    pairs = zip(state.fit[:, None, None], problem.Y[:, None], strict=True)
    return np.array([problem.loss.value(f, y, one) for f, y in pairs])


def _leave_one_out(state: Stationary, response: Array) -> Array:
    """Predictions f - r nu / (1 - r W), with r (n,) how far a prediction follows a pull on it."""
    left = 1.0 - response * state.weights
    held = left > STRICT
    return np.asarray(np.where(held, state.fit - response * state.nu / np.where(held, left, 1.0), np.nan))


def _keep_their_cells(state: Stationary, shift: Array, left_out: Array) -> BoolArray:
    """For each sample whether the neurons, moved to first order by leaving it out, stay on the faces of their cells.

    `shift` (..., n) is how the state follows a pull on each sample.
    """
    split, N = state.columns.shape[1], state.z.size
    own = np.einsum("ij,ji->i", state.columns, shift[:split])
    pull = np.divide(left_out - state.fit, own, out=np.zeros_like(own), where=own > 0)
    moved, nu = state.z[:, None] + shift[:N] * pull, state.nu[:, None] + shift[split:] * pull
    np.fill_diagonal(nu, 0.0)
    kept: BoolArray = np.isfinite(left_out)
    for e in range(len(state.faces)):
        kept &= _keeps_its_cell(state, e, moved[state.owner == e], nu)
    kept.flags.writeable = False
    return kept


def _keeps_its_cell(state: Stationary, e: int, z: Array, nu: Array) -> BoolArray:
    """Whether neuron e at coordinates z (r_e, n) and nu (n, n), a column for each sample left out, is in its cell."""
    arrangement, E = state.problem.arrangement, state.faces[e]
    Z, U = arrangement.Z, E @ z
    tight = _on_kink(state)[e]
    elsewhere = ~tight[:, None] & ~np.eye(len(Z), dtype=bool)
    same = ((Z @ U > 0) == state.active[e][:, None]) | ~elsewhere
    a = state.signs[e] * nu
    wanted = state.problem.penalty * U / np.linalg.norm(z, axis=0)
    wanted[arrangement.n_penalized :] = 0.0
    # On a kink the part of the sample's dual variable that the neuron feels must stay between none and all of it.
    felt = np.linalg.lstsq(Z[tight].T, wanted - Z.T @ (state.active[e][:, None] * a), rcond=TIGHT)[0]
    share = np.divide(felt, a[tight], out=np.full_like(felt, 0.5), where=a[tight] != 0)
    return np.asarray(same.all(axis=0) & ((share >= 0) & (share <= 1)).all(axis=0))


def _failures(optimal: OptimalSet) -> list[str]:
    """The conditions of theory B.6 that fail."""
    found = []
    high = optimal.polytope.bounds[1][: len(optimal.directions)]
    if optimal.dimension:
        found.append(f"the optimal network is not unique: {optimal.reason}")
    elif (high <= POSITIVE * optimal.polytope.total).any():
        found.append("a direction is active that no optimal network uses: a neuron is about to appear")
    if _is_singular(optimal.state):
        found.append("the conditions of optimality are dependent: the network is not isolated")
    if _has_weak_kink(optimal):
        found.append("a kink is about to leave its sample, or more kinks meet than there are weights")
    if _at_a_joint(optimal.state):
        found.append("a prediction is where the loss changes from a parabola to a straight line")
    return found


def _at_a_joint(state: Stationary) -> bool:
    """Whether the curvature of the loss jumps at a prediction."""
    problem, step = state.problem, STRICT * state.problem.loss.unit(state.problem.Y)
    sides = [
        problem.loss.curvature(state.fit[:, None] + s * step, problem.Y, problem.sample_weight)[:, 0] for s in (-1, 1)
    ]
    jump = np.abs(sides[0] - sides[1])
    return bool((jump > 0.01 * problem.loss.stiffness(problem.sample_weight)).any())


def _is_singular(state: Stationary) -> bool:
    J = state.jacobian
    scale = 1.0 / np.sqrt(np.maximum(np.abs(J).max(axis=1, initial=0.0), 1e-300))
    singular = scipy.linalg.svdvals(J * scale * scale[:, None])
    return bool(len(singular) and singular[-1] <= TIGHT * singular[0])


def _has_weak_kink(optimal: OptimalSet) -> bool:
    """Whether a neuron has a sample on its kink whose slope is not strictly between 0 and 1.

    With a free bias a neuron that may move to another active end, or away from all samples, has such a slope as well;
    there it does not matter, because it stays active.
    """
    state, on_kink, movable = optimal.state, _on_kink(optimal.state), _movable(optimal)
    return any(not movable[e] and _is_weak(state, e, on_kink[e]) for e in range(len(state.faces)) if on_kink[e].any())


def _on_kink(state: Stationary) -> BoolArray:
    """Which samples are on the kink of which neuron (m, n)."""
    arrangement = state.problem.arrangement
    pre = state.neurons @ arrangement.Z.T
    return (np.abs(pre) <= TIGHT * tie_sizes(arrangement, state.neurons)) & (row_norms(arrangement.Z) > 0)


def _is_weak(state: Stationary, e: int, tight: Array) -> bool:
    arrangement, a = state.problem.arrangement, state.signs[e] * state.nu
    wanted = state.problem.penalty * state.neurons[e] / state.costs[e]
    wanted[arrangement.n_penalized :] = 0.0
    missing = wanted - (state.active[e] * a) @ arrangement.Z
    rows = (a[:, None] * arrangement.Z)[tight.astype(bool)]
    if np.linalg.matrix_rank(rows, tol=TIGHT * np.abs(rows).max(initial=1e-300)) < len(rows):
        return True
    slopes = np.linalg.lstsq(rows.T, missing, rcond=None)[0]
    return bool(((slopes < STRICT) | (slopes > 1 - STRICT)).any())


def _movable(optimal: OptimalSet) -> Array:
    """Neurons of the state that are an end of a segment, or of a ray."""
    d, state = optimal.directions, optimal.state
    ends = np.unique(np.concatenate([d.segments.ravel(), d.rays]))
    unit = state.neurons / state.costs[:, None]
    near = [np.linalg.norm(d.neurons[ends] - u, axis=1).min(initial=np.inf) <= 1e-6 for u in unit]
    return np.array(near, dtype=float)
