"""The search for neurons of one task or of several: `search_neurons`."""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array
from convexrelu.pricing.search import find_neurons
from convexrelu.pricing.task_search import find_joint_neurons


def search_neurons(
    Z: Array,
    nu: Array,
    n_penalized: int,
    *,
    threshold: float,
    starts: Array,
    rng: np.random.Generator,
    n_random: int,
) -> tuple[Array, Array]:
    """Neurons (m, k) of cost one with a correlation above the threshold, and these (m,), the largest first.

    For a dual variable nu (n, T), by `find_neurons` or `find_joint_neurons`, which see.
    """
    if nu.shape[1] == 1:
        one = find_neurons(Z, nu[:, 0], n_penalized, threshold=threshold, starts=starts, rng=rng, n_random=n_random)
        return one.neurons, one.values
    several = find_joint_neurons(Z, nu, n_penalized, threshold=threshold, starts=starts, rng=rng, n_random=n_random)
    return several.neurons, several.values
