"""Is a network a stationary point? Residuals with the kinks resolved, and the weight decay it seems to have had.

Letters: `Xt` (n, D) data with a column of ones where there are hidden biases, `Wt` (m, D) hidden weights and biases,
`V` (m, T) output weights, `G` (n, T) gradient of the loss in the predictions, `a = V G'` (m, n) what a unit of
activation costs, `t = Wt Xt'` (m, n) pre-activations, `c` (m, n) slopes of relu, `lam` weight decay.

At an optimum knots sit on samples, where any slope c in [0, 1] is a subgradient: the plain gradient, with slopes 0 or
1, does not vanish there, and its norm says nothing. A sample with a > 0 has a convex kink, with a < 0 a concave one. No
local minimum sits on a concave kink unless both its slopes are stationary (theory B.7).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray, row_norms, safe_row_norms
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.subgradient import KINK, has_kinks, subgradient, unbalanced_decay

# Distances of a knot from a sample that count as none, relative to the norms of neuron and sample.
TOLERANCES = (0.0, 1e-6, 1e-5, 1e-4, KINK, 1e-2)
# On a concave kink only if rounding cannot tell: gradient descent leaves such kinks, it never ends near one.
EXACT = 1e-12
# Subsets of concave kinks that are tried for one neuron.
MOST_SUBSETS = 256
STEPS = 400
# The search for a neuron's slopes ends when its residual is above this share of what it was so many steps before.
WINDOW, SLOW = 30, 0.995
# A stationary network has a directional residual below this: gradient descent that has converged leaves 1e-6 to 1e-2.
STATIONARY = 0.03
# Another objective explains a network when its residual is below the first, and this share of the stated one's.
EXPLAINED, OF_STATED = 0.2, 0.1
# With fewer hidden weights, one weight decay or another fits by chance. Measured on random networks of one to three
# neurons: of 1, 2, 3 and more weights 13 %, 1.7 %, 0.5 % and 0.06 %.
FEWEST = 4
OPTIONAL = ("hidden_bias", "output_bias", "skip")
TINY = 1e-300


@dataclass(frozen=True)
class Explanation:
    """The objective, among those that decay other parameters or by another amount, that fits a network best.

    Dead neurons are left out: they answer to no objective but their own decay. Where those alive have fewer than four
    hidden weights and biases, none is tried but the stated one.

    Attributes
    ----------
    weight_decay : float
        In the units of the problem.
    decayed : tuple of str
        Which of "hidden_bias", "output_bias", "skip" are decayed, besides the weights.
    residual : float
        Stationarity for that objective, in units of the larger of the two decays.
    stated_residual : float
        Stationarity for the stated objective.
    unbalanced : float
        How much of the stated weight decay samples on kinks of the loss cannot balance, relative to what they feel; see
        `convexrelu.subgradient.unbalanced_decay`. Where it is zero the weights do not tell the weight decay.
    """

    weight_decay: float
    decayed: tuple[str, ...]
    residual: float
    stated_residual: float
    unbalanced: float = math.inf

    @property
    def is_another(self) -> bool:
        """Whether a network far from stationary for the stated objective is surely near it for another."""
        stated = min(self.stated_residual, self.unbalanced)
        return stated > STATIONARY and self.residual <= min(EXPLAINED, OF_STATED * stated)

    @property
    def is_undecided(self) -> bool:
        """Whether it is near it for another, but the stated weight decay would have left the same predictions."""
        return replace(self, unbalanced=math.inf).is_another and not self.is_another


@dataclass(frozen=True)
class Stationarity:
    """How far a network is from a stationary point; all residuals are relative to the pull of the weight decay.

    Attributes
    ----------
    gradient : float
        Norm of the plain gradient, relu having slope 0 at zero. No test of optimality.
    curve : tuple of (float, float)
        Kink tolerance, and the smallest residual over the slopes at all samples that near a knot.
    directional : float
        The residual with both slopes of exact concave kinks required to be stationary, the others chosen freely within
        `KINK`: zero only where no direction descends.
    implied_weight_decay : float
        -<gradient of the loss, theta> / |theta|^2 over the penalised weights: at a stationary point, the weight decay.
    explanation : Explanation
    """

    gradient: float
    curve: tuple[tuple[float, float], ...]
    directional: float
    implied_weight_decay: float
    explanation: Explanation

    @property
    def residual(self) -> float:
        """The residual at the tolerance `KINK`."""
        return dict(self.curve)[KINK]


def stationarity(problem: TrainingProblem, network: Network) -> Stationarity:
    """Measure the stationarity of a network, in the scaling it comes in.

    Notes
    -----
    Cost: a few products of an (m, n) and an (n, d) matrix, and a few hundred of the size of the samples near knots, for
    each tolerance. The slopes are found by an accelerated projected gradient method; any slopes give an upper bound on
    the smallest residual.
    """
    decayed, lam = _decayed(problem), problem.weight_decay
    state = _State.at(problem, network)
    # The kinks of a loss are given the same tolerance as those of the neurons.
    states = {tol: _State.at(problem, network, tol) if has_kinks(problem) else state for tol in TOLERANCES}
    curve = tuple((tol, states[tol].residual(lam, decayed, tol)) for tol in TOLERANCES)
    alive = network.alive(problem.X[problem.sample_weight > 0])
    free = _State(problem, alive, subgradient(problem, alive, known_decay=False)) if has_kinks(problem) else None
    # A wider choice of slopes never raises the smallest residual; the method that finds it may miss a little.
    lowest = tuple((tol, min(r for _, r in curve[: i + 1])) for i, (tol, _) in enumerate(curve))
    return Stationarity(
        gradient=states[0.0].gradient(lam, decayed),
        curve=lowest,
        directional=state.directional(lam, decayed),
        implied_weight_decay=state.implied_weight_decay(decayed),
        explanation=_explain(_State.at(problem, alive), free, lam, decayed),
    )


def directional_residual(problem: TrainingProblem, network: Network) -> float:
    """`Stationarity.directional` alone."""
    return _State.at(problem, network).directional(problem.weight_decay, _decayed(problem))


def _decayed(problem: TrainingProblem) -> frozenset[str]:
    return frozenset(name for name in OPTIONAL if _kind(problem, name) == "penalized")


def _kind(problem: TrainingProblem, name: str) -> str:
    kind: str = getattr(problem, "bias" if name == "hidden_bias" else name)
    return kind


def _explain(state: _State, free: _State | None, lam: float, stated: frozenset[str]) -> Explanation:
    """Try every choice of decayed parameters, each with the weight decay that fits it.

    `free` is the state whose subgradient does not rest on the stated weight decay, if the loss has kinks.
    """
    present = [name for name in OPTIONAL if _kind(state.problem, name) != "none"]
    choices = itertools.chain.from_iterable(itertools.combinations(present, k) for k in range(len(present) + 1))
    residual = state.residual(lam, stated, KINK)
    best = Explanation(lam, tuple(n for n in present if n in stated), residual, residual)
    if state.Wt.size < FEWEST:
        return best
    best = replace(best, residual=math.inf, unbalanced=unbalanced_decay(state.problem, state.network))
    state = free or state
    for choice in choices:
        decayed = frozenset(choice)
        implied = max(state.implied_weight_decay(decayed), 0.0)
        residual = state.residual(implied, decayed, KINK, unit=max(lam, implied))
        if residual < best.residual:
            best = replace(best, weight_decay=implied, decayed=choice, residual=residual)
    return best


class _State:
    """A network at a point, with everything that does not depend on the weight decay."""

    def __init__(self, problem: TrainingProblem, network: Network, G: Array) -> None:
        self.problem, self.network, self.G = problem, network, G
        biased = problem.bias != "none"
        ones = np.ones((len(problem.X), 1))
        self.Xt = np.hstack([problem.X, ones]) if biased else problem.X
        self.Wt = np.column_stack([network.hidden, network.hidden_bias]) if biased else network.hidden
        self.t = self.Wt @ self.Xt.T
        self.scale = safe_row_norms(self.Wt)[:, None] * row_norms(self.Xt)
        self.a = network.output @ self.G.T
        self.output_gradient = np.maximum(self.t, 0.0) @ self.G

    @classmethod
    def at(cls, problem: TrainingProblem, network: Network, tol: float = KINK) -> _State:
        """With the subgradient for predictions within `tol` of a kink of the loss."""
        return cls(problem, network, subgradient(problem, network, tol))

    # -- residuals ----------------------------------------------------------------------------------------------------

    def gradient(self, lam: float, decayed: frozenset[str]) -> float:
        """With slopes 0 or 1, never between."""
        base = self._base(lam, decayed, self.t > 0)
        return self._relative(safe_row_norms(base), lam, decayed, lam)

    def residual(self, lam: float, decayed: frozenset[str], tol: float, unit: float | None = None) -> float:
        """Smallest over the slopes at knots within `tol` of a sample, in units of `unit` times the weights."""
        near = np.abs(self.t) <= tol * self.scale
        base = self._base(lam, decayed, (self.t > 0) & ~near)
        distance = _distance(self.Xt, np.where(near, self.a, 0.0), base)
        return self._relative(distance, lam, decayed, lam if unit is None else unit)

    def directional(self, lam: float, decayed: frozenset[str]) -> float:
        """With the larger of the residuals of both slopes where a sample sits exactly on a concave kink."""
        near = (np.abs(self.t) <= KINK * self.scale) & (self.a >= 0)
        concave = (np.abs(self.t) <= EXACT * self.scale) & (self.a < 0)
        base = self._base(lam, decayed, (self.t > 0) & ~near & ~concave)
        free = np.where(near, self.a, 0.0)
        distance = _distance(self.Xt, free, base)
        for j in np.flatnonzero(concave.any(axis=1)):
            rows = np.flatnonzero(concave[j])
            for chosen in _subsets(rows):
                shifted = base[j] + self.a[j, chosen] @ self.Xt[chosen]
                distance[j] = max(distance[j], _distance(self.Xt, free[j : j + 1], shifted[None])[0])
        return self._relative(distance, lam, decayed, lam)

    def _base(self, lam: float, decayed: frozenset[str], on: BoolArray) -> Array:
        """Gradient in the hidden weights and biases (m, D) with slope 1 where `on` and 0 elsewhere."""
        base: Array = (on * self.a) @ self.Xt + lam * self.Wt * self._decays(decayed)
        return base

    def _decays(self, decayed: frozenset[str]) -> Array:
        """Which columns of Wt are decayed (D,)."""
        mask = np.ones(self.Wt.shape[1])
        mask[self.problem.X.shape[1] :] = "hidden_bias" in decayed
        return mask

    def _relative(self, hidden: Array, lam: float, decayed: frozenset[str], unit: float) -> float:
        """The residual of all weights from that of each neuron's hidden ones (m,)."""
        outer = self.output_gradient + lam * self.network.output
        size = unit * _norm(self.Wt * self._decays(decayed), self.network.output)
        return max(_norm(hidden, outer) / max(size, TINY), self._linear(lam, decayed))

    def _linear(self, lam: float, decayed: frozenset[str]) -> float:
        """The residual of skip and output bias, relative to the terms that should cancel in it."""
        columns = {"skip": self.problem.X, "output_bias": np.ones((len(self.G), 1))}
        worst = 0.0
        for name, Q in columns.items():
            if _kind(self.problem, name) == "none":
                continue
            weights = lam * np.reshape(getattr(self.network, name), (Q.shape[1], -1)) * (name in decayed)
            terms = np.abs(Q).T @ np.abs(self.G) + np.abs(weights)
            residual, size = float(np.linalg.norm(Q.T @ self.G + weights)), float(np.linalg.norm(terms))
            worst = max(worst, residual / max(size, TINY))
        # Predictions that meet every target leave rounding only.
        return worst if float(np.abs(self.G).max()) > 1e-12 * float(np.abs(self.problem.Y).max()) else 0.0

    # -- weight decay -------------------------------------------------------------------------------------------------

    def implied_weight_decay(self, decayed: frozenset[str]) -> float:
        """-<gradient of the loss, theta> / |theta|^2 over the weights and the decayed parameters; zero without any.

        A neuron's hidden and output weights are pulled alike: relu(s t) = s relu(t). With free biases that takes their
        own stationarity, and does without the slopes at kinks.
        """
        hidden = self.Wt * self._decays(decayed)
        felt = [(2 * self.output_gradient, self.network.output)]
        if "skip" in decayed:
            felt.append((self.problem.X.T @ self.G, self.network.skip))
        if "output_bias" in decayed:
            felt.append((self.G.sum(axis=0), self.network.output_bias))
        size = _norm(hidden, *(part for _, part in felt))
        if size == 0:
            return 0.0
        # Divided by the size twice: its square may overflow or vanish.
        return -sum(float(np.sum((gradient / size) * (part / size))) for gradient, part in felt)


