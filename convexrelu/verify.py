"""`verify`: how far is a network trained elsewhere from the global optimum, why, and what to do about it.

Letters: `nu` (n, T) minus the gradient of the loss, `lam` weight decay, `F` (n, T) predictions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from convexrelu.arrays import Array
from convexrelu.certificate import Certificate
from convexrelu.certify import SHARE, largest_neurons, own_certificate
from convexrelu.descent import around_kinks, descended
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.improvements import DESCENDING, DESCENT_STEPS, RESOLVING, Improvement, improvements
from convexrelu.interop.imported import Imported
from convexrelu.interop.reading import read_model
from convexrelu.losses import SquaredLoss
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.optimal_range import optimal_range
from convexrelu.own_patterns import resolved
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.pricing.dual_norm import best_neuron
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result, Solution, Status
from convexrelu.solve import check_arguments, solve
from convexrelu.stationarity import STATIONARY, Stationarity, directional_residual, stationarity
from convexrelu.subgradient import subgradient
from convexrelu.verification import MissingNeuron, Verdict, Verification

# A stationary network gains less than this part of its distance to the optimum by repairs within its own patterns.
LOCAL_SHARE = 0.1
# Networks up to this width warm-start the solver; it carries every neuron along. Not at ranks proven in seconds:
# there a start from nothing is as fast (2.9 against 2.3 to 14 s with 500 samples of 3 features), and more evenly so.
WARM_WIDTH, COLD_RANK = 100, 4
# At rank two, which has twice as many patterns as samples, directions for the squared loss are generated in all of up
# to this many. Measured: 500 samples of one input, 999 patterns, 0.14 s against 0.9 s for the solver; for other losses
# (0.1 to 5 s against 0.1 to 0.4) and at rank three and four (up to 5 s against 0.4) the solver is faster.
FLAT, MOST_LISTED = 2, 1_500
TIME_LIMIT = 10.0
# Numbers in a step of the search for the missing neuron, and starts that it has however many samples there are.
SEARCH_WORK, FEWEST_STARTS = 50_000_000, 10
# Accuracy, relative to the tolerance, with which networks next to it are told from optimal ones.
NEAR = 1e-3
UNPROVEN = "the optimum is not proven"
# Parts of the time: for the improvements; at whose end the solver stops, the rest is for what needs no solver; and what
# it has at least.
IMPROVING_SHARE, SOLVER_SHARE, LEAST_SHARE = 0.25, 0.65, 0.2


def verify(
    problem: TrainingProblem, model: Any, tol: float = 1e-3, time_limit: float | None = TIME_LIMIT
) -> Verification:
    """Tell how far a trained network is from the global optimum, why, and what to do.

    Parameters
    ----------
    problem : TrainingProblem
        The objective the network was trained on: `TrainingProblem.from_torch` and `.from_sklearn` convert conventions.
    model : Network or model of another library
        A torch.nn.Module, a scikit-learn MLPRegressor, MLPClassifier or Pipeline, an ONNX path or ModelProto, a Keras
        model. A float32 model is judged in float64; `rounding` reports the difference.
    tol : float in (0, 1), default 1e-3
        The relative gap up to which a network counts as optimal.
    time_limit : float or None, default 10
        Seconds, about, for all of it. Where they do not suffice the verdict stays true and the gap is large;
        `left_out` tells what was cut short.

    Returns
    -------
    Verification
        Print it for a report. `improved` is the best network known; pass it on as `solve(..., warm_start=...)`.

    Raises
    ------
    UnsupportedError
        If the model is not a two-layer ReLU network, by the name of the layer; for interpolation problems.
    InvalidInputError
        If the network does not fit the problem.

    Notes
    -----
    "Optimal" needs a proof. "Stationary", "not converged" and "different objective" are said only of networks that a
    better one, in hand, proves not to be optimal. The bound comes from solving the problem: the network's own residual
    gives a useful one only very near the optimum.

    "Different objective" is said only of networks that came to rest under another one. Trained by AdamW with steps that
    do not fall to zero, or for too short a time for its decay to act (at 1e-3 of a mean loss, some thousand steps), a
    network is at rest under none: it is "not converged", and all that its weights tell is
    `stationarity.implied_weight_decay`, far from the stated one. On losses with kinks they may not even tell that; the
    report says so.

    References
    ----------
    Y. Wang, J. Lacotte and M. Pilanci, "The hidden convex optimization landscape of two-layer ReLU neural networks",
    ICLR 2022, Theorem 3: stationary points are optima of programs over some of the patterns. (That needs directional
    stationarity where knots sit on samples.)

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> half = cr.Network([[1.0]], [0.0], [[0.5]])
    >>> cr.verify(problem, half).verdict
    <Verdict.NOT_CONVERGED: 'not converged'>
    >>> cr.verify(problem, cr.solve(problem).network).verdict
    <Verdict.OPTIMAL: 'globally optimal'>
    """
    check_arguments(problem, tol, time_limit)
    if problem.is_interpolation:
        raise UnsupportedError("`verify` is for penalised problems; write `certify(problem, network)` to interpolate.")
    clock = _Clock(time_limit)
    network, imported = _network(problem, model)
    objective, state = _measured(problem, network)
    local = improvements(problem, network, 0.1 * tol, clock.for_improvements())
    moves = _trained_on(problem, local, clock)
    solving = time.perf_counter()
    result = _optimum(problem, local[-1].network, tol, clock.for_solver())
    result = _settled(problem, objective, result, tol, clock)
    taken = time.perf_counter() - solving
    certificate = replace(result.certificate, objective=objective)
    if state.directional <= STATIONARY:  # else its own residual proves nothing of use
        own = own_certificate(problem, network, tol, clock.at_least())
        certificate = min(certificate, own, key=lambda c: c.gap)
    missing = missing_neuron(problem, network)
    improved = _best_known(problem, network, missing, local[-1].network, result.network)
    attained = max(objective - problem.objective(improved), 0.0) / max(abs(objective), certificate.negligible)
    F, better, proven = network(problem.X), improved(problem.X), result.status is Status.OPTIMAL
    return Verification(
        verdict=_verdict(problem, certificate, attained, moves, state, tol, clock),
        certificate=certificate,
        attained_gap=attained,
        parts=objective_parts(problem, network),
        improvements=local,
        stationarity=state,
        missing=missing,
        prediction_distance=float(np.sqrt(np.mean((F - better) ** 2))),
        prediction_spread=float(np.std(problem.Y)),
        optimal_range=optimal_range(network, result, taken, clock.left()) if proven else UNPROVEN,
        rounding=0.0 if imported is None else _rounding(imported, problem.X, F),
        network=network,
        improved=improved,
        problem=problem,
        tol=tol,
        notes=tuple(network.metadata.get("notes", ())),
        left_out=_left_out(local, result),
    )


def improve(problem: TrainingProblem, model: Any, tol: float = 1e-3, time_limit: float | None = TIME_LIMIT) -> Network:
    """The best network known to `verify`: never worse than the model; with enough time, globally optimal within tol.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> better = cr.improve(problem, cr.Network([[1.0]], [0.0], [[0.5]]))
    >>> cr.certify(problem, better).gap < 1e-3
    True
    """
    return verify(problem, model, tol, time_limit).improved


def _network(problem: TrainingProblem, model: Any) -> tuple[Network, Imported | None]:
    """The model as a network that measures its neurons as the problem does."""
    imported = None if isinstance(model, Network) else read_model(model)
    network = model if imported is None else Network.from_imported(imported)
    return replace(network, bias=problem.bias), imported


class _Clock:
    """What is left of the time."""

    def __init__(self, limit: float | None) -> None:
        self.limit, self.began = limit, time.perf_counter()

    def left(self) -> float:
        """Seconds; infinite if there is no limit, negative if it is over."""
        return math.inf if self.limit is None else self.limit - (time.perf_counter() - self.began)

    def for_improvements(self) -> float | None:
        """Seconds that the improvements may take."""
        return None if self.limit is None else IMPROVING_SHARE * self.limit

    def for_solver(self) -> float | None:
        """Seconds that the solver may take."""
        return None if self.limit is None else self.at_least(self.left() - (1 - SOLVER_SHARE) * self.limit)

    def at_least(self, seconds: float | None = None) -> float | None:
        """The seconds, by default those that are left, but never less than what a first bound takes."""
        return (
            None if self.limit is None else max(self.left() if seconds is None else seconds, LEAST_SHARE * self.limit)
        )


def _optimum(problem: TrainingProblem, reduced: Network, tol: float, seconds: float | None) -> Result:
    """The best network found, with its certificate."""
    one_task = problem.Y.shape[1] == 1
    flat = problem.arrangement.Z.shape[1] <= FLAT and 2 * len(problem.X) <= MOST_LISTED
    if flat and one_task and isinstance(problem.loss, SquaredLoss):
        listed = enumerate_arrangement(problem.arrangement, MOST_LISTED)
        found = resolved(problem, reduced, 1e-5 * SHARE * tol, listed.active)
        own = own_certificate(problem, found, SHARE * tol, seconds)
        if own.gap <= SHARE * tol:
            return Result(found, own, Status.OPTIMAL, Solution.empty(problem, "over all patterns"), problem)
    cold = (one_task and problem.arrangement.Z.shape[1] <= COLD_RANK) or reduced.n_neurons > WARM_WIDTH
    return solve(problem, tol=SHARE * tol, time_limit=seconds, warm_start=None if cold else reduced, canonical=False)


def _settled(problem: TrainingProblem, objective: float, result: Result, tol: float, clock: _Clock) -> Result:
    """The result, more accurate where it leaves open on which side of the tolerance the objective is."""
    limit = (1 - tol) * objective
    if result.status is not Status.OPTIMAL or not result.certificate.lower_bound < limit <= result.objective:
        return result
    closer = solve(problem, tol=NEAR * tol, time_limit=clock.for_solver(), warm_start=result.network, canonical=False)
    return closer if closer.certificate.lower_bound > result.certificate.lower_bound else result


def _left_out(local: tuple[Improvement, ...], result: Result) -> tuple[str, ...]:
    """What the time limit cut short; the range over all optimal networks says so itself."""
    cut = [f"{step.name} (it may gain more)" for step in local if not step.finished]
    if result.status is Status.LIMIT:
        cut.append("the search for the optimum (the certified gap may be far above the true one)")
    return tuple(cut)


def _best_known(problem: TrainingProblem, network: Network, missing: MissingNeuron | None, *others: Network) -> Network:
    candidates = [network, *others]
    if missing is not None:
        candidates.append(_joined(network, missing.hidden, missing.hidden_bias, missing.output))
    return min(candidates, key=problem.objective)


def _measured(problem: TrainingProblem, network: Network) -> tuple[float, Stationarity]:
    with np.errstate(over="ignore", invalid="ignore"):
        objective = problem.objective(network)
        state = stationarity(problem, network) if math.isfinite(objective) else None
    if state is None or not math.isfinite(max(state.gradient, state.directional)):
        raise InvalidInputError(
            "`model` has weights so large that its objective, or its gradient, overflows: its training diverged."
        )
    return objective, state


def _rounding(imported: Imported, X: Array, F: Array) -> float:
    return float(np.abs(imported.predict(X) - F).max()) if imported.predict is not None else 0.0


def objective_parts(problem: TrainingProblem, network: Network) -> dict[str, float]:
    """The objective of a network as a sum of named parts; free parameters cost nothing and are left out."""
    half = 0.5 * problem.weight_decay
    kinds = {
        "hidden weights": ("penalized", network.hidden),
        "hidden biases": (problem.bias, network.hidden_bias),
        "output weights": ("penalized", network.output),
        "skip": (problem.skip, network.skip),
        "output bias": (problem.output_bias, network.output_bias),
    }
    parts = {"loss": problem.loss.value(network(problem.X), problem.Y, problem.sample_weight)}
    for name, (kind, weights) in kinds.items():
        if kind == "penalized":
            parts[f"weight decay of the {name}"] = half * float(np.sum(weights**2))
    return parts


def missing_neuron(problem: TrainingProblem, network: Network) -> MissingNeuron | None:
    """The neuron that a search finds to correlate best with the residual, if it lowers the objective.

    For the squared loss the gain is (tau - lam)^2 / (2 |phi|^2) with tau its correlation and phi its activations
    (theory B.7).
    """
    nu = problem.feasible_direction(-subgradient(problem, network))
    arrangement = problem.arrangement
    # A step of the search squares the rank for each start and sample.
    most = max(SEARCH_WORK // max(arrangement.Z.size * arrangement.Z.shape[1], 1), FEWEST_STARTS)
    correlation, unit = best_neuron(arrangement, nu, largest_neurons(problem, network), most=most)
    if correlation <= problem.weight_decay:
        return None
    W, b = arrangement.to_weights(unit[None])
    pull = np.maximum(arrangement.Z @ unit, 0.0) @ nu
    direction = pull / np.linalg.norm(pull)
    base, F = problem.objective(network), network(problem.X)
    fit = np.outer(np.maximum(arrangement.Z @ unit, 0.0), direction)
    rest = base - problem.loss.value(F, problem.Y, problem.sample_weight)

    def grown(length: float) -> float:
        loss = problem.loss.value(F + length * fit, problem.Y, problem.sample_weight)
        return loss + rest + problem.weight_decay * length

    root = np.sqrt(_best_length(grown, base))
    neuron = W[0] * root, float(b[0] * root), root * direction
    objective = problem.objective(_joined(network, *neuron))
    return MissingNeuron(*neuron, correlation, objective, base - objective) if objective < base else None


def _joined(network: Network, w: Array, b: float, v: Array) -> Network:
    return replace(
        network,
        hidden=np.vstack([network.hidden, w]),
        hidden_bias=np.append(network.hidden_bias, b),
        output=np.vstack([network.output, v]),
    )


def _best_length(objective: Callable[[float], float], base: float) -> float:
    """Minimise a convex function of a length >= 0 that descends at zero: bracket by doubling, then search."""
    upper = 1.0
    while objective(upper) > base and upper > 1e-12:
        upper *= 0.5
    while objective(2 * upper) < objective(upper) and upper < 1e12:
        upper *= 2.0
    found = minimize_scalar(objective, bounds=(0.0, 2 * upper), method="bounded", options={"xatol": 1e-10 * upper})
    return float(found.x)


def _verdict(
    problem: TrainingProblem,
    certificate: Certificate,
    attained: float,
    moves: tuple[float, Network],
    state: Stationarity,
    tol: float,
    clock: _Clock,
) -> Verdict:
    if certificate.gap <= tol:
        return Verdict.OPTIMAL
    if attained <= tol:
        return Verdict.UNPROVEN
    if state.explanation.is_another:
        return Verdict.DIFFERENT_OBJECTIVE
    gained, last = moves
    size = max(abs(certificate.objective), certificate.negligible)
    if state.directional <= STATIONARY and gained <= max(tol, LOCAL_SHARE * attained) * size:
        return Verdict.STATIONARY
    near = _is_near(problem, gained, last, LOCAL_SHARE * attained * size, clock)
    return Verdict.STATIONARY if near else Verdict.NOT_CONVERGED


def _is_near(problem: TrainingProblem, gained: float, last: Network, allowed: float, clock: _Clock) -> bool:
    """Whether where repairs and further training end is stationary, and gains little: next to it is as good as at it.

    What gradient descent that stops at a kink has not reached counts: told to train longer, a user would gain that, and
    be left with nearly all of the gap.
    """
    if gained > allowed:
        return False
    if problem.loss.is_smooth and directional_residual(problem, last) > STATIONARY:
        stop = Monitor(time_limit=clock.for_improvements()).should_stop
        further = around_kinks(problem, last, DESCENT_STEPS, stop)
        gained, last = gained + problem.objective(last) - problem.objective(further), further
    return gained <= allowed and directional_residual(problem, last) <= STATIONARY


def _trained_on(problem: TrainingProblem, local: tuple[Improvement, ...], clock: _Clock) -> tuple[float, Network]:
    """What a network gains without new neurons, and where it ends.

    A stationary network of one task is the best of its own patterns; one of several tasks may lack further neurons of
    these patterns, of other output directions, and solving again brings them in.
    """
    if problem.Y.shape[1] == 1:
        return sum(step.gain for step in local), local[-1].network
    kept = [step for step in local if step.name not in (RESOLVING, DESCENDING)]
    network, gained = kept[-1].network, sum(step.gain for step in kept)
    if problem.loss.is_smooth:
        stop = Monitor(time_limit=clock.for_improvements()).should_stop
        network = descended(problem, network, DESCENT_STEPS, stop)
        gained += kept[-1].objective - problem.objective(network)
    return gained, network
