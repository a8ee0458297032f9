"""Training neuron by neuron on one input: Newton's method on their knots, and exchange with the intervals: `exchanged`.

Letters: as in `neurons`; `r` (n, T) residual, `A` (T, 2) its correlation with a neuron (w, b) in an interval.

While knots stay within their intervals the fit is linear in the neurons and their cost is smooth, so Newton's steps
converge in a few rounds to all digits (theory B.6). A neuron with its knot on a point keeps its direction: only its
size varies. Neurons that correlate with the residual by more than the weight decay join until there is none; for one
task those in the same interval are replaced by their sum, which computes the same and costs less (theory D.5).
"""

from __future__ import annotations

import numpy as np

from convexrelu.arrays import Array, BoolArray, row_norms
from convexrelu.univariate.interval_pricing import Sums, best_of_intervals, correlations
from convexrelu.univariate.neuron_step import NeuronStep, neuron_step
from convexrelu.univariate.neurons import EVERYWHERE, Line, Neurons, objective_of

EXCHANGES = 100
# Exchanges without progress before giving up.
PATIENCE = 8
STEPS = 40
# A fall below this is the end of Newton's method.
FLAT = 1e-13
# A rise of the objective, relative to it, that several events at once may cost.
BOLD = 1e-3
# Rounding of the objective, relative to it: a smaller fall is none.
ROUNDING = 1e-15
# Cosine of output directions above which neurons in one interval are taken for one.
ALIGNED = 0.5


def exchanged(line: Line, tol: float, start: Neurons | None = None) -> tuple[Neurons, Array]:
    """The best neurons found and their residual (n, T), with digits that the sum over neurons may lack.

    `tol` is the relative gap to stop at. Meant as a proposal: the certificate tells what it is worth.
    """
    neurons = start if start is not None else Neurons.none(line.Y.shape[1])
    answer, least, stalled = (neurons, line.Y), np.inf, 0
    for _ in range(EXCHANGES):
        neurons, value, r = _newton(line, neurons, careful=stalled > 1)
        candidates, tau = best_of_intervals(Sums.of(line, r), tol)
        gap = _gap(line, r, value, tau)
        stalled = 0 if gap < least else stalled + 1
        if gap < least:
            least, answer = gap, (neurons, r)
        if not len(candidates) or gap <= tol or stalled > PATIENCE:
            break
        # The sum is the same function for one task only: for several it may cost more, again and again.
        merging = stalled == 0 or line.Y.shape[1] == 1
        neurons = _with(neurons, candidates, ALIGNED if merging else np.inf)
    return answer


def _gap(line: Line, r: Array, value: float, tau: float) -> float:
    """Relative gap that a multiple of the residual proves, up to rounding."""
    linear, square = float(np.sum(r * line.Y)), float(np.sum(r * r / line.weight[:, None]))
    scale = min(line.lam / tau if tau > 0 else np.inf, max(linear / square, 0.0)) if square > 0 else 0.0
    return (value - (scale * linear - 0.5 * scale**2 * square)) / max(abs(value), 1e-300)


