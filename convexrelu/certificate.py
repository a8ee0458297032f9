"""`Certificate`: a network's objective next to a proven lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.problem import TrainingProblem

# Smaller objectives are not told from zero whatever the data.
TINY = 1e-300
# A bound this far above what a network attains, relative, contradicts it: less may be that it meets targets nearly.
CONTRADICTION = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """How far a network can be from optimal.

    Attributes
    ----------
    objective : float
        Of the network, non-convex.
    lower_bound : float
        On the objective of every network (`scope="global"`), or of every network with the given patterns
        (`scope="patterns"`); rounding is subtracted.
    scope : {"global", "patterns"}
    dual : float64 (n, T)
        The feasible dual variable that proves the bound.
    dual_norm : float
        Proven upper bound on its dual norm; at most the weight decay (one for interpolation).
    negligible : float
        Objectives below this are rounding; the gap of such a network is relative to this instead.
    """

    objective: float
    lower_bound: float
    scope: str
    dual: Array
    dual_norm: float
    negligible: float = TINY

    @property
    def gap(self) -> float:
        """(objective - lower_bound) / max(|objective|, negligible); infinite if it misses targets it must meet."""
        if math.isinf(self.objective):
            return math.inf
        return (self.objective - self.lower_bound) / max(abs(self.objective), self.negligible)

    def __repr__(self) -> str:
        return (
            f"Certificate(objective={self.objective:.10g}, lower_bound={self.lower_bound:.10g}, gap={self.gap:.2g}, "
            f"scope={self.scope!r})"
        )


def certificate(problem: TrainingProblem, network: Network, nu: Array, norm: DualNorm) -> Certificate:
    """The certificate that a dual variable nu (n, T), orthogonal to the free columns, gives a network.

    References
    ----------
    M. Pilanci and T. Ergen, "Neural networks are convex regularizers", ICML 2020, equation (6): weak duality.
    """
    objective = problem.objective(network)
    bound, dual = problem.lower_bound(nu, norm)
    negligible = max(problem.negligible, TINY)
    if bound > objective + CONTRADICTION * max(abs(objective), negligible):
        # Then something above is wrong, and nothing it says is to be believed.
        bound = 0.0
    size = float(np.abs(nu).max(initial=0.0))
    scale = float(np.abs(dual).max(initial=0.0)) / size if size > 0 else 0.0
    return Certificate(objective, bound, norm.scope, dual, scale * norm.upper, negligible)
