"""Losses, found by name."""

from __future__ import annotations

from convexrelu.errors import InvalidInputError
from convexrelu.losses.absolute import AbsoluteLoss, QuantileLoss
from convexrelu.losses.exact_fit import ExactFit
from convexrelu.losses.hinge import HingeLoss, SquaredHingeLoss
from convexrelu.losses.huber import HuberLoss
from convexrelu.losses.logistic import LogisticLoss
from convexrelu.losses.loss import DataLoss, Loss, LossCone
from convexrelu.losses.piecewise import PiecewiseLoss
from convexrelu.losses.softmax import SoftmaxLoss
from convexrelu.losses.squared import SquaredLoss

_LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        SquaredLoss,
        AbsoluteLoss,
        HuberLoss,
        QuantileLoss,
        LogisticLoss,
        HingeLoss,
        SquaredHingeLoss,
        SoftmaxLoss,
    )
}
LOSS_NAMES = tuple(_LOSSES)


def get_loss(loss: str | Loss) -> Loss:
    """The loss of that name, with its default parameters, or the given loss itself."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in _LOSSES:
        known = ", ".join(map(repr, sorted(_LOSSES)))
        raise InvalidInputError(f"`loss` must be one of {known} or a convexrelu.losses.Loss, got {loss!r}.")
    return _LOSSES[loss]()


__all__ = [
    "LOSS_NAMES",
    "AbsoluteLoss",
    "DataLoss",
    "ExactFit",
    "HingeLoss",
    "HuberLoss",
    "LogisticLoss",
    "Loss",
    "LossCone",
    "PiecewiseLoss",
    "QuantileLoss",
    "SoftmaxLoss",
    "SquaredHingeLoss",
    "SquaredLoss",
    "get_loss",
]
