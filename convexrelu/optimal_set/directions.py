"""The directions that neurons of optimal networks may have: `Directions`, `active_directions`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `nu` (n, T) dual variable, `lam` price of norm, `u` (k,) a
neuron of cost one. A direction u is active if |nu^T relu(Z u)| = lam, the most there is; the output weights of such a
neuron point along `o = nu^T relu(Z u) / lam` (T,), for one task its sign.

For one task the maximum over one cell is attained in one direction at most for each sign, the projection of +-Z^T D nu
on the cell (theory B.1), so there are finitely many, and one on a common face of several cells is the same for all of
them. For several tasks see `convexrelu.optimal_set.faces`: there may be infinitely many. With a free bias only the
weights u[:p] are unique: their active biases form intervals between kinks of samples. The ends are listed as
directions; an interval with both ends active is a *segment*, and where the last end is a neuron that is on at every
sample, any larger bias will do, a *ray*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, frozen, row_norms
from convexrelu.monitor import Monitor
from convexrelu.optimal_set.faces import REPEATED, maximisers
from convexrelu.optimal_set.generic import generic
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.polish import GOOD, correlations
from convexrelu.optimal_set.stationary import face_basis, tie_sizes
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.dual_norm import gradients_and_bounds, project
from convexrelu.pricing.rounding import bias_radius
from convexrelu.pricing.task_search import find_joint_neurons
from convexrelu.problem import TrainingProblem

# Relative: candidates this near the price of norm are refined, and weights this near each other are equal.
COARSE = 1e-6
SAME = 1e-7
# Decimals to which neurons of cost one are compared before they are refined.
ALIKE = 9
# How near to a sample a kink must be to lie on it: tried in this order, so that directions which only an inexact dual
# variable tells from one on more kinks are taken for that one.
KINKS = (1e-5, 1e-6, 1e-8, 1e-10)
# Refined directions this near each other are one.
NEXT = KINKS[0]


@dataclass(frozen=True, eq=False)
class Directions:
    """Active directions.

    Attributes
    ----------
    neurons : float64 (m, k)
        Of cost one, in reduced coordinates.
    outputs : float64 (m, T)
        Directions of their output weights: +1 or -1 for one task.
    segments : int (r, 2)
        Pairs of directions (lower bias, upper bias) of equal weights and output with every bias between them active.
    rays : int (q,)
        Directions with every larger bias active.
    """

    neurons: Array
    outputs: Array
    segments: IntArray
    rays: IntArray

    def __len__(self) -> int:
        return len(self.neurons)

    @property
    def signs(self) -> Array:
        """The outputs (m,) of one task."""
        return self.outputs[:, 0]


@dataclass(frozen=True, eq=False)
class Census:
    """What is asked: the directions of `optimum` whose correlation is within `tol` (relative) of the price of norm.

    With `patterns` only neurons in the closed cells of these count.
    """

    optimum: Optimum
    patterns: Patterns | None
    tol: float
    monitor: Monitor = field(default_factory=Monitor)

    @property
    def problem(self) -> TrainingProblem:
        """The problem."""
        return self.optimum.problem

    @property
    def arrangement(self) -> Arrangement:
        """Its arrangement."""
        return self.optimum.problem.arrangement

    @property
    def level(self) -> float:
        """Correlations of at least this are active."""
        return self.problem.penalty * (1.0 - self.tol)

    def check_time(self) -> None:
        """Raise TimeLimitError if the time is over."""
        self.monitor.check_time("finding all active directions")

    @cached_property
    def mirrored(self) -> bool:
        """Whether a free skip makes u and -u the same: relu(z) = relu(-z) + z."""
        problem = self.problem
        return problem.skip == "free" and (problem.output_bias == "free" or problem.bias == "none")

    # -- candidates ---------------------------------------------------------------------------------------------------

    def searched(self) -> Array:
        """Candidates (m, k): the optimum's neurons and what a search finds."""
        threshold, nu = self.problem.penalty * (1.0 - COARSE), self.optimum.nu
        if nu.shape[1] == 1:
            neurons = correlations(self.arrangement, nu[:, 0], self.optimum.neurons, threshold)[0]
        else:
            Z, p, rng = self.arrangement.Z, self.arrangement.n_penalized, np.random.default_rng(0)
            starts = self.optimum.neurons
            neurons = find_joint_neurons(Z, nu, p, threshold=threshold, starts=starts, rng=rng, n_random=400).neurons
        return np.vstack([self.optimum.neurons / self.optimum.costs[:, None], neurons])

    def listed(self, patterns: Patterns) -> tuple[Array, str]:
        """Candidates (m, k) next to all active directions in cones of patterns; where these are infinitely many."""
        if self.optimum.nu.shape[1] == 1:
            return self._projected(patterns), ""
        found = maximisers(
            self.arrangement, patterns, self.optimum.nu, self.problem.penalty * (1.0 - COARSE), self.check_time
        )
        return found.neurons, found.continuum

    def _projected(self, patterns: Patterns) -> Array:
        """The projection of each pattern's gradient on its cone, where it is long enough."""
        Z, p, radius = self.arrangement.Z, self.arrangement.n_penalized, bias_radius(self.arrangement)
        signed, bounds = gradients_and_bounds(self.arrangement, patterns, self.optimum.nu)
        threshold = self.problem.penalty * (1.0 - COARSE)
        index = np.flatnonzero(bounds >= threshold)
        rows = []
        for i in index:
            self.check_time()
            rows.append(project(signed[i], patterns.cone(Z, int(i) % len(patterns)), p, radius))
        U = np.array(rows).reshape(len(index), Z.shape[1])
        cost = self.arrangement.cost(U)
        long = cost >= threshold
        return np.asarray(U[long] / cost[long, None])

    # -- refinement ---------------------------------------------------------------------------------------------------

    def directions(self, candidates: Array) -> Directions:
        """The distinct active directions among and next to the candidates (m, k)."""
        found = self._own()
        for start in self._distinct(self._starts(candidates)):
            self.check_time()
            refined = self._refined(start)
            if refined is not None and not any(self._same(refined, v) for v in found):
                found.append(refined)
        neurons = np.array(found).reshape(len(found), self.arrangement.Z.shape[1])
        outputs = self.optimum.correlations(neurons)
        outputs = outputs / row_norms(outputs)[:, None]
        segments = self._segments(neurons, outputs)
        return Directions(frozen(neurons), frozen(outputs), segments, self._rays(neurons))

    def _own(self) -> list[Array]:
        """The optimum's neurons, where these are exact: next to a kink one is not to be put on it."""
        if self.optimum.accuracy > GOOD:
            return []
        own = self._oriented(self.optimum.neurons / self.optimum.costs[:, None])
        return [u for i, u in enumerate(own) if not any(self._same(u, v) for v in own[:i])]

    def _starts(self, candidates: Array) -> Array:
        """The neurons themselves; with a free bias, those of their weights whose kink on a sample is nearly active."""
        candidates = self._distinct(self._oriented(candidates))
        if self.problem.bias != "free":
            return candidates
        p = self.arrangement.n_penalized
        rows = [candidates[:0]]
        for w in self._distinct(candidates[:, :p]):
            kinks = np.unique(-(self.arrangement.Z[:, :p] @ w))
            ends = np.column_stack([np.tile(w, (len(kinks), 1)), kinks])
            near = row_norms(self.optimum.correlations(ends)) >= self.problem.penalty * (1.0 - COARSE)
            rows.append(ends[near])
        return np.vstack(rows)

    def _oriented(self, candidates: Array) -> Array:
        """The half of all neurons that the other half stands for, if it does."""
        hidden, _ = self.arrangement.to_weights(candidates)
        turned = self.mirrored & (hidden @ generic(hidden.shape[1]) < 0)
        return np.where(turned[:, None], -candidates, candidates)

    def _correlation(self, u: Array) -> float:
        return float(np.linalg.norm(self.optimum.correlations(u[None])))

    def _refined(self, u: Array) -> Array | None:
        """The neuron with its kinks on samples put there exactly and the best direction left; None if not active."""
        p = self.arrangement.n_penalized
        for kink in KINKS:
            E, top = self._face(u, kink)
            z = top @ (top.T @ (E[:p].T @ u[:p]))
            length = float(np.linalg.norm(z))
            if length > 0 and self._is_active(E @ z / length):
                return np.asarray(E @ z / length)
        return None

    def _face(self, u: Array, kink: float) -> tuple[Array, Array]:
        """The face (k, r) of samples near its kink, and the best directions on it (r, t): more than one if tied."""
        pre, size = self.arrangement.Z @ u, tie_sizes(self.arrangement, u[None])[0]
        tight = np.abs(pre) <= kink * size
        E = face_basis(self.arrangement, tight)
        on = ((pre > 0) & ~tight)[:, None] * self.optimum.nu
        left, singular, _ = np.linalg.svd(E.T @ (self.arrangement.Z.T @ on), full_matrices=False)
        return E, left[:, singular >= (1 - REPEATED) * singular.max(initial=0.0)]

    def is_isolated(self, u: Array) -> bool:
        """Whether no other direction near an active one is active: of several tasks there may be infinitely many."""
        return bool(self._face(u, KINKS[-1])[1].shape[1] == 1)

    def _is_active(self, u: Array) -> bool:
        if self._correlation(u) < self.level:
            return False
        return self.patterns is None or bool(inside(self.arrangement, self.patterns, u).any())

    def _distinct(self, U: Array) -> Array:
        """Neurons, or their weights, without those that agree with an earlier one, as those of one kink do."""
        unit = np.ones(U.shape[1])
        unit[self.arrangement.n_penalized :] = bias_radius(self.arrangement) or 1.0
        first = np.unique((U / unit).round(ALIKE), axis=0, return_index=True)[1]
        return np.asarray(U[np.sort(first)])

    def _same(self, u: Array, v: Array) -> bool:
        p, radius = self.arrangement.n_penalized, bias_radius(self.arrangement)
        return bool(np.linalg.norm(u[:p] - v[:p]) <= NEXT and np.all(np.abs(u[p:] - v[p:]) <= NEXT * radius))

    # -- free biases --------------------------------------------------------------------------------------------------

    def _segments(self, neurons: Array, outputs: Array) -> IntArray:
        pairs: list[tuple[int, int]] = []
        if self.problem.bias == "free":
            p = self.arrangement.n_penalized
            for i, u in enumerate(neurons):
                mates = np.flatnonzero(
                    (row_norms(neurons[:, :p] - u[:p]) <= SAME) & (row_norms(outputs - outputs[i]) <= COARSE)
                )
                above = mates[neurons[mates, p] > u[p]]
                if len(above):
                    j = int(above[np.argmin(neurons[above, p])])
                    if self._is_segment(u, neurons[j]):
                        pairs.append((i, j))
        return np.array(pairs, dtype=np.intp).reshape(-1, 2)

    def _is_segment(self, low: Array, high: Array) -> bool:
        """Whether no sample's kink lies between; the correlation is convex there, so its middle decides."""
        p, margin = self.arrangement.n_penalized, SAME * bias_radius(self.arrangement)
        kinks = -(self.arrangement.Z[:, :p] @ low[:p])
        between = (kinks > low[p] + margin) & (kinks < high[p] - margin)
        return not between.any() and self._is_active((low + high) / 2)

    def _rays(self, neurons: Array) -> IntArray:
        """Neurons on at every sample, up to their kink; with given patterns these have no cell."""
        if self.problem.bias != "free" or self.patterns is not None or not len(neurons):
            return np.zeros(0, dtype=np.intp)
        pre = neurons @ self.arrangement.Z.T
        return np.flatnonzero((pre >= -SAME * tie_sizes(self.arrangement, neurons)).all(axis=1))


def inside(arrangement: Arrangement, patterns: Patterns, u: Array) -> BoolArray:
    """Which patterns' closed cells contain the neuron u, up to rounding."""
    pre, size = arrangement.Z @ u, tie_sizes(arrangement, u[None])[0]
    wrong = np.where(patterns.active, pre < -SAME * size, pre > SAME * size)
    return np.asarray(~wrong.any(axis=1))
