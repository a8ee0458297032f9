"""Samples on one line, of which proofs need one: `merge_parallel`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `R` bound on a free bias, `nu` (n, T), `u` a neuron of cost
one.

Samples z_j = c_j z have the kink of z. Those with c_j >= 0 are together one sample z with dual variable sum_j c_j nu_j;
for the others relu(c_j z . u) = |c_j| relu(z . u) + c_j z . u, where the linear parts of all lines add up to L' u, for
each task one sample less its opposite. Bounded one by one, samples whose dual variables differ in sign give a loose
bound wherever their kink is, and the dual norm of a solved program is attained on kinks: two equal inputs among 14 of
rank 4 used up 20 million boxes without a proof, together they take 2,900.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray, row_norms, safe_row_norms

# Lines are compared to this many digits first; neighbours that this parts stay as they are, which is no error.
DIGITS = 12


@dataclass(frozen=True, eq=False)
class MergedRows:
    """Samples Z (m, k) with their nu (m, T); dual norms of the given ones exceed theirs by at most `slack`."""

    Z: Array
    nu: Array
    slack: float = 0.0


def merge_parallel(Z: Array, nu: Array, p: int) -> MergedRows:
    """Samples on one line as their longest; with a free bias only equal ones, so that it keeps its bound.

    Notes
    -----
    |relu(z_j . u) - relu(c_j z . u)| <= |(z_j - c_j z) . u|, which is at most sqrt(2) times the distance of the rows
    with R for the column of a free bias. Sums of m numbers nu are off by m EPS, the distance itself by 2 (k + 4) EPS.
    """
    if not Z.size:
        return MergedRows(Z, nu)
    W = np.array(Z)
    W[:, p:] *= float(row_norms(Z[:, :p]).max(initial=0.0)) or 1.0
    norms = safe_row_norms(W)
    leader, share, distance = _shares(W, norms, lines=True)
    opposite = share < 0
    if 0 < opposite.sum() <= 2 * nu.shape[1]:
        # Their linear part would be as many samples.
        leader, share, distance = _shares(W, norms, lines=False)
        opposite[:] = False
    kept, group, count = np.unique(leader, return_inverse=True, return_counts=True)
    if len(kept) == len(Z):
        return MergedRows(Z, nu)
    total = np.zeros((len(kept), nu.shape[1]))
    np.add.at(total, group, np.abs(share)[:, None] * nu)
    terms = count[group] + np.where(opposite, opposite.sum() + 8, 0)
    off = distance + 2 * (terms + W.shape[1] + 8) * EPS * norms
    moved = count[group] > 1
    slack = float(np.sqrt(2) * (row_norms(nu) * off)[moved].sum())
    linear = (share[:, None] * Z[leader])[opposite].T @ nu[opposite]
    rows, weights = _linear_rows(linear)
    return MergedRows(np.vstack([Z[kept], rows]), np.vstack([total, weights]), slack)


def _shares(W: Array, norms: Array, lines: bool) -> tuple[IntArray, Array, Array]:
    """For each row the longest one of its line, or ray, its multiple of that, and how far it is from it, all (n,)."""
    units = np.round(W / np.where(norms > 0, norms, 1.0)[:, None], DIGITS) + 0.0
    turned = np.ones(len(W))
    if lines:
        first = (units != 0).argmax(axis=1)
        turned = np.where(units[np.arange(len(W)), first] < 0, -1.0, 1.0)
    longest_first = np.argsort(-norms, kind="stable")
    units = (units * turned[:, None] + 0.0)[longest_first]
    _, first, group = np.unique(units, axis=0, return_index=True, return_inverse=True)
    leader = np.empty(len(W), dtype=np.intp)
    leader[longest_first] = longest_first[first][group.reshape(-1)]
    share = turned * turned[leader] * norms / np.where(norms > 0, norms, 1.0)[leader]
    distance = safe_row_norms(W - share[:, None] * W[leader])
    apart = distance > 8 * W.shape[1] * EPS * norms
    leader[apart], share[apart], distance[apart] = np.flatnonzero(apart), 1.0, 0.0
    return leader, share, distance


def _linear_rows(L: Array) -> tuple[Array, Array]:
    """Samples (2 T, k) and dual variables (2 T, T) whose correlations are L' u (k, T)."""
    if not L.any():
        return np.zeros((0, len(L))), np.zeros((0, L.shape[1]))
    sizes = safe_row_norms(L.T)
    rows = L.T / np.where(sizes > 0, sizes, 1.0)[:, None]
    return np.vstack([rows, -rows]), np.vstack([np.diag(sizes), -np.diag(sizes)])