def _newton(line: Line, neurons: Neurons, careful: bool) -> tuple[Neurons, float, Array]:
    """The neurons that are optimal for their knots' intervals, the others dropped; objective and residual."""
    value, r = objective_of(line, neurons)
    for count in range(STEPS * (5 if careful else 1)):
        if not len(neurons):
            break
        step = neuron_step(line, neurons, correlations(line, r, neurons))
        if step is None:
            break
        moved, events = _moved(line, neurons, step, 1.0)
        lower, rest = objective_of(line, moved)
        whole = not events and lower <= value * (1 + ROUNDING)
        if not whole and lower > value * (1 + (ROUNDING if careful or not events or count > STEPS // 2 else BOLD)):
            moved, lower, rest, events = _cautious(line, neurons, step, value)
        fall, neurons, value, r = value - lower, moved, lower, rest
        if not events and fall <= FLAT * abs(value):
            return neurons, value, step.r if whole else r
    return neurons, value, r


def _cautious(line: Line, neurons: Neurons, step: NeuronStep, value: float) -> tuple[Neurons, float, Array, bool]:
    """The step as far as the first event, halved until the objective falls."""
    backwards = (neurons.c == 0) & (np.einsum("ij,ij->i", neurons.d, step.v) < 0)
    if backwards.any():
        return neurons.taken(~backwards), value, objective_of(line, neurons)[1], True
    share = _first_event(line, neurons, step)
    for _ in range(30):
        moved, events = _moved(line, neurons, step, share)
        lower, r = objective_of(line, moved)
        if lower <= value * (1 + ROUNDING):
            return moved, lower, r, events
        share /= 2
    return neurons, value, objective_of(line, neurons)[1], False


def _first_event(line: Line, neurons: Neurons, step: NeuronStep) -> float:
    """The share of the step after which the first neuron vanishes or its knot reaches a point, at most one."""
    then = np.einsum("ij,ij->i", neurons.d, step.v)
    U = neurons.c[:, None] * neurons.u, then[:, None] * neurons.u + step.kappa[:, None] * neurons.across()
    before, after = ([np.where(neurons.loose, e, 1.0) for e in neurons.edges(line.x, part)] for part in U)
    before, after = [neurons.c, *before], [then, *after]
    ratios = [np.where(b < 0, a / np.maximum(a - b, 1e-300), np.inf) for a, b in zip(before, after, strict=True)]
    return float(min(1.0, max(np.min(ratios, initial=np.inf) * (1 + 1e-9), 1e-12)))


def _moved(line: Line, neurons: Neurons, step: NeuronStep, share: float) -> tuple[Neurons, bool]:
    """After a share of the step: neurons below zero dropped, knots beyond their interval put on the point they met."""
    out = neurons.c[:, None] * neurons.d + share * (step.v - neurons.c[:, None] * neurons.d)
    along = np.einsum("ij,ij->i", neurons.d, out)
    U = along[:, None] * neurons.u + share * step.kappa[:, None] * neurons.across()
    first, second = neurons.edges(line.x, U)
    low, high = neurons.loose & (first < 0), neurons.loose & (second < 0)
    # The knot leaves on the side whose neuron is used up; both used up, the neuron is.
    keep = np.where(neurons.loose, ~(low & high) & (first + second > 0), along > 0)
    size = row_norms(U)
    u = np.where(neurons.loose[:, None], U / np.where(size > 0, size, 1.0)[:, None], neurons.u)
    length = row_norms(out)
    d = out / np.where(length > 0, length, 1.0)[:, None]
    c = np.where(neurons.loose, size * np.where(along > 0, length / np.where(along > 0, along, 1.0), 1.0), length)
    d = np.where((along > 0)[:, None], d, neurons.d)
    moved = Neurons(neurons.place, neurons.loose, neurons.side, u, d, c)
    left = (low | high) & keep
    moved = _on_points(line, moved, left, low).taken(keep)
    return _without_twins(moved), bool(left.any() or not keep.all())


def _on_points(line: Line, neurons: Neurons, which: BoolArray, low: BoolArray) -> Neurons:
    """The given neurons with their knots on the second (low) or the first of the points around them, size kept."""
    everywhere = neurons.place == EVERYWHERE
    place = np.where(everywhere, np.where(low, 0, len(line.x) - 1), neurons.place + low)
    side = np.where(everywhere & which, np.where(low, 1.0, -1.0), neurons.side)
    place = np.where(which, place, neurons.place)
    u = np.where(which[:, None], line.unit(line.x[place], side), neurons.u)
    return Neurons(place, neurons.loose & ~which, side, u, neurons.d, neurons.c)


def _without_twins(neurons: Neurons) -> Neurons:
    """Neurons on one point that face one way with aligned outputs added up."""
    key = np.where(neurons.loose, np.arange(len(neurons)) + 0.5, 4.0 * (neurons.place + len(neurons) + 2))
    key = key + np.where(neurons.loose, 0.0, neurons.side)
    if neurons.d.shape[1] == 1:
        key = key + np.where(neurons.loose, 0.0, 0.25 * neurons.d[:, 0])
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    if len(first) == len(neurons):
        return neurons
    total = np.zeros((len(first), neurons.d.shape[1]))
    np.add.at(total, group, neurons.c[:, None] * neurons.d)
    whole, size = neurons.taken(first), row_norms(total)
    d = np.where((size > 0)[:, None], total / np.where(size > 0, size, 1.0)[:, None], whole.d)
    return Neurons(whole.place, whole.loose, whole.side, whole.u, d, size)


def _with(neurons: Neurons, new: Neurons, aligned: float) -> Neurons:
    """The neurons with new ones: a loose one takes the place of those around it with outputs aligned to its own."""
    keep, fresh = neurons.c > 0, []
    for j in range(len(new)):
        one = new.taken(np.array([j]))
        near = keep & (neurons.side == one.side) & (neurons.d @ one.d[0] > aligned) & _around(neurons, one)
        if not one.loose[0]:
            if not near.any():
                fresh.append(one)
            continue
        if near.any():
            total = (neurons.c[near, None] * neurons.d[near]).sum(axis=0)
            U = (neurons.c[near, None] * neurons.u[near]).sum(axis=0)
            size = float(np.linalg.norm(total))
            one = Neurons(
                one.place, one.loose, one.side, (U / np.linalg.norm(U))[None], (total / size)[None],
                np.array([size * np.linalg.norm(U) / neurons.c[near].sum()]),
            )  # fmt: skip
            keep &= ~near
        fresh.append(one)
    whole = neurons.taken(keep)
    for one in fresh:
        whole = whole.joined(one)
    return whole


def _around(neurons: Neurons, one: Neurons) -> BoolArray:
    """Which neurons have their knot in the closed interval of a loose neuron, or on the point of another."""
    place, loose = one.place[0], bool(one.loose[0])
    if place == EVERYWHERE or not loose:
        same: BoolArray = (neurons.place == place) & (neurons.loose == loose)
        return same
    anchored = ~neurons.loose & ((neurons.place == place) | (neurons.place == place + 1))
    around: BoolArray = anchored | (neurons.loose & (neurons.place == place))
    return around
