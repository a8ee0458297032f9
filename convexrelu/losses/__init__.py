"""Losses, found by name."""

from __future__ import annotations

from convexrelu.errors import InvalidInputError
from convexrelu.losses.exact_fit import ExactFit
from convexrelu.losses.loss import DataLoss, Loss, LossCone
from convexrelu.losses.squared import SquaredLoss

_LOSSES: dict[str, type[Loss]] = {SquaredLoss.name: SquaredLoss}


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name, or the given loss itself."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in _LOSSES:
        known = ", ".join(map(repr, sorted(_LOSSES)))
        raise InvalidInputError(f"`loss` must be one of {known} or a convexrelu.losses.Loss, got {loss!r}.")
    return _LOSSES[loss]()


__all__ = ["DataLoss", "ExactFit", "Loss", "LossCone", "SquaredLoss", "get_loss"]
