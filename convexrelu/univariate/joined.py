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

# Of the largest singular value of a sum: where the second one is less it is one neuron.
PARALLEL = 1e-6


class Sum(NamedTuple):
    """The neuron nearest to the sum of a group: unit `u` (2,), output `v` (T,), and the share of what it leaves."""

    group: IntArray
    u: Array
    v: Array
    rest: float


def interval_sums(u: Array, v: Array, x: Array) -> Iterator[Sum]:
    """The sums of neurons u (k, 2) with outputs v (k, T) that are linear on the same points and do not cancel."""
    for group in _groups(u, v, np.unique(x)):
        left, singular, right = np.linalg.svd(u[group].T @ v[group], full_matrices=False)
        along = v[group] @ right[0]
        # Opposite outputs cancel in a sum that costs less than both, but is another function off the data.
        if (along * along[0] > 0).all():
            sign = np.sign(left[:, 0] @ u[group].sum(axis=0))
            rest = float(singular[1:].sum() / singular[0])
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


def _groups(u: Array, v: Array, points: Array) -> list[IntArray]:
    """Indices of two or more neurons that are linear on the same points."""
    bent = np.flatnonzero((u[:, 0] != 0) & (row_norms(v) > 0))
    t = -u[bent, 1] / u[bent, 0]
    # Twice the place of a knot, odd between two points; first those that face left.
    places = np.searchsorted(points, t, side="left") + np.searchsorted(points, t, side="right")
    places = np.where(u[bent, 0] > 0, places + 2 * len(points) + 1, places)
    order = np.argsort(places, kind="stable")
    cuts = np.flatnonzero(np.diff(places[order])) + 1
    return [bent[part] for part in np.split(order, cuts) if len(part) > 1]
