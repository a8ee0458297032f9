"""The kinks of negative samples, smoothed by an augmented Lagrangian: shared by the searches for one and several tasks.

Letters: `a` (B, n) weights, `c` (B, n) slopes that serve as multipliers, `u` (B, k) neurons, `t` (B, n) their
pre-activations.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from convexrelu.arrays import Array


class Weighted(Protocol):
    """Many neurons with the weights and the multipliers of their samples."""

    @property
    def a(self) -> Array:
        """Weights (B, n)."""

    @property
    def c(self) -> Array:
        """Multipliers (B, n)."""


def stiffness_of(squares: Array, a: Array, kappa: float) -> tuple[Array, Array]:
    """Curvature (n,) of a tight row, `kappa` / |z_i|^2, and the stiffness (B, n) of every kink that makes it so."""
    negative = a < 0
    curvature = kappa / np.where(squares > 0, squares, np.inf)
    stiffness = np.where(negative, curvature / np.where(negative, -a, 1.0), 1.0)
    return curvature, np.where(stiffness > 0, stiffness, 1.0)


def smoothed_slopes(batch: Weighted, t: Array, stiffness: Array) -> Array:
    """Slopes at `t`: the augmented Lagrangian's for negative samples, the bit for the others."""
    return np.where(batch.a < 0, np.clip(batch.c + t * stiffness, 0, 1), t > 0)


def smoothed_merit(n_penalized: int, batch: Weighted, u: Array, t: Array, stiffness: Array) -> Array:
    """1/2 |S u|^2 - a . relu(Z u) with the smoothed kinks."""
    c = smoothed_slopes(batch, t, stiffness)
    smoothing = np.where(batch.a < 0, (c - batch.c) ** 2 / (2 * stiffness), 0.0)
    cost = 0.5 * np.einsum("bj,bj->b", u[:, :n_penalized], u[:, :n_penalized])
    return np.asarray(cost - np.einsum("bi,bi->b", batch.a, c * t - smoothing))
