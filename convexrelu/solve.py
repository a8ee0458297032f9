"""The front door: `solve` trains a network and proves how good it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.backends import get_backend
from convexrelu.certificate import Certificate, certificate
from convexrelu.errors import InvalidInputError
from convexrelu.network import Network
from convexrelu.patterns.enumeration import enumerate_arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.patterns.sampling import sample_arrangement
from convexrelu.pricing.dual_norm import dual_norm_over_patterns
from convexrelu.problem import TrainingProblem
from convexrelu.program import Program
from convexrelu.recovery import network_of
from convexrelu.result import Result, Solution, Status
from convexrelu.validation import check_count, check_number


def solve(
    problem: TrainingProblem,
    patterns: str | int | Patterns = "enumerate",
    backend: str = "clarabel",
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
    verbose: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Result:
    """Train a two-layer ReLU network and certify the result.

    Parameters
    ----------
    problem : TrainingProblem
    patterns : {"enumerate"}, int or Patterns
        The activation patterns of the convex program: all of them, that many sampled ones, or given ones.
    backend : str, default "clarabel"
        Who solves the program: see `available_backends`, or any solver installed in cvxpy by its name.
    tol : float in (0, 1), default 1e-6
        Relative gap to reach.
    time_limit : float, optional
        Seconds, passed to the backend.
    random_state : int, default 0
        Seed of the sampled patterns.
    verbose : bool, default False
        Whether the backend prints its progress.
    options : mapping, optional
        Options of the backend by their native names.

    Returns
    -------
    Result
        Its `status` is derived from our own objective and lower bound; the backend's word does not count.

    Raises
    ------
    InvalidInputError
        For arguments that cannot be used.
    TooManyPatternsError
        If there are too many patterns to enumerate.
    UnsupportedError
        If the backend cannot take the program; the message names one that can.
    NotInstalledError
        If the backend is not installed.

    Notes
    -----
    The certificate is global when the patterns are complete. A program over p patterns of rank r has 2 p (r + 1) + n
    variables.

    References
    ----------
    M. Pilanci and T. Ergen, "Neural networks are convex regularizers: exact polynomial-time convex optimization formulations
    for two-layer networks", ICML 2020, Theorem 1.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> result = cr.solve(problem, patterns="enumerate")
    >>> result.status, result.network.n_neurons
    (<Status.OPTIMAL: 'optimal'>, 2)
    """
    check_arguments(problem, tol, time_limit)
    solver = get_backend(backend)
    clock = Clock()
    chosen = choose_patterns(problem, patterns, random_state)
    clock.lap("patterns")
    program = Program(problem, chosen)
    conic = program.conic()
    clock.lap("program")
    # Two digits more than asked for: the gap also pays for the map back to a network.
    raw = solver.solve(conic, tol=min(0.01 * tol, 1e-8), options=options, verbose=verbose, time_limit=time_limit)
    clock.lap("backend")
    solution = program.recover(raw) if np.isfinite(raw.x).all() else _nothing(problem, raw.message)
    network = network_of(problem, solution, tol)
    proof = _certify_over(problem, chosen, network, solution.dual)
    clock.lap("certificate")
    limited = time_limit is not None and clock.total >= time_limit
    status = judge(proof, tol, limited)
    return Result(network, proof, status, chosen, solution, problem, clock.laps)


def check_arguments(problem: TrainingProblem, tol: float, time_limit: float | None) -> None:
    """Raise InvalidInputError for a problem, a tolerance or a time limit that cannot be used."""
    if not isinstance(problem, TrainingProblem):
        raise InvalidInputError(
            f"`problem` must be a TrainingProblem, got {type(problem).__name__}; write TrainingProblem(X, Y, ...)."
        )
    if check_number(tol, "tol", above=0.0) >= 1:
        raise InvalidInputError(f"`tol` is a relative gap and must be below 1, got {tol!r}.")
    if time_limit is not None:
        check_number(time_limit, "time_limit", above=0.0)


def choose_patterns(problem: TrainingProblem, patterns: str | int | Patterns, random_state: int) -> Patterns:
    """The patterns an argument stands for."""
    if isinstance(patterns, Patterns):
        if patterns.key != problem.arrangement.key:
            raise InvalidInputError(
                f"`patterns` belong to other data or another bias convention than {problem}; "
                f"make them from the same `X` with bias={problem.bias!r}."
            )
        return patterns
    if patterns == "enumerate":
        return enumerate_arrangement(problem.arrangement)
    if isinstance(patterns, str):
        raise InvalidInputError(f"`patterns` must be 'enumerate', an int or a Patterns object, got {patterns!r}.")
    return sample_arrangement(problem.arrangement, check_count(patterns, "patterns"), random_state)


def judge(proof: Certificate, tol: float, limited: bool = False) -> Status:
    """The status that a certificate supports."""
    if proof.gap <= tol:
        return Status.OPTIMAL if proof.scope == "global" else Status.PATTERN_OPTIMAL
    return Status.LIMIT if limited else Status.FAILED


def _certify_over(problem: TrainingProblem, patterns: Patterns, network: Network, dual: Array) -> Certificate:
    nu = problem.feasible_direction(dual)
    return certificate(problem, network, nu, dual_norm_over_patterns(problem.arrangement, patterns, nu))


def _nothing(problem: TrainingProblem, message: str) -> Solution:
    """The point zero with the dual variable zero: what is left when a backend returns nothing."""
    T = problem.Y.shape[1]
    return Solution(
        neurons=np.zeros((0, problem.arrangement.Z.shape[1])),
        outputs=np.zeros((0, T)),
        free=np.zeros((problem.linear.free.shape[1], T)),
        penalized=np.zeros((problem.linear.penalized.shape[1], T)),
        dual=np.zeros_like(problem.Y),
        message=message,
    )


class Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._start = self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start
