"""Whether a vector is a sum of given ones, each at most once in either direction: `shares_of`.

Letters: `delta` (k, T) vectors, `S` (T,) their sum, `theta` (k,) the share of each, in [-1, 1]. All such sums are a
zonotope (theory D.2).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms


def shares_of(delta: Array, S: Array, tie: float) -> Array | None:
    """Shares (k,) within [-1, 1] whose sum is S up to `tie`, which is a proof; None if a linear program finds none.

    Cost O(k T^2) where a sum of least squares will do, as for many vectors in all directions.
    """
    size = row_norms(delta)
    unit = delta / np.where(size > 0, size, 1.0)[:, None]
    # Of all shares the least, in the mean with the sizes as weights: theta_k = unit_k . multiplier.
    multiplier = np.linalg.lstsq(unit.T @ delta, S, rcond=len(delta) * EPS)[0]
    for shares in (lambda: unit @ multiplier, lambda: _nearest(delta, S)):
        theta = np.clip(shares(), -1.0, 1.0)
        if float(np.linalg.norm(S - theta @ delta)) <= tie:
            return theta
    return None


def _nearest(delta: Array, S: Array) -> Array:
    """Shares whose sum misses S by least in the sum over tasks, by a linear program."""
    from scipy.optimize import linprog

    k, T = delta.shape
    unit = float(np.abs(delta).max(initial=0.0)) or 1.0
    matrix = np.column_stack([delta.T / unit, np.eye(T), -np.eye(T)])
    price = np.concatenate([np.zeros(k), np.ones(2 * T)])
    bounds = [(-1.0, 1.0)] * k + [(0.0, None)] * (2 * T)
    found = linprog(price, A_eq=matrix, b_eq=S / unit, bounds=bounds)
    return np.asarray(found.x[:k]) if found.success else np.zeros(k)
