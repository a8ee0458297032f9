"""`Patterns`: a list of activation patterns with the facets of their cones.

Letters: `Z` (n, k) reduced data (see `arrangement`), `D` (P, n) patterns, `K = (2 D_i - 1) Z` the rows of cone i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray
from convexrelu.errors import InvalidInputError
from convexrelu.patterns.arrangement import Arrangement, arrange
from convexrelu.patterns.cells import cone_facets
from convexrelu.validation import check_choice, check_matrix

BIASES: Sequence[str] = ("none", "penalized", "free")


@dataclass(frozen=True, eq=False)
class Patterns:
    """Distinct activation patterns of a data set.

    Attributes
    ----------
    active : bool (P, n)
        Row i says on which samples the neurons of pattern i are on. Rows are distinct and none is all off.
    facet_indptr, facet_rows : int (P + 1,), int (F,)
        The samples whose hyperplanes bound the cone of pattern i are
        ``facet_rows[facet_indptr[i]:facet_indptr[i + 1]]``; the other samples' conditions follow from these.
    key : str
        `Arrangement.key` of the data and bias convention they are patterns of.
    complete : bool
        Whether every full-dimensional cell of the arrangement is listed, so that a program over these patterns
        has the optimum over all networks.
    resolution : float
        For complete patterns: every unit neuron lies within this distance of a listed cone (floating-point
        enumeration may miss cells smaller than that; certificates account for it). Infinite otherwise.
    """

    active: BoolArray
    facet_indptr: IntArray
    facet_rows: IntArray
    key: str
    complete: bool = False
    resolution: float = math.inf

    def __post_init__(self) -> None:
        for array in (self.active, self.facet_indptr, self.facet_rows):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.active)

    def __repr__(self) -> str:
        kind = "complete" if self.complete else "partial"
        return f"Patterns({len(self)} {kind} patterns of {self.active.shape[1]} samples)"

    def take(self, index: IntArray) -> Patterns:
        """The listed patterns only (no longer complete)."""
        counts = np.diff(self.facet_indptr)[index]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
        rows = self.facet_rows[np.repeat(self.facet_indptr[:-1][index], counts) + within]
        return Patterns(self.active[index], indptr, rows, self.key)

    def cone(self, Z: Array, i: int) -> Array:
        """Rows K (facets, k) of the cone {u : K u >= 0} of pattern i, for the reduced data Z they are patterns of."""
        rows = self.facet_rows[self.facet_indptr[i] : self.facet_indptr[i + 1]]
        return np.where(self.active[i, rows], 1.0, -1.0)[:, None] * Z[rows]

    def union(self, other: Patterns) -> Patterns:
        """These patterns and those of `other` that are not among them."""
        both = np.packbits(np.vstack([self.active, other.active]), axis=1)
        _, first = np.unique(both, axis=0, return_index=True)
        extra = other.take(np.sort(first[first >= len(self)]) - len(self))
        return Patterns(
            np.vstack([self.active, extra.active]),
            np.concatenate([self.facet_indptr, self.facet_indptr[-1] + extra.facet_indptr[1:]]),
            np.concatenate([self.facet_rows, extra.facet_rows]),
            self.key,
        )

    @classmethod
    def from_active(cls, X: Any, active: Any, *, bias: str = "penalized") -> Patterns:
        """Patterns given as a boolean matrix.

        Parameters
        ----------
        X : array (n, d)
        active : bool array (P, n)
            Duplicates and all-off rows are dropped. A row that no neuron realises is allowed: its cone is flat.
        bias : {"none", "penalized", "free"}

        Raises
        ------
        InvalidInputError
            If the shapes do not fit or `active` is not boolean.
        """
        X = check_matrix(X, "X")
        D = np.asarray(active)
        if D.dtype != np.bool_ or D.ndim != 2 or D.shape[1] != len(X):
            raise InvalidInputError(
                f"`active` must be a boolean matrix (n_patterns, {len(X)}), got {D.dtype} of shape {D.shape}."
            )
        check_choice(bias, "bias", BIASES)
        return patterns_of_cells(arrange(X, bias), D, None)  # type: ignore[arg-type]


def patterns_of_cells(arrangement: Arrangement, active: BoolArray, interior: Array | None) -> Patterns:
    """Distinct, useful patterns among `active` (P, n), with facets; `interior` (P, k) strictly inside each cone."""
    active, keep = useful(arrangement, active)
    inside = None if interior is None else interior[keep]
    indptr, rows = cone_facets(arrangement.Z, active, inside)
    return Patterns(active, indptr, rows, arrangement.key)


def useful(arrangement: Arrangement, active: BoolArray) -> tuple[BoolArray, IntArray]:
    """The distinct rows worth a block, and their indices: not all off and, where the bias is free, not all on.

    A neuron with a free bias that is on everywhere can be moved, at no cost, until its kink meets the nearest sample,
    the output bias taking up the constant (the anchoring theorem); there it belongs to a mixed cell as well.
    """
    idle = ~active.any(axis=1)
    if arrangement.bias == "free":
        idle |= active.all(axis=1)
    candidates = np.flatnonzero(~idle)
    if not len(candidates):
        return active[candidates], candidates
    packed = np.packbits(active[candidates], axis=1)
    _, first = np.unique(packed, axis=0, return_index=True)
    keep = candidates[np.sort(first)]
    return active[keep], keep


def neuron_patterns(arrangement: Arrangement, U: Array) -> Patterns:
    """A full-dimensional cell next to each neuron U (m, k): its own, or for a neuron on kinks one that touches it.

    Samples on a kink (to rounding) get the side of one fixed generic direction, so that the bits are those of
    neurons that exist; with a free bias its other side where the neuron would be on everywhere, which is no use.
    """
    Z, p = arrangement.Z, arrangement.n_penalized
    U = U[arrangement.cost(U) > 0]
    scale = np.linalg.norm(Z[:, :p], axis=1)[:, None] * arrangement.cost(U) + np.abs(Z[:, p:] @ U[:, p:].T)
    pre = Z @ U.T
    if arrangement.bias == "free":
        pre -= np.where((pre > 0).all(axis=0), pre.min(axis=0, initial=math.inf), 0.0)
    generic = Z @ np.random.default_rng(0).standard_normal(Z.shape[1])
    tie = np.abs(pre) <= 1e-12 * scale
    if arrangement.bias == "free":
        generic -= generic.mean()
    active = np.where(tie, generic[:, None], pre) > 0
    if arrangement.bias == "free":
        active = np.where(active.all(axis=0), np.where(tie, -generic[:, None], pre) > 0, active)
    return patterns_of_cells(arrangement, active.T, None)