def _norm(*arrays: Array) -> float:
    """The norm of all entries."""
    return float(safe_row_norms(np.concatenate([array.ravel() for array in arrays])[None])[0])


def _subsets(rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[list[int]]:
    """All subsets of a few rows; of many, the singletons and the whole."""
    if 2 ** len(rows) <= MOST_SUBSETS:
        sizes = range(len(rows) + 1)
        return [list(chosen) for k in sizes for chosen in itertools.combinations(rows.tolist(), k)]
    return [[], rows.tolist(), *([int(row)] for row in rows)]


def _distance(Xt: Array, a: Array, base: Array) -> Array:
    """Smallest |base_j + Xt' (a_j c_j)| (m,) over slopes c in [0, 1]; entries of a that are zero need no slopes.

    Neurons with about the same number of kinks are treated together.
    """
    # In units of each row: squares of gradients may overflow or vanish.
    largest = np.maximum(np.abs(base).max(axis=1, initial=0.0), np.abs(a).max(axis=1, initial=0.0))
    unit = np.where(largest > 0, largest, 1.0)
    base, a = base / unit[:, None], a / unit[:, None]
    distance = row_norms(base)
    counts = np.count_nonzero(a, axis=1)
    sizes = np.ceil(np.log2(np.maximum(counts, 1)))
    for size in np.unique(sizes[counts > 0]):
        rows = np.flatnonzero((sizes == size) & (counts > 0))
        # The kinks of each neuron first, then padding by entries that are zero.
        kinks = np.argsort(a[rows] == 0, axis=1, kind="stable")[:, : counts[rows].max()]
        terms = np.take_along_axis(a[rows], kinks, axis=1)[:, :, None] * Xt[kinks]
        distance[rows] = np.minimum(distance[rows], _shortest(base[rows], terms))
    return np.asarray(unit * distance)


def _shortest(base: Array, terms: Array) -> Array:
    """Smallest |base_j + sum_k c_jk terms_jk| (r,) over c in [0, 1], for base (r, D) and terms (r, K, D).

    References
    ----------
    B. O'Donoghue and E. Candes, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 2015.
    """
    largest = np.linalg.eigvalsh(np.swapaxes(terms, 1, 2) @ terms)[:, -1]
    step = 1 / np.maximum(largest, TINY)[:, None]
    c = y = np.full(terms.shape[:2], 0.5)
    lowest, momentum = np.full(len(base), math.inf), np.ones(len(base))
    before, rows = lowest.copy(), np.arange(len(base))
    for step_number in range(STEPS):
        gradient = (terms @ (base + _combined(y, terms))[:, :, None])[:, :, 0]
        after = np.clip(y - step * gradient, 0.0, 1.0)
        moved = after - c
        # A row whose momentum points uphill starts anew.
        momentum[((y - after) * moved).sum(axis=1) > 0] = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        y, c, momentum = after + ((momentum - 1) / following)[:, None] * moved, after, following
        lowest[rows] = np.minimum(lowest[rows], row_norms(base + _combined(c, terms)))
        if step_number % WINDOW == WINDOW - 1:
            # Rows that have come to rest are left alone.
            on = (np.abs(moved).max(axis=1) >= 1e-10) & (lowest[rows] <= SLOW * before[rows])
            if not on.any():
                break
            before[rows] = lowest[rows]
            base, terms, step, y, c, momentum, rows = (part[on] for part in (base, terms, step, y, c, momentum, rows))
    return lowest


def _combined(c: Array, terms: Array) -> Array:
    sums: Array = (c[:, None, :] @ terms)[:, 0]
    return sums
