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


# Stiffness of the kinks that are not smoothed: their slope is 0 or 1 for any pre-activation but zero.
_HARD = 1e100


def stiffness_of(squares: Array, a: Array, kappa: float) -> tuple[Array, Array]:
    """Curvature (n,) of a tight row, `kappa` / |z_i|^2, and the stiffness (B, n) of every kink that makes it so."""
    curvature = kappa / np.where(squares > 0, squares, np.inf)
    # Without masks, which cost ten times as much.
    stiffness = -a
    np.maximum(stiffness, 1e-200, out=stiffness)
    with np.errstate(over="ignore"):  # of tiny data: what is infinite is cut
        np.divide(curvature, stiffness, out=stiffness)
    np.minimum(stiffness, _HARD, out=stiffness)
    # A zero row has no curvature, and any slope.
    stiffness[:, curvature == 0] = 1.0
    return curvature, stiffness


def smoothed_slopes(batch: Weighted, t: Array, stiffness: Array) -> Array:
    """Slopes at `t`: the augmented Lagrangian's for negative samples, the bit for the others."""
    slopes = t * stiffness
    slopes += batch.c
    np.maximum(slopes, 0.0, out=slopes)
    return np.asarray(np.minimum(slopes, 1.0, out=slopes))


def smoothed_merit(
    n_penalized: int, batch: Weighted, u: Array, t: Array, stiffness: Array, slopes: Array | None = None
) -> Array:
    """1/2 |S u|^2 - a . relu(Z u) with the smoothed kinks, from their slopes at `t` where these are known."""
    c = smoothed_slopes(batch, t, stiffness) if slopes is None else slopes
    smoothing = c - batch.c
    smoothing *= smoothing
    smoothing /= 2 * stiffness
    activations = c * t
    activations -= smoothing
    cost = 0.5 * np.einsum("bj,bj->b", u[:, :n_penalized], u[:, :n_penalized])
    return np.asarray(cost - np.einsum("bi,bi->b", batch.a, activations))
