"""Labels of two classes as -1 and 1, of several classes as rows with a single one."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError

# More classes than this are rather a regression target that was taken for labels.
MOST_CLASSES = 10_000


def signs(Y: Array, loss: str) -> Array:
    """Labels -1 and 1 (n, T) from -1 and 1, or from 0 and 1 as torch.nn.BCEWithLogitsLoss takes them.

    The two cannot be confused: 1 is the positive class of both, and no column may hold both 0 and -1.
    """
    known = np.isin(Y, (-1.0, 0.0, 1.0)).all() and not ((Y == 0).any() and (Y == -1).any())
    if not known:
        raise InvalidInputError(
            f"`Y` must hold the labels -1 and 1, or 0 and 1, for loss={loss!r}, got {_listed(Y)}; "
            "for two other labels write `np.where(Y == positive, 1, -1)`, for more classes loss='softmax', "
            "for numbers loss='squared'."
        )
    return np.where(Y == 1.0, 1.0, -1.0)


def one_hot(Y: Array, loss: str) -> Array:
    """Rows (n, C) with a single one, from such rows or from a column of classes 0, 1, ..., C - 1."""
    if Y.shape[1] > 1:
        if not (np.isin(Y, (0.0, 1.0)).all() and (Y.sum(axis=1) == 1).all()):
            raise InvalidInputError(
                f"`Y` of shape {Y.shape} must have a single 1 in each row and 0 elsewhere for loss={loss!r}; "
                "write the classes 0, 1, ..., C - 1 as a vector (n,)."
            )
        return Y
    labels = Y[:, 0]
    if not (labels == np.floor(labels)).all() or labels.min() < 0 or not 1 <= labels.max() < MOST_CLASSES:
        raise InvalidInputError(
            f"`Y` must hold the classes 0, 1, ..., C - 1 with C >= 2 for loss={loss!r}, got {_listed(Y)}; "
            "for other labels write `np.unique(Y, return_inverse=True)[1]`."
        )
    rows: Array = np.eye(int(labels.max()) + 1)[labels.astype(int)]
    return rows


def _listed(Y: Array) -> str:
    """The distinct entries, the first few of them."""
    values = np.unique(Y)
    return ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
