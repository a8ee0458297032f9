"""Fixed numbers that nothing in data is likely to be related to: `generic`, `generic_costs`."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array


def generic(count: int) -> Array:
    """The cosines (count,) of the squares 1, 4, 9, ...: no combination of them with small integers is zero."""
    return np.asarray(np.cos(np.arange(1.0, count + 1.0) ** 2))


def generic_costs(rows: Array) -> Array:
    """Costs (m,) between one and three of rows (m, k): 2 + cos(1 + 4 g . row), with g = `generic(k)`.

    Not an even function: data are often symmetric.
    """
    return np.asarray(2.0 + np.cos(1.0 + 4.0 * (rows @ generic(rows.shape[1]))))
