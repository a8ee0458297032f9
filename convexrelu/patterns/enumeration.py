"""All activation patterns of a data set: `enumerate_patterns`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.patterns.arrangement import Arrangement, arrange
from convexrelu.patterns.cells import enumerate_cells
from convexrelu.patterns.patterns import BIASES, Patterns, useful
from convexrelu.validation import check_choice, check_count, check_matrix

LIMIT = 200_000


def enumerate_patterns(X: Any, *, bias: str = "penalized", limit: int = LIMIT) -> Patterns:
    """Enumerate every activation pattern a ReLU neuron can have on the data.

    Parameters
    ----------
    X : array (n, d)
    bias : {"none", "penalized", "free"}, default "penalized"
    limit : int, default 200,000
        Refuse to list more patterns than this.

    Returns
    -------
    Patterns
        With ``complete=True``.

    Raises
    ------
    TooManyPatternsError
        If there are more than `limit`; the message gives the count.

    Notes
    -----
    In general position there are 2 sum_{k<r} C(n-1, k) patterns for data of rank r (Cover, 1965); cost grows with
    n C(n, r-1).

    References
    ----------
    M. Pilanci and T. Ergen, "Neural networks are convex regularizers", ICML 2020, Section 2.

    Examples
    --------
    >>> import convexrelu as cr
    >>> patterns = cr.enumerate_patterns([[0.0], [1.0], [2.0]])
    >>> len(patterns), patterns.complete
    (5, True)
    """
    X = check_matrix(X, "X")
    check_choice(bias, "bias", BIASES)
    return enumerate_arrangement(arrange(X, bias), check_count(limit, "limit"))  # type: ignore[arg-type]


def enumerate_arrangement(arrangement: Arrangement, limit: int = LIMIT) -> Patterns:
    """All patterns of an arrangement; cells are unchanged by scaling coordinates, so that is done first."""
    if arrangement.n_penalized == 0:
        none = np.zeros((0, len(arrangement.Z)), dtype=bool)
        return Patterns(none, np.zeros(1, dtype=np.intp), np.zeros(0, dtype=np.intp), arrangement.key, True, 0.0)
    cells = enumerate_cells(arrangement.Z * equilibration(arrangement.Z), limit=limit)
    everything = Patterns(cells.active, cells.facet_indptr, cells.facet_rows, arrangement.key)
    some = everything.take(useful(arrangement, cells.active)[1])
    return replace(some, complete=True, resolution=cells.resolution)


def equilibration(Z: Array) -> Array:
    """Powers of two (k,) that bring every column of Z (n, k) to a largest entry in (1/2, 1]: exact to apply."""
    size = np.abs(Z).max(axis=0)
    return 2.0 ** -np.ceil(np.log2(np.where(size > 0, size, 1.0)))
