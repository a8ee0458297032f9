"""Newton's step for several tasks over given knots: `group_step`, a banded linear system.

Letters: `z` (m, T) values at the nodes, `M` of the hat system, `delta` curvature, `u` (m, T) its unit directions, `c`
(m,) its sizes, `P_k = 1 - u_k u_k^T`, `a` (3, m) the coefficients of delta_k in z_{k-1}, z_k, z_{k+1}.

The norm |delta_k| has the second derivative P_k / c_k, huge for small curvature and, over close nodes, against entries
of M. So its force q_k = (lam / c_k) P_k delta_k becomes an unknown of its own, and no quotient is ever formed:

    M z + sum_k a_k q_k = rhs,    P_k delta_k(z) - (c_k / lam) q_k = 0,    u_k . q_k = 0.

A new knot has c_k = 0: its curvature keeps the direction u_k in this step.
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.univariate.banded import Bands
from convexrelu.univariate.hats import HatSystem, scaled_bends


def group_step(system: HatSystem, u: Array, c: Array, lam: float, rhs: Array) -> Array:
    """The z (m, T) where Newton's model is least; cost O(m T^3)."""
    m, T = rhs.shape
    unit, a = scaled_bends(system.x)
    bands = Bands(m, T)
    eye = np.eye(T)
    bands.add(0, 0, 0, system.diagonal[:, None, None] * eye)
    if system.off is not None:
        off = system.off[:, None, None] * eye
        bands.add(0, 0, 1, off)
        bands.add(0, 0, -1, off)
    outer = u[:, :, None] * u[:, None, :]
    P = eye - outer
    P[[0, -1]] = 0.0
    for p in (-1, 0, 1):
        here = slice(max(-p, 0), m - max(p, 0))  # knots k whose neighbour k + p exists
        coefficients = a[p + 1, here][:, None, None]
        bands.add(1, 0, p, coefficients * P[here])
        bands.add(0, 1, -p, coefficients * eye)
    own = (c * unit**2 / lam)[:, None, None] * P + outer
    own[[0, -1]] = eye
    bands.add(1, 1, 0, -own)
    full = np.zeros((m, 2, T))
    full[:, 0] = rhs
    z: Array = bands.factorised().solve(full.ravel()).reshape(m, 2, T)[:, 0]
    return z
