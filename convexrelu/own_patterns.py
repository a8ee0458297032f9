"""The optimum over a network's own patterns where these are many, or the tasks several: `resolved`.

Letters: `Z` (n, k) reduced data, `p` penalised coordinates, `D` (P, n) patterns, `U` (m, k) directions of cost one,
each in the cone of the pattern `owner` (m,), `W` (m, T) their output weights, `N` (n, T) dual variable, `M` (T, k) =
N^T D_i Z of a pattern, `lam` weight decay.

Directions are generated in the cones: the output weights of those at hand are a group lasso; a direction u of a cone is
missing when |M u| > lam. For one task the largest |M u| is that of the projection of the gradient onto the cone; for
several it is searched for by turns, u for a fixed output direction and back, which may miss some (finding all is as
hard as the problem itself, theory C.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.losses import DataLoss, SquaredLoss
from convexrelu.native.group_lasso import solve_group_lasso
from convexrelu.native.joint import JointProblem, refit
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import project
from convexrelu.problem import TrainingProblem

# Rounds at most, directions that may join in one, and turns between neuron and output direction.
ROUNDS, MOST_NEW, TURNS = 60, 40, 6
# Of the squared targets: what the term e^2 |w|_1^2 may add, by its square root (see `_lasso`).
SMALL_TERM = 1e-5
# Facets that a gradient is moved off for the bound that says which cones are worth a least squares problem.
FACETS = 6
# The violation that the first round expects, relative to the weight decay.
FIRST = 1.0


def resolved(
    problem: TrainingProblem,
    network: Network,
    tol: float,
    others: BoolArray | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Network:
    """The best network found whose neurons have the patterns of the given one's; smooth losses only.

    Parameters
    ----------
    problem : TrainingProblem
    network : Network
        Its neurons without effect are left out.
    tol : float
        By how much, relative to the weight decay, a missing direction may exceed it.
    others : bool (P, n), optional
        Further patterns; with all there are, the network is globally optimal for one task.
    should_stop : callable, optional
        True ends the work with the best network so far.

    Returns
    -------
    Network
        Not always better than the given one: the caller compares.

    Notes
    -----
    A round costs a product of the (P, n) patterns and the (n, k) data, at most `MOST_NEW` non-negative least squares
    problems of n rows, and a group lasso of the directions at hand.
    """
    point, violation = replace(_Point.at(problem, network, others), should_stop=should_stop), FIRST
    for _ in range(ROUNDS):
        # Output weights much more accurate than the directions are missing would be work for nothing.
        accuracy = max(0.1 * violation, 0.1 * tol)
        point = point.weighted(accuracy).merged()
        point, violation = point.joined(tol)
        if (violation <= tol and accuracy <= 0.1 * tol) or should_stop():
            break
    return point.weighted(0.1 * tol).network()


@dataclass(frozen=True)
class _Point:
    """Directions, their patterns and output weights."""

    problem: TrainingProblem
    joint: JointProblem
    D: BoolArray
    U: Array
    owner: IntArray
    W: Array
    beta: Array
    should_stop: Callable[[], bool] = lambda: False

    @classmethod
    def at(cls, problem: TrainingProblem, network: Network, others: BoolArray | None) -> _Point:
        arrangement, linear = problem.arrangement, problem.linear
        loss = DataLoss(problem.loss, problem.Y, problem.sample_weight)
        joint = JointProblem(
            arrangement.Z, arrangement.n_penalized, problem.weight_decay, loss, linear.free, linear.penalized
        )
        U = arrangement.from_weights(network.hidden, network.hidden_bias)
        cost = arrangement.cost(U)
        some = (cost > 0) & network.output.any(axis=1)
        U, W = U[some] / cost[some, None], network.output[some] * cost[some, None]
        own = U @ arrangement.Z.T > 0
        packed = np.packbits(own if others is None else np.vstack([own, others]), axis=1)
        listed, owner = np.unique(packed, axis=0, return_inverse=True)
        D = np.unpackbits(listed, axis=1, count=own.shape[1]).astype(bool)
        beta = np.zeros((joint.linear.shape[1], joint.n_tasks))
        return cls(problem, joint, D, U, owner.ravel()[: len(U)], W, beta)

    @property
    def _features(self) -> Array:
        return np.maximum(self.U @ self.joint.Z.T, 0.0)

    def weighted(self, tol: float) -> _Point:
        """With the best output weights; directions that get none are dropped."""
        Phi, start = self._features, self.W
        if len(start) and self.joint.n_tasks == 1 and isinstance(self.problem.loss, SquaredLoss):
            start = _lasso(self.joint, Phi, start)
        beta = refit(self.joint, Phi.T @ start, self.beta)[0]
        W, beta = solve_group_lasso(self.joint, Phi, start, beta, tol, should_stop=self.should_stop)
        alive = W.any(axis=1)
        return replace(self, U=self.U[alive], owner=self.owner[alive], W=W[alive], beta=beta)

    def merged(self) -> _Point:
        """One task: directions of one cone and sign added up, which changes no prediction and costs no more."""
        if self.joint.n_tasks > 1 or not len(self.U):
            return self
        sign = np.sign(self.W[:, 0])
        _, first, group = np.unique(2 * self.owner + (sign > 0), return_index=True, return_inverse=True)
        U = np.zeros((len(first), self.U.shape[1]))
        np.add.at(U, group, self.U * np.abs(self.W))
        cost = self.joint.costs(U)
        some = cost > 0
        W = (sign[first] * cost)[some, None]
        return replace(self, U=U[some] / cost[some, None], owner=self.owner[first][some], W=W)

    def joined(self, tol: float) -> tuple[_Point, float]:
        """With the directions that are missing, at weight zero, and the largest violation, relative to lam."""
        lam, Z = self.joint.weight_decay, self.joint.Z
        N = -self.joint.loss.gradient(self._features.T @ self.W + self.joint.linear @ self.beta)
        M = np.stack([(self.D * column) @ Z for column in N.T], axis=1)
        # One output direction of each sign to start from: for one task there are no others.
        v = np.linalg.svd(M, full_matrices=False)[0][:, :, 0] if len(M) else np.zeros((0, N.shape[1]))
        owner, start = np.tile(np.arange(len(M)), 2), np.vstack([v, -v])
        reach = self._reach(owner, start, M)
        found: list[Array] = []
        owners: list[int] = []
        largest = 0.0
        for i in np.argsort(-reach, kind="stable"):
            if reach[i] <= lam * (1 + tol) or len(found) == MOST_NEW or self.should_stop():
                break
            u = self._best(M[owner[i]], start[i], int(owner[i]))
            violation = float(np.linalg.norm(M[owner[i]] @ u)) / lam - 1
            largest = max(largest, violation)
            if violation > tol:
                found.append(u)
                owners.append(int(owner[i]))
        if not found:
            return self, 0.0
        W = np.vstack([self.W, np.zeros((len(found), self.joint.n_tasks))])
        owner = np.append(self.owner, np.array(owners, dtype=np.intp))
        return replace(self, U=np.vstack([self.U, found]), owner=owner, W=W), largest

    def _reach(self, owner: IntArray, start: Array, M: Array) -> Array:
        """Bounds on the largest |M u| in each cone, from the gradient moved off facets (as in `dual_norm`)."""
        Z, p = self.joint.Z, self.joint.n_penalized
        bias = float(row_norms(Z[:, :p]).max(initial=0.0))
        gradients = np.einsum("at,atk->ak", start, M[owner])
        if self.joint.n_tasks > 1:
            return np.asarray(row_norms(gradients[:, :p]) + bias * np.abs(gradients[:, p:]).sum(axis=1))
        units = Z / np.maximum(row_norms(Z), 1e-300)[:, None]
        signs = np.where(self.D, 1.0, -1.0)[owner]
        reach = np.full(len(owner), np.inf)
        for _ in range(min(FACETS, Z.shape[1])):
            reach = np.minimum(reach, row_norms(gradients[:, :p]) + bias * np.abs(gradients[:, p:]).sum(axis=1))
            along = signs * (gradients @ units.T)
            worst = np.argmin(along, axis=1)
            rows = np.arange(len(owner))
            steps = np.minimum(along[rows, worst], 0.0) * signs[rows, worst]
            gradients = gradients - steps[:, None] * units[worst]
        return np.asarray(reach)

    def _best(self, M: Array, v: Array, i: int) -> Array:
        """A locally best direction of cone i, starting from the output direction v; zero if there is none."""
        K = np.where(self.D[i], 1.0, -1.0)[:, None] * self.joint.Z
        K = K[row_norms(K) > 0]
        u = np.zeros(M.shape[1])
        for _ in range(TURNS if len(v) > 1 else 1):
            u = _along(v @ M, K, self.joint.n_penalized)
            size = float(np.linalg.norm(M @ u))
            if size == 0:
                break
            v = M @ u / size
        return u

    def network(self) -> Network:
        """Balanced."""
        root, q = np.sqrt(row_norms(self.W))[:, None], self.joint.free.shape[1]
        hidden, hidden_bias = self.problem.arrangement.to_weights(self.U * root)
        skip, output_bias = self.problem.linear.to_weights(self.beta[:q], self.beta[q:])
        alive = root[:, 0] > 0
        output = self.W[alive] / root[alive]
        return Network(hidden[alive], hidden_bias[alive], output, skip, output_bias, self.problem.bias)


def _lasso(joint: JointProblem, Phi: Array, W: Array) -> Array:
    """The output weights (m, 1) of one task with squared loss by non-negative least squares; W if that fails.

    The price lam |w|_1 is the cross term of the square (e |w|_1 + lam / e)^2; e is so small that e^2 |w|_1^2 is a
    rounding error of the objective. A first guess: Newton's method takes many steps from worse ones.
    """
    root = np.sqrt(joint.loss.weight)[:, None]
    y, A = root * joint.loss.Y, root * Phi.T
    Q = np.vstack([root * joint.linear, np.diag(np.sqrt(joint.ridge))])
    basis = np.linalg.qr(Q)[0]
    pad = np.zeros((len(Q) - len(y), 1))
    y, A = np.vstack([y, pad]), np.vstack([A, np.repeat(pad, A.shape[1], axis=1)])
    y, A = y - basis @ (basis.T @ y), A - basis @ (basis.T @ A)
    e = SMALL_TERM * joint.weight_decay / max(float(np.linalg.norm(y)), 1e-300)
    signed = np.vstack([np.hstack([A, -A]), np.full((1, 2 * A.shape[1]), e)])
    try:
        w = nnls(signed, np.append(y, -joint.weight_decay / e), maxiter=20 * (A.shape[1] + 10))[0]
    except RuntimeError:
        return W
    m = A.shape[1]
    return np.asarray(w[:m] - w[m:])[:, None]


def _along(g: Array, K: Array, p: int) -> Array:
    """The direction u of cost one in the cone K u >= 0 with the largest g . u; zero if no u has a positive one."""
    size = float(np.linalg.norm(g))
    if size == 0:
        return np.zeros_like(g)
    projected = project(g, K, p, float(row_norms(K[:, :p]).max(initial=0.0)))
    length = float(np.linalg.norm(projected[:p]))
    if length <= 1e-9 * size:
        return np.zeros_like(g)
    u = projected / length
    if p < len(u):
        u[p] = _bias(u[:p], K, float(g[p]))
    return u


def _bias(w: Array, K: Array, slope: float) -> float:
    """The free bias in the cone, at the end where `slope` pulls; in the middle where rounding leaves no room."""
    at = -(K[:, :-1] @ w) / K[:, -1]
    lower = at[K[:, -1] > 0].max(initial=-np.inf)
    upper = at[K[:, -1] < 0].min(initial=np.inf)
    if np.isfinite(lower) and np.isfinite(upper) and lower > upper:
        return float(0.5 * (lower + upper))
    wanted, other = (upper, lower) if slope > 0 else (lower, upper)
    return float(wanted if np.isfinite(wanted) else other)
