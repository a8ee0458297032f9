"""Checks for users' own extensions: `check_loss`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError
from convexrelu.linear_fit import fit_by_cones
from convexrelu.losses import DataLoss, Loss

# Finite differences with this step are good to about 1e-8; conic solutions to about 1e-9.
STEP = 1e-6
TOLERANCE = 1e-6


def check_loss(loss: Loss, Y: Array | None = None, *, n_trials: int = 20, random_state: int = 0) -> None:
    """Check that a loss of your own keeps what `convexrelu.losses.Loss` promises.

    Parameters
    ----------
    loss : Loss
    Y : array (n,) or (n, T), optional
        Targets to try it with; by default eight random numbers, or labels -1 and 1 for a loss of labels.
    n_trials : int, default 20
        Random predictions, dual variables and sample weights to try.
    random_state : int, default 0

    Raises
    ------
    AssertionError
        Saying what fails: convexity, the (sub)gradient, the curvature, the domain or the value of the dual, sample
        weights, the cone form, or the bound on predictions.

    Notes
    -----
    A loss that passes can be wrong in corners that these trials do not reach. A certificate is as good as `dual_value`:
    what it returns, less its error, must never exceed -L*(-nu).

    Examples
    --------
    >>> from convexrelu.losses import HuberLoss
    >>> check_loss(HuberLoss(delta=0.5))
    """
    if not isinstance(loss, Loss):
        raise InvalidInputError(
            f"`loss` must be a convexrelu.losses.Loss, got {loss!r}; give the object, not its name."
        )
    rng = np.random.default_rng(random_state)
    if Y is None:
        Y = np.where(np.arange(8) % 2, 1.0, -1.0) if loss.is_classification else rng.standard_normal(8)
    given = np.asarray(Y, dtype=float)
    targets = loss.targets(given[:, None] if given.ndim == 1 else given)
    _require(np.array_equal(loss.targets(targets), targets), "targets() must return its own result unchanged")
    for _ in range(n_trials):
        weight = rng.choice([0.0, 0.5, 1.0, 2.0], len(targets))
        weight[rng.integers(len(weight))] = 1.0
        size = 10.0 ** rng.uniform(-1, 0.5)
        F, G = (size * rng.standard_normal(targets.shape) for _ in range(2))
        trial = _Trial(DataLoss(loss, targets, weight), F, G)
        trial.check_value()
        trial.check_gradient()
        trial.check_dual()
        trial.check_radius()
    _check_cones(loss, targets, rng)


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise AssertionError(message)


@dataclass(frozen=True, eq=False)
class _Trial:
    """A loss with data, and two predictions."""

    data: DataLoss
    F: Array
    G: Array

    def check_value(self) -> None:
        """Non-negative, convex, proportional to the sample weights."""
        data, value = self.data, self.data.value(self.F)
        _require(value >= 0 and math.isfinite(value), f"value() must be finite and at least zero, got {value!r}")
        middle, mean = data.value((self.F + self.G) / 2), (value + data.value(self.G)) / 2
        _require(middle <= mean + TOLERANCE * (1 + mean), "value() must be convex in F")
        double = DataLoss(data.loss, data.Y, 2 * data.weight).value(self.F)
        _require(abs(double - 2 * value) <= TOLERANCE * (1 + value), "value() must be proportional to the weights")

    def check_gradient(self) -> None:
        """The tangent is below; where it is said to be smooth, its second derivative fits."""
        data, F, G = self.data, self.F, self.G
        slope = data.gradient(F)
        _require(not slope[data.weight == 0].any(), "gradient() must be zero where the sample weight is")
        tangent = data.value(F) + float(np.sum(slope * (G - F)))
        size = 1 + data.value(G) + float(np.sum(np.abs(slope * (G - F))))
        _require(tangent <= data.value(G) + TOLERANCE * size, "gradient() must be a subgradient of value()")
        if data.loss.is_smooth:
            moved = (data.gradient(F + STEP * G) - data.gradient(F - STEP * G)) / (2 * STEP)
            expected = np.einsum("ntu,nu->nt", data.hessian(F), G)
            near = np.abs(moved - expected) <= 1e-4 * (1 + np.abs(expected))
            _require(near.all(), "curvature() or hessian() must be the derivative of gradient()")
            diagonal = np.einsum("ntt->nt", data.hessian(F))
            _require(np.allclose(diagonal, data.curvature(F)), "curvature() must be the diagonal of hessian()")

    def check_dual(self) -> None:
        """Fenchel and Young: L(F) >= D(nu) - <nu, F>, with equality at minus the gradient; the domain is as said."""
        data, F, nu = self.data, self.F, -self.data.gradient(self.F)
        value, error = data.loss.dual_value(nu, data.Y, data.weight)
        _require(
            error >= 0 and math.isfinite(value), "dual_value() must be finite at minus the gradient, its error >= 0"
        )
        size = 1 + abs(value) + float(np.sum(np.abs(nu * F)))
        tight = value - float(np.sum(nu * F))
        _require(
            abs(data.value(F) - tight) <= TOLERANCE * size, "dual_value() must be -L*(-nu): Fenchel-Young is not met"
        )
        loose = value - error - float(np.sum(nu * self.G))
        _require(loose <= data.value(self.G) + 1e-12 * size, "dual_value() must be -L*(-nu): a lower bound is too high")
        lower, upper = data.loss.domain(data.Y, data.weight)
        inside = (nu >= lower) & (nu <= upper)
        _require(inside.all(), "domain() must contain minus the gradient, sample by sample")
        _require(
            math.isfinite(data.dual_value(0.5 * nu)), "the domain of dual_value() must contain s nu for 0 <= s <= 1"
        )
        scale = data.loss.best_scale(nu, 0.1, data.Y, data.weight, 0.7)
        _require(
            0 <= scale <= 0.7 and math.isfinite(data.dual_value(scale * nu)), "best_scale() must stay in its range"
        )
        for bound, way in ((upper, 1.0), (lower, -1.0)):
            if np.isfinite(bound).any():
                i, t = np.argwhere(np.isfinite(bound))[0]
                beyond = np.zeros_like(nu)
                beyond[i, t] = bound[i, t] + way * 0.1
                _require(data.dual_value(beyond) == -math.inf, "dual_value() must be -inf outside domain()")

    def check_radius(self) -> None:
        """No predictions of at most this loss are larger."""
        data, value = self.data, self.data.value(self.F)
        radius = data.loss.fit_radius(value, data.Y, data.weight)
        size = float(np.linalg.norm(self.F[data.weight > 0]))
        _require(size <= radius * (1 + 1e-12), f"fit_radius() is {radius!r}, but predictions of size {size!r} fit")


def _check_cones(loss: Loss, Y: Array, rng: np.random.Generator) -> None:
    """A small fit by the cone form closes its duality gap, as measured by value() and dual_value()."""
    weight = np.ones(len(Y))
    weight[0] = 0.5
    data, Q, ridge = DataLoss(loss, Y, weight), rng.standard_normal((len(Y), 2)), np.array([0.3, 1.0])
    fit = fit_by_cones(data, Q, ridge)
    primal = data.value(Q @ fit.beta) + 0.5 * float(ridge @ (fit.beta**2).sum(axis=1))
    # The solver's nu is in the domain up to its own accuracy.
    lower, upper = loss.domain(Y, weight)
    nu = (1 - 1e-7) * np.clip(fit.nu, lower, upper)
    if loss.couples_tasks:
        nu = nu - Y * nu.sum(axis=1, keepdims=True)
    dual = data.dual_value(nu) - 0.5 * float(np.sum((Q.T @ nu) ** 2 / ridge[:, None]))
    message = f"cone_form() must have the loss as its minimum: primal {primal!r}, dual {dual!r}"
    _require(abs(primal - dual) <= 1e-5 * (1 + abs(primal)), message)
