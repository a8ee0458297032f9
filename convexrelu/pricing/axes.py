"""Coordinates in which boxes of directions bound well: `box_axes`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `V` (p, p) orthonormal, `u` a neuron, `nu` (n, T).

Over a box of half widths h a pre-activation z_i . u varies by sum_j |z_ij| h_j. Costs do not change when the penalised
coordinates are turned; along the principal axes of correlated columns (data that were not centred, for instance) that
sum is far smaller, and so is the number of boxes a proof takes: 380 times for softmax on raw iris.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.pricing.rounding import activation_sizes

# The data are turned where that shrinks the sum of |nu_i| |z_ij| to this share: others keep their exact integers.
WORTHWHILE = 0.9


@dataclass(frozen=True, eq=False)
class BoxAxes:
    """Turned data Z (n, k), the turn V (k, k), and how norms there bound norms here: `stretch` times, plus `slack`."""

    Z: Array
    V: Array
    stretch: float = 1.0
    slack: float = 0.0


def box_axes(arrangement: Arrangement, nu: Array) -> BoxAxes:
    """The principal axes of the penalised coordinates, or the given ones where these do about as well.

    Notes
    -----
    With u' = V^T u and Z' the computed Z V: |u'| <= |V| |u|, and Z' u' differs from Z u in row i by at most
    (|V V^T - I| + p^1.5 EPS |V|^2) times the size of the row's pre-activations; an anchored bias likewise.
    """
    Z, p = arrangement.Z, arrangement.n_penalized
    turned = np.array(Z)
    V = np.eye(Z.shape[1])
    V[:p, :p] = np.linalg.svd(Z[:, :p], full_matrices=False)[2].T if p and len(Z) else np.eye(p)
    turned[:, :p] = Z[:, :p] @ V[:p, :p]
    weight = row_norms(nu)
    if not weight @ np.abs(turned).sum(axis=1) < WORTHWHILE * (weight @ np.abs(Z).sum(axis=1)):
        return BoxAxes(Z, np.eye(Z.shape[1]))
    own = V[:p, :p]
    # The computed products are off by p^1.5 EPS themselves.
    defect = max(float(np.linalg.norm(A - np.eye(p))) for A in (own.T @ own, own @ own.T)) + 2 * p**1.5 * EPS
    off = 2 * (defect + 2 * p**1.5 * EPS)
    return BoxAxes(turned, V, 1.0 + defect, float(weight @ activation_sizes(arrangement)) * off)
