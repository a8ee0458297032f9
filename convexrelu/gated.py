"""Gated ReLU networks over given gates, and the ReLU networks they decompose into: `GatedResult`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `D_i` activation pattern of gate i, `W_i` (k, T) its block
weights, `S W` the penalised rows, `nu` (n, T) dual variable, `lam` weight decay.

A gated neuron x -> v D(x) (w . x + b) has a gate D of its own, on or off whatever its weights: these need not lie in
the cone of a pattern. The program and its penalty, the nuclear norm |S W_i|_*, are in `convexrelu.gated_program`; its
dual constraint |(Z^T D_i nu)[:p]|_2 <= lam has the left side in closed form. Every ReLU network with these patterns is
a gated network of the same cost, so over all patterns of the data the optimum bounds the ReLU optimum from below, and
over fewer it bounds nothing. Splitting the weights into vectors of the gates' cones gives a ReLU network with the same
predictions on the data (theory F.4).

References
----------
A. Mishkin, A. Sahiner and M. Pilanci, "Fast convex optimization for two-layer ReLU networks: equivalent model classes
and cone decompositions", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from convexrelu.arrays import EPS, Array, IntArray, frozen, power_of_two, row_norms
from convexrelu.backends import Backend, get_backend
from convexrelu.certificate import TINY, Certificate
from convexrelu.cone_split import ConeWidth, cone_width, split
from convexrelu.errors import UnsupportedError
from convexrelu.gated_program import GatedProgram, JointGatedProgram, gated_program, with_constants
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.pricing.rounding import evaluation_slack, reduction_slack, resolution_slack
from convexrelu.problem import TrainingProblem
from convexrelu.program import attempts
from convexrelu.recovery import network_of_blocks
from convexrelu.result import Solution, Status, judge

# Blocks smaller than this, relative to the largest, are zeros that a solver left.
ZERO = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class GatedResult:
    """The optimal gated network over given gates: what `solve(problem, patterns, activation="gated")` returns.

    Attributes
    ----------
    problem : TrainingProblem
    gates : Patterns
        The patterns of the gates.
    weights : float64 (P, k, T)
        Block weights W_i in the reduced coordinates of `TrainingProblem.arrangement`; zero where a gate is not used.
    free, penalized : float64 (q, T), (q', T)
        Coefficients of the unpenalised and penalised columns of `TrainingProblem.linear`.
    certificate : Certificate
        Of the gated network, with `scope="gates"`: the bound holds for every gated network over these gates, and for a
        ReLU network only if it has no other patterns.
    status : Status
        PATTERN_OPTIMAL when the gap is within the tolerance.

    Notes
    -----
    With free biases each gate brings a constant at no cost: n independent ones meet any targets.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> gated, relu = cr.solve(problem, "enumerate", activation="gated"), cr.solve(problem)
    >>> gated.bounds_relu
    True
    >>> gated.certificate.lower_bound <= relu.objective <= problem.objective(gated.to_relu()) <= gated.relu_bound
    True
    """

    problem: TrainingProblem
    gates: Patterns
    weights: Array
    free: Array
    penalized: Array
    certificate: Certificate
    status: Status

    @property
    def objective(self) -> float:
        """That of the gated network."""
        return self.certificate.objective

    @property
    def bounds_relu(self) -> bool:
        """Whether `certificate.lower_bound` holds for every ReLU network: only if all patterns are gates."""
        return self.gates.complete

    @property
    def used(self) -> IntArray:
        """Indices of the gates in use."""
        return np.flatnonzero(self.weights.any(axis=(1, 2)))

    def fitted(self) -> Array:
        """Predictions (n, T) on the training data."""
        return _predictions(self.problem, self.gates, self.weights, self.free, self.penalized)

    @cached_property
    def kappa(self) -> Array:
        """How narrow the cone of each gate in use is (P,); zero for the others.

        kappa_i = 1 / m_i, the largest m_i with which some c of cost one has |z_j . c| >= m_i |z_j|, on the right side,
        for all samples j. Infinite for the pattern of no neuron.
        """
        kappa = np.zeros(len(self.gates))
        kappa[self.used] = [width.kappa for width in self._widths]
        return frozen(kappa)

    @property
    def relu_bound(self) -> float:
        """Upper bound on the objective of `to_relu()`, and so on the ReLU optimum (theory F.4).

        It is objective + 2 weight_decay sum_i kappa_i |W_i|, with |W_i| the sum of the norms of the neurons of gate i
        (free biases included: shifting them costs weights of ReLU neurons) times those of their output weights: the
        nuclear norm, where there are none.
        """
        sizes = [float(row_norms(U) @ row_norms(V)) for U, V in map(self._neurons, self.used)]
        return self.objective + 2 * self.problem.weight_decay * float(self.kappa[self.used] @ sizes)

    def to_relu(self, backend: str = "clarabel") -> Network:
        """The ReLU network of the cheapest splits w = u - v of the gated neurons into vectors of their gates' cones.

        Returns
        -------
        Network
            With the predictions of the gated network on the data, and an objective of at most `relu_bound`, both up to
            the backend's accuracy; `certify` says how far it is from the best ReLU network.

        Raises
        ------
        UnsupportedError
            If a gate in use is the pattern of no neuron.

        Notes
        -----
        A second-order cone program for each gated neuron: min |S u| + |S v| subject to u - v = w, K u >= 0, K v >= 0.
        It has a solution because the cones of patterns of the data have interiors.
        """
        flat = self.used[~np.isfinite(self.kappa[self.used])]
        if len(flat):
            raise UnsupportedError(
                f"gate {flat[0]} of `gates` is the pattern of no neuron, or one within 1e-10 of a kink, so that none "
                "add up to its own; write patterns=100 or another number to take gates from neurons."
            )
        solver, k, T = get_backend(backend), self.weights.shape[1], self.weights.shape[2]
        neurons, outputs = [np.zeros((0, k))], [np.zeros((0, T))]
        for i in self.used:
            K = self.gates.cone(self.problem.arrangement.Z, int(i))
            for w, v in zip(*self._neurons(i), strict=True):
                neurons.append(np.array(split(w, K, self.problem.arrangement.n_penalized, solver)))
                outputs.append(np.array([v, -v]))
        blocks = Solution(
            np.vstack(neurons), np.vstack(outputs), self.free, self.penalized, self.certificate.dual, "cone split"
        )
        return network_of_blocks(self.problem, blocks)

    @cached_property
    def _widths(self) -> list[ConeWidth]:
        Z, p, solver = self.problem.arrangement.Z, self.problem.arrangement.n_penalized, get_backend("clarabel")
        return [cone_width(self.gates.cone(Z, int(i)), p, solver) for i in self.used]

    def _neurons(self, i: int) -> tuple[Array, Array]:
        """Gated neurons (r, k) of gate i, as few as its weights allow, and their unit output weights (r, T)."""
        p, W = self.problem.arrangement.n_penalized, self.weights[i]
        left, singular, V = np.linalg.svd(W[:p], full_matrices=False)
        U = (left * singular).T
        if p < len(W):
            # What is left of the biases is in no output direction of a neuron with weights.
            rest = W[p] - (V @ W[p]) @ V
            size = float(np.linalg.norm(rest))
            U = np.vstack([np.column_stack([U, V @ W[p]]), size * np.eye(1, p + 1, p)])
            V = np.vstack([V, rest / max(size, TINY)])
        sizes = row_norms(U)
        alive = sizes > ZERO * sizes.max(initial=0.0)
        return U[alive], V[alive]

    def __repr__(self) -> str:
        return (
            f"GatedResult({self.status.name}, {self.certificate}, {len(self.used)} of {len(self.gates)} gates in use)"
        )


def train_gated(
    problem: TrainingProblem,
    gates: Patterns,
    solver: Backend,
    tol: float,
    monitor: Monitor,
    options: Mapping[str, Any] | None = None,
) -> GatedResult:
    """Solve the program over the gates and certify its solution among the gated networks over these.

    Notes
    -----
    A program over P gates of rank r has about 2 P (r + 1) + n variables and 2 P second-order cones, of T > 1 tasks P
    semidefinite matrices of order r + T.
    """
    if problem.is_interpolation:
        raise UnsupportedError("activation='gated' does not take interpolation; write a problem with a weight decay.")
    wider, own = with_constants(problem, gates)
    program, found = gated_program(wider, gates), []
    for solution in _solutions(program, solver, tol, monitor, options):
        weights = _weights(program, solution)
        found.append((_certified(problem, wider, gates, weights, solution), weights, solution))
        if found[-1][0].gap <= tol or monitor.should_stop():
            break
    proof, weights, solution = min(found, key=lambda each: each[0].gap)
    constants, free = solution.free[: len(own)], solution.free[len(own) :]
    if problem.bias == "free":
        biases = np.zeros((len(gates), 1, problem.Y.shape[1]))
        biases[own, 0] = constants
        weights = np.concatenate([weights, biases], axis=1)
    return GatedResult(problem, gates, frozen(weights), free, solution.penalized, proof, judge(proof, tol, monitor))


def _solutions(
    program: GatedProgram | JointGatedProgram,
    solver: Backend,
    tol: float,
    monitor: Monitor,
    options: Mapping[str, Any] | None,
) -> Iterator[Solution]:
    """Candidates: without weights, all there is where free columns meet the targets; then what the backend says."""
    problem = program.problem
    free, penalized = problem.linear_coefficients(problem.weight_decay)
    yield replace(Solution.empty(problem, "linear fit"), free=free, penalized=penalized)
    for asked, unit in attempts(min(0.01 * tol, 1e-9)):
        yield program.solve(solver, asked, options, monitor.verbose, monitor.seconds_left, unit)


def _weights(program: GatedProgram | JointGatedProgram, solution: Solution) -> Array:
    """Block weights (P, k, T) of all gates."""
    problem = program.problem
    weights = np.zeros((len(program.patterns), problem.arrangement.Z.shape[1], problem.Y.shape[1]))
    if len(solution.neurons):
        np.add.at(weights, program.gate_of_neurons, solution.neurons[:, :, None] * solution.outputs[:, None, :])
    cost = _costs(weights)
    weights[cost <= ZERO * cost.max(initial=0.0)] = 0.0
    return weights


def _costs(weights: Array) -> Array:
    """Nuclear norms (P,) of blocks (P, p, T)."""
    return np.asarray(np.linalg.svd(weights, compute_uv=False).sum(axis=1))


def _predictions(problem: TrainingProblem, gates: Patterns, weights: Array, free: Array, penalized: Array) -> Array:
    active = gates.active.astype(float)
    hidden = np.einsum("in,nk,ikt->nt", active, problem.arrangement.Z, weights, optimize=True)
    return np.asarray(hidden + problem.linear.free @ free + problem.linear.penalized @ penalized)


def _certified(
    problem: TrainingProblem, wider: TrainingProblem, gates: Patterns, weights: Array, solution: Solution
) -> Certificate:
    """The gated objective next to the dual value, the dual norm over the gates in closed form."""
    F = _predictions(wider, gates, weights, solution.free, solution.penalized)
    cost = float(_costs(weights).sum()) + 0.5 * float(np.sum(solution.penalized**2))
    objective = problem.loss.value(F, problem.Y, problem.sample_weight) + problem.weight_decay * cost
    nu, at = wider.feasible_direction(solution.dual, solution.penalized), wider.arrangement
    nu = nu / power_of_two(nu)  # squares of tiny entries would vanish
    gradients = np.einsum("in,nk,nt->ikt", gates.active.astype(float), at.Z, nu, optimize=True)
    largest = float(np.linalg.svd(gradients, compute_uv=False).max(initial=0.0))
    # The decomposition's own rounding, and one rounding of each entry of data less their centre.
    largest *= 1 + 8 * sum(weights.shape[1:]) * EPS
    upper = (largest + 2 * evaluation_slack(at, nu)) * at.stretch + reduction_slack(at, nu)
    if gates.complete:
        factor, addition = resolution_slack(problem.arrangement, nu, gates.resolution)
        upper = upper * factor + addition
    norm = DualNorm(upper, 0.0, np.zeros(at.Z.shape[1]), "gates")
    bound, dual = wider.lower_bound(nu, norm)
    scale = float(np.abs(dual).max(initial=0.0)) / (float(np.abs(nu).max(initial=0.0)) or 1.0)
    largest, negligible = min(scale * upper, problem.weight_decay), max(problem.negligible, TINY)
    return Certificate(objective, bound, "gates", dual, largest, negligible)
