"""Whether any network can meet the targets: `check_interpolable`."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import InvalidInputError

# Targets in proportion along a ray are compared after a division and a product: a few roundings.
TOLERANCE = 1e-12


def check_interpolable(X: Array, Y: Array, bias: str, output_bias: str) -> None:
    """Raise InvalidInputError, naming the rows, if no network of this kind has f(x_i) = y_i for all i.

    With hidden biases two samples conflict only if their inputs are equal. Without, a network less its output bias is
    positively homogeneous: f(t x) - c = t (f(x) - c) for t >= 0, so samples on one ray must agree (theory: a network
    with enough neurons meets all other targets).
    """
    _check_equal_inputs(X, Y)
    if bias == "none":
        _check_rays(X, Y, output_bias)


def _check_equal_inputs(X: Array, Y: Array) -> None:
    # Adding zero turns -0.0 into 0.0, so that equal rows are equal bytes for np.unique.
    _, first, inverse = np.unique(X + 0.0, axis=0, return_index=True, return_inverse=True)
    partner = first[inverse.ravel()]
    differ = np.flatnonzero((Y[partner] != Y).any(axis=1))
    if len(differ):
        i, j = sorted((int(partner[differ[0]]), int(differ[0])))
        raise InvalidInputError(
            f"`Y` contradicts itself: rows {i} and {j} of `X` are equal but their targets differ "
            f"({Y[i].tolist()} and {Y[j].tolist()}); average or drop one of them."
        )


def _check_rays(X: Array, Y: Array, output_bias: str) -> None:
    """Each pair on a ray, x_i = t x_j with 0 <= t, demands y_i - t y_j = (1 - t) c of the output bias c."""
    pairs = _ray_pairs(X)
    if not len(pairs):
        return
    i, j, t = pairs[:, 0].astype(int), pairs[:, 1].astype(int), pairs[:, 2][:, None]
    gap = Y[i] - t * Y[j]
    constant = np.zeros(Y.shape[1])
    if output_bias != "none" and np.any(t != 1):
        k = int(np.argmax(np.abs(1 - t)))
        constant = gap[k] / (1 - t[k])
    error = np.abs(gap - (1 - t) * constant)
    size = np.abs(Y[i]) + np.abs(t * Y[j]) + np.abs((1 - t) * constant)
    bad = np.flatnonzero((error > TOLERANCE * size).any(axis=1))
    if len(bad):
        k = int(bad[0])
        raise InvalidInputError(
            f"`Y` contradicts itself: without hidden biases a network is linear along rays from the origin, and row "
            f"{i[k]} of `X` is {t[k, 0]:g} times row {j[k]} while the targets are {Y[i[k]].tolist()} and "
            f"{Y[j[k]].tolist()}; write bias='penalized', or drop one of the rows."
        )


def _ray_pairs(X: Array) -> Array:
    """Rows (i, j, t) with x_i = t x_j, t >= 0, j the longest sample of its ray; zero samples pair with every ray's."""
    norms = row_norms(X)
    order = np.argsort(-norms, kind="stable")
    if norms[order[0]] == 0:
        # No ray at all: f(0) = c, and only the zero sample itself (t = 0 of itself) restricts it.
        return np.column_stack([order, order, np.zeros(len(order))])
    leaders: list[int] = []
    pairs: list[tuple[int, int, float]] = []
    for i in order:
        if norms[i] == 0:
            pairs.append((int(i), leaders[0], 0.0))
            continue
        cosines = X[leaders] @ X[i] / (norms[leaders] * norms[i]) if leaders else np.zeros(0)
        near = [leaders[k] for k in np.flatnonzero(cosines > 0.5) if _same_direction(X[leaders[k]], X[i])]
        if near:
            pairs.append((int(i), near[0], float(norms[i] / norms[near[0]])))
        else:
            leaders.append(int(i))
    return np.array(pairs, dtype=float).reshape(-1, 3)


def _same_direction(a: Array, b: Array) -> bool:
    """Whether two vectors are positively parallel, up to rounding."""
    unit_a, unit_b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return bool(np.linalg.norm(unit_a - unit_b) <= TOLERANCE)
