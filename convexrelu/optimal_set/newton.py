"""Newton's method on the conditions of optimality, for any loss and several tasks: `NewtonState`.

Letters as in `convexrelu.optimal_set.optimum` and `stationary`: `u_e = E_e z_e` on the face of its cell, here balanced
with its output weights `v_e` (T,), |z_e| = |v_e|; `D_e` pattern, `phi_e = D_e Z u_e`, `C = [Q_f, Q_p]`, `N` (n, T) dual
variable,

    lam z_e = E_e^T Z^T D_e N v_e,   lam v_e = N^T phi_e,   0 = Q_f^T N,   lam beta_p = Q_p^T N,
    N = -dL/dF where the loss is smooth;  at a kink of the loss F = Y, and on one of its arms N is the arm's slope.

A sample of a loss with kinks is called *exact* where its prediction sits on the kink, as all samples of interpolation
are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.stationary import PATIENCE, _solve_scaled, face_basis, tie_sizes
from convexrelu.problem import TrainingProblem

STEPS = 15
# Singular values below this fraction of the largest are left out of a step: tried in this order.
CUTOFFS = (1e-13, 1e-7, 1e-4)


@dataclass(frozen=True, eq=False)
class NewtonState:
    """A network in the coordinates of its cells' faces, with a dual variable.

    Attributes
    ----------
    problem : TrainingProblem
        With positive sample weights.
    faces : tuple of float64 (k, r_e)
        E_e, orthonormal in the penalised coordinates.
    active : bool (m, n)
        D_e, without the samples on the kink.
    z : float64 (sum of r_e,)
    V : float64 (m, T)
    linear : float64 (q + q', T)
    N : float64 (n, T)
    exact : bool (n, T)
        Where F = Y is asked.
    arms : float64 (n, T)
        Of a loss with kinks: N where it is not.
    """

    problem: TrainingProblem
    faces: tuple[Array, ...]
    active: BoolArray
    z: Array
    V: Array
    linear: Array
    N: Array
    exact: BoolArray
    arms: Array

    @classmethod
    def of(cls, start: Optimum, kink: float, exact: BoolArray, arms: Array) -> NewtonState:
        """The state at a network, its neurons within `kink` (relative) of a sample moved onto it."""
        arrangement, p = start.problem.arrangement, start.problem.arrangement.n_penalized
        pre = start.neurons @ arrangement.Z.T
        tight = np.abs(pre) <= kink * tie_sizes(arrangement, start.neurons)
        faces = tuple(face_basis(arrangement, rows) for rows in tight)
        root = np.sqrt(start.costs)[:, None]
        parts = [E[:p].T @ u[:p] for E, u in zip(faces, start.neurons / root, strict=True)]
        active = (pre > 0) & ~tight
        z = np.concatenate([*parts, np.zeros(0)])
        return cls(start.problem, faces, active, z, root * start.outputs, start.linear, start.nu, exact, arms)

    @property
    def key(self) -> bytes:
        """What tells the state from others of the same problem."""
        return self.active.tobytes() + self.z.tobytes() + self.exact.tobytes() + self.arms.tobytes()

    # -- the network --------------------------------------------------------------------------------------------------

    @cached_property
    def owner(self) -> IntArray:
        """The neuron that each coordinate of z belongs to."""
        return np.repeat(np.arange(len(self.faces)), [E.shape[1] for E in self.faces])

    @cached_property
    def hidden(self) -> Array:
        """E_e z_e (m, k)."""
        rows = [E @ self.z[self.owner == e] for e, E in enumerate(self.faces)]
        return np.array(rows).reshape(len(self.faces), self.problem.arrangement.Z.shape[1])

    @cached_property
    def phi(self) -> Array:
        """phi_e (n, m)."""
        return np.asarray(self.active.T * (self.problem.arrangement.Z @ self.hidden.T))

    @cached_property
    def columns(self) -> Array:
        """C (n, q + q')."""
        return np.hstack([self.problem.linear.free, self.problem.linear.penalized])

    @cached_property
    def fit(self) -> Array:
        """F (n, T)."""
        return np.asarray(self.phi @ self.V + self.columns @ self.linear)

    @cached_property
    def designs(self) -> list[Array]:
        """D_e Z E_e (n, r_e)."""
        Z = self.problem.arrangement.Z
        return [d[:, None] * (Z @ E) for d, E in zip(self.active, self.faces, strict=True)]

    def optimum(self) -> Optimum:
        """The network with its accuracy, as far as these equations tell."""
        outer = row_norms(self.V)
        neurons, outputs = outer[:, None] * self.hidden, self.V / outer[:, None]
        return Optimum(self.problem, neurons, outputs, self.linear, self.N, self.error)

    # -- the equations ------------------------------------------------------------------------------------------------

    @cached_property
    def jacobian(self) -> Array:
        """Derivative (n T, variables) of F in (z, V, linear)."""
        n, T = self.N.shape
        hidden = [np.einsum("nr,t->ntr", A, v).reshape(n * T, -1) for A, v in zip(self.designs, self.V, strict=True)]
        return np.hstack([np.zeros((n * T, 0)), *hidden, np.kron(np.hstack([self.phi, self.columns]), np.eye(T))])

    @cached_property
    def _prices(self) -> Array:
        """The price of each variable that is penalised, else zero."""
        q, T = self.problem.linear.free.shape[1], self.N.shape[1]
        priced = np.ones(self.z.size + self.V.size + self.linear.size)
        first = self.z.size + self.V.size
        priced[first : first + q * T] = 0.0
        return self.problem.penalty * priced

    @cached_property
    def stationarity(self) -> Array:
        """Left minus right-hand sides of the first line."""
        x = np.concatenate([self.z, self.V.ravel(), self.linear.ravel()])
        return np.asarray(self._prices * x - self.jacobian.T @ self.N.ravel())

    @cached_property
    def mismatch(self) -> Array:
        """F - Y at exact samples, N less its value elsewhere (n, T)."""
        problem = self.problem
        if problem.loss.is_smooth:
            slopes = -problem.loss.gradient(self.fit, problem.Y, problem.sample_weight)
        else:
            slopes = self.arms
        return np.asarray(np.where(self.exact, self.fit - problem.Y, self.N - slopes))

    @cached_property
    def error(self) -> float:
        """Largest residual relative to the price of norm, the dual variable and the predictions."""
        problem, T = self.problem, self.N.shape[1]
        sizes = np.concatenate(
            [
                row_norms(self.V)[self.owner],
                np.repeat(np.sqrt(self._per_neuron(self.z**2)), T),
                np.repeat(row_norms(self.columns.T), T),
            ]
        )
        stationarity = np.abs(self.stationarity) / np.maximum(problem.penalty * sizes, 1e-300)
        unit = max(problem.loss.unit(problem.Y), 1e-300)
        slope = max(float(np.abs(self.N).max()), self._slope)
        missed = np.abs(self.mismatch) / np.where(self.exact, unit, slope)
        features = np.maximum(problem.arrangement.Z @ self.hidden.T, 0.0)
        outside = np.abs((features - self.phi) @ self.V) / unit
        return float(np.concatenate([stationarity, missed.ravel(), outside.ravel()]).max(initial=0.0))

    @property
    def _slope(self) -> float:
        """The size of the dual variable of predictions that are all off by a unit."""
        problem = self.problem
        return max(float(problem.sample_weight.max()) * problem.loss.unit(problem.Y) * problem.loss.is_smooth, 1e-300)

    # -- Newton -------------------------------------------------------------------------------------------------------

    @cached_property
    def _curvature(self) -> Array:
        """Second derivative of the Lagrangian without the loss: prices, and the products of z_e and v_e."""
        H, T = np.diag(self._prices), self.N.shape[1]
        for e, A in enumerate(self.designs):
            rows = np.flatnonzero(self.owner == e)
            outer = self.z.size + e * T + np.arange(T)
            H[np.ix_(rows, outer)] = -A.T @ self.N
            H[np.ix_(outer, rows)] = -(A.T @ self.N).T
        return H

    @cached_property
    def _bend(self) -> Array:
        """Derivative (n T, variables) of the loss's gradient, where the loss is smooth."""
        problem, J, (n, T) = self.problem, self.jacobian, self.N.shape
        if not problem.loss.is_smooth:
            return np.zeros_like(J)
        W = problem.loss.hessian(self.fit, problem.Y, problem.sample_weight)
        return np.asarray((W @ J.reshape(n, T, -1)).reshape(J.shape))

    @cached_property
    def _system(self) -> tuple[Array, Array]:
        """Matrix and right-hand side of a step: of the variables, then of the dual variable of exact samples."""
        J, exact, mismatch = self.jacobian, self.exact.ravel(), self.mismatch.ravel()
        K = J[exact]
        matrix = np.block([[self._curvature + J.T @ self._bend, -K.T], [-K, np.zeros((len(K), len(K)))]])
        gradient = self.stationarity + J[~exact].T @ mismatch[~exact]
        return matrix, np.concatenate([-gradient, mismatch[exact]])

    def _step(self, cutoff: float) -> NewtonState:
        matrix, wanted = self._system
        exact, dN = self.exact.ravel(), np.zeros(self.N.size)
        dx, dN[exact] = np.split(_solve_scaled(matrix, wanted[:, None], cutoff)[:, 0], [self.jacobian.shape[1]])
        dN[~exact] = -self.mismatch.ravel()[~exact] - (self._bend @ dx)[~exact]
        return self._moved(dx, dN.reshape(self.N.shape))

    def _moved(self, dx: Array, dN: Array) -> NewtonState:
        """The state after a step, or after as much of it as the first neuron takes to vanish, which is dropped.

        The weight |z_e| |v_e| of a neuron changes as in the first order: what is traded between neurons whose
        predictions are dependent leaves these as they are, however far.
        """
        dz, dV, linear = np.split(dx, [self.z.size, self.z.size + self.V.size])
        dV = dV.reshape(self.V.shape)
        inner = self._per_neuron(self.z * dz) / np.maximum(self._per_neuron(self.z**2), 1e-300)
        outer = (self.V * dV).sum(axis=1) / np.maximum((self.V**2).sum(axis=1), 1e-300)
        share = 1.0 / max(1.0, -(inner + outer).min(initial=0.0))
        inner, outer = 1 + share * inner, 1 + share * outer
        weight = inner + outer - 1
        kept = (inner > 0) & (outer > 0) & (weight > 8 * EPS)
        scale = np.sqrt(np.where(kept, weight, 0.0) / np.where(kept, inner * outer, 1.0))
        moved = replace(
            self,
            z=scale[self.owner] * (self.z + share * dz),
            V=scale[:, None] * (self.V + share * dV),
            linear=self.linear + share * linear.reshape(self.linear.shape),
            N=self.N + share * dN,
        )
        return moved.take(kept)

    def _per_neuron(self, values: Array) -> Array:
        """Sums (m,) of what belongs to the coordinates z."""
        return np.asarray(np.bincount(self.owner, values, len(self.V)), dtype=float)

    def take(self, kept: BoolArray) -> NewtonState:
        """Some of the neurons (m,)."""
        faces = tuple(E for E, keep in zip(self.faces, kept, strict=True) if keep)
        return replace(self, faces=faces, active=self.active[kept], z=self.z[kept[self.owner]], V=self.V[kept])

    def polished(self) -> NewtonState:
        """Newton's method until the residual is rounding or no longer falls.

        Where optimal networks are not isolated the equations are singular in the limit, and nearly so before it: there
        directions that they hardly determine are left out of a step, the more the worse it does.
        """
        best = state = self
        failed = 0
        for _ in range(STEPS + len(self.faces)):
            if best.error <= 8 * EPS or failed > PATIENCE:
                break
            steps = [state._step(cutoff) for cutoff in CUTOFFS]
            better = [step for step in steps if step.error < state.error]
            fewer = [step for step in steps if len(step.faces) < len(state.faces)]
            # The empty network is stationary, too: rather not a step that loses neurons.
            state = max(better, key=lambda step: len(step.faces)) if better else (fewer or steps)[0]
            failed = 0 if fewer or state.error < best.error else failed + 1
            best = min(best, state, key=lambda visited: visited.error)
        return best
