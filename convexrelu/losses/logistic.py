"""The logistic loss log(1 + exp(-y f)), for labels -1 and 1."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from scipy.special import expit

from convexrelu.arrays import Array
from convexrelu.losses.entropy import entropy
from convexrelu.losses.labels import signs
from convexrelu.losses.loss import Loss, LossCone


class LogisticLoss(Loss):
    """L(F) = sum_i weight_i log(1 + exp(-y_i f_i)).

    With nu_i = weight_i y_i a_i, D(nu) = sum_i weight_i (-a_i log a_i - (1 - a_i) log(1 - a_i)) for 0 <= a_i <= 1.
    It is PyTorch's BCEWithLogitsLoss, summed, whose targets are 0 and 1.
    """

    name = "logistic"
    is_smooth = True
    is_classification = True

    def targets(self, Y: Array) -> Array:
        """Labels -1 and 1; 0 is taken for -1."""
        return signs(Y, self.name)

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        return float(np.sum(weight[:, None] * np.logaddexp(0.0, -Y * F)))

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        gradient: Array = -weight[:, None] * Y * expit(-Y * F)
        return gradient

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        curvature: Array = weight[:, None] * expit(F) * expit(-F)
        return curvature

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        return np.where(Y > 0, 0.0, -weight[:, None]), np.where(Y > 0, weight[:, None], 0.0)

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        part, heavy = Y * nu, weight > 0
        if not ((part >= 0) & (part <= weight[:, None])).all():
            return -math.inf, 0.0
        scale = np.broadcast_to(weight[heavy, None], part[heavy].shape)
        return entropy(np.stack([part[heavy], scale - part[heavy]]), scale)

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        """None: samples far on their side cost nothing."""
        return math.inf

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        """Minimise weight t with exp(-t) + exp(-y f - t) <= 1: u + v <= 1, exp(-t) <= u, exp(-y f - t) <= v."""
        n = Y.size
        one, zero = sp.eye_array(n), sp.csr_array((n, n))
        row = sp.kron(one, [[1.0], [0.0], [0.0]]).tocsr()
        last = sp.kron(one, [[0.0], [0.0], [1.0]]).tocsr()
        return LossCone(
            quadratic=np.zeros(n),
            linear=np.zeros(n),
            auxiliary=np.concatenate([np.repeat(weight, Y.shape[1]), np.zeros(2 * n)]),
            fit_rows=sp.csc_array(sp.vstack([zero, sp.csr_array((3 * n, n)), row @ sp.diags_array(Y.ravel())])),
            auxiliary_rows=sp.csc_array(
                sp.vstack(
                    [
                        sp.hstack([zero, one, one]),
                        sp.hstack([row, -last, sp.csr_array((3 * n, n))]),
                        sp.hstack([row, sp.csr_array((3 * n, n)), -last]),
                    ]
                )
            ),
            rhs=np.concatenate([np.ones(n), np.tile([0.0, 1.0, 0.0], 2 * n)]),
            n_nonneg=n,
            n_exponential=2 * n,
        )
