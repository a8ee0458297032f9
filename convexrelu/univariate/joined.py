"""Neurons of one input that act as one on the data, joined: `joined_by_interval`.

Letters: `x` (n,) points, neuron `v relu(w x + b)` with its knot at `-b / w`.

Neurons that face one way and have their knots between the same two points are linear in (w, b) on the data. So those
with parallel outputs add up, and cost no less than their sum (theory D.5).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, IntArray, row_norms
from convexrelu.network import Network

# Of the largest singular value of a sum: where the second one is less it is one neuron.
PARALLEL = 1e-6


def joined_by_interval(network: Network, x: Array) -> Network:
    """The network with such neurons joined; the same predictions at x up to rounding, no higher norm."""
    keep, sums = np.ones(network.n_neurons, dtype=bool), []
    for group in _groups(network, np.unique(x)):
        rows = np.column_stack([network.hidden[group, 0], network.hidden_bias[group]])
        left, singular, right = np.linalg.svd(rows.T @ network.output[group], full_matrices=False)
        # Opposite outputs cancel in a sum that costs less than both, but is another function off the data.
        aligned = np.all(network.output[group] @ right[0] * float(right[0] @ network.output[group[0]]) > 0)
        if aligned and (singular[1:] <= PARALLEL * singular[0]).all():
            keep[group] = False
            sign = np.sign(left[:, 0] @ rows.sum(axis=0))
            sums.append((sign * left[:, 0], sign * singular[0] * right[0]))
    if not sums:
        return network
    u, v = (np.array(part) for part in zip(*sums, strict=True))
    return replace(
        network,
        hidden=np.vstack([network.hidden[keep], u[:, :1]]),
        hidden_bias=np.concatenate([network.hidden_bias[keep], u[:, 1]]),
        output=np.vstack([network.output[keep], v]),
    )


def _groups(network: Network, points: Array) -> list[IntArray]:
    """Indices of two or more neurons that are linear on the same points."""
    w, b = network.hidden[:, 0], network.hidden_bias
    bent = np.flatnonzero((w != 0) & (row_norms(network.output) > 0))
    t = -b[bent] / w[bent]
    # Twice the place of a knot, odd between two points; first those that face left.
    places = np.searchsorted(points, t, side="left") + np.searchsorted(points, t, side="right")
    places = np.where(w[bent] > 0, places + 2 * len(points) + 1, places)
    order = np.argsort(places, kind="stable")
    cuts = np.flatnonzero(np.diff(places[order])) + 1
    return [bent[part] for part in np.split(order, cuts) if len(part) > 1]
