"""The part of a network outside the hidden layer, skip and output bias, as columns of a design matrix: `LinearPart`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, frozen, row_norms
from convexrelu.patterns.arrangement import arrange


@dataclass(frozen=True, eq=False)
class LinearPart:
    """Columns for the skip and the output bias, and the way back to network weights.

    Attributes
    ----------
    free : float64 (n, q)
        Columns whose coefficients cost nothing; independent.
    penalized : float64 (n, q')
        Columns whose coefficients cost (weight_decay / 2) times their squared norm.
    """

    free: Array
    penalized: Array
    basis: Array
    center: Array
    output_bias: str
    skip: str

    def to_weights(self, free: Array, penalized: Array) -> tuple[Array, Array]:
        """Skip (d, T) and output bias (T,) of coefficients `free` (q, T) and `penalized` (q', T)."""
        T, r = free.shape[1], self.basis.shape[1]
        skip, constant = np.zeros((len(self.basis), T)), np.zeros(T)
        for kind, coefficients in (("free", free), ("penalized", penalized)):
            if self.output_bias == kind:
                constant = coefficients[-1]
            if self.skip == kind:
                skip = self.basis @ coefficients[:r]
        return skip, constant - self.center @ skip

    def from_weights(self, skip: Array, output_bias: Array) -> tuple[Array, Array]:
        """Coefficients `free` (q, T) and `penalized` (q', T) of a skip (d, T) and an output bias (T,)."""
        size = np.maximum(row_norms(self.basis), 1e-300)[:, None]  # columns may be in any units
        line = np.asarray(np.linalg.lstsq(self.basis / size, skip / size, rcond=None)[0], dtype=float)
        constant = (output_bias + self.center @ skip)[None]

        def coefficients(kind: str) -> Array:
            return np.vstack([line[: len(line) * (self.skip == kind)], constant[: self.output_bias == kind]])

        return coefficients("free"), coefficients("penalized")


def linear_part(X: Array, output_bias: str, skip: str) -> LinearPart:
    """Build the columns: skip first, the constant last.

    A penalised skip lives in the row space of the data, as hidden weights do. A free one costs nothing, so its columns
    are scaled to one size before dependent ones are removed, and centred if a free constant takes up the shift.
    """
    affine = skip == "free" and output_bias == "free"
    scale = np.ones(X.shape[1])
    if skip == "free":
        size = np.abs(X - X.mean(axis=0)).max(axis=0) if affine else np.abs(X).max(axis=0)
        scale = np.where(size > 0, size, 1.0)
    space = arrange(X / scale, "free" if affine else "none")
    rank = space.n_penalized if skip != "none" else 0
    linear, ones = space.Z[:, :rank], np.ones((len(X), 1))

    def columns(kind: str) -> Array:
        parts = [part for part, is_kind in ((linear, skip == kind), (ones, output_bias == kind)) if is_kind]
        return frozen(np.hstack([np.zeros((len(X), 0)), *parts]))

    basis = space.basis[:, :rank] / scale[:, None]
    return LinearPart(columns("free"), columns("penalized"), basis, space.center * scale, output_bias, skip)
