"""Penalised training with free bias and skip as (group) l1 trend filtering, by an active set of knots: `trend_filter`.

    minimise   1/2 sum_i w_i |f(x_i) - Y_i|^2 + lam sum_k |delta_k(f)|      over splines f with knots at the samples

Letters: `r` (n, T) residual w (Y - f), `G` (n, T) its double sum g(t) = sum_{x_i <= t} r_i (t - x_i) at the samples; f
is optimal if and only if |G_k| <= lam everywhere and G_k = lam delta_k / |delta_k| at the knots (theory D.1).

Each round trains the spline with the current knots and adds the worst point of each stretch where |G| exceeds lam.
Large problems start from the optimum for averages of neighbouring samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.univariate.hats import HatSystem, bends_transposed
from convexrelu.univariate.knot_selection import KnotSet, minimise

ROUNDS = 200
# Above this many samples averages of GROUP neighbours come first.
SMALL, GROUP = 4000, 8
# Rounds without a lower objective after which knots are dropped one after the other, from the best spline so far.
PATIENCE = 2
# With at most so many knots after one such round: solving again costs little next to a pass over the data.
FEW = 1000
# Accuracy of the optimum for averages: it is only a start.
COARSE_TOL = 1e-5
# Times what rounding of the residual changes of the dual norm: below this estimated gap it is removed.
ROUGH = 1e4
# Of the tolerance: a fall of the objective, relative to it, that counts as progress.
FALL = 1e-3


@dataclass(frozen=True, eq=False)
class TrendProblem:
    """Trend filtering of weighted samples, with a linear term `tilt` times (first plus last slope) in the objective.

    Attributes
    ----------
    x, Y, weight : float64 (n,), (n, T), (n,)
        Increasing, of positive weight, n >= 2.
    lam : float > 0
    tilt : float
    """

    x: Array
    Y: Array
    weight: Array
    lam: float
    tilt: float = 0.0

    def tilted(self, theta: float, sigma: float) -> TrendProblem:
        """The weight decay split between curvature and tilt."""
        return replace(self, lam=self.lam * (1 - theta / 2), tilt=self.lam * theta / 2 * sigma)

    def system(self, nodes: IntArray) -> HatSystem:
        """The quadratic of splines with the given nodes, the linear term included."""
        return HatSystem.of_samples(self.x, self.Y, self.weight).coarsened(nodes).tilted(self.tilt)

    def residual(self, F: Array) -> Array:
        """W (Y - F) (n, T)."""
        return self.weight[:, None] * (self.Y - F)

    def double_sum(self, r: Array) -> Array:
        """G (n, T) of the residual and the tilt; zero at both ends at the optimum."""
        G = np.zeros_like(r)
        np.cumsum(np.diff(self.x)[:, None] * np.cumsum(r[:-1], axis=0), axis=0, out=G[1:])
        if self.tilt:
            G[1:] += self.tilt
            G[-1] += self.tilt
        return G

    @cached_property
    def rounding(self) -> float:
        """What the last bits of the residual can change of the dual norm, relative to lam."""
        size = float(np.sum(self.weight[:, None] * np.abs(self.Y)))
        return EPS * size * float(self.x[-1] - self.x[0]) / self.lam

    def averages(self, count: int) -> tuple[TrendProblem, IntArray]:
        """About `count` groups of neighbours, a sample of each as its point; and the indices of these samples."""
        n = len(self.x)
        edges = np.unique(np.concatenate([[0, 1], np.linspace(1, n - 1, count - 1).astype(np.intp)]))
        sums = np.add.reduceat(self.weight, edges)
        means = np.add.reduceat(self.weight[:, None] * self.Y, edges, axis=0) / sums[:, None]
        picks = edges + (np.diff(edges, append=n) - 1) // 2
        return replace(self, x=self.x[picks], Y=means, weight=sums), picks


@dataclass(frozen=True, eq=False)
class Fitted:
    """A spline with knots at samples and what pricing says of it."""

    knots: KnotSet
    G: Array
    objective: float
    gap: float


def trend_filter(problem: TrendProblem, tol: float, rounds: int = ROUNDS) -> tuple[KnotSet, int]:
    """The best spline found, and the number of rounds on the samples themselves.

    `tol` is the relative gap to stop at; it is an estimate here, the certificate is computed from the answer.
    """
    n, T = problem.Y.shape
    start = KnotSet(np.array([0, n - 1]), np.zeros((2, T)), np.zeros((2, T)))
    for level in _levels(n)[:-1]:
        coarse, picks = problem.averages(level)
        found, _ = _rounds(coarse, COARSE_TOL, rounds, _mapped(start, picks))
        start = KnotSet(picks[found.nodes], found.z, found.u)
    return _rounds(problem, tol, rounds, start)


def _levels(n: int) -> list[int]:
    """Numbers of averages to train on, increasing up to n."""
    levels = [n]
    while levels[0] > SMALL:
        levels.insert(0, -(-levels[0] // GROUP))
    return levels


def _mapped(start: KnotSet, picks: IntArray) -> KnotSet:
    """The nodes moved to the nearest of the samples that stand for groups."""
    nodes = np.clip(np.searchsorted(picks, start.nodes), 0, len(picks) - 1)
    nodes[-1] = len(picks) - 1
    _, first = np.unique(nodes, return_index=True)
    first[-1] = len(nodes) - 1
    return KnotSet(nodes[first], start.z[first], start.u[first])


def _rounds(problem: TrendProblem, tol: float, rounds: int, start: KnotSet) -> tuple[KnotSet, int]:
    """Train, price, add knots, until the estimated gap is within tol or nothing improves."""
    last = lowest = answer = _round(problem, start, tol, careful=False)
    stalled, done = 0, 1
    while answer.gap > tol and done < rounds:
        careful = stalled > (0 if len(last.knots.nodes) <= FEW else PATIENCE)
        origin = lowest if careful else last
        state = _with_violators(problem, origin, 1 + 1e-3 * tol)
        last, done = _round(problem, state, tol * abs(lowest.objective), careful), done + 1
        fall = lowest.objective - last.objective
        if careful and fall <= 0 and last.gap >= answer.gap:
            break
        stalled = 0 if fall > FALL * tol * abs(lowest.objective) else stalled + 1
        lowest = last if fall > 0 else lowest
        answer = last if last.gap < answer.gap else answer
    return answer.knots, done


def _round(problem: TrendProblem, state: KnotSet, accuracy: float, careful: bool) -> Fitted:
    """Train the spline with the given knots, and price them all: two cumulative sums."""
    knots = minimise(problem.system(state.nodes), state, problem.lam, accuracy, careful)
    x, nodes, z = problem.x, knots.nodes, knots.z
    r = problem.residual(values_between(x, nodes, z))
    slopes = np.diff(z, axis=0) / np.diff(x[nodes])[:, None]
    norm = float(row_norms(np.diff(slopes, axis=0)).sum())
    penalty = problem.lam * norm + problem.tilt * float(slopes[0].sum() + slopes[-1].sum())
    objective = 0.5 * float(np.sum(r * r / problem.weight[:, None])) + penalty
    priced = _priced(problem, knots, r, objective)
    if priced.gap < ROUGH * problem.rounding:
        correction = values_between(x, nodes, correction_values(problem, knots, r))
        priced = _priced(problem, knots, r - problem.weight[:, None] * correction, objective)
    return priced


def _priced(problem: TrendProblem, knots: KnotSet, r: Array, objective: float) -> Fitted:
    G = problem.double_sum(r)
    square = float(np.sum(r * r / problem.weight[:, None]))
    return Fitted(knots, G, objective, _estimated_gap(problem, r, square, objective, float(row_norms(G).max())))


def _estimated_gap(problem: TrendProblem, r: Array, square: float, objective: float, tau: float) -> float:
    """Relative gap that the best multiple of the residual proves, up to rounding."""
    linear = float(np.sum(r * problem.Y))
    upper = problem.lam / tau if tau > 0 else np.inf
    if problem.tilt:
        upper = min(upper, 1.0)
    scale = min(upper, max(linear / square, 0.0)) if square > 0 else 0.0
    bound = scale * linear - 0.5 * scale**2 * square
    return (objective - bound) / max(abs(objective), 1e-300)


def values_between(x: Array, nodes: IntArray, z: Array) -> Array:
    """Values (n, T) at all samples of the spline with values z at the nodes."""
    counts = np.diff(nodes)
    rise = np.diff(z, axis=0) / np.diff(x[nodes])[:, None]
    offset = (x[:-1] - np.repeat(x[nodes[:-1]], counts))[:, None]
    inner = np.repeat(z[:-1], counts, axis=0) + np.repeat(rise, counts, axis=0) * offset
    return np.vstack([inner, z[-1:]])


def correction_values(problem: TrendProblem, knots: KnotSet, r: Array) -> Array:
    """Values (m, T) at the nodes of the spline that, subtracted from the residual, meets the conditions at all knots.

    A Newton step, zero but for rounding; the residual can hold its digits where the values of the spline cannot.
    """
    # The same matrix, with correlations of the residual instead of the targets.
    system = replace(problem, Y=r / problem.weight[:, None]).system(knots.nodes)
    return system.solve(system.B - problem.lam * bends_transposed(system.x, knots.u))


def _with_violators(problem: TrendProblem, fitted: Fitted, excess: float) -> KnotSet:
    """The knots with the worst point of each stretch of violating neighbours added."""
    knots, size = fitted.knots, row_norms(fitted.G)
    violating = size > problem.lam * excess
    violating[knots.nodes] = False
    new = peaks(size, violating)
    u = fitted.G[new] / size[new, None]
    z = _values_at(problem.x, knots, new)
    nodes = np.concatenate([knots.nodes, new])
    order = np.argsort(nodes, kind="stable")
    return KnotSet(nodes[order], np.vstack([knots.z, z])[order], np.vstack([knots.u, u])[order])


def _values_at(x: Array, knots: KnotSet, new: IntArray) -> Array:
    """Values (k, T) of the spline at the samples `new`."""
    j = np.searchsorted(knots.nodes, new) - 1
    begin, end = x[knots.nodes[j]], x[knots.nodes[j + 1]]
    theta = ((x[new] - begin) / (end - begin))[:, None]
    values: Array = knots.z[j] + theta * (knots.z[j + 1] - knots.z[j])
    return values


def peaks(size: Array, violating: BoolArray, apart: int = 1) -> IntArray:
    """The index of the largest entry of each run of violating entries, neighbours at most `apart` from each other."""
    index = np.flatnonzero(violating)
    if not len(index):
        return index
    starts = np.flatnonzero(np.concatenate([[True], np.diff(index) > apart]))
    top = np.maximum.reduceat(size[index], starts)
    chosen = index[size[index] == np.repeat(top, np.diff(starts, append=len(index)))]
    run = np.searchsorted(index[starts], chosen, side="right")
    peaks: IntArray = chosen[np.concatenate([[True], np.diff(run) > 0])]
    return peaks
