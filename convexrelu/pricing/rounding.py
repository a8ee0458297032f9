"""What rounding can add to a dual norm computed in reduced coordinates.

Letters: `Z` (n, k) reduced data, `u` (k,) a neuron of cost one, `nu` (n, T) dual variable.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import EPS, Array, row_norms
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.enumeration import equilibration


def bias_radius(arrangement: Arrangement) -> float:
    """Bound on the free coordinate of an anchored neuron of cost one; zero where every coordinate is penalised."""
    Z, p = arrangement.Z, arrangement.n_penalized
    return float(row_norms(Z[:, :p]).max(initial=0.0)) if p < Z.shape[1] else 0.0


def activation_sizes(arrangement: Arrangement) -> Array:
    """Bounds (n,) on |Z_i . u| over (anchored) neurons of cost one."""
    return row_norms(arrangement.Z[:, : arrangement.n_penalized]) + bias_radius(arrangement)


def reduction_slack(arrangement: Arrangement, nu: Array) -> float:
    """What the true dual norm may exceed `stretch` times the reduced one by, and room for scaling nu afterwards.

    Reduction moves each pre-activation by `row_error`; multiplying nu by a number rounds each entry by EPS / 2.
    """
    sizes = row_norms(nu)
    return float(sizes @ (arrangement.row_error + 4 * EPS * activation_sizes(arrangement)))


def fewer_tasks(arrangement: Arrangement, nu: Array) -> tuple[Array, float]:
    """As many tasks as nu (n, T) has independent columns, and what the dual norm of nu may exceed theirs by.

    With R (T, r) orthonormal up to rounding, |nu^T a| <= |R| |(nu R)^T a| + sum_i |nu_i - nu_i R R^T| a_i.
    """
    T = nu.shape[1]
    if T == 1 or not nu.any():
        return nu, 0.0
    singular, right = np.linalg.svd(nu, full_matrices=False)[1:]
    rank = int(np.sum(singular > max(nu.shape) * EPS * singular.max()))
    if rank == T:
        return nu, 0.0
    R = right[:rank].T
    less = nu @ R
    sizes = activation_sizes(arrangement)
    rounding = 4 * (T + rank) * EPS * row_norms(nu)
    defect = float(np.linalg.norm(R.T @ R - np.eye(rank))) + 4 * T * EPS
    return less, float((row_norms(nu - less @ R.T) + rounding + defect * row_norms(less)) @ sizes)


def evaluation_slack(arrangement: Arrangement, nu: Array) -> float:
    """Rounding of sums over samples: nu^T D Z computed with n-term sums of k-term products."""
    n, k = arrangement.Z.shape
    return float(2 * (n + k + 4) * EPS * (row_norms(nu) @ activation_sizes(arrangement)))


def resolution_slack(arrangement: Arrangement, nu: Array, resolution: float) -> tuple[float, float]:
    """(factor, addition) on a dual norm over patterns complete up to `resolution` (in equilibrated coordinates).

    A neuron u of cost one outside all listed cones has one u' inside a cone with |u - u'| <= resolution |u| in
    coordinates scaled by `equilibration`: u' costs at most `factor`, and their correlations differ by `addition`.
    """
    if resolution == 0:
        return 1.0, 0.0
    p = arrangement.n_penalized
    scale = equilibration(arrangement.Z)
    largest = float((1 / scale[:p]).max(initial=0.0) + (bias_radius(arrangement) / scale[p:]).sum())
    step = resolution * largest
    addition = float(row_norms(nu) @ row_norms(arrangement.Z * scale)) * step
    return 1.0 + step * float(scale[:p].max(initial=0.0)), addition
