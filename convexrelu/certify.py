"""`certify`: how far is any network from the global optimum."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.certificate import Certificate, certificate
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import dual_norm
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result
from convexrelu.solve import check_arguments, solve
from convexrelu.subgradient import subgradient

# Of the tolerance: what the solver's own bound may leave, so that a network at the optimum passes.
SHARE = 0.1
# Neurons that a search for better ones starts from: those of a wide network would take most of its time.
MOST_STARTS = 50
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
    problem.check_network(network)
    began = time.perf_counter()
    own = own_certificate(problem, network, tol, time_limit)
    if own.gap <= SHARE * tol:
        return own
    left = None if time_limit is None else max(time_limit - (time.perf_counter() - began), 1e-3)
    result = solve(problem, tol=SHARE * tol, time_limit=left, warm_start=network, canonical=False)
    return min(own, certificate_of(problem, network, result), key=lambda c: c.gap)


def certificate_of(problem: TrainingProblem, network: Network, result: Result) -> Certificate:
    """The certificate of a network that a solution of its problem gives."""
    return replace(result.certificate, objective=problem.objective(network))


def own_certificate(problem: TrainingProblem, network: Network, tol: float, time_limit: float | None) -> Certificate:
    """The certificate that the network's own residual gives."""
    nu = problem.feasible_direction(-subgradient(problem, network))
    starts = largest_neurons(problem, network)
    norm = dual_norm(
        problem.arrangement,
        nu,
        target=problem.penalty * (1 + 0.5 * SHARE * tol),
        max_boxes=FIRST_BOXES,
        time_limit=time_limit,
        starts=starts,
    )
    return certificate(problem, network, nu, norm)


def largest_neurons(problem: TrainingProblem, network: Network) -> Array:
    """The most costly neurons of a network (at most `MOST_STARTS`), in reduced coordinates."""
    U = problem.arrangement.from_weights(network.hidden, network.hidden_bias)
    size = problem.arrangement.cost(U) * row_norms(network.output)
    order = np.argsort(-size, kind="stable")[:MOST_STARTS]
    chosen: Array = U[order[size[order] > 0]]
    return chosen
