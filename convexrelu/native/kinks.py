"""The kinks of the neurons, smoothed by an augmented Lagrangian.

Letters as in `convexrelu.native.reduced`, and `t = Z u` (m, n) pre-activations, `a = s nu` (m, n), `kappa` stiffness.

Where a < 0 the objective is convex across the kink of a sample and optimal neurons sit on it: there relu(t) is replaced
by max over c in [0, 1] of c t - (c - c_ref)^2 / (2 stiffness), whose slope c = clip(c_ref + stiffness t, 0, 1) is the
new multiplier. Where a > 0 no optimum sits on the kink and relu is kept. A neuron whose multiplier leaves [0, 1] slides
into the neighbouring cell: nothing else is needed to change patterns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.native.reduced import Evaluation, ReducedProblem

# |nu_i| is capped at this many weight decays per unit row when the kinks are smoothed, so that a dual variable far from
# its optimum does not smooth them over whole cells. Measured: at 1 the method wanders when the weight decay is
# 0.001 of its maximum; at 0.01 it needs more steps.
_CAP = 0.1


@dataclass(frozen=True)
class Kinks:
    """The smoothed kinks of one step.

    Attributes
    ----------
    soft : (m, n) bool
        Samples whose kink is smoothed.
    reference : (m, n) float64
        Multipliers of the previous step.
    stiffness : (m, n) float64
        Inverse width of the smoothing.
    """

    soft: BoolArray
    reference: Array
    stiffness: Array

    @classmethod
    def of(cls, problem: ReducedProblem, state: Evaluation, kappa: float) -> Kinks:
        """Smooth the kinks so that a tight row has about `kappa` times the curvature lam / |S u| of the cost."""
        iterate, lam = state.iterate, problem.weight_decay
        a = iterate.signs[:, None] * state.nu
        soft = a < -1e-14 * np.abs(state.nu).max(initial=0.0)
        size = np.minimum(np.where(soft, -a, 1.0), _CAP * lam * np.sqrt(problem.inverse_squares))
        curvature = kappa * lam / problem.costs(iterate.neurons)[:, None] * problem.inverse_squares
        usable = soft & (size > 0)
        return cls(usable, iterate.slopes, np.where(usable, curvature / np.where(usable, size, 1.0), 1.0))

    def activate(self, t: Array) -> tuple[Array, Array]:
        """Slopes and activations at pre-activations `t` (m, n)."""
        c = np.where(self.soft, np.clip(self.reference + t * self.stiffness, 0, 1), t > 0)
        return c, c * t - np.where(self.soft, (c - self.reference) ** 2 / (2 * self.stiffness), 0.0)

    def curvature(self, a: Array, c: Array) -> Array:
        """Second derivative of -a . relu along each row (m, n), where it is not negative."""
        return np.where(self.soft & (c > 0) & (c < 1), np.maximum(-a, 0.0) * self.stiffness, 0.0)
