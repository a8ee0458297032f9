"""The share of a penalised skip in a function of one variable: `best_skip`, `without_line`.

Letters: `A` the skip, `S` the sum of the two outer slopes, `TV` the total variation of the derivative.

Neurons of least norm for f - A x cost max(TV, |S - 2 A|) (theory D.2), the skip A^2 / 2: the best A has the sign of S
and makes up for half of |S| - TV, up to two.
"""

from __future__ import annotations

import math

import numpy as np

from convexrelu.univariate.spline import Spline


def best_skip(spline: Spline) -> float:
    """The skip A with which the function of one task costs least."""
    S = float(spline.slopes[0, 0] + spline.slopes[-1, 0])
    return math.copysign(min(max((abs(S) - spline.total_variation) / 2, 0.0), 2.0), S)


def without_line(spline: Spline, A: float) -> Spline:
    """The function minus A x."""
    return Spline(spline.knots, spline.values - A * spline.knots[:, None], spline.slopes - np.array(A))
