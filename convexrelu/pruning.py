"""Fewer neurons for the same predictions at the same cost: `independent_weights`.

Letters: `A` (n, m) predictions of m neurons, `alpha` (m,) their weights >= 0, `Q` (n, q) free columns.

References
----------
A. Mishkin and M. Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023, Section 4 and Algorithm 1.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from convexrelu.arrays import Array, row_norms

# Columns that are dependent to this accuracy, as unit vectors, count as dependent: far above the rounding of polished
# directions, far below what independent ones of real data leave.
DEPENDENT = 1e-9


def off_columns(Q: Array, A: Array) -> Array:
    """What the span of the columns Q (n, q) leaves of A (n, m)."""
    size = row_norms(Q.T)
    basis = scipy.linalg.orth(Q[:, size > 0] / size[size > 0], rcond=1e-12) if size.any() else Q[:, :0]
    for _ in range(2):
        A = A - basis @ (basis.T @ A)
    return A


def independent_weights(A: Array, alpha: Array, Q: Array, dependent: float = DEPENDENT) -> Array:
    """Weights >= 0 with the same A alpha modulo Q, whose columns are independent modulo Q.

    Parameters
    ----------
    A : float64 (n, m)
    alpha : float64 (m,)
        At least zero.
    Q : float64 (n, q)
    dependent : float
        Columns that leave no more than this of each other, as unit vectors, count as dependent.

    Returns
    -------
    float64 (m,)
        At most rank [A Q] - rank Q of them are positive; their sum of costs is the same where every column has the
        same correlation with a dual variable, as at an optimum.

    Notes
    -----
    Columns join a factorised independent set one at a time, O(n m^2 + m n^2) in all. One that depends on those before
    it is traded against them, in the direction that keeps all weights at least zero, until one of them is gone.
    """
    alpha = np.array(alpha, dtype=float)
    A = off_columns(Q, A)
    size = row_norms(A.T)
    unit = A / np.where(size > 0, size, 1.0)
    # A neuron that free columns can replace costs norm for nothing: an optimal one has no such weight.
    alpha[size <= dependent * size.max(initial=0.0)] = 0.0
    basis = _Basis(len(A))
    for e in np.argsort(-alpha * size, kind="stable"):
        if alpha[e] > 0:
            _join(basis, int(e), unit, size, alpha, dependent)
    return alpha


class _Basis:
    """Independent unit columns with their QR factors, to which columns are added and from which they are removed."""

    def __init__(self, n: int) -> None:
        self.index: list[int] = []
        self.Q, self.R = np.eye(n), np.zeros((n, 0))

    def coefficients(self, column: Array) -> tuple[Array, float]:
        """Coefficients of a unit column in the basis, and the norm of what they leave."""
        r = len(self.index)
        rotated = self.Q.T @ column
        found = scipy.linalg.solve_triangular(self.R[:r], rotated[:r])
        return np.asarray(found), float(np.linalg.norm(rotated[r:]))

    def add(self, e: int, column: Array) -> None:
        """Append a column."""
        self.Q, self.R = scipy.linalg.qr_insert(self.Q, self.R, column, len(self.index), which="col")
        self.index.append(e)

    def remove(self, position: int) -> None:
        """Remove the column at a position."""
        self.Q, self.R = scipy.linalg.qr_delete(self.Q, self.R, position, which="col")
        del self.index[position]


def _join(basis: _Basis, e: int, unit: Array, size: Array, alpha: Array, dependent: float) -> None:
    """Add column e to the basis; if it depends on the others, trade weights along the dependence until one is gone."""
    found, rest = basis.coefficients(unit[:, e])
    if rest > dependent:
        basis.add(e, unit[:, e])
        return
    members = np.array([*basis.index, e], dtype=np.intp)
    # sum_j change_j a_j = 0: column e minus its representation by the others.
    change = np.append(-found, 1.0) / size[members]
    with np.errstate(divide="ignore"):  # a weight that underflowed is the first to go
        ratio = change / alpha[members]
    last = int(np.argmax(np.abs(ratio)))
    alpha[members] = np.maximum(alpha[members] - change / ratio[last], 0.0)
    alpha[members[last]] = 0.0
    if last < len(basis.index):
        basis.remove(last)
        basis.add(e, unit[:, e])
