"""Exact integrals of |f - g|^p between splines: `distance`, `integral`.

Letters: on a piece of length `h` the difference runs linearly from `a` to `b`.
"""

from __future__ import annotations

import math

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError
from convexrelu.univariate.spline import Spline
from convexrelu.validation import check_number


def integral(f: Spline, g: Spline | None = None, *, p: float = 1.0, lower: float, upper: float) -> float:
    """The integral of |f - g|^p over [lower, upper], summed over tasks; g = None stands for zero.

    Exact up to rounding: closed form on each piece. Cost O(K log K) for K knots.

    Parameters
    ----------
    f, g : Spline
        With the same number of outputs.
    p : float > 0
    lower, upper : float
        With lower < upper.

    Raises
    ------
    InvalidInputError
        If the interval is empty or the splines do not have the same number of outputs.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> line = univariate.Spline.through([-1.0, 1.0], [-1.0, 1.0])
    >>> univariate.integral(line, p=1, lower=-1, upper=1)
    1.0
    """
    p = check_number(p, "p", above=0.0)
    upper = check_number(upper, "upper", above=check_number(lower, "lower", above=-math.inf))
    if g is not None and g.values.shape[1] != f.values.shape[1]:
        raise InvalidInputError(
            f"`f` and `g` must have as many outputs as each other, got {f.values.shape[1]} and {g.values.shape[1]}."
        )
    inner = np.concatenate([f.knots, g.knots if g is not None else f.knots[:0]])
    t = np.unique(np.concatenate([[lower, upper], inner[(inner > lower) & (inner < upper)]]))
    difference = f(t) - (g(t) if g is not None else 0.0)
    return float(np.sum(np.diff(t)[:, None] * _mean_power(difference[:-1], difference[1:], p)))


def distance(f: Spline, g: Spline, *, p: float = 2.0, lower: float, upper: float) -> float:
    """The L^p distance over [lower, upper]: `integral` to the power 1 / p."""
    return float(integral(f, g, p=p, lower=lower, upper=upper) ** (1 / p))


def _mean_power(a: Array, b: Array, p: float) -> Array:
    """The mean of |a + (b - a) u|^p over u in [0, 1], elementwise.

    (b |b|^p - a |a|^p) / ((p + 1) (b - a)) cancels where a and b are close; there the midpoint rule with its first
    correction is exact to rounding.
    """
    size = np.maximum(np.abs(a), np.abs(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = (b * np.abs(b) ** p - a * np.abs(a) ** p) / ((p + 1) * (b - a))
        middle = np.abs(a + b) / 2
        ratio = np.abs(b - a) / (2 * middle)
        near = middle**p * (1 + p * (p - 1) * ratio**2 / 6 + p * (p - 1) * (p - 2) * (p - 3) * ratio**4 / 120)
    mean: Array = np.where(size == 0, 0.0, np.where(ratio < 1e-2, near, exact))
    return mean
