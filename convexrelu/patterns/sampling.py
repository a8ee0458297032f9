"""Randomly sampled activation patterns: `sample_patterns`."""

from __future__ import annotations

from typing import Any

import numpy as np

from convexrelu.patterns.arrangement import Arrangement, arrange
from convexrelu.patterns.cells import sample_cells
from convexrelu.patterns.enumeration import equilibration
from convexrelu.patterns.patterns import BIASES, Patterns, patterns_of_cells, useful
from convexrelu.validation import check_choice, check_count, check_matrix


def sample_patterns(X: Any, n_patterns: int, *, bias: str = "penalized", random_state: int = 0) -> Patterns:
    """Sample activation patterns of Gaussian neurons, duplicates removed.

    A program over sampled patterns gives an upper bound on the optimum, often far above it: use it for comparison, or
    where nothing else is possible.

    Parameters
    ----------
    X : array (n, d)
    n_patterns : int
        How many distinct patterns to look for; fewer come back where the data have fewer, or are hard to hit.
    bias : {"none", "penalized", "free"}, default "penalized"
    random_state : int, default 0

    Returns
    -------
    Patterns
        With ``complete=False``.

    References
    ----------
    Y. Bai, T. Gautam and S. Sojoudi, "Efficient global optimization of two-layer ReLU networks", SIAM Journal on
    Mathematics of Data Science, 2023, Section 4 (sampled programs).

    Examples
    --------
    >>> import convexrelu as cr
    >>> len(cr.sample_patterns([[0.0], [1.0], [2.0]], 3))
    3
    """
    X = check_matrix(X, "X")
    check_choice(bias, "bias", BIASES)
    count = check_count(n_patterns, "n_patterns")
    check_count(random_state, "random_state", least=0)
    return sample_arrangement(arrange(X, bias), count, random_state)  # type: ignore[arg-type]


def sample_arrangement(arrangement: Arrangement, n_patterns: int, random_state: int) -> Patterns:
    """Sampled patterns of an arrangement, drawn after its coordinates are brought to one scale."""
    if arrangement.n_penalized == 0:
        return patterns_of_cells(arrangement, np.zeros((0, len(arrangement.Z)), dtype=bool), None)
    scaled = arrangement.Z * equilibration(arrangement.Z)
    rng = np.random.default_rng(random_state)
    # Two more: all on and all off may have to go.
    active, interior = sample_cells(scaled, n_patterns + 2, rng, arrangement.n_penalized)
    _, keep = useful(arrangement, active)
    keep = keep[:n_patterns]
    # The interiors are in scaled coordinates: Z u = (Z s)(u / s).
    return patterns_of_cells(arrangement, active[keep], interior[keep] * equilibration(arrangement.Z))
