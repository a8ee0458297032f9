"""Training neuron by neuron with the squared loss: `train_neurons`.

Letters: `x` (n,) increasing points, neuron `(w, b)` with its knot at `-b / w`. The norm of a neuron with a penalised
bias is |(w, b)|, so knots leave the data (theory D.5).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array
from convexrelu.network import Network
from convexrelu.univariate.exchange import exchanged
from convexrelu.univariate.neurons import Line, network_of


def train_neurons(
    x: Array, Y: Array, weight: Array, lam: float, bias: str, skip: str, tol: float
) -> tuple[Network, Array]:
    """A network trained neuron by neuron, and the predictions (n, T) that its dual variable is to be taken from.

    The latter have digits that the sum over neurons may lack. x (n,) increases; the targets are solved for in units of
    their size. Nothing here is trusted: see the certificate.
    """
    unit = float(np.abs(Y).max()) or 1.0
    if len(x) == 1:
        network = _single(x, Y, weight, lam, bias, skip)
        return network, network(x[:, None])
    line = Line(x, Y / unit, weight, lam / unit, bias, skip)
    neurons, r = exchanged(line, tol)
    network = network_of(line, neurons)[0]
    network = replace(
        network, output=unit * network.output, skip=unit * network.skip, output_bias=unit * network.output_bias
    )
    return network.balanced(), Y - unit * r / weight[:, None]


def _single(x: Array, Y: Array, weight: Array, lam: float, bias: str, skip: str) -> Network:
    """One sample: a constant where it is free, else one neuron along (x, 1), its size by soft thresholding."""
    T = Y.shape[1]
    if bias == "free" or skip == "free":
        return Network(np.zeros((0, 1)), np.zeros(0), np.zeros((0, T)), output_bias=Y[0], bias=bias)
    size, height = float(np.hypot(x[0], 1.0)), float(np.linalg.norm(Y))
    c = max(height - lam / (weight[0] * size), 0.0) / size
    output = c * Y / height if height > 0 else Y
    return Network(x[:, None] / size, np.ones(1) / size, output, bias=bias).balanced()
