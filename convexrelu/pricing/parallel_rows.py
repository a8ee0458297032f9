"""Samples on one ray, of which proofs need one: `merge_parallel`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `R` bound on a free bias, `nu` (n, T), `u` a neuron of cost
one.

Samples z_j = c_j z with c_j >= 0 have the kink of z: together they are one sample z with dual variable sum_j c_j nu_j.
Bounded one by one, samples whose dual variables differ in sign give a loose bound wherever their kink is, and the dual
norm of a solved program is attained on kinks: two equal inputs among 14 of rank 4 used up 20 million boxes without a
proof, together they take 2,900.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray, row_norms, safe_row_norms

# Directions are compared to this many digits first; neighbours that this parts stay as they are, which is no error.
DIGITS = 12


@dataclass(frozen=True, eq=False)
class MergedRows:
    """Fewer samples Z (m, k) with their nu (m, T); dual norms of the given ones exceed theirs by at most `slack`."""

    Z: Array
    nu: Array
    slack: float = 0.0


def merge_parallel(Z: Array, nu: Array, p: int) -> MergedRows:
    """Samples on one ray as their longest: a free bias keeps its bound.

    Notes
    -----
    |relu(z_j . u) - c_j relu(z . u)| <= |(z_j - c_j z) . u|, which is at most sqrt(2) times the distance of the rows
    with R for the column of a free bias. Sums of m numbers nu are off by m EPS, the distance itself by 2 (k + 4) EPS.
    """
    W = np.array(Z)
    W[:, p:] *= float(row_norms(Z[:, :p]).max(initial=0.0)) or 1.0
    norms = safe_row_norms(W)
    leader = _leaders(W, norms)
    share = norms / np.where(norms > 0, norms, 1.0)[leader]
    distance = safe_row_norms(W - share[:, None] * W[leader])
    apart = distance > 8 * W.shape[1] * EPS * norms
    leader[apart], share[apart] = np.flatnonzero(apart), 1.0
    kept, group, count = np.unique(leader, return_inverse=True, return_counts=True)
    if len(kept) == len(Z):
        return MergedRows(Z, nu)
    total = np.zeros((len(kept), nu.shape[1]))
    np.add.at(total, group, share[:, None] * nu)
    off = distance + 2 * (count[group] + W.shape[1] + 8) * EPS * norms
    moved = count[group] > 1
    return MergedRows(Z[kept], total, float(np.sqrt(2) * (row_norms(nu) * off)[moved].sum()))


def _leaders(W: Array, norms: Array) -> IntArray:
    """For each row the longest one (n,) of its direction."""
    longest_first = np.argsort(-norms, kind="stable")
    units = np.round(W / np.where(norms > 0, norms, 1.0)[:, None], DIGITS)[longest_first] + 0.0
    _, first, group = np.unique(units, axis=0, return_index=True, return_inverse=True)
    leader = np.empty(len(W), dtype=np.intp)
    leader[longest_first] = longest_first[first][group.reshape(-1)]
    return leader
