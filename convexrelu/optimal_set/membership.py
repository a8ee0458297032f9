"""Whether a network is optimal, and if not, why: `Membership`.

Letters: `nu` (n,) dual variable, `lam` price of norm, `u` (k,) a neuron with its output weight multiplied in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convexrelu.arrays import row_norms
from convexrelu.network import Network

if TYPE_CHECKING:
    from convexrelu.optimal_set.optimal_set import OptimalSet


@dataclass(frozen=True)
class Membership:
    """An answer with its reason; true or false in a condition."""

    holds: bool
    reason: str

    def __bool__(self) -> bool:
        return self.holds


def membership(optimal: OptimalSet, network: Network, tol: float) -> Membership:
    """Check the conditions of optimality one by one; the first that fails is the reason.

    Together they are sufficient: the predictions, hence the loss, are optimal; each neuron costs lam |u| = s nu .
    relu(Z u), its share of nu . f; so the cost is nu . f for all that satisfy them.
    """
    problem = optimal.problem
    problem.objective(network)  # raises if it does not fit
    checks = (
        _predictions(optimal, network, tol),
        _linear_part(optimal, network, tol),
        _balance(optimal, network, tol),
        _directions(optimal, network, tol),
    )
    failed = [reason for reason in checks if reason]
    return Membership(not failed, failed[0] if failed else "all conditions of optimality hold")


def _predictions(optimal: OptimalSet, network: Network, tol: float) -> str:
    problem = optimal.problem
    difference = np.abs(network(problem.X)[:, 0] - optimal.fit)
    worst = int(np.argmax(difference))
    if difference[worst] <= tol * max(float(np.abs(problem.Y).max()), 1e-300):
        return ""
    x, wanted = problem.X[worst].tolist(), optimal.fit[worst]
    return f"it predicts {network(problem.X)[worst, 0]:.8g} at {x}, every optimal network {wanted:.8g}"


def _linear_part(optimal: OptimalSet, network: Network, tol: float) -> str:
    problem = optimal.problem
    skip, constant = problem.linear.to_weights(np.zeros((optimal.state.n_free, 1)), optimal.penalized[:, None])
    for name, given, wanted in (("skip", network.skip, skip), ("output_bias", network.output_bias, constant)):
        if getattr(problem, name) != "penalized":
            continue
        size = max(float(np.abs(wanted).max()), float(np.abs(problem.Y).max()))
        if np.abs(given - wanted).max() > tol * size:
            return (
                f"its penalised {name} is {given.ravel().tolist()}, every optimal network's {wanted.ravel().tolist()}"
            )
    return ""


def _balance(optimal: OptimalSet, network: Network, tol: float) -> str:
    if optimal.problem.is_interpolation:
        return ""  # the objective is a product of norms, whatever the scaling
    inner, outer = network.neuron_norms(), row_norms(network.output)
    uneven = np.abs(inner - outer)
    if (uneven <= tol * np.maximum(np.sqrt(optimal.polytope.total), inner)).all():
        return ""
    j = int(np.argmax(uneven))
    return f"neuron {j} has norm {inner[j]:.8g} and output weight {outer[j]:.8g}: scaled to be equal, they cost less"


def _directions(optimal: OptimalSet, network: Network, tol: float) -> str:
    problem, state = optimal.problem, optimal.state
    features = np.maximum(problem.X @ network.hidden.T + network.hidden_bias, 0.0) * network.output[:, 0]
    cost = problem.penalty * network.neuron_norms() * row_norms(network.output)
    wasted = cost - state.nu @ features
    size = problem.penalty * max(optimal.polytope.total, 1e-300)
    if np.abs(wasted).max(initial=0.0) <= tol * size:
        return ""
    j = int(np.argmax(np.abs(wasted)))
    share = float(state.nu @ features[:, j] / cost[j]) if cost[j] > 0 else 0.0
    return f"the direction of neuron {j} is not active: it earns {share:.8g} of what it costs"
