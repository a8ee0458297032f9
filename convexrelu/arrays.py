"""The array type of the package and the few operations on it that several modules share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)


def frozen(a: NDArray[np.generic] | Array) -> Array:
    """A C-contiguous float64 copy that cannot be written to."""
    out = np.array(a, dtype=np.float64, order="C")
    out.flags.writeable = False
    return out


def row_norms(A: Array) -> Array:
    """Euclidean norms (n,) of the rows of A (n, d)."""
    norms: Array = np.sqrt(np.einsum("ij,ij->i", A, A))
    return norms


def safe_row_norms(A: Array) -> Array:
    """`row_norms` where squares may overflow or vanish: weights of networks trained elsewhere have any size."""
    largest = np.abs(A).max(axis=1, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return np.asarray(unit * row_norms(A / unit[:, None]))
