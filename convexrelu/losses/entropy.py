"""Entropies with a bound on their rounding: `entropy`."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import xlogy

from convexrelu.arrays import EPS, Array

# Relative error of a logarithm, in EPS: numpy's are tested to 4 units in the last place, this leaves room.
LOGARITHM = 8


def entropy(parts: Array, scale: Array) -> tuple[float, float]:
    """Sum of -parts log(parts / scale), and a bound on its rounding error.

    Parameters
    ----------
    parts : float64 (k, ...)
        Between zero and `scale`, each within EPS (relative) of the number meant.
    scale : float64 (...)
        Positive and exact.

    Notes
    -----
    With x = part / scale of relative error 2 EPS (part and quotient), x log x moves by 2 EPS (|x log x| + x); the
    logarithm and the two products add (LOGARITHM + 1) EPS |x log x|. Sums are exact (fsum).
    """
    x = parts / scale
    terms = -scale * xlogy(x, x)
    slack = (LOGARITHM + 4) * EPS * math.fsum(np.abs(terms).ravel()) + 4 * EPS * math.fsum(parts.ravel())
    return math.fsum(terms.ravel()), slack
