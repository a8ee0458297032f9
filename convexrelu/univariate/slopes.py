"""Losses as an interior point method needs them: `BoxSlopes`, `SoftmaxSlopes`, `ExactSlopes`.

Letters: `F` (n, T) predictions, `nu` (n, T) dual variable, `p`, `q` (n, T) arms of the loss beyond the upper and the
lower bound of nu (`convexrelu.univariate.interior_point`). Each step has

    dnu = K (pull - dF)

with the stiffness `K` (n, T), or (n, T, T) where the loss couples the tasks, and the pull towards predictions that have
nu for their slope.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import entr, logsumexp

from convexrelu.arrays import Array
from convexrelu.losses import LogisticLoss, Loss, PiecewiseLoss, SoftmaxLoss
from convexrelu.univariate.box_problem import BoxProblem, EntropyProblem


class Slopes(NamedTuple):
    """A dual variable and the arms of the loss; or a step of them."""

    nu: Array
    p: Array
    q: Array


class LossSlopes(Protocol):
    """What the method asks of a loss.

    `basis` (T, r) is orthonormal: predictions and dual variables come as r numbers for each sample. `fixed` are the
    predictions (n, r) if the loss allows no others.
    """

    basis: Array
    fixed: Array | None

    def start(self) -> Slopes:
        """Well inside."""

    def stiffness(self, s: Slopes) -> Array:
        """K."""

    def pull(self, s: Slopes, F: Array, aim: tuple[Array | float, Array | float]) -> Array:
        """For products `aim` of p and q with what nu is away from its bounds."""

    def step(self, s: Slopes, dnu: Array, aim: tuple[Array | float, Array | float]) -> Slopes:
        """The step that goes with dnu."""

    def second_order(self, step: Slopes) -> tuple[Array, Array]:
        """What a step changes of the products beyond first order, negated."""

    def products(self, s: Slopes) -> tuple[float, int]:
        """Sum and number of the products that should vanish."""

    def length(self, s: Slopes, step: Slopes, share: float) -> float:
        """How far to go, at most one, for all that must stay inside to do so."""

    def loss(self, F: Array) -> float:
        """The loss of predictions."""

    def dual(self, nu: Array) -> float:
        """D(nu)."""


class BoxSlopes:
    """Losses that leave the tasks apart: a `BoxProblem` over all entries."""

    def __init__(self, boxes: BoxProblem, T: int) -> None:
        self.boxes, self.basis = boxes, np.eye(T)
        self.fixed: Array | None = None
        self.above, self.below = (arm.reshape(-1, T) for arm in boxes.arms)
        self.capped, self.floored = (bound.reshape(-1, T) for bound in boxes.strictly)
        self.lower, self.upper = self._table(boxes.lower), self._table(boxes.upper)

    def _table(self, flat: Array) -> Array:
        table: Array = flat.reshape(-1, len(self.basis))
        return table

    def start(self) -> Slopes:
        """The middle of the box; products of about one."""
        low = np.where(self.floored, self.lower, np.minimum(self.upper - 1, -1))
        high = np.where(self.capped, self.upper, np.maximum(self.lower + 1, 1))
        size = 1 / float(np.mean(high - low))
        return Slopes((low + high) / 2, np.where(self.above, size, 0.0), np.where(self.below, size, 0.0))

    def _rooms(self, s: Slopes) -> tuple[Array, Array]:
        return np.where(self.capped, self.upper - s.nu, 1.0), np.where(self.floored, s.nu - self.lower, 1.0)

    def stiffness(self, s: Slopes) -> Array:
        """The inverse of what nu needs of F to change."""
        up, down = self._rooms(s)
        stiffness: Array = 1 / (self._table(self.boxes.compliance(s.nu.ravel())) + s.p / up + s.q / down)
        return stiffness

    def pull(self, s: Slopes, F: Array, aim: tuple[Array | float, Array | float]) -> Array:
        """What the predictions lack, arms aside."""
        up, down = self._rooms(s)
        missing = self._table(self.boxes.missing(s.nu.ravel(), F.ravel()))
        pull: Array = missing - np.where(self.above, aim[0], 0.0) / up + np.where(self.below, aim[1], 0.0) / down
        return pull

    def step(self, s: Slopes, dnu: Array, aim: tuple[Array | float, Array | float]) -> Slopes:
        """With the arms."""
        up, down = self._rooms(s)
        dp = np.where(self.above, (aim[0] + s.p * dnu) / up - s.p, 0.0)
        return Slopes(dnu, dp, np.where(self.below, (aim[1] - s.q * dnu) / down - s.q, 0.0))

    def second_order(self, step: Slopes) -> tuple[Array, Array]:
        """Of the arms with their rooms."""
        return step.p * step.nu, -step.q * step.nu

    def products(self, s: Slopes) -> tuple[float, int]:
        """Arms times rooms."""
        up, down = self._rooms(s)
        return float(np.sum(s.p * up) + np.sum(s.q * down)), int(self.above.sum() + self.below.sum())

    def length(self, s: Slopes, step: Slopes, share: float) -> float:
        """Arms at least zero, nu within its bounds."""
        up, down = self._rooms(s)
        pairs = [(s.p, step.p, self.above), (s.q, step.q, self.below)]
        pairs += [(up, -step.nu, self.capped), (down, step.nu, self.floored)]
        speeds = (np.divide(-change, value, out=np.zeros_like(value), where=on) for value, change, on in pairs)
        fastest = max(float(np.max(speed, initial=0.0)) for speed in speeds)
        return min(1.0, share / fastest) if fastest > 0 else 1.0

    def loss(self, F: Array) -> float:
        """L(F)."""
        return self.boxes.loss(F.ravel())

    def dual(self, nu: Array) -> float:
        """D(nu)."""
        return self.boxes.dual(nu.ravel())


class SoftmaxSlopes:
    """Cross-entropy: nu = weight (onehot - share) with shares inside the simplex, seen in T - 1 orthonormal tasks.

    Predictions that are equal in all tasks change nothing, so neurons do without them.
    """

    def __init__(self, onehot: Array, weight: Array) -> None:
        T = onehot.shape[1]
        self.onehot, self.weight = onehot, weight
        self.basis = np.linalg.qr(np.column_stack([np.ones(T), np.eye(T)[:, 1:]]))[0][:, 1:]
        self.fixed: Array | None = None

    def _share(self, nu: Array) -> Array:
        share: Array = self.onehot - nu @ self.basis.T / self.weight[:, None]
        return share

    def start(self) -> Slopes:
        """Equal shares."""
        T = self.onehot.shape[1]
        nu = self.weight[:, None] * (self.onehot - 1 / T) @ self.basis
        return Slopes(nu, np.zeros_like(nu), np.zeros_like(nu))

    def stiffness(self, s: Slopes) -> Array:
        """The second derivative of the loss where nu is its slope."""
        share = self._share(s.nu)
        blocks = np.einsum("ct,nc,cs->nts", self.basis, share, self.basis)
        mean = share @ self.basis
        stiffness: Array = self.weight[:, None, None] * (blocks - mean[:, :, None] * mean[:, None, :])
        return stiffness

    def pull(self, s: Slopes, F: Array, aim: tuple[Array | float, Array | float]) -> Array:
        """Log share - F."""
        pull: Array = np.log(self._share(s.nu)) @ self.basis - F
        return pull

    def step(self, s: Slopes, dnu: Array, aim: tuple[Array | float, Array | float]) -> Slopes:
        """There are no arms."""
        return Slopes(dnu, np.zeros_like(dnu), np.zeros_like(dnu))

    def second_order(self, step: Slopes) -> tuple[Array, Array]:
        """None."""
        return np.zeros_like(step.nu), np.zeros_like(step.nu)

    def products(self, s: Slopes) -> tuple[float, int]:
        """None."""
        return 0.0, 0

    def length(self, s: Slopes, step: Slopes, share: float) -> float:
        """Positive shares."""
        change = step.nu @ self.basis.T / self.weight[:, None]
        fastest = float(np.max(change / self._share(s.nu), initial=0.0))
        return min(1.0, share / fastest) if fastest > 0 else 1.0

    def loss(self, F: Array) -> float:
        """L(F)."""
        whole = F @ self.basis.T
        return float(self.weight @ (logsumexp(whole, axis=1) - np.sum(whole * self.onehot, axis=1)))

    def dual(self, nu: Array) -> float:
        """D(nu), an entropy."""
        return float(self.weight @ entr(self._share(nu)).sum(axis=1))


class WithoutArms:
    """What losses without arms have in common: no pull, and no products."""

    def pull(self, s: Slopes, F: Array, aim: tuple[Array | float, Array | float]) -> Array:
        """None."""
        return np.zeros_like(F)

    def step(self, s: Slopes, dnu: Array, aim: tuple[Array | float, Array | float]) -> Slopes:
        """Of nu alone."""
        return Slopes(dnu, np.zeros_like(dnu), np.zeros_like(dnu))

    def second_order(self, step: Slopes) -> tuple[Array, Array]:
        """None."""
        return step.p, step.q

    def products(self, s: Slopes) -> tuple[float, int]:
        """None."""
        return 0.0, 0

    def length(self, s: Slopes, step: Slopes, share: float) -> float:
        """No bounds."""
        return 1.0


class ExactSlopes(WithoutArms):
    """Interpolation: predictions are the targets, any nu will do."""

    def __init__(self, Y: Array) -> None:
        self.fixed: Array | None = Y
        self.basis = np.eye(Y.shape[1])

    def start(self) -> Slopes:
        """Zero."""
        assert self.fixed is not None
        return Slopes(*(np.zeros_like(self.fixed) for _ in range(3)))

    def stiffness(self, s: Slopes) -> Array:
        """None: nu is what the other equations leave."""
        return np.zeros_like(s.nu)

    def loss(self, F: Array) -> float:
        """Zero, of the only predictions there are."""
        return 0.0

    def dual(self, nu: Array) -> float:
        """D(nu)."""
        assert self.fixed is not None
        return float(np.sum(nu * self.fixed))


def slopes_of(loss: Loss, Y: Array, weight: Array, unit: float, heavy: float) -> LossSlopes:
    """The loss of samples of positive weight, with predictions in `unit` and dual variables in `heavy`."""
    if isinstance(loss, SoftmaxLoss):
        return SoftmaxSlopes(Y, weight / heavy)
    lower, upper = loss.domain(Y, weight)
    kind = EntropyProblem if isinstance(loss, LogisticLoss) else BoxProblem
    g = np.zeros_like(Y)
    if not isinstance(loss, LogisticLoss):
        g = g + (loss.compliance(weight) if isinstance(loss, PiecewiseLoss) else 1 / weight[:, None])
    parts = (Y / unit, lower / heavy, upper / heavy, g * heavy / unit)
    centers, low, high, g = (part.ravel() for part in parts)
    return BoxSlopes(kind(np.zeros(Y.size), centers, low, high, g, 1.0), Y.shape[1])
