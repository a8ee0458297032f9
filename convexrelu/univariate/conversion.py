"""Between networks and splines, without loss: `from_network`, `to_network`, `knots`, `curvature`.

Letters: neuron `v_j relu(w_j x + b_j)` has its knot at `t_j = -b_j / w_j` and curvature `delta_j = |w_j| v_j`; it faces
right if w_j > 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.network import Network
from convexrelu.univariate.penalized_skip import best_skip, without_line
from convexrelu.univariate.spline import Spline
from convexrelu.validation import LARGEST, check_choice

# Times the value at zero: what the line from the nearest knot to zero climbs where that knot is too far away.
FAR = 1e3


def from_network(network: Network) -> Spline:
    """The function of a network with one input, exact up to rounding.

    Neurons with a common knot are merged; knots at which their curvatures cancel stay, with no change of slope. So does
    one added at zero if all others are far away.

    Raises
    ------
    InvalidInputError
        If the network has several inputs, or a knot too far away to be represented.

    Examples
    --------
    >>> import convexrelu as cr
    >>> network = cr.Network([[1.0], [-2.0]], [0.0, 2.0], [[1.0], [0.5]])
    >>> spline = cr.univariate.from_network(network)
    >>> spline.knots, spline.curvature[:, 0], spline.slopes[:, 0]
    (array([0., 1.]), array([1., 1.]), array([-1.,  0.,  1.]))
    """
    if network.hidden.shape[1] != 1:
        raise InvalidInputError(f"`network` must have one input, got {network.hidden.shape[1]}.")
    w, T = network.hidden[:, 0], network.output.shape[1]
    bent = w != 0
    constant = network.output_bias + np.maximum(network.hidden_bias[~bent], 0.0) @ network.output[~bent]
    t = _knots(w[bent], network.hidden_bias[bent])
    delta = np.abs(w[bent])[:, None] * network.output[bent]
    left = w[bent] < 0
    knots, group = np.unique(t, return_inverse=True)
    if not len(knots):
        return Spline(np.zeros(1), constant[None], np.repeat(network.skip, 2, axis=0))
    curvature = np.zeros((len(knots), T))
    np.add.at(curvature, group, delta)
    first = network.skip[0] - delta[left].sum(axis=0)
    slopes = np.vstack([first, first + np.cumsum(curvature, axis=0)])
    at_zero = network.output_bias + np.maximum(network.hidden_bias, 0.0) @ network.output
    piece = int(np.searchsorted(knots, 0.0, side="right"))
    weight = np.bincount(group, row_norms(delta))
    if float(np.linalg.norm(slopes[piece])) * float(np.abs(knots).min()) > FAR * float(np.linalg.norm(at_zero)):
        # Of nearly constant neurons only: values computed from their knots would have no digits.
        knots, slopes = np.insert(knots, piece, 0.0), np.insert(slopes, piece, slopes[piece], axis=0)
        weight = np.insert(np.zeros_like(weight), piece, 1.0)
    # From the median of the curvature outwards: a knot far away, of a nearly constant neuron, would cost all others
    # their digits.
    middle = int(np.searchsorted(np.cumsum(weight), weight.sum() / 2))
    reach = np.maximum(np.where(left, t - knots[middle], knots[middle] - t), 0.0)
    start = constant + network.skip[0] * knots[middle] + reach @ delta
    steps = slopes[1:-1] * np.diff(knots)[:, None]
    above = np.cumsum(steps[middle:], axis=0)
    below = np.cumsum(steps[:middle][::-1], axis=0)[::-1]
    return Spline(knots, start + np.vstack([-below, np.zeros((1, T)), above]), slopes)


def _knots(w: Array, b: Array) -> Array:
    """Knots -b / w, within range."""
    with np.errstate(over="ignore"):
        t = -b / w + 0.0
    if np.any(np.abs(t) > LARGEST):
        raise InvalidInputError(
            f"`network` has a knot beyond {LARGEST:g}, where it is a linear function of all that can be represented; "
            "drop that neuron, or move it into the skip and the output bias."
        )
    return t


def to_network(spline: Spline, bias: str = "free", skip: str = "free") -> Network:
    """A balanced network with the function of the spline, one neuron per knot (one more at most without a skip).

    Parameters
    ----------
    spline : Spline
    bias : {"free", "penalized"}
        How the neurons are measured when they are balanced.
    skip : {"free", "penalized", "none"}
        With a free skip every neuron faces right. Otherwise neurons that face left make up the slope at the left end,
        but for a penalised skip's share: the knots do where they can, which costs nothing more; else one neuron is
        added at either end.

    Raises
    ------
    UnsupportedError
        Without a free skip, for several tasks.
    """
    check_choice(bias, "bias", ("free", "penalized"))
    check_choice(skip, "skip", ("free", "penalized", "none"))
    if skip != "free" and spline.values.shape[1] > 1:
        raise UnsupportedError(f"`skip={skip!r}` is for one task; write skip='free'.")
    if skip == "penalized":
        A = best_skip(spline)
        network = to_network(without_line(spline, A), bias, "none")
        return replace(network, skip=np.array([[A]]))
    spline = spline.pruned()
    t, delta = spline.knots, spline.curvature
    if skip == "free":
        return _network(spline, t, delta, np.zeros_like(delta), bias)
    right, left = _facing(delta[:, 0], float(-spline.slopes[0, 0]))
    return _network(spline, t, right[:, None], left[:, None], bias)


def _facing(delta: Array, target: float) -> tuple[Array, Array]:
    """Curvature (K,) of neurons facing right and left, delta in sum, the left ones adding up to `target`.

    Knots of the sign of the target turn left one after the other until they reach it, so that one at most is split.
    What they cannot reach is added at the first knot, and subtracted again from the neurons facing right there.
    """
    size = np.where(np.sign(delta) == np.sign(target), np.abs(delta), 0.0)
    before = np.cumsum(size) - size
    left = np.sign(target) * np.clip(abs(target) - before, 0.0, size)
    right = delta - left
    rest = target - left.sum()
    if before[-1] + size[-1] < abs(target):
        left[0] += rest
        right[0] -= rest
    return right, left


def _network(spline: Spline, t: Array, right: Array, left: Array, bias: str) -> Network:
    """The network with curvature `right` (K, T) facing right and `left` (K, T) facing left at the knots t (K,)."""
    skip = spline.slopes[:1] + left.sum(axis=0)
    if left.any():
        skip = np.zeros_like(skip)  # exactly: the left-facing neurons are there to make it so
    constant = spline.values[0] - skip[0] * t[0] - (t - t[0]) @ left
    parts = [(sign, delta) for sign, delta in ((1.0, right), (-1.0, left)) if delta.any()]
    hidden, shift, output = [np.zeros((0, 1))], [np.zeros(0)], [np.zeros((0, right.shape[1]))]
    for sign, delta in parts:
        on = np.any(delta != 0, axis=1)
        scale = np.sqrt(row_norms(delta[on]))
        hidden.append(sign * scale[:, None])
        shift.append(-sign * scale * t[on])
        output.append(delta[on] / scale[:, None])
    network = Network(np.concatenate(hidden), np.concatenate(shift), np.vstack(output), skip, constant, bias)
    return network if bias == "free" else network.balanced()


def knots(network: Network) -> Array:
    """Where a network with one input changes its slope, increasing."""
    return from_network(network).pruned().knots if from_network(network).n_knots else np.zeros(0)


def curvature(network: Network) -> Array:
    """Changes of slope (K, T) of a network with one input, at its `knots`."""
    spline = from_network(network).pruned()
    return spline.curvature if spline.n_knots else np.zeros((0, spline.values.shape[1]))
