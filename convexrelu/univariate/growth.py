"""Training on one input with every loss, number of tasks and choice of parameters, neuron by neuron: `grown`.

Letters: `x` (n,) samples in order, `points` (k,) the distinct ones, `nu` (n, T) dual variable.

Each round trains the output weights of the current candidates (`neuron_interior_point`) and adds the neurons that
correlate most with the dual variable, one for each stretch of intervals where some do by more than the weight decay.
Around a knot between two points candidates close in on it from both sides, faster than linearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import qr

from convexrelu.arrays import EPS, Array, IntArray, row_norms
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.candidates import Candidates, unit_of
from convexrelu.univariate.interval_pricing import Sums, best_of_intervals, largest_by_interval
from convexrelu.univariate.joined import interval_sums, joined_by_interval
from convexrelu.univariate.line_certificate import objective_on_line
from convexrelu.univariate.neuron_interior_point import Outputs, trained
from convexrelu.univariate.neuron_program import NeuronProgram
from convexrelu.univariate.neurons import Line, Neurons
from convexrelu.univariate.running_sums import WIDE, differences
from convexrelu.univariate.slopes import ExactSlopes, LossSlopes, slopes_of

# Rounds without a smaller gap before giving up.
PATIENCE = 12
# Candidates at the start; interpolation needs all points.
START = 24
# Of the tolerance: what is asked of a round at most; relative to the gap before, what is asked of the next one.
ASK, NEXT = 0.1, 0.03
# A candidate stays with an output above this share of the largest, or a correlation above this share of its bound.
USED, NEAR = 1e-7, 0.9
# Above so many candidates: so many times what new ones exceed their bound by, and the least such distance.
MANY, BRACKET, FINEST = 500, 100.0, 1e-5
# Shares of the largest neuron: smaller ones are dropped if the objective agrees.
NEGLIGIBLE = (1.0, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 0.0)


@dataclass(frozen=True, eq=False)
class Grown:
    """Candidates with their output weights, and what they are worth as far as is known; `nu` (n, T) by samples."""

    candidates: Candidates
    outputs: Outputs
    nu: Array
    gap: float


@dataclass(frozen=True, eq=False)
class Task:
    """A problem of one input in order, in units in which its numbers are about one.

    Attributes
    ----------
    problem : TrainingProblem
    order : intp (h,)
        Its samples of positive weight, by their points; for interpolation one for each point.
    x : float64 (h,)
    line : Line
        Of the distinct points.
    slopes : LossSlopes
    unit, heavy : float
        Units of predictions and dual variables.
    """

    problem: TrainingProblem
    order: IntArray
    x: Array
    line: Line
    slopes: LossSlopes
    unit: float
    heavy: float

    @classmethod
    def of(cls, problem: TrainingProblem) -> Task:
        """Sort the samples."""
        x, exact = problem.X[:, 0], problem.is_interpolation
        order = np.argsort(x, kind="stable")
        order = order[problem.sample_weight[order] > 0]
        first = np.concatenate([[True], np.diff(x[order]) > 0])
        order = order[first] if exact else order
        order = order[_independent(problem, x[order])] if exact and problem.bias == "none" else order
        t, Y, weight = x[order] + 0.0, problem.Y[order], problem.sample_weight[order]
        unit = _power(float(np.abs(Y).max()))
        heavy = 1.0 if exact else _power(float(weight.mean()))
        slopes = ExactSlopes(Y / unit) if exact else slopes_of(problem.loss, Y, weight, unit, heavy)
        points = np.unique(t)
        free = problem.skip == "free" and problem.output_bias == "free"
        blank = np.zeros((len(points), slopes.basis.shape[1]))
        line = Line(
            points, blank, np.ones(len(points)), problem.penalty / heavy, problem.bias, "free" if free else "none"
        )
        return cls(problem, order, t, line, slopes, unit, heavy)

    @property
    def span(self) -> float:
        """Of the points, as `candidates` has it."""
        return unit_of(self.line.x)

    def start(self) -> Candidates:
        """A few neurons; for interpolation those that can meet any targets."""
        points = self.line.x
        if self.problem.bias == "none":
            return Candidates.without_biases(points)
        n = len(points)
        count = n if self.problem.is_interpolation else min(START, n)
        return Candidates.on_points(self.line, np.unique(np.linspace(0, n - 1, count).astype(np.intp)))

    def program(self, candidates: Candidates) -> NeuronProgram:
        """Over the given candidates, each in units of its own effect."""
        effects = candidates.effects(self.line.x, self.slopes.fixed is not None)
        lam = self.line.lam
        prices = self._price("skip") * self.unit / self.span**2, self._price("output_bias") * self.unit
        return NeuronProgram(
            self.x / self.span, self.slopes, effects.scaled(), lam / effects.size, float(self.x[0]) / self.span, prices
        )

    def _price(self, part: str) -> float:
        """Of half the square of the skip or the output bias."""
        kind = getattr(self.problem, part)
        if part == "skip" and len(self.line.x) == 1 and (self.problem.output_bias == "free" or not self.x.any()):
            return math.inf  # at one point the constant is enough
        return {"none": math.inf, "free": 0.0, "penalized": self.line.lam}[kind]

    def by_point(self, nu: Array) -> Array:
        """Sums of a dual variable over the samples of each point."""
        first = np.searchsorted(self.x, self.line.x)
        sums: Array = np.add.reduceat(nu, first, axis=0)
        return sums

    def sums(self, outputs: Outputs) -> Sums:
        """Of the dual variable; of an interpolant with all digits of G, of which nu has few between close points."""
        if not self.problem.is_interpolation:
            return Sums.of(self.line, self.by_point(outputs.nu))
        steps, h = np.diff(outputs.G.astype(WIDE), axis=0), np.diff(self.x.astype(WIDE))[:, None]
        # The moment about the first point, and the sum.
        steps[:1] -= outputs.ends[0]
        steps = self.span * steps + outputs.ends[1] * h
        c = np.concatenate([steps / h, outputs.ends[1:2].astype(WIDE)])
        return Sums(self.line, c, np.cumsum(steps, axis=0))

    def lower_bound(self, nu: Array, tau: float) -> float:
        """What a multiple of nu proves, up to rounding, for a dual norm of tau."""
        scale = min(1.0, self.line.lam / tau) if tau > 0 else 1.0
        if self.problem.is_interpolation and tau > 0:
            scale = self.line.lam / tau
        value = self.slopes.dual(scale * nu)
        for part, column in (("skip", self.x), ("output_bias", np.ones(len(self.x)))):
            if getattr(self.problem, part) == "penalized":
                seen = scale * column @ nu
                value -= float(seen @ seen) / (2 * self.line.lam * self.unit)
        return value


def grown(problem: TrainingProblem, tol: float, rounds: int = 100) -> tuple[Network, Array]:
    """A network and a dual variable (n, T), proposals both: the certificate tells what they are worth.

    The problem has one input; `tol` is the relative gap to stop at, `rounds` a limit.
    """
    task = Task.of(problem)
    found = best_candidates(task, tol, rounds)
    nu = np.zeros_like(problem.Y)
    nu[task.order] = found.nu @ task.slopes.basis.T * task.heavy
    return _pruned(problem, network_of(task, found), tol), nu


def best_candidates(task: Task, tol: float, rounds: int) -> Grown:
    """Train, price, change the candidates, until the gap is within tol or nothing improves."""
    candidates, best, stalled, accuracy = task.start(), None, 0, 1e-2
    for _ in range(rounds):
        # Targets must be met to rounding.
        outputs = trained(task.program(candidates), 0.0 if task.problem.is_interpolation else max(ASK * tol, accuracy))
        new, tau, nu = _priced(task, outputs, tol)
        bound = task.lower_bound(nu, tau)
        gap = (outputs.objective - bound + outputs.missed) / max(abs(outputs.objective), 1e-300)
        stalled = 0 if best is None or gap < 0.9 * best.gap else stalled + 1
        best = Grown(candidates, outputs, nu, gap) if best is None or gap < best.gap else best
        if gap <= tol or stalled > PATIENCE or (not len(new) and accuracy <= ASK * tol):
            break
        accuracy = NEXT * min(abs(gap), accuracy)
        candidates = _changed(task, candidates, outputs, new, tau, stalled > 0)
    assert best is not None
    return best


def _changed(
    task: Task, candidates: Candidates, outputs: Outputs, new: Neurons, tau: float, keep_all: bool
) -> Candidates:
    """The candidates in use and near it, with the new ones and, of those around a knot, their sums."""
    size = row_norms(outputs.c)
    used = size > USED * size.max(initial=0.0)
    always = np.arange(len(candidates)) < (len(task.start()) if task.problem.is_interpolation else 0)
    # Of many only those stay that are near a knot: they fall short of their bound by what new ones exceed it by.
    least = 1 - max(BRACKET * (tau / task.line.lam - 1), FINEST) if len(candidates) > MANY else NEAR
    keep = used | (outputs.size > least) | always | keep_all | (task.problem.bias == "none")
    grown = candidates.taken(keep).joined(Candidates.of_neurons(task.line.x, new))
    if task.problem.bias != "penalized" or not used.any():
        return grown
    effects = candidates.effects(task.line.x, False).size[used, None]
    sums = list(interval_sums(candidates.u[used], outputs.c[used] / effects, task.line.x))
    u = np.array([found.u for found in sums]).reshape(-1, 2)
    return grown.joined(Candidates(u, -u[:, 1] / u[:, 0]))


def _priced(task: Task, outputs: Outputs, tol: float) -> tuple[Neurons, float, Array]:
    """New neurons, and a dual variable (n, T) with its dual norm."""
    if task.problem.bias == "none":
        r = task.by_point(outputs.nu)
        sums = [float(np.linalg.norm(np.maximum(side * task.line.x, 0.0) @ r)) for side in (1.0, -1.0)]
        return Neurons.none(r.shape[1]), max(sums), outputs.nu
    found = task.sums(outputs)
    new, tau = best_of_intervals(found, tol)
    if not task.problem.is_interpolation:
        return new, tau, outputs.nu
    if task.line.bias == "penalized":
        # Between two points correlations are affine: lower next to the intervals that violate, instead of everywhere.
        largest = largest_by_interval(found) / task.line.lam
        found = found.lowered(1 / np.maximum(1.0, np.maximum(np.append(largest, 0.0), np.append(0.0, largest))))
        tau = best_of_intervals(found, tol)[1]
    return new, tau, differences(task.line.x, found.c)


def network_of(task: Task, found: Grown) -> Network:
    """The network of the candidates."""
    u, outputs = found.candidates.u, found.outputs
    size = found.candidates.effects(task.line.x, False).size[:, None]
    parts = (outputs.c / size, outputs.skip, outputs.constant)
    # No numbers whose squares are not representable.
    c, a, b = (task.unit * np.where(np.abs(part) < EPS**3, 0.0, part) @ task.slopes.basis.T for part in parts)
    # Exactly zero where there are none.
    skip = a[None] / task.span * (task.problem.skip != "none")
    return Network(u[:, :1], u[:, 1], c, skip, b * (task.problem.output_bias != "none"), task.problem.bias)


def _pruned(problem: TrainingProblem, network: Network, tol: float) -> Network:
    """Without neurons that cost more than they are worth, and those of one interval joined where that is no worse."""
    size = row_norms(network.output) * network.neuron_norms()
    best, least = network, objective_on_line(problem, network)
    allowed = least + 0.1 * tol * abs(least)
    for share in NEGLIGIBLE:
        keep = size > share * size.max(initial=0.0)
        fewer = replace(
            network,
            hidden=network.hidden[keep],
            hidden_bias=network.hidden_bias[keep],
            output=network.output[keep],
        )
        for candidate in (joined_by_interval(fewer, problem.X[:, 0]), fewer):
            if objective_on_line(problem, candidate) <= allowed:
                return candidate.balanced()
    return best.balanced()


def _independent(problem: TrainingProblem, x: Array) -> IntArray:
    """Points (increasing indices) at which targets determine a network without biases everywhere."""
    columns = [np.maximum(x, 0.0), np.maximum(-x, 0.0)]
    columns += [x] * (problem.skip != "none") + [np.ones(len(x))] * (problem.output_bias != "none")
    triangle, pivots = qr(np.array(columns), mode="r", pivoting=True)
    diagonal = np.abs(np.diag(triangle))
    rank = int(np.sum(diagonal > len(x) * EPS * diagonal.max(initial=0.0)))
    return np.sort(pivots[: max(rank, 1)])


def _power(size: float) -> float:
    """The power of two just below a number, one for zero."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if size > 0 else 1.0
