"""Running sums of dual variables, bounds on their rounding, and rounding that spares them.

`running_sum`, `double_sum`; `rounded_alike`, `differences`.

Letters: `x` (n,) increasing points, `nu` (n, T) dual variable, `c` (n, T) its running sums, `G` (n - 1, T) their sums
over the intervals: G_k = sum_{i <= k} nu_i (x_{k + 1} - x_i).

Sums run in extended precision where the platform has it; every bound holds with whatever precision there is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import EPS, Array, row_norms

WIDE = np.longdouble
Wide = NDArray[np.longdouble]
WIDE_EPS = float(np.finfo(WIDE).eps)
# Multiples of one number up to two to this power add up without rounding.
QUANTA = int(np.finfo(WIDE).nmant)

# Of the median of what the double sum misses by one sum: above it that is coarse.
FINE = 8.0
# Above so many times their mean size the largest of the entries decides how the others are rounded.
UNEVEN = 1e3


def double_sum(x: Array, nu: Array) -> tuple[Wide, float, Wide, float]:
    """The sums c and G, each with a bound on the norm of the error of a row."""
    c, c_error = running_sum(nu)
    steps = np.diff(x.astype(WIDE))[:, None] * c[:-1]
    G = np.cumsum(steps, axis=0, dtype=WIDE)
    # One rounding in each entry of c and three in each step; half a unit in the last place in each partial sum.
    rounding = WIDE_EPS * float(3 * sizes(steps).sum() + 2 * sizes(G).sum())
    # The errors themselves are sums of rounded numbers.
    return c, c_error, G, 1.01 * (float(x[-1] - x[0]) * (1 + EPS) * c_error + rounding)


def rounded_alike(x: Array, wide: Wide, scale: float) -> Array:
    """A multiple of a dual variable (n, T) in double precision, whose sums and double sums stay near to its own."""
    size = np.abs(wide)
    peak = float(size.max(initial=0.0)) * scale
    if not (peak > 1e-280 and math.isfinite(peak)):
        return (wide * scale).astype(np.float64)
    if peak > UNEVEN * scale * float(size.mean()):
        # Sums rounded once: between close points much larger than all that is left of them later.
        return differences(x, running_sum(wide)[0] * scale)
    # One quantum for all: half as much work.
    quantum = math.ldexp(1.0, math.frexp(peak)[1] + 1 - np.finfo(np.float64).nmant)
    sums = wide * (scale / quantum)
    np.rint(np.cumsum(sums, axis=0, out=sums), out=sums)
    rounded = sums.astype(np.float64)
    np.subtract(sums[1:], sums[:-1], out=rounded[1:], casting="same_kind")
    return rounded * quantum


def differences(x: Array, c: Wide) -> Array:
    """A dual variable (n, T) in double precision whose double sum is as near as can be to that of running sums c.

    Rounded one by one its entries' errors would walk at random, and the double sum with them. What it misses by coarse
    sums, between close points, the next fine one makes up for.
    """
    sums, h = _separate(c), np.diff(x)[:, None]
    off = h * (sums - c)[:-1]
    reach = np.abs(off).max(axis=1)
    if reach.any():
        is_fine = (reach <= FINE * np.median(reach)) & (h[:, 0] > 0)
        missed, fine = np.cumsum(np.where(is_fine[:, None], 0.0, off), axis=0), np.flatnonzero(is_fine)
        aim = c.copy()
        aim[fine] -= np.diff(missed[fine], axis=0, prepend=0 * missed[:1]) / h[fine]
        sums = _separate(aim)
    nu: Array = np.diff(sums, axis=0, prepend=0 * sums[:1]).astype(np.float64)
    return nu


def _separate(c: Wide) -> Wide:
    """Sums near to c whose differences are numbers in double precision: multiples of the last place of those around."""
    entries = np.diff(c, axis=0, prepend=0 * c[:1]).astype(np.float64)
    quantum = np.spacing(np.maximum(2 * np.abs(entries), 1e-280))
    quantum[:-1] = np.maximum(quantum[:-1], quantum[1:])
    sums: Wide = np.rint(c / quantum) * quantum
    return sums


def running_sum(nu: Array | Wide) -> tuple[Wide, float]:
    """Running sums (n, T), each rounded once, and a bound on the norm of any other error of a row.

    Rounding would build up over the sum, so it is taken of multiples of a quantum, where it is exact, and of the small
    rests aside (S. Rump, T. Ogita, S. Oishi, "Accurate floating-point summation", SIAM J. Sci. Comput. 2008).
    """
    peak = 2 * float(np.abs(np.cumsum(nu, axis=0)).max()) + float(np.abs(nu).max())
    quantum = math.ldexp(1.0, max(math.frexp(peak)[1] + 1 - QUANTA, -1000))
    coarse = np.rint(nu / quantum) * quantum
    c, rest = np.cumsum(coarse, axis=0, dtype=WIDE), np.cumsum(nu - coarse, axis=0, dtype=WIDE)
    if not max(float(c.max()), -float(c.min())) < math.ldexp(quantum, QUANTA):
        return np.cumsum(nu, axis=0, dtype=WIDE), math.inf
    c += rest
    return c, 1.01 * WIDE_EPS * float(sizes(rest).sum())


def sizes(A: Wide) -> Array:
    """Norms of the rows in double precision."""
    B = A.astype(np.float64)
    return np.abs(B[:, 0]) if A.shape[1] == 1 else row_norms(B)
