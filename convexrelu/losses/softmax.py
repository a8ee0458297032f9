"""The softmax cross-entropy of several classes."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from scipy.special import softmax

from convexrelu.arrays import EPS, Array
from convexrelu.losses.entropy import entropy
from convexrelu.losses.labels import one_hot
from convexrelu.losses.loss import Loss, LossCone

# Rows of a dual variable sum to zero up to this (relative to the sample weight); the sum itself is accounted for.
ROW_SUM = 1e-9


class SoftmaxLoss(Loss):
    """L(F) = sum_i weight_i (log sum_c exp(f_ic) - f_iy) for predictions (n, C), one column for each class.

    With q_i = onehot(y_i) - nu_i / weight_i, D(nu) = -sum_i weight_i sum_c q_ic log q_ic for q_i in the simplex. It is
    PyTorch's CrossEntropyLoss, summed. Targets are the classes 0, ..., C - 1 as a vector, or one-hot rows.

    Notes
    -----
    A constant added to a row of F changes nothing, and no network is worse than the one whose outputs are centred,
    sum_c f_ic = 0: every bound need only hold for these. Moving nu_i by a constant changes nothing for them either. So
    D takes rows that sum to zero up to rounding, and evaluates the row that does so exactly.
    """

    name = "softmax"
    is_smooth = True
    is_classification = True
    couples_tasks = True

    def targets(self, Y: Array) -> Array:
        """Classes as a column, or one-hot rows."""
        return one_hot(Y, self.name)

    def value(self, F: Array, Y: Array, weight: Array) -> float:
        # Differences to the label's own entry: accurate where the loss is small.
        rows = np.logaddexp.reduce(F - np.sum(F * Y, axis=1, keepdims=True), axis=1)
        return float(np.sum(weight * rows))

    def gradient(self, F: Array, Y: Array, weight: Array) -> Array:
        """With rows that sum to zero: the label's own entry is minus the sum of the others."""
        p: Array = softmax(F, axis=1)
        others = np.where(Y == 1, 0.0, p)
        gradient: Array = weight[:, None] * (others - Y * others.sum(axis=1, keepdims=True))
        return gradient

    def curvature(self, F: Array, Y: Array, weight: Array) -> Array:
        p: Array = softmax(F, axis=1)
        return weight[:, None] * p * (1 - p)

    def hessian(self, F: Array, Y: Array, weight: Array) -> Array:
        """Rows weight (diag(p) - p p^T)."""
        p: Array = softmax(F, axis=1)
        diagonal = p[:, :, None] * np.eye(F.shape[1])
        return weight[:, None, None] * (diagonal - p[:, :, None] * p[:, None, :])

    def domain(self, Y: Array, weight: Array) -> tuple[Array, Array]:
        return np.where(Y == 1, 0.0, -weight[:, None]), np.where(Y == 1, weight[:, None], 0.0)

    def dual_value(self, nu: Array, Y: Array, weight: Array) -> tuple[float, float]:
        heavy = weight > 0
        if nu[~heavy].any():
            return -math.inf, 0.0
        nu, Y, scale = nu[heavy], Y[heavy], weight[heavy, None]
        q = np.where(Y == 1, scale - nu, -nu)
        # Centring the row moves each entry by the mean of the row, which this bounds.
        shift = np.abs(nu.sum(axis=1, keepdims=True)) + nu.shape[1] * EPS * np.abs(nu).sum(axis=1, keepdims=True)
        if (shift > ROW_SUM * scale).any() or (q < 2 * shift).any():
            return -math.inf, 0.0
        value, error = entropy(q, np.broadcast_to(scale, q.shape))
        # |d(x log x)| <= (1 + |log x|) dx, with x at least half of q.
        moved = shift * (2 - np.log(np.where(q > 0, q, 1.0) / scale))
        return value, error + (1 + 1e-6) * math.fsum(moved.ravel())

    def fit_radius(self, value: float, Y: Array, weight: Array) -> float:
        """None: samples far on their side cost nothing."""
        return math.inf

    def cone_form(self, Y: Array, weight: Array) -> LossCone:
        """Minimise weight (t - f_y) with sum_c u_c <= 1 and exp(f_c - t) <= u_c."""
        n, C = Y.shape
        one, per_row = sp.eye_array(n * C), sp.kron(sp.eye_array(n), np.ones((1, C)))
        first = sp.kron(one, [[1.0], [0.0], [0.0]]).tocsr()
        last = sp.kron(one, [[0.0], [0.0], [1.0]]).tocsr()
        return LossCone(
            quadratic=np.zeros(n * C),
            linear=-(weight[:, None] * Y).ravel(),
            auxiliary=np.concatenate([weight, np.zeros(n * C)]),
            fit_rows=sp.csc_array(sp.vstack([sp.csr_array((n, n * C)), -first])),
            auxiliary_rows=sp.csc_array(
                sp.vstack([sp.hstack([sp.csr_array((n, n)), per_row]), sp.hstack([first @ per_row.T, -last])])
            ),
            rhs=np.concatenate([np.ones(n), np.tile([0.0, 1.0, 0.0], n * C)]),
            n_nonneg=n,
            n_exponential=n * C,
        )
