"""The hidden layer's data in as few coordinates as its rank: `Arrangement`.

Letters: `X` (n, d) data; `Z` (n, k) reduced data, full column rank; `u` (k,) a neuron in reduced coordinates;
`p` the number of leading coordinates of `u` that are penalised.

A neuron (w, b) sees the data only through X w + b. Weights outside the row space of the data cost norm and change
nothing, so an optimal neuron lies in a space of dimension rank (Pilanci and Ergen, ICML 2020, remark on low rank):

    bias "none"       Z = X V             cost |u|      w = V u
    bias "penalized"  Z = [X 1] V         cost |u|      (w, b) = V u
    bias "free"       Z = [(X - c) V, 1]  cost |u[:p]|  w = V u[:p], b = u[p] - c . w

with V an orthonormal basis (the identity where the rank is full, so that integer data stay integers and ties stay
ties).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from convexrelu.arrays import EPS, Array, frozen, row_norms

Bias = Literal["none", "penalized", "free"]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Reduced hidden-layer data and the way back to weights.

    Attributes
    ----------
    Z : float64 (n, k)
        Reduced data; k is the rank (plus one for the column of ones when `bias="free"`).
    bias : {"none", "penalized", "free"}
    basis : float64 (D, r)
        Orthonormal columns V; D is d, or d + 1 when `bias="penalized"`.
    center : float64 (d,)
        The point c that is subtracted when `bias="free"`, else zeros.
    row_error : float64 (n,)
        Bound on |x_i . w + b - Z_i . u| for a neuron of cost one: what the reduction lost to rounding.
    stretch : float
        Bound on |u| / |(w, b)|: one up to the rounding of V.
    """

    Z: Array
    bias: Bias
    basis: Array
    center: Array
    row_error: Array
    stretch: float

    @property
    def n_penalized(self) -> int:
        """The number p of leading coordinates that cost norm."""
        return int(self.basis.shape[1])

    @cached_property
    def key(self) -> str:
        """Digest of the data and the bias convention: what patterns belong to."""
        return hashlib.blake2b(self.Z.tobytes() + self.bias.encode(), digest_size=16).hexdigest()

    def cost(self, U: Array) -> Array:
        """Norms |S u| (m,) of neurons U (m, k)."""
        return row_norms(U[:, : self.n_penalized])

    def to_weights(self, U: Array) -> tuple[Array, Array]:
        """Hidden weights (m, d) and biases (m,) of neurons U (m, k)."""
        W = U[:, : self.n_penalized] @ self.basis.T
        if self.bias == "penalized":
            return W[:, :-1], W[:, -1]
        if self.bias == "free":
            return W, U[:, -1] - W @ self.center
        return W, np.zeros(len(W))

    def from_weights(self, hidden: Array, hidden_bias: Array) -> Array:
        """Reduced coordinates (m, k) of hidden weights (m, d) and biases (m,); same pre-activations on the data."""
        if self.bias == "penalized":
            return np.column_stack([hidden, hidden_bias]) @ self.basis
        if self.bias == "free":
            return np.column_stack([hidden @ self.basis, hidden_bias + hidden @ self.center])
        return hidden @ self.basis


def arrange(X: Array, bias: Bias) -> Arrangement:
    """Reduce validated data X (n, d) for one bias convention; cost O(n d min(n, d))."""
    # A data row, so that integers stay integers and the differences span the affine hull, no more.
    center = X[np.argmin(row_norms(X - X.mean(axis=0)))] if bias == "free" else np.zeros(X.shape[1])
    data = np.column_stack([X, np.ones(len(X))]) if bias == "penalized" else X - center
    basis = _row_space(data)
    reduced = data @ basis
    row_error, stretch = _rounding(data, reduced, basis)
    Z = np.column_stack([reduced, np.ones(len(X))]) if bias == "free" else reduced
    return Arrangement(frozen(Z), bias, frozen(basis), frozen(center), frozen(row_error), stretch)


def _row_space(data: Array) -> Array:
    """Orthonormal basis (D, r) of the row space; the identity when the columns are independent.

    Independence is judged after scaling the columns, so that a column in small units is not taken for rounding.
    """
    n, width = data.shape
    scale = np.abs(data).max(axis=0, initial=0.0)
    if n >= width and scale.all() and np.linalg.matrix_rank(data / scale) == width:
        return np.eye(width)
    _, singular, Vt = np.linalg.svd(data, full_matrices=False)
    rank = int(np.sum(singular > max(n, width) * EPS * singular.max(initial=0.0)))
    return Vt[:rank].T


def _rounding(data: Array, reduced: Array, basis: Array) -> tuple[Array, float]:
    """Error of each row and of the norm; exactly that of the subtraction of the centre when V is the identity."""
    width, rank = basis.shape
    # One rounding per entry of `data` (the subtraction of the centre), then k-term dot products on both sides.
    error = EPS * row_norms(data)
    if np.array_equal(basis, np.eye(width)):
        return error, 1.0
    error += row_norms(data - reduced @ basis.T) + (rank + width + 2) * EPS * row_norms(data)
    defect = float(np.linalg.norm(basis.T @ basis - np.eye(rank)))
    return error, 1.0 + defect + width * EPS
