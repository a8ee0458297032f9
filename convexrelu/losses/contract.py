"""What a loss of a user's own returns, tried once where predictions are zero: `checked_targets`.

Letters: `Y` (n, T) targets, `weight` (n,) sample weights, `nu` (n, T) dual variable.

What is tried here costs a few evaluations and catches wrong shapes, signs and kinds, which would otherwise end as wrong
numbers; `convexrelu.testing.check_loss` tries much more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError
from convexrelu.losses.loss import Loss, LossCone

# The value and the dual value at minus the gradient may differ by this much, relative to the larger.
TOLERANCE = 1e-6


def checked_targets(loss: Loss, Y: Array, weight: Array) -> Array:
    """The targets as the loss takes them; of a loss that is not the package's, after a trial.

    Raises
    ------
    InvalidInputError
        If a method of the loss does not return what `convexrelu.losses.Loss` says.
    """
    targets = loss.targets(Y)
    if type(loss).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return targets
    targets = _array(loss, "targets", targets, None)
    if targets.ndim != 2 or len(targets) != len(Y) or not targets.shape[1]:
        raise _broken(loss, "targets", f"a matrix of {len(Y)} rows", targets.shape)
    # In the order in which losses commonly build on one another.
    bounds = _bounds(loss, targets, weight)
    nu = -_array(loss, "gradient", loss.gradient(np.zeros_like(targets), targets, weight), targets.shape)
    value = _try_value(loss, targets, weight)
    _try_dual(loss, targets, weight, value, nu, bounds)
    cone = loss.cone_form(targets, weight)
    if not isinstance(cone, LossCone):
        raise _broken(loss, "cone_form", "a LossCone", type(cone).__name__)
    return targets


def _bounds(loss: Loss, Y: Array, weight: Array) -> tuple[Array, Array]:
    """The bounds of the domain."""
    bounds: Any = loss.domain(Y, weight)
    if not isinstance(bounds, tuple) or len(bounds) != 2:
        raise _broken(loss, "domain", "two arrays", bounds)
    lower, upper = (_array(loss, "domain", bound, Y.shape, finite=False) for bound in bounds)
    return lower, upper


def _try_value(loss: Loss, Y: Array, weight: Array) -> float:
    """The value at zero, after a look at it, at the curvature and at the radius."""
    zero = np.zeros_like(Y)
    value = _number(loss, "value", loss.value(zero, Y, weight))
    if value < 0:
        raise _broken(loss, "value", "a number of at least zero", value)
    if loss.is_smooth and _array(loss, "curvature", loss.curvature(zero, Y, weight), Y.shape).min() < 0:
        raise _broken(loss, "curvature", "numbers of at least zero", "negative ones")
    radius = loss.fit_radius(value, Y, weight)
    if not isinstance(radius, int | float | np.number) or not radius >= 0:
        raise _broken(loss, "fit_radius", "a number of at least zero, or infinity", radius)
    return value


def _try_dual(loss: Loss, Y: Array, weight: Array, value: float, nu: Array, bounds: tuple[Array, Array]) -> None:
    """Minus the gradient is in the domain, and its dual value is the value (Fenchel and Young)."""
    (lower, upper), slack = bounds, TOLERANCE * np.abs(nu).max()
    if not ((lower <= 0) & (upper >= 0) & (lower - slack <= nu) & (nu <= upper + slack)).all():
        raise _broken(loss, "domain", "bounds around zero and around minus the gradient", "others")
    pair: Any = loss.dual_value(nu, Y, weight)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise _broken(loss, "dual_value", "two numbers, the value and a bound on its rounding error", pair)
    dual, error = (_number(loss, "dual_value", number) for number in pair)
    if error < 0 or abs(value - dual) > error + TOLERANCE * max(value, abs(dual), TOLERANCE * float(weight.max())):
        raise _broken(loss, "dual_value", f"value() at zero, {value:g}, for minus the gradient there", dual)


def _array(loss: Loss, method: str, value: Any, shape: tuple[int, ...] | None, finite: bool = True) -> Array:
    """The array a method returned."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or shape not in (None, value.shape):
        got = f"one of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise _broken(loss, method, "an array of numbers" + (f" of shape {shape}" if shape else ""), got)
    if np.isnan(value).any() or (finite and not np.isfinite(value).all()):
        raise _broken(loss, method, "finite numbers", "NaN or infinite ones")
    return value.astype(float)


def _number(loss: Loss, method: str, value: Any) -> float:
    if not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise _broken(loss, method, "a finite number", value)
    return float(value)


def _broken(loss: Loss, method: str, expected: str, got: object) -> InvalidInputError:
    return InvalidInputError(
        f"`loss`: {method}() of {type(loss).__name__} must return {expected}, got {got}; "
        "convexrelu.testing.check_loss(loss) tells what else a loss must keep."
    )
