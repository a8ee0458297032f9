"""Whether a network is optimal, and if not, why: `Membership`.

Letters: `nu` (n, T) dual variable, `lam` price of norm, `F` (n, T) predictions.
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

    Together they are sufficient: -nu is a subgradient of the loss at the predictions, and each neuron costs what it
    earns, its share of <nu, F>; so nu proves the network optimal.
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
    F = network(problem.X)
    if problem.loss.couples_tasks and problem.linear.free.shape[1]:
        F = F - (F - optimal.optimum.fit).mean(axis=1, keepdims=True)  # what softmax does not see
    off = optimal.fits.off(F)
    i, t = (int(index) for index in np.unravel_index(int(np.argmax(off)), off.shape))
    if off[i, t] <= tol * max(problem.loss.unit(problem.Y), 1e-300):
        return ""
    low, high = optimal.fits.lower[i, t], optimal.fits.upper[i, t]
    wanted = f"{low:.8g}" if low == high else f"at most {high:.8g}" if np.isfinite(high) else f"at least {low:.8g}"
    task = f" for task {t}" if problem.Y.shape[1] > 1 else ""
    return f"it predicts {F[i, t]:.8g} at {problem.X[i].tolist()}{task}, every optimal network {wanted}"


def _linear_part(optimal: OptimalSet, network: Network, tol: float) -> str:
    problem = optimal.problem
    T = problem.Y.shape[1]
    skip, constant = problem.linear.to_weights(np.zeros((optimal.optimum.n_free, T)), optimal.optimum.penalized)
    for name, given, wanted in (("skip", network.skip, skip), ("output_bias", network.output_bias, constant)):
        if getattr(problem, name) != "penalized":
            continue
        size = max(float(np.abs(wanted).max()), problem.loss.unit(problem.Y))
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
    problem, nu = optimal.problem, optimal.optimum.nu
    features = np.maximum(problem.X @ network.hidden.T + network.hidden_bias, 0.0)
    earned = np.einsum("nt,nm,mt->m", nu, features, network.output)
    cost = problem.penalty * network.neuron_norms() * row_norms(network.output)
    size = problem.penalty * max(optimal.polytope.total, 1e-300)
    wasted = np.abs(cost - earned)
    if wasted.max(initial=0.0) <= tol * size:
        return ""
    j = int(np.argmax(wasted))
    share = float(earned[j] / cost[j]) if cost[j] > 0 else 0.0
    return f"the direction of neuron {j} is not active: it earns {share:.8g} of what it costs"
