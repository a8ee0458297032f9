"""The front door: `solve` trains a network and proves how good it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, overload

from convexrelu.arrays import Array
from convexrelu.backends import Backend, get_backend
from convexrelu.certificate import Certificate, certificate
from convexrelu.errors import InvalidInputError, TooManyPatternsError
from convexrelu.gated import GatedResult, train_gated
from convexrelu.generation import (
    PROOF_SHARE,
    ConicMethod,
    Generated,
    Method,
    NativeMethod,
    ProximalMethod,
    generate,
)
from convexrelu.joint_program import JointProgram, program_over
from convexrelu.monitor import Monitor, State
from convexrelu.multitask import joint_method, takes_jointly
from convexrelu.native.bridge import is_native, is_proximal
from convexrelu.network import Network
from convexrelu.one_input import is_first_choice, takes_one_input, train_one_input
from convexrelu.optimal_set.canonical import with_canonical_network
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.patterns.sampling import sample_arrangement
from convexrelu.pricing.dual_norm import DualNorm, best_neuron, dual_norm, dual_norm_over_patterns
from convexrelu.problem import TrainingProblem
from convexrelu.program import attempts
from convexrelu.recovery import network_of
from convexrelu.refit import refitted_solution
from convexrelu.result import Result, Solution, Status, judge
from convexrelu.validation import check_choice, check_count, check_number
from convexrelu.width import narrowed

# Up to this many patterns in all, the native way is to list them. Measured in one run, listing against generation:
# 95 against 171 ms for 382 patterns of rank 3, 844 against 591 ms for 400 of rank 2, 27 against 783 ms with ties.
FEW = 400
# The accuracy asked of the solver over them: predictions are as near to the optimal ones as the root of the gap is to
# zero. Measured on tied integer data: they differ between orders of the samples by 5e-6 at 1e-9, by 8e-7 at 1e-12.
FINE = 1e-12
# Several tasks and a loss with kinks, up to rank three: numbers in one matrix for each pattern, up to which the exact
# program is. Measured, in seconds of the processor, against generation: 0.1 / 0.4 at 6 x 1 with 3 tasks, at 12 x 2 with
# as many 3 / 10 (absolute) and 3 / 2.3 (hinge), but 19 / 8 at 30 x 2 with two.
FEW_NUMBERS, FEW_RANK = 3_000, 3
# The size up to which the canonical network is looked for: samples, tasks squared and neurons multiplied; for a loss
# with kinks neurons and predictions. Less for one input and a smooth loss, which the 1-D engine solves in milliseconds.
# Measured, in seconds of the processor, with the solve itself: 0.07 / 0.7 at 100 x 5 (2,600), 0.3 / 3 at 500 x 6
# (8,000), 0.5 / 5 at 1000 x 3 (30,000), 0.2 / 6 at 215 x 2 (absolute loss, 57,000), 0.3 / 10 at 60 x 3 with 3 tasks
# (27,000); 0.1 / 0.1 at 300 x 1 (absolute, 95,000), 0.06 / 0.006 at 500 x 1 (9,500), 0.9 / 0.4 at 2000 x 1 (26,000).
LARGEST, LARGEST_ON_A_LINE = 100_000, 12_000


@overload
def solve(
    problem: TrainingProblem,
    patterns: str | int | Patterns = "generate",
    backend: str = "native",
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
    verbose: bool = False,
    callback: Callable[[State], object] | None = None,
    warm_start: Network | None = None,
    max_iter: int | None = None,
    max_boxes: int | None = None,
    options: Mapping[str, Any] | None = None,
    activation: Literal["relu"] = "relu",
    canonical: bool = True,
) -> Result: ...


@overload
def solve(
    problem: TrainingProblem,
    patterns: str | int | Patterns,
    backend: str = "native",
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
    verbose: bool = False,
    *,
    options: Mapping[str, Any] | None = None,
    activation: Literal["gated"],
) -> GatedResult: ...


def solve(
    problem: TrainingProblem,
    patterns: str | int | Patterns = "generate",
    backend: str = "native",
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
    verbose: bool = False,
    callback: Callable[[State], object] | None = None,
    warm_start: Network | None = None,
    max_iter: int | None = None,
    max_boxes: int | None = None,
    options: Mapping[str, Any] | None = None,
    activation: Literal["relu", "gated"] = "relu",
    canonical: bool = True,
) -> Result | GatedResult:
    """Train a two-layer ReLU network, or a gated one, and certify the result.

    Parameters
    ----------
    problem : TrainingProblem
    patterns : {"generate", "enumerate"}, int or Patterns
        The activation patterns of the convex program: those its dual variable asks for (the default: the global
        optimum without listing all patterns, unless there are no more than 400), all of them, that many sampled ones,
        or given ones. Several tasks: "generate", or the others up to rank four (hidden biases count as one).
    backend : str, default "native"
        Who solves the programs: the package's own solver, one of `available_backends`, or any solver installed in
        cvxpy by its name. Programs that "native" does not take (given patterns, interpolation) go to "clarabel".
    tol : float in (0, 1), default 1e-6
        Relative gap to reach.
    time_limit : float, optional
        Seconds; the best network so far is returned with what can be proven of it.
    random_state : int, default 0
        Seed of the search and of sampled patterns: the same seed gives the same result, bit for bit (without a time
        limit).
    verbose : bool, default False
        Whether to print a line for each round (pattern generation), or the backend's own progress.
    callback : callable, optional
        Called with a `State` after each round of pattern generation, and within it when neurons have been added; a
        true answer stops the run.
    warm_start : Network, optional
        Where pattern generation starts.
    max_iter : int, optional
        Rounds of pattern generation.
    max_boxes : int, optional
        Budget of the proof, in boxes of its branch and bound; by default 20 million up to rank 8 and 100,000 beyond,
        where a proof is out of reach.
    options : mapping, optional
        Options of the backend by their native names.
    activation : {"relu", "gated"}, default "relu"
        "gated": each neuron is on where its gate, one of `patterns` (enumerated, sampled or given), says so, whatever
        its own weights: v D(x) (w . x + b). Such networks have convex programs without cones.
    canonical : bool, default True
        Whether to bring an optimal network to rounding and, where there are several, to return the one that a rule
        chooses (see Notes); False saves some 15 ms for small problems, a tenth of the time of larger ones.

    Returns
    -------
    Result
        Its `status` is derived from our own objective and lower bound; the backend's word does not count.
    GatedResult
        With activation="gated": certified among the gated networks over these gates; `to_relu()` is a ReLU network.

    Raises
    ------
    InvalidInputError
        For arguments that cannot be used.
    TooManyPatternsError
        If there are too many patterns to enumerate.
    UnsupportedError
        If the backend cannot take the program; the message names one that can. For gated networks that interpolate.
    NotInstalledError
        If the backend is not installed.

    Notes
    -----
    Ctrl-C ends pattern generation with the best network so far. With given patterns the certificate is global when
    they are complete; a program over p patterns of rank r has 2 p (r + 1) + n variables. The exact program of T tasks
    has a semidefinite matrix of order r + T for each simplicial cone (`effort["cones"]`): one to four for each pattern.

    Where optimal networks are not unique a rule chooses one: that with the least sum of c |w| |v| over its neurons,
    where c is a fixed irregular function, between one and three, of the neuron's direction (w, b, v), with |(w, b)| for
    |w| if biases are penalised; to this a loss that leaves predictions open adds such costs of its samples times how
    far they are beyond the kink. It has no more neurons than predictions, and what it predicts does not depend on the
    seed, on the order of the samples or on splitting one into two of half the weight: not anywhere, unless the data
    leave a free skip undetermined. `Result.canonical` says whether the rule was applied: to results that are proven
    optimal and not too large (samples times neurons up to 100,000; for one input and a smooth loss 12,000; neurons and
    samples count for losses with kinks, and several tasks by their square).

    References
    ----------
    M. Pilanci and T. Ergen, "Neural networks are convex regularizers: exact polynomial-time convex optimization
    formulations for two-layer networks", ICML 2020, Theorem 1.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> result = cr.solve(problem)
    >>> result.status, result.network.n_neurons
    (<Status.OPTIMAL: 'optimal'>, 3)
    """
    check_arguments(problem, tol, time_limit, random_state, max_iter, max_boxes)
    if callback is not None and not callable(callback):
        raise InvalidInputError(f"`callback` must be a function of a State, got {callback!r}.")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidInputError(f"`options` must be a mapping from names to values, got {options!r}.")
    if check_choice(activation, "activation", ("relu", "gated")) == "gated":
        unused = {"callback": callback, "warm_start": warm_start, "max_iter": max_iter, "max_boxes": max_boxes}
        _check_gated(patterns, unused)
        gates = choose_patterns(problem, patterns, random_state)
        monitor = Monitor(None, verbose, time_limit)
        return train_gated(problem, gates, _program_solver(backend), tol, monitor, options)
    if warm_start is not None:
        problem.check_network(warm_start, "warm_start")
    own_lines = verbose and _is(patterns, "generate")
    monitor = Monitor(callback, own_lines, time_limit, max_iter)
    result = None
    if _is(patterns, "generate"):
        if backend == "native" and not options:
            result = _at_once(problem, tol, monitor, warm_start is None and time_limit is None)
        if result is None:
            methods = _methods(problem, backend, tol, random_state, monitor, warm_start, options)
            result = generated_result(problem, generate(problem, methods, tol, monitor, max_boxes), tol, monitor)
    else:
        chosen = choose_patterns(problem, patterns, random_state)
        monitor.lap("patterns")
        result = _solved_over(problem, chosen, _program_solver(backend), tol, monitor, verbose, options)
    largest = LARGEST_ON_A_LINE if problem.loss.is_smooth and takes_one_input(problem) else LARGEST
    return with_canonical_network(result, monitor, largest) if canonical else result


def _check_gated(patterns: str | int | Patterns, unused: Mapping[str, object]) -> None:
    """Refuse what has no meaning for gated networks."""
    if _is(patterns, "generate"):
        raise InvalidInputError(
            "`patterns='generate'` asks for the ReLU neurons that are missing, and activation='gated' takes its gates "
            "as given; write patterns=100 for that many sampled gates, or 'enumerate' for all."
        )
    for name, value in unused.items():
        if value is not None:
            raise InvalidInputError(f"`{name}` is for pattern generation; drop it with activation='gated'.")


def _program_solver(backend: str) -> Backend:
    """The backend for a program over given patterns, which "native" does not take."""
    return get_backend("clarabel" if backend == "native" else backend)


def _is(patterns: str | int | Patterns, word: str) -> bool:
    return isinstance(patterns, str) and patterns == word


def _at_once(problem: TrainingProblem, tol: float, monitor: Monitor, cold: bool) -> Result | None:
    """The optimum by the 1-D engine (from scratch only) or over all patterns, where that is fastest; else None."""
    ways = [_of_one_input] * (cold and takes_one_input(problem)) + [_over_few]
    for way in ways if is_first_choice(problem) else reversed(ways):
        found = way(problem, tol, monitor)
        if found is not None:
            return found
    return None


def _of_one_input(problem: TrainingProblem, tol: float, monitor: Monitor) -> Result | None:
    """The optimum of a problem of one input by the 1-D engine; None unless it is proven."""
    try:
        found = train_one_input(problem, tol)
    except KeyboardInterrupt:
        monitor.interrupted = True
        return None
    monitor.lap("univariate")
    if found is None:
        return None
    result = generated_result(problem, found, tol, monitor)
    if result.status is not Status.OPTIMAL:
        return None
    monitor.lower_bound = result.certificate.lower_bound
    monitor.report(result.objective, result.network.n_neurons)
    return replace(result, effort=monitor.effort)


def _over_few(problem: TrainingProblem, tol: float, monitor: Monitor) -> Result | None:
    """The optimum over all patterns, where they are so few that listing them is the fastest proof; else None."""
    few = _few(problem)
    if not few:
        return None
    try:
        patterns = enumerate_arrangement(problem.arrangement, few)
        monitor.lap("patterns")
        result = _solved_over(problem, patterns, get_backend("clarabel"), tol, monitor, False, None, FINE)
    except TooManyPatternsError:
        return None
    except KeyboardInterrupt:
        monitor.interrupted = True
        return None
    monitor.lower_bound = result.certificate.lower_bound
    monitor.report(result.objective, result.network.n_neurons)
    return replace(result, effort=monitor.effort) if result.status is Status.OPTIMAL else None


def _few(problem: TrainingProblem) -> int:
    """Up to how many patterns listing them is fastest."""
    T, k = problem.Y.shape[1], problem.arrangement.Z.shape[1]
    if T == 1:
        return FEW
    if problem.loss.is_smooth or problem.is_interpolation or k > FEW_RANK:
        return 0
    return int(2 * FEW_NUMBERS // ((k + T) * (k + T + 1)))


def _methods(
    problem: TrainingProblem,
    backend: str,
    tol: float,
    seed: int,
    monitor: Monitor,
    warm_start: Network | None,
    options: Mapping[str, Any] | None,
) -> Iterator[Method]:
    """The native solver where it is asked for and can; a conic backend otherwise, and where the native one is stuck."""
    if backend == "native" and takes_jointly(problem):
        if options:
            raise InvalidInputError(f"`options` {sorted(options)} are for other backends; 'native' has none.")
        yield joint_method(problem, tol, seed, monitor, warm_start)
        return
    if backend == "native" and (is_native(problem) or is_proximal(problem)):
        if options:
            raise InvalidInputError(f"`options` {sorted(options)} are for other backends; 'native' has none.")
        method = ProximalMethod if is_proximal(problem) else NativeMethod
        yield method(problem, tol, seed, monitor, warm_start)
    yield ConicMethod(problem, tol, seed, monitor, warm_start, _program_solver(backend), options)


def generated_result(problem: TrainingProblem, found: Generated, tol: float, monitor: Monitor) -> Result:
    """The result of a generation, certified."""
    solution, network = found.solution, network_of(problem, found.solution, tol)
    if found.converged:
        solution, network = _narrowed(problem, solution, network, tol)
    proof = certificate(problem, network, found.nu, found.norm)
    status = judge(proof, tol, monitor)
    if status is Status.FAILED and found.converged and _lacks_only_proof(problem, found, proof, tol):
        status = Status.UNPROVEN
    monitor.lap("certificate")
    return Result(network, proof, status, solution, problem, None, monitor.laps, monitor.effort)


def _lacks_only_proof(problem: TrainingProblem, found: Generated, proof: Certificate, tol: float) -> bool:
    """Whether the gap would close if no neuron had a larger correlation than the best one met."""
    met = replace(found.norm, upper=max(found.norm.lower, problem.penalty))
    return replace(proof, lower_bound=problem.lower_bound(found.nu, met)[0]).gap <= tol


def _narrowed(problem: TrainingProblem, solution: Solution, network: Network, tol: float) -> tuple[Solution, Network]:
    """With no more neurons than samples, as far as the objective allows; of several tasks with what these need.

    Pruning by size leaves dependent neurons, and of losses with kinks those that a solver has not brought to zero.
    """
    if problem.Y.shape[1] == 1:
        if network.n_neurons <= len(problem.Y):
            return solution, network
        solution = refitted_solution(problem, solution, 0.01 * tol)
        network = network_of(problem, solution, tol)
    return solution, narrowed(problem, network, problem.objective(network) * (1 + 0.1 * tol))


def _solved_over(
    problem: TrainingProblem,
    patterns: Patterns,
    solver: Backend,
    tol: float,
    monitor: Monitor,
    verbose: bool,
    options: Mapping[str, Any] | None,
    finest: float = 1e-9,
) -> Result:
    """Solve the program over given patterns, at first to a hundredth of the tolerance or to `finest`."""
    program = program_over(problem, patterns)
    if isinstance(program, JointProgram):
        monitor.count("cones", len(program.cones))
    monitor.lap("program")
    found = []
    for asked, unit in attempts(min(0.01 * tol, finest)):
        solution = program.solve(solver, asked, options, verbose, monitor.seconds_left, unit)
        monitor.lap("backend")
        if problem.Y.shape[1] > 1:
            solution = refitted_solution(problem, solution, 0.01 * tol)
        solution, network = _narrowed(problem, solution, network_of(problem, solution, tol), tol)
        found.append((_certified(problem, patterns, network, solution, tol), network, solution))
        monitor.lap("certificate")
        if found[-1][0].gap <= tol or monitor.should_stop():
            break
    proof, network, solution = min(found, key=lambda each: each[0].gap)
    status = judge(proof, tol, monitor)
    return Result(network, proof, status, solution, problem, patterns, monitor.laps, monitor.effort)


def _certified(
    problem: TrainingProblem, patterns: Patterns, network: Network, solution: Solution, tol: float
) -> Certificate:
    """The certificate over patterns from the dual variable of the program or, where that is poor, of the network."""
    proof = _certify_over(problem, patterns, network, solution.dual, tol, solution.penalized)
    if proof.gap <= tol:
        return proof
    # The network's own residual is the better one above the largest weight decay that needs neurons, for instance.
    residual = -problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight)
    return min(proof, _certify_over(problem, patterns, network, residual, tol), key=lambda c: c.gap)


def _certify_over(
    problem: TrainingProblem,
    patterns: Patterns,
    network: Network,
    dual: Array,
    tol: float,
    penalized: Array | None = None,
) -> Certificate:
    nu = problem.feasible_direction(dual, penalized)
    if problem.Y.shape[1] == 1 or not patterns.complete:
        return certificate(problem, network, nu, dual_norm_over_patterns(problem.arrangement, patterns, nu))
    return certificate(problem, network, nu, _joint_norm(problem, network, nu, tol))


def _joint_norm(problem: TrainingProblem, network: Network, nu: Array, tol: float) -> DualNorm:
    """The dual norm of several tasks over all neurons; no pattern needs to be known for that."""
    starts = problem.arrangement.from_weights(network.hidden, network.hidden_bias)
    best = max(best_neuron(problem.arrangement, nu, starts)[0], problem.penalty)
    return dual_norm(problem.arrangement, nu, target=best * (1 + PROOF_SHARE * tol), starts=starts)


def check_arguments(
    problem: TrainingProblem,
    tol: float,
    time_limit: float | None,
    random_state: int = 0,
    max_iter: int | None = None,
    max_boxes: int | None = None,
) -> None:
    """Raise InvalidInputError for an argument that cannot be used."""
    if not isinstance(problem, TrainingProblem):
        raise InvalidInputError(
            f"`problem` must be a TrainingProblem, got {type(problem).__name__}; write TrainingProblem(X, Y, ...)."
        )
    if check_number(tol, "tol", above=0.0) >= 1:
        raise InvalidInputError(f"`tol` is a relative gap and must be below 1, got {tol!r}.")
    if time_limit is not None:
        check_number(time_limit, "time_limit", above=0.0)
    check_count(random_state, "random_state", least=0)
    for name, value in (("max_iter", max_iter), ("max_boxes", max_boxes)):
        if value is not None:
            check_count(value, name)


def choose_patterns(problem: TrainingProblem, patterns: str | int | Patterns, random_state: int) -> Patterns:
    """The patterns an argument stands for."""
    if isinstance(patterns, Patterns):
        if patterns.key != problem.arrangement.key:
            raise InvalidInputError(
                f"`patterns` belong to other data or another bias convention than {problem}; "
                f"make them from the same `X` with bias={problem.bias!r}."
            )
        return patterns
    if _is(patterns, "enumerate"):
        return enumerate_arrangement(problem.arrangement)
    if isinstance(patterns, str):
        raise InvalidInputError(
            f"`patterns` must be 'generate', 'enumerate', an int or a Patterns object, got {patterns!r}."
        )
    return sample_arrangement(problem.arrangement, check_count(patterns, "patterns"), random_state)
