"""How far predictions can be from zero where the loss alone does not say: `label_radius`, for losses of labels.

Letters: `x` (n,) points, `y` (n,) labels -1 and 1, `l` the free part of a function: its constant and, with a free skip,
its slope.

Such a loss is at least weight (-y f). So with an objective P no prediction is on the wrong side by more than P over the
least weight. Neurons of norm H, zero at one end, contribute at most H times the span: y l >= -C, with C the sum of the
two. Between the outermost points of both labels, where they overlap, |l| <= C; from there l cannot rise fast.
"""

from __future__ import annotations

import math

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.losses import Loss


def overlap(x: Array, y: Array) -> float:
    """Length on which a line of labels' sides is held from both sides; zero if it turns about a point, else negative.

    Negative stands for labels that a line separates.
    """
    plus, minus = x[y > 0], x[y < 0]
    if not len(plus) or not len(minus):
        return -1.0
    ends = (float(plus.min()), float(plus.max())), (float(minus.min()), float(minus.max()))
    begin, end = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    if begin != end:
        return end - begin
    # One label at one point: the other one's outermost points hold the line around it.
    return max(min(begin - low, high - begin) for low, high in ends)


def label_radius(x: Array, y: Array, least: float, objective: float, hidden: float, skip: str) -> float:
    """Bound on |f| over the samples for functions of at most this objective and norm of their neurons.

    Parameters
    ----------
    x, y : float64 (n,)
        Of positive weight.
    least : float > 0
        The least sample weight.
    objective, hidden : float
        `hidden` bounds the norm of the neurons and, unless the skip is free, of the skip.
    skip : str
    """
    span = float(x.max() - x.min())
    side = objective / least + hidden * span
    if skip != "free":
        return side + hidden * span if (y > 0).any() and (y < 0).any() else math.inf
    length = overlap(x, y)
    return side + 2 * side * span / length + hidden * span if length > 0 else math.inf


def check_labels(x: Array, y: Array, loss: Loss, skip: str) -> None:
    """Raise if the free part of a network satisfies labels at no cost: no network is best, or none is needed.

    Raises
    ------
    InvalidInputError
        As `TrainingProblem` does.
    UnsupportedError
        For labels that a line separates but for those at one point, and a loss that vanishes beyond its label.
    """
    part = "skip" if skip == "free" else "output bias"
    end = "is zero without any neuron" if loss.reaches_zero else "has no optimum: it falls for ever as that grows"
    if (y > 0).all() or (y < 0).all():
        raise InvalidInputError(f"labels in `Y` are all equal, so the {loss.name} loss with a free output bias {end}.")
    length = overlap(x, y) if skip == "free" else 1.0
    if length > 0:
        return
    if length == 0 and loss.reaches_zero:
        raise UnsupportedError(
            "labels in `Y` can be separated by a line but for those at one point, which `univariate.fit` does not "
            "take; use `convexrelu.solve`, or skip='none'."
        )
    raise InvalidInputError(
        f"the labels in `Y` can be separated by a line, so the {loss.name} loss with a free {part} {end}; "
        "write skip='none' or 'penalized'."
    )
