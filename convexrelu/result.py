"""What `solve` returns: `Status`, `Solution`, `Result`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from convexrelu.arrays import Array
from convexrelu.certificate import Certificate
from convexrelu.kernel import Kernel, kernel_of
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.patterns.patterns import Patterns, neuron_patterns
from convexrelu.problem import TrainingProblem
from convexrelu.validation import check_number

if TYPE_CHECKING:
    from convexrelu.optimal_set import OptimalSet


class Status(Enum):
    """What was reached, judged by our own objective and lower bound; `advice` says what to do about it."""

    OPTIMAL = "optimal"
    UNPROVEN = "unproven"
    PATTERN_OPTIMAL = "pattern_optimal"
    LIMIT = "limit"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def advice(self) -> str:
        """One line."""
        return _ADVICE[self]


_ADVICE = {
    Status.OPTIMAL: "The global optimum, proven within `tol`.",
    Status.UNPROVEN: "No better neuron was found, none was ruled out: allow more `max_boxes`, or a larger `tol`.",
    Status.PATTERN_OPTIMAL: "Optimal for the given patterns only; write patterns='generate' for the global optimum.",
    Status.LIMIT: "A limit was reached: allow more time or rounds, or go on with `warm_start=result.network`.",
    Status.INTERRUPTED: "Stopped by the user; go on with `warm_start=result.network`.",
    Status.FAILED: "The gap stayed above `tol`; try another backend, a larger `tol`, or rescale the data.",
}


@dataclass(frozen=True, eq=False)
class Solution:
    """A point of the convex program, in the reduced coordinates of `TrainingProblem.arrangement`.

    Attributes
    ----------
    neurons : float64 (m, k)
        Block weights u.
    outputs : float64 (m, T)
        Unit output directions: +1 or -1 for one task. The prediction is sum_j relu(Z u_j) outputs_j plus the linear
        part.
    free, penalized : float64 (q, T), (q', T)
        Coefficients of the unpenalised and penalised columns of `TrainingProblem.linear`.
    dual : float64 (n, T)
        The dual variable of the program as its solver left it.
    message : str
        What the solver said; a report, never a proof.
    """

    neurons: Array
    outputs: Array
    free: Array
    penalized: Array
    dual: Array
    message: str = ""

    @classmethod
    def empty(cls, problem: TrainingProblem, message: str) -> Solution:
        """The point zero with the dual variable zero: what is left when a backend returns nothing."""
        T = problem.Y.shape[1]
        return cls(
            neurons=np.zeros((0, problem.arrangement.Z.shape[1])),
            outputs=np.zeros((0, T)),
            free=np.zeros((problem.linear.free.shape[1], T)),
            penalized=np.zeros((problem.linear.penalized.shape[1], T)),
            dual=np.zeros_like(problem.Y),
            message=message,
        )


@dataclass(frozen=True, eq=False)
class Result:
    """A trained network with its proof.

    Attributes
    ----------
    network : Network
    certificate : Certificate
        Of exactly this network.
    status : Status
    given_patterns : Patterns or None
        Those of the program, if they were given, sampled or enumerated.
    solution : Solution
        Of that program.
    problem : TrainingProblem
    timings : mapping of str to float
        Seconds per part.
    effort : mapping of str to int
        How hard pattern generation tried: its "rounds", the "starts" of its search for missing neurons (which proves
        nothing) and the "boxes" of its proofs.
    canonical : bool
        Whether the network is the one that the rule of `solve` chooses among all optimal ones, to rounding. The rule is
        applied to the neurons that a search finds; `optimal_set()` proves that there are no others. False where nothing
        is proven optimal, where several tasks have infinitely many optimal neurons, for problems too large for it, and
        where Newton's method does not bring the optimum to rounding.
    """

    network: Network
    certificate: Certificate
    status: Status
    solution: Solution
    problem: TrainingProblem
    given_patterns: Patterns | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    effort: Mapping[str, int] = field(default_factory=dict)
    canonical: bool = False

    @property
    def objective(self) -> float:
        """The objective of the network."""
        return self.certificate.objective

    @cached_property
    def patterns(self) -> Patterns:
        """The patterns of the program; of a generated one, those of its neurons."""
        if self.given_patterns is not None:
            return self.given_patterns
        return neuron_patterns(self.problem.arrangement, self.solution.neurons)

    def kernel(self, without_task: int | None = None) -> Kernel:
        """The kernel in which every task's predictions are those of kernel ridge regression.

        Parameters
        ----------
        without_task : int, optional
            A task that the kernel shall not be made of; it still predicts that task, the better the more others.

        Raises
        ------
        UnsupportedError
            For losses other than the squared one.

        Notes
        -----
        Exact at the optimum (theory: stationarity in the output weights); predictions differ by what the gap allows.

        Examples
        --------
        >>> import numpy as np, convexrelu as cr
        >>> X, Y = np.array([[0.0], [1.0], [3.0]]), np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
        >>> result = cr.solve(cr.TrainingProblem(X, Y, weight_decay=0.1), tol=1e-8)
        >>> bool(np.allclose(result.kernel().predict(X), result.network(X), atol=1e-4))
        True
        """
        return kernel_of(self.problem, self.network, without_task)

    def optimal_set(self, time_limit: float | None = None) -> OptimalSet:
        """All optimal networks of the problem, of which `network` is one.

        Parameters
        ----------
        time_limit : float, optional
            Seconds.

        Returns
        -------
        OptimalSet
            Complete where it is proven which directions are active; its `completeness` says how. For a result optimal
            among given patterns: all networks with these patterns.

        Raises
        ------
        InvalidInputError
            If the result is not optimal, or not accurate enough to be brought to the optimum.
        UnsupportedError
            For a loss of your own that is flat, or has kinks; for labels that let a free linear part grow for ever.
        TimeLimitError
            If the time is over before the set is known.

        Notes
        -----
        Newton's method brings network and dual variable to rounding. Losses with kinks, and flat ones, leave the
        predictions open as well: the set is then a polytope of weights and predictions. Which directions are active is
        checked pattern by pattern where these are at most 20,000: a small least squares problem each, for several tasks
        a small singular value decomposition for each face of a cone. Where they are more, a search finds the active
        directions and, for one task, a branch and bound proves that there are no others, if the rank of the data
        allows. Several tasks may have infinitely many active directions: then `is_finite` is false.
        """
        from convexrelu.optimal_set import OptimalSet

        if time_limit is not None:
            check_number(time_limit, "time_limit", above=0.0)
        return OptimalSet.of(self, Monitor(time_limit=time_limit))

    def __repr__(self) -> str:
        c = self.certificate
        proof = f"lower_bound={c.lower_bound:.8g}, gap={c.gap:.2g}, scope={c.scope!r}"
        return f"Result({self.status.name}, objective={c.objective:.8g}, {proof}, {self.network.n_neurons} neurons)"


def judge(proof: Certificate, tol: float, monitor: Monitor) -> Status:
    """The status that a certificate supports."""
    # A gap far below zero, or none, is a contradiction.
    if -tol <= proof.gap <= tol:
        return Status.OPTIMAL if proof.scope == "global" else Status.PATTERN_OPTIMAL
    if monitor.interrupted:
        return Status.INTERRUPTED
    return Status.LIMIT if monitor.at_limit else Status.FAILED
