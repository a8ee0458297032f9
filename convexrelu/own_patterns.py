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

from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.losses import DataLoss
from convexrelu.native.group_lasso import solve_group_lasso
from convexrelu.native.joint import JointProblem
from convexrelu.network import Network
from convexrelu.pricing.dual_norm import project
from convexrelu.problem import TrainingProblem

# Rounds at most, directions that may join in one, and turns between neuron and output direction.
ROUNDS, MOST_NEW, TURNS = 40, 40, 6


def resolved(problem: TrainingProblem, network: Network, tol: float) -> Network:
    """The best network found whose neurons have the patterns of the given one's; smooth losses only.

    Parameters
    ----------
    problem : TrainingProblem
    network : Network
        Its neurons without effect are left out.
    tol : float
        By how much, relative to the weight decay, a missing direction may exceed it.

    Returns
    -------
    Network
        Not always better than the given one: the caller compares.

    Notes
    -----
    A round costs a product of the (P, n) patterns and the (n, k) data, at most `MOST_NEW` non-negative least squares
    problems of n rows, and a group lasso of the directions at hand.
    """
    point = _Point.at(problem, network)
    for _ in range(ROUNDS):
        point = point.weighted(0.1 * tol).merged()
        point, missing = point.joined(tol)
        if not missing:
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

    @classmethod
    def at(cls, problem: TrainingProblem, network: Network) -> _Point:
        arrangement, linear = problem.arrangement, problem.linear
        loss = DataLoss(problem.loss, problem.Y, problem.sample_weight)
        joint = JointProblem(
            arrangement.Z, arrangement.n_penalized, problem.weight_decay, loss, linear.free, linear.penalized
        )
        U = arrangement.from_weights(network.hidden, network.hidden_bias)
        cost = arrangement.cost(U)
        some = (cost > 0) & network.output.any(axis=1)
        U, W = U[some] / cost[some, None], network.output[some] * cost[some, None]
        D, owner = np.unique(U @ arrangement.Z.T > 0, axis=0, return_inverse=True)
        beta = np.zeros((joint.linear.shape[1], joint.n_tasks))
        return cls(problem, joint, D, U, owner.ravel(), W, beta)

    @property
    def _features(self) -> Array:
        return np.maximum(self.U @ self.joint.Z.T, 0.0)

    def weighted(self, tol: float) -> _Point:
        """With the best output weights; directions that get none are dropped."""
        W, beta = solve_group_lasso(self.joint, self._features, self.W, self.beta, tol)
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

    def joined(self, tol: float) -> tuple[_Point, int]:
        """With the directions that are missing, at weight zero, and how many these are."""
        lam, Z = self.joint.weight_decay, self.joint.Z
        N = -self.joint.loss.gradient(self._features.T @ self.W + self.joint.linear @ self.beta)
        M = np.stack([(self.D * column) @ Z for column in N.T], axis=1)
        order, reach = self._promising(M, lam)
        found, owner = [], []
        for i in order[reach > lam * (1 + tol)][:MOST_NEW]:
            for direction in self._best(M[i], int(i)):
                if np.linalg.norm(M[i] @ direction) > lam * (1 + tol):
                    found.append(direction)
                    owner.append(i)
        if not found:
            return self, 0
        W = np.vstack([self.W, np.zeros((len(found), self.joint.n_tasks))])
        U, owners = np.vstack([self.U, found]), np.append(self.owner, np.array(owner, dtype=np.intp))
        return replace(self, U=U, owner=owners, W=W), len(found)

    def _promising(self, M: Array, lam: float) -> tuple[IntArray, Array]:
        """Patterns by the largest |M u| without regard to the cones, and that."""
        p = self.joint.n_penalized
        reach = np.linalg.norm(M[:, :, :p], ord=2, axis=(1, 2)) if len(M) else np.zeros(0)
        bias = row_norms(self.joint.Z[:, :p]).max(initial=0.0)
        reach = reach + bias * np.linalg.norm(M[:, :, p:], axis=(1, 2))
        order = np.argsort(-reach, kind="stable")
        return order, reach[order]

    def _best(self, M: Array, i: int) -> list[Array]:
        """Locally best directions of cone i, one for each sign of the first output direction."""
        K = np.where(self.D[i], 1.0, -1.0)[:, None] * self.joint.Z
        K = K[row_norms(K) > 0]
        found = []
        for sign in (1.0, -1.0):
            v = sign * np.linalg.svd(M, full_matrices=False)[0][:, 0]
            u = None
            for _ in range(TURNS if len(v) > 1 else 1):
                u = _along(v @ M, K, self.joint.n_penalized)
                size = 0.0 if u is None else float(np.linalg.norm(M @ u))
                if u is None or size == 0:
                    break
                v = M @ u / size
            found += [] if u is None else [u]
        return found

    def network(self) -> Network:
        """Balanced."""
        root, q = np.sqrt(row_norms(self.W))[:, None], self.joint.free.shape[1]
        hidden, hidden_bias = self.problem.arrangement.to_weights(self.U * root)
        skip, output_bias = self.problem.linear.to_weights(self.beta[:q], self.beta[q:])
        alive = root[:, 0] > 0
        output = self.W[alive] / root[alive]
        return Network(hidden[alive], hidden_bias[alive], output, skip, output_bias, self.problem.bias)


def _along(g: Array, K: Array, p: int) -> Array | None:
    """The direction u of cost one in the cone K u >= 0 with the largest g . u; None if no u has a positive one."""
    size = float(np.linalg.norm(g))
    if size == 0:
        return None
    projected = project(g, K, p, float(row_norms(K[:, :p]).max(initial=0.0)))
    length = float(np.linalg.norm(projected[:p]))
    if length <= 1e-9 * size:
        return None
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
