"""Proof by branch and bound that no neurons but known ones reach a correlation: `rule_out`.

Letters as in `convexrelu.pricing.bound`; the target `T` lies just *below* the dual norm, and `e` are known maximisers.

A box is closed when the correlation is at most T on it, as for the dual norm, or when all cells that meet it contain a
known maximiser in their closure: each cell has one maximiser only (with a free bias: one vector of weights), so nothing
else in the box is one. That is so when every sample is either on the kink of e, or has the sign it has at e all over
the box.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, frozen, row_norms
from convexrelu.pricing.bound import _Search
from convexrelu.pricing.boxes import Relaxed
from convexrelu.pricing.slopes import Side

# A sample is on a known neuron's kink when this near to it, relative.
KINK = 1e-9


@dataclass(frozen=True, eq=False)
class Exclusion:
    """What was proven.

    Attributes
    ----------
    finished : bool
        Whether no other neuron reaches the target.
    neuron : float64 (k,) or None
        One that does and is not known.
    sign : float
        Of its correlation.
    boxes : int
        How many were bounded.
    """

    finished: bool
    neuron: Array | None
    sign: float
    boxes: int


def rule_out(
    Z: Array, nu: Array, n_penalized: int, *, target: float, known: Array, signs: Array, max_boxes: int, seconds: float
) -> Exclusion:
    """Prove that only cells with a known neuron in their closure reach |nu . relu(Z u)| > target at cost one.

    Parameters
    ----------
    Z : float64 (n, k)
    nu : float64 (n,)
    n_penalized : int
    target : float > 0
    known : float64 (m, k)
        Neurons of cost one, each the maximiser over all cells that contain it.
    signs : float64 (m,)
        Of their correlations.
    max_boxes : int
    seconds : float
    """
    search = _Exclusion(Z, nu, n_penalized, target, known, signs)
    bound = search.run(max_boxes, time.perf_counter() + seconds, known)
    return Exclusion(bound.finished, search.unknown, search.sign, bound.boxes)


class _Exclusion(_Search):
    """The state of the proof."""

    def __init__(self, Z: Array, nu: Array, p: int, target: float, known: Array, signs: Array) -> None:
        super().__init__(np.asarray(Z, dtype=float), np.asarray(nu, dtype=float), p, float(target))
        self.known, self.signs = known, signs
        self.unknown: Array | None = None
        self.sign = 0.0
        self.sides: list[Side] = []

    def _violated(self) -> bool:
        return self.unknown is not None

    def _climb(self, open_: Relaxed, side: Side) -> None:
        self._settle(open_, side)
        if not len(open_.x):
            return
        super()._climb(open_, side)
        if len(open_.x):
            self._look(open_, side)

    def _start(self, side: Side, starts: Array | None) -> None:
        # Sides come in the order of their signs, those without a positive sample left out.
        self.sides.append(side)
        super()._start(side, starts)

    def _sign_of(self, side: Side) -> float:
        """Which of the two correlations a side is."""
        moving = self.Z.any(axis=1)
        present = [s for s in (1.0, -1.0) if (s * self.nu[moving] > 0).any()]
        return present[next(i for i, other in enumerate(self.sides) if other is side)]

    def _kinks(self, side: Side) -> tuple[BoolArray, Array]:
        """For the known neurons of a side: samples on their kinks, and signs of the others (m, samples)."""
        pre = self.known[self.signs == self._sign_of(side)] @ side.Z.T
        size = row_norms(side.Z[:, : self.p]) + self.radius
        return np.abs(pre) <= KINK * size, np.sign(pre)

    def _settle(self, open_: Relaxed, side: Side) -> None:
        """Close the boxes all of whose cells contain a known neuron."""
        t, r = open_.C @ side.Z.T, open_.H @ np.abs(side.Z).T
        guard = 4 * (self.Z.shape[1] + 4) * EPS * (np.abs(side.Z) @ self.width)
        fixed = np.sign(t) * (np.abs(t) >= r + guard)
        tight, sign = self._kinks(side)
        # As large as there are samples off its kinks where these all agree with a known neuron.
        agreement = fixed @ np.where(tight, 0.0, sign).T
        open_.keep(~(agreement == (~tight).sum(axis=1)).any(axis=1))

    def _look(self, open_: Relaxed, side: Side) -> None:
        """Climb from the best direction among the boxes; what is reached may be unknown."""
        directions = open_.w / open_.cost[:, None]
        best = directions[int(side.values(directions).argmax())]
        reached = np.vstack([best, side.climb(best[None])])
        values = side.values(reached)
        u = reached[int(values.argmax())]
        tight, sign = self._kinks(side)
        pre = side.Z @ u
        at_known = (tight | (pre * sign > 0) | (np.abs(pre) <= KINK * self.radius)).all(axis=1).any()
        if values.max() > self.target and not at_known:
            self.unknown, self.sign = frozen(u), self._sign_of(side)
