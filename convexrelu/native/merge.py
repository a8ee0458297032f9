"""Merge neurons that share a closed cell: their sum has the same predictions and costs no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, BoolArray
from convexrelu.native.reduced import Iterate, ReducedProblem

# A pre-activation this small, relative to the norms of neuron and row, counts as a tie: it lies in both closed cells.
_TIE = 1e-9


def merge_neurons(problem: ReducedProblem, iterate: Iterate) -> Iterate:
    """Add up neurons of equal sign in a common closed cell; each sum keeps the slopes of its largest part.

    Notes
    -----
    Pairs are found by counting opposite bits with two matrix products. A sum of neurons of one closed cell stays in
    it: a group may grow by one neuron at a time as long as the new one agrees with the bits of all the others.
    """
    m = len(iterate.neurons)
    if m < 2:
        return iterate
    on, off = (bits.astype(float) for bits in strict_bits(problem, iterate.neurons))
    agree = (on @ off.T + off @ on.T == 0) & (iterate.signs[:, None] == iterate.signs[None, :])
    neurons, slopes = iterate.neurons.copy(), iterate.slopes.copy()
    alive = np.ones(m, dtype=bool)
    for i in np.flatnonzero(agree.sum(axis=1) > 1):
        if alive[i]:
            members = _clique(agree, int(i), alive)
            largest = members[int(np.argmax(problem.costs(neurons[members])))]
            slopes[i], neurons[i] = iterate.slopes[largest], neurons[members].sum(axis=0)
            alive[members[1:]] = False
    return replace(iterate, neurons=neurons, slopes=slopes).take(alive)


def strict_bits(problem: ReducedProblem, neurons: Array) -> tuple[BoolArray, BoolArray]:
    """Which samples (m, n) are strictly on, and strictly off."""
    t = neurons @ problem.Z.T
    size = _TIE * np.linalg.norm(neurons, axis=1)[:, None] * np.linalg.norm(problem.Z, axis=1)
    return t > size, t < -size


def _clique(agree: BoolArray, first: int, alive: BoolArray) -> list[int]:
    """Grow a set of neurons that agree pairwise, from the first."""
    members = [first]
    candidates = agree[first] & alive
    candidates[: first + 1] = False
    while candidates.any():
        new = int(np.argmax(candidates))
        members.append(new)
        candidates &= agree[new]
        candidates[new] = False
    return members
