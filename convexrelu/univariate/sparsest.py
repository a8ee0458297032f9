"""`sparsest`: an interpolant with the fewest knots."""

from __future__ import annotations

from typing import Any

import numpy as np

from convexrelu.univariate.solution_set import solution_set
from convexrelu.univariate.spline import Spline


def sparsest(x: Any, y: Any) -> Spline:
    """An interpolant with the fewest knots among all piecewise linear ones; it also has the least norm.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order; repeated ones must have equal targets.
    y : array (n,) or (n, 1)
        Targets of one task.

    Returns
    -------
    Spline
        With ceil(q / 2) knots for each run of q neighbouring points whose curvature has one sign.

    Raises
    ------
    InvalidInputError
        For data that cannot be used or interpolated, or of several tasks.

    Notes
    -----
    Within a run the lines of every other segment are prolonged until they meet. Cost O(n log n), O(n) if x is sorted.

    References
    ----------
    T. Debarre, Q. Denoyelle, M. Unser, J. Fageot, "Sparsest piecewise-linear regression of one-dimensional data",
    J. Comput. Appl. Math. 2022, Theorem 4 and Algorithm 1.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> univariate.sparsest([0, 1, 2, 3], [0, 1, 1, 0]).knots
    array([1.5])
    """
    solutions = solution_set(x, y)
    free = solutions.free
    index = np.arange(len(free))
    begins = free & ~np.concatenate([[False], free[:-1]])
    start = np.maximum.accumulate(np.where(begins, index, 0)) if len(free) else index
    return solutions.spiked(free & ((index - start) % 2 == 0))
