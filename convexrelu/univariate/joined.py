"""Neurons of one input that act as one on the data: `joined_by_interval`, `interval_sums`.

Letters: `x` (n,) points, neuron `v relu(w x + b)` with its knot at `-b / w`, `u` = (w, b).

Neurons that face one way and have their knots between the same two points are linear in (w, b) on the data. So those
with parallel outputs add up, and cost no less than their sum (theory D.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from convexrelu.arrays import Array, IntArray, row_norms
from convexrelu.network import Network

# Of what a sum bends: where the nearest neuron leaves less it is one neuron.
PARALLEL = 1e-6


class Sum(NamedTuple):
    """The neuron nearest to the sum of a group: unit `u` (2,), output `v` (T,), and the share it leaves on the data."""

    group: IntArray
    u: Array
    v: Array
    rest: float


def interval_sums(u: Array, v: Array, x: Array) -> Iterator[Sum]:
    """The sums of neurons u (k, 2) with outputs v (k, T) that are linear on the same points and do not cancel."""
    for group, (a, b) in _groups(u, v, np.unique(x)):
        left, singular, right = np.linalg.svd(u[group].T @ v[group], full_matrices=False)
        along = v[group] @ right[0]
        # Opposite outputs cancel in a sum that costs less than both, but is another function off the data.
        if (along * along[0] > 0).all():
            sign = np.sign(left[:, 0] @ u[group].sum(axis=0))
            # At the ends of the interval: between close points neurons are parallel that bend at different ones.
            size = singular * row_norms(left.T @ np.array([[a, b], [1.0, 1.0]]))
            rest = float(size[1:].sum() / size[0]) if size[0] > 0 else 0.0
            yield Sum(group, sign * left[:, 0], sign * singular[0] * right[0], rest)


def joined_by_interval(network: Network, x: Array) -> Network:
    """The network with such neurons joined; the same predictions at x up to rounding, no higher norm."""
    u = np.column_stack([network.hidden, network.hidden_bias])
    keep, sums = np.ones(network.n_neurons, dtype=bool), []
    for found in interval_sums(u, network.output, x):
        if found.rest <= PARALLEL:
            keep[found.group] = False
            sums.append(found)
    if not sums:
        return network
    U, V = np.array([found.u for found in sums]), np.array([found.v for found in sums])
    return replace(
        network,
        hidden=np.vstack([network.hidden[keep], U[:, :1]]),
        hidden_bias=np.concatenate([network.hidden_bias[keep], U[:, 1]]),
        output=np.vstack([network.output[keep], V]),
    )


def _groups(u: Array, v: Array, points: Array) -> Iterator[tuple[IntArray, tuple[float, float]]]:
    """Indices of two or more neurons that are linear on the same points, and the points around their knots."""
    bent = np.flatnonzero((u[:, 0] != 0) & (row_norms(v) > 0))
    t = -u[bent, 1] / u[bent, 0]
    # Twice the place of a knot, odd on a point; first those that face left.
    places = np.searchsorted(points, t, side="left") + np.searchsorted(points, t, side="right")
    places = np.where(u[bent, 0] > 0, places + 2 * len(points) + 1, places)
    order = np.argsort(places, kind="stable")
    cuts = np.flatnonzero(np.diff(places[order])) + 1
    for part in np.split(order, cuts):
        if len(part) > 1:
            yield bent[part], _around(points, int(places[part[0]]) % (2 * len(points) + 1))


def _around(points: Array, place: int) -> tuple[float, float]:
    """The points on both sides of a place; both ends where there are none on one side."""
    k = place // 2
    pair = (points[k - 1], points[k]) if 0 < k < len(points) else (points[0], points[-1])
    return float(pair[0]), float(pair[1])
