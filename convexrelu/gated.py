"""Gated ReLU networks over given gates, and the ReLU networks their solutions decompose into: `solve_gated`.

Letters: `Z` (n, k) reduced data, `D_i` activation pattern of gate i, `K_i = (2 D_i - 1) Z` its cone, `w_i` (k,) block
weights, `nu` (n, 1) dual variable, `lam` weight decay.

A gated neuron's weights need not lie in the cone of its pattern:

    minimise  L(sum_i D_i Z w_i + linear part) + lam sum_i |S w_i| + (lam / 2) |penalised linear part|^2

with the dual constraint |Z^T D_i nu| <= lam, a maximum in closed form. Every ReLU network with these patterns is a
gated network of the same cost, so over all patterns of the data the optimum bounds the ReLU optimum from below, and
over fewer it bounds nothing. Splitting w_i = u_i - v_i with u_i, v_i in the cone gives a ReLU network with the same
predictions on the data, at the cost of |u_i| + |v_i| in place of |w_i| (theory F.4).

References
----------
A. Mishkin, A. Sahiner and M. Pilanci, "Fast convex optimization for two-layer ReLU networks: equivalent model classes
and cone decompositions", ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, row_norms
from convexrelu.backends import Backend, get_backend
from convexrelu.backends.conic import ConicProgram
from convexrelu.certificate import TINY, Certificate
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.network import Network
from convexrelu.patterns.patterns import Patterns
from convexrelu.pricing.dual_norm import DualNorm
from convexrelu.pricing.rounding import evaluation_slack, reduction_slack
from convexrelu.problem import TrainingProblem
from convexrelu.program import Program
from convexrelu.recovery import network_of
from convexrelu.result import Solution, Status
from convexrelu.solve import check_arguments, choose_patterns

# Blocks smaller than this, relative to the largest, are zeros that a solver left.
ZERO = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class GatedResult:
    """The optimal gated network over the given gates.

    Attributes
    ----------
    problem : TrainingProblem
    gates : Patterns
        The patterns of the gates.
    weights : float64 (P, k)
        Block weights in the reduced coordinates of `TrainingProblem.arrangement`; zero where a gate is not used.
    free, penalized : float64 (q, 1), (q', 1)
        Coefficients of the unpenalised and penalised columns of `TrainingProblem.linear`.
    certificate : Certificate
        Of the gated network, with `scope="gates"`: the bound holds for every gated network over these gates, and for a
        ReLU network only if it has no other patterns.
    status : Status
        PATTERN_OPTIMAL when the gap is within the tolerance.
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

    def fitted(self) -> Array:
        """Predictions (n, 1) on the training data."""
        return _predictions(self.problem, self.gates, self.weights, self.free, self.penalized)

    def to_relu(self, backend: str = "clarabel") -> Network:
        """The ReLU network of the cheapest splits w_i = u_i - v_i into vectors of the gates' cones.

        Returns
        -------
        Network
            With the predictions of the gated network on the data, up to pruning within 1e-8 of the objective; `certify`
            says how far it is from the best ReLU network.

        Notes
        -----
        A second-order cone program for each gate in use: min |u| + |v| subject to u - v = w, K u >= 0, K v >= 0. It has
        a solution because the cones of patterns of the data have interiors.
        """
        solver = get_backend(backend)
        used = np.flatnonzero(self.problem.arrangement.cost(self.weights) > 0)
        pairs = [_split(self.weights[i], self.gates.cone(self.problem.arrangement.Z, int(i)), solver) for i in used]
        neurons = np.array([vector for pair in pairs for vector in pair]).reshape(-1, self.weights.shape[1])
        outputs = np.tile([[1.0], [-1.0]], (len(used), 1))
        blocks = Solution(neurons, outputs, self.free, self.penalized, self.certificate.dual)
        return network_of(self.problem, blocks, 1e-6)

    def __repr__(self) -> str:
        used = int((self.problem.arrangement.cost(self.weights) > 0).sum())
        return f"GatedResult({self.status.name}, {self.certificate}, {used} of {len(self.gates)} gates in use)"


def solve_gated(
    problem: TrainingProblem,
    patterns: int | str | Patterns = 100,
    backend: str = "clarabel",
    tol: float = 1e-6,
    random_state: int = 0,
) -> GatedResult:
    """Train a gated ReLU network over given gates and certify it among the gated networks over these gates.

    Parameters
    ----------
    problem : TrainingProblem
        Of one task, with penalised or no hidden biases.
    patterns : int, "enumerate" or Patterns, default 100
        The gates: that many sampled ones, all patterns of the data, or given ones.
    backend : str, default "clarabel"
        One of `available_backends`.
    tol : float in (0, 1), default 1e-6
        Relative gap to reach.
    random_state : int, default 0
        Seed of sampled gates.

    Raises
    ------
    InvalidInputError
        For arguments that cannot be used, such as patterns="generate".
    UnsupportedError
        For several tasks, free hidden biases, or interpolation.

    Notes
    -----
    A program over P gates of rank r has about 2 P (r + 1) + n variables and P second-order cones more than one.

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> gated = cr.solve_gated(problem, "enumerate")
    >>> relu = cr.solve(problem)
    >>> gated.bounds_relu, gated.certificate.lower_bound <= relu.objective <= problem.objective(gated.to_relu()) + 1e-9
    (True, True)
    """
    check_arguments(problem, tol, None, random_state)
    _check_supported(problem, patterns)
    gates = choose_patterns(problem, patterns, random_state)
    unbounded = replace(gates, facet_indptr=np.zeros_like(gates.facet_indptr), facet_rows=gates.facet_rows[:0])
    program = Program(problem, unbounded)
    solution = program.solve(get_backend(backend), min(0.01 * tol, 1e-9))
    weights = np.zeros((len(gates), problem.arrangement.Z.shape[1]))
    if len(solution.neurons):
        np.add.at(weights, program.blocks[0], solution.outputs * solution.neurons)
    cost = problem.arrangement.cost(weights)
    weights[cost <= ZERO * cost.max(initial=0.0)] = 0.0
    proof = _certified(problem, gates, weights, solution)
    status = Status.PATTERN_OPTIMAL if proof.gap <= tol else Status.FAILED
    return GatedResult(problem, gates, weights, solution.free, solution.penalized, proof, status)


def _check_supported(problem: TrainingProblem, patterns: int | str | Patterns) -> None:
    if isinstance(patterns, str) and patterns != "enumerate":
        raise InvalidInputError(
            f"`patterns` must be an int, 'enumerate' or a Patterns object for gates, got {patterns!r}."
        )
    what = None
    if problem.Y.shape[1] > 1:
        what = f"several tasks (`Y` has {problem.Y.shape[1]})"
    elif problem.bias == "free":
        what = "free hidden biases (each gate would bring a constant of no cost, so that n gates meet any targets)"
    elif problem.is_interpolation:
        what = "interpolation"
    if what:
        raise UnsupportedError(f"gated networks do not take {what}; write one task, bias='penalized', a weight decay.")


def _predictions(problem: TrainingProblem, gates: Patterns, weights: Array, free: Array, penalized: Array) -> Array:
    hidden = np.einsum("in,nk,ik->n", gates.active.astype(float), problem.arrangement.Z, weights, optimize=True)
    return np.asarray(hidden[:, None] + problem.linear.free @ free + problem.linear.penalized @ penalized)


def _certified(problem: TrainingProblem, gates: Patterns, weights: Array, solution: Solution) -> Certificate:
    """The gated objective next to the dual value, the dual norm over the gates in closed form."""
    F = _predictions(problem, gates, weights, solution.free, solution.penalized)
    squares = 0.5 * float(np.sum(solution.penalized**2))
    cost = float(problem.arrangement.cost(weights).sum()) + squares
    objective = problem.loss.value(F, problem.Y, problem.sample_weight) + problem.weight_decay * cost
    nu = problem.feasible_direction(solution.dual, solution.penalized)
    norms = row_norms((gates.active * nu[:, 0]) @ problem.arrangement.Z)
    slack = evaluation_slack(problem.arrangement, nu)
    upper = (float(norms.max(initial=0.0)) + slack) * problem.arrangement.stretch
    norm = DualNorm(upper + reduction_slack(problem.arrangement, nu), 0.0, np.zeros(weights.shape[1]), "gates")
    bound, dual = problem.lower_bound(nu, norm)
    negligible = max(problem.negligible, TINY)
    return Certificate(objective, bound, "gates", dual, min(norm.upper, problem.weight_decay), negligible)


def _split(w: Array, K: Array, backend: Backend) -> tuple[Array, Array]:
    """Vectors u, v with u - v = w, K u >= 0, K v >= 0 and |u| + |v| least; in units of w."""
    size, k = float(np.linalg.norm(w)), len(w)
    K = K / np.maximum(row_norms(K), 1e-300)[:, None]
    # Unknowns (v, s, t): s >= |v + w|, t >= |v|; K v >= 0 and K (v + w) >= 0.
    pick, bound = sp.eye_array(k), sp.csc_array(np.eye(k + 1, 1))
    none = sp.csc_array((len(K), 2))
    ball = sp.vstack([sp.csc_array((1, k)), pick])
    rows = [
        sp.hstack([-sp.csc_array(K), none]),
        sp.hstack([-sp.csc_array(K), none]),
        sp.hstack([-ball, -bound, 0 * bound]),
        sp.hstack([-ball, 0 * bound, -bound]),
    ]
    b = np.concatenate([np.zeros(len(K)), K @ w / size, [0.0], w / size, np.zeros(k + 1)])
    q = np.concatenate([np.zeros(k), np.ones(2)])
    A = sp.csc_array(sp.vstack(rows))
    answer = backend.solve(ConicProgram(None, q, A, b, 0, 2 * len(K), (k + 1, k + 1)), tol=1e-10)
    v = size * np.asarray(answer.x[:k])
    return w + v, v
