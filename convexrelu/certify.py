"""`certify`: how far is any network from the global optimum."""

from __future__ import annotations

import time

from convexrelu.certificate import Certificate, certificate
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import dual_norm
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result
from convexrelu.solve import check_arguments, solve

# Of the tolerance: what the solver's own bound may leave, so that a network at the optimum passes.
SHARE = 0.1
# Boxes spent on the bound that the network's own residual gives.
FIRST_BOXES = 20_000


def certify(
    problem: TrainingProblem, network: Network, tol: float = 1e-3, time_limit: float | None = None
) -> Certificate:
    """Prove how far a network, however trained, is from the global optimum.

    Parameters
    ----------
    problem : TrainingProblem
    network : Network
    tol : float in (0, 1), default 1e-3
        Accuracy of the lower bound: the gap of the certificate is at most this above the true one, where the proof
        succeeds.
    time_limit : float, optional
        Seconds.

    Returns
    -------
    Certificate
        Always global: the bound holds for every network of every width. Where the rank of the data makes the proof too
        long the gap is large, never wrong.

    Raises
    ------
    InvalidInputError
        If the network does not fit the problem.

    Notes
    -----
    The network's own residual is tried first as a dual variable; it gives a good bound only at the optimum. Otherwise
    the problem is solved, starting from the network, for the solution's dual variable.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> half = cr.Network([[1.0]], [0.0], [[0.5]])
    >>> round(cr.certify(problem, half).gap, 3)
    0.606
    """
    check_arguments(problem, tol, time_limit)
    return certify_and_solve(problem, network, tol, time_limit, network)[0]


def certify_and_solve(
    problem: TrainingProblem, network: Network, tol: float, time_limit: float | None, warm_start: Network | None
) -> tuple[Certificate, Result | None]:
    """The certificate of a network, and the solution it took; None where the network's own residual was enough."""
    began = time.perf_counter()
    own = _own_certificate(problem, network, tol, time_limit)
    if own.gap <= SHARE * tol:
        return own, None
    left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
    result = solve(problem, tol=SHARE * tol, time_limit=left, warm_start=warm_start)
    bound = result.certificate
    better = Certificate(own.objective, bound.lower_bound, bound.scope, bound.dual, bound.dual_norm, bound.negligible)
    return min(own, better, key=lambda c: c.gap), result


def _own_certificate(problem: TrainingProblem, network: Network, tol: float, time_limit: float | None) -> Certificate:
    """The certificate that the network's own residual gives."""
    nu = problem.feasible_direction(-problem.loss.gradient(network(problem.X), problem.Y, problem.sample_weight))
    starts = problem.arrangement.from_weights(network.hidden, network.hidden_bias)
    norm = dual_norm(
        problem.arrangement,
        nu,
        target=problem.penalty * (1 + 0.5 * SHARE * tol),
        max_boxes=FIRST_BOXES,
        time_limit=time_limit,
        starts=starts,
    )
    return certificate(problem, network, nu, norm)
