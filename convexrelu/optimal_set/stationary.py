"""The equations of an optimal network of given cells, their derivative, and Newton's method on them: `Stationary`.

Letters: `Z` (n, k) reduced data, `u_e = E_e z_e` neuron e, its output weight multiplied in, on the face of its cell
where the samples on its kink stay there; the columns of `E_e` are orthonormal in the penalised coordinates, so that
|z_e| is the cost; `s_e` sign, `D_e` pattern without the samples on the kink; `A = [s_e D_e Z E_e]_e` (n, N); `Q_f`,
`Q_p` free and penalised columns; `nu` (n,) dual variable; `lam` price of norm (one for interpolation).

    lam z_e / |z_e| = A_e^T nu,   0 = Q_f^T nu,   lam beta_p = Q_p^T nu,
    nu + dL/df = 0  at  f = A z + Q_f beta_f + Q_p beta_p;  for interpolation f = y

`W` (n,) is the curvature of the loss at f. Within its cells a network is smooth in z: where these equations hold with
small multipliers on the kinks, it is stationary (Mishkin and Pilanci, ICML 2023, Section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg

from convexrelu.arrays import EPS, Array, BoolArray, IntArray, row_norms
from convexrelu.patterns.arrangement import Arrangement
from convexrelu.pricing.rounding import activation_sizes
from convexrelu.problem import TrainingProblem

# Rows on a kink that are dependent to this accuracy count as dependent.
DEPENDENT = 1e-9
# Systems of a condition number above one over this are solved by their singular values.
REGULAR = 1e-11
STEPS = 12
# Steps without a smaller residual before the method has failed.
PATIENCE = 3


def tie_sizes(arrangement: Arrangement, U: Array) -> Array:
    """Sizes (m, n) that the pre-activations of neurons U (m, k) are to be compared with."""
    return np.outer(arrangement.cost(U), activation_sizes(arrangement))


def face_basis(arrangement: Arrangement, tight: BoolArray) -> Array:
    """Basis (k, r) of the neurons with the samples `tight` (n,) on their kink, orthonormal in penalised coordinates."""
    Z, p = arrangement.Z, arrangement.n_penalized
    rows = Z[tight & (row_norms(Z) > 0)]
    E = scipy.linalg.null_space(rows / row_norms(rows)[:, None], rcond=DEPENDENT) if len(rows) else np.eye(Z.shape[1])
    if p == Z.shape[1]:
        return np.asarray(E)
    # A face that leaves a free bias undetermined has directions without cost: they are dropped.
    _, singular, Vt = np.linalg.svd(E[:p], full_matrices=False)
    keep = singular > DEPENDENT
    return np.asarray(E @ Vt[keep].T / singular[keep])


def _solve_semidefinite(J: Array, rhs: Array) -> Array:
    """As `_solve_scaled`, at a tenth of the cost where the matrix is well conditioned."""
    diagonal = np.diag(J)
    if len(J) and (diagonal > 0).all():
        scale = 1.0 / np.sqrt(diagonal)
        scaled = J * scale * scale[:, None]
        factor, failed = scipy.linalg.lapack.dpotrf(scaled)
        if not failed:
            inverse_condition = scipy.linalg.lapack.dpocon(factor, float(np.abs(scaled).sum(axis=0).max()))[0]
            if inverse_condition > REGULAR:
                return np.asarray(scale[:, None] * scipy.linalg.cho_solve((factor, False), scale[:, None] * rhs))
    return _solve_scaled(J, rhs)


@dataclass(frozen=True, eq=False)
class Stationary:
    """A network in the coordinates of its cells' faces, with a dual variable.

    Attributes
    ----------
    problem : TrainingProblem
        One task, a smooth loss, or interpolation.
    faces : tuple of float64 (k, r_e)
        E_e.
    signs : float64 (m,)
    active : bool (m, n)
        D_e.
    z : float64 (N,)
    linear : float64 (q + q',)
        Free, then penalised coefficients.
    nu : float64 (n,)
    """

    problem: TrainingProblem
    faces: tuple[Array, ...]
    signs: Array
    active: BoolArray
    z: Array
    linear: Array
    nu: Array

    @classmethod
    def of(
        cls, problem: TrainingProblem, neurons: Array, signs: Array, linear: Array, nu: Array, kink: float
    ) -> Stationary:
        """The network of neurons (m, k), those within `kink` (relative) of a sample moved onto it."""
        arrangement = problem.arrangement
        pre = neurons @ arrangement.Z.T
        tight = np.abs(pre) <= kink * tie_sizes(arrangement, neurons)
        faces = tuple(face_basis(arrangement, rows) for rows in tight)
        p = arrangement.n_penalized
        z = [E[:p].T @ u[:p] for E, u in zip(faces, neurons, strict=True)]
        return cls(problem, faces, signs, (pre > 0) & ~tight, np.concatenate([*z, np.zeros(0)]), linear, nu)

    @property
    def key(self) -> bytes:
        """What tells the state from others of the same problem."""
        return self.active.tobytes() + self.z.tobytes()

    @cached_property
    def owner(self) -> IntArray:
        """The neuron (N,) that each coordinate of z belongs to."""
        return np.repeat(np.arange(len(self.faces)), [E.shape[1] for E in self.faces])

    @cached_property
    def costs(self) -> Array:
        """|z_e| (m,)."""
        return np.sqrt(np.bincount(self.owner, self.z**2, minlength=len(self.faces)))

    @cached_property
    def unit(self) -> Array:
        """z_e / |z_e| (N,)."""
        return self.z / self.costs[self.owner]

    @cached_property
    def neurons(self) -> Array:
        """u_e (m, k)."""
        k = self.problem.arrangement.Z.shape[1]
        rows = [E @ self.z[self.owner == e] for e, E in enumerate(self.faces)]
        return np.array(rows).reshape(len(self.faces), k)

    @cached_property
    def design(self) -> Array:
        """A (n, N)."""
        Z = self.problem.arrangement.Z
        columns = [s * d[:, None] * (Z @ E) for s, d, E in zip(self.signs, self.active, self.faces, strict=True)]
        return np.hstack([np.zeros((len(Z), 0)), *columns])

    @property
    def n_free(self) -> int:
        """The number q of free columns."""
        return int(self.problem.linear.free.shape[1])

    @cached_property
    def columns(self) -> Array:
        """[A, Q_f, Q_p] (n, N + q + q')."""
        return np.hstack([self.design, self.problem.linear.free, self.problem.linear.penalized])

    @cached_property
    def fit(self) -> Array:
        """Predictions (n,)."""
        return np.asarray(self.columns @ np.concatenate([self.z, self.linear]))

    @cached_property
    def gradient(self) -> Array:
        """Left-hand sides of the first three equations without nu: the derivative of the cost."""
        lam = self.problem.penalty
        penalized = self.linear[self.n_free :]
        return lam * np.concatenate([self.unit, np.zeros(self.n_free), penalized])

    @cached_property
    def residual(self) -> Array:
        """Left minus right-hand sides (N + q + q' + n,)."""
        problem, fit = self.problem, self.fit
        if problem.is_interpolation:
            missed = fit - problem.Y[:, 0]
        else:
            missed = self.nu + problem.loss.gradient(fit[:, None], problem.Y, problem.sample_weight)[:, 0]
        return np.concatenate([self.gradient - self.columns.T @ self.nu, missed])

    @cached_property
    def weights(self) -> Array:
        """W (n,): the curvature of the loss, which is not interpolation."""
        problem = self.problem
        return problem.loss.curvature(self.fit[:, None], problem.Y, problem.sample_weight)[:, 0]

    @cached_property
    def error(self) -> float:
        """Largest residual, relative to the price of norm and to the targets; neurons outside their cells count."""
        split = self.columns.shape[1]
        size = row_norms(self.columns[:, self.z.size :].T)
        scale = np.concatenate([np.ones(self.z.size), size]) * self.problem.penalty
        stationarity = np.abs(self.residual[:split]) / np.maximum(scale, 1e-300)
        stiffness = np.ones(len(self.nu))
        if not self.problem.is_interpolation:
            stiffness = self.problem.loss.stiffness(self.problem.sample_weight)
        missed = np.abs(self.residual[split:]) / np.where(stiffness > 0, stiffness, 1.0)
        missed = np.concatenate([missed, np.abs(self._outside)])
        missed /= max(float(np.abs(self.problem.Y).max()), 1e-300)
        return float(np.concatenate([stationarity, missed]).max())

    @property
    def _outside(self) -> Array:
        """Predictions of the neurons less those of their cells (n,)."""
        return self.signs @ np.maximum(self.neurons @ self.problem.arrangement.Z.T, 0.0) - self.design @ self.z

    @cached_property
    def curvature(self) -> Array:
        """Second derivative of the cost in (z, beta_f, beta_p)."""
        N, lam = self.z.size, self.problem.penalty
        same = self.owner[:, None] == self.owner[None, :]
        spheres = same * (np.eye(N) - np.outer(self.unit, self.unit)) / self.costs[self.owner][:, None]
        n_penalized = self.linear.size - self.n_free
        blocks = [lam * spheres, np.zeros((self.n_free, self.n_free)), lam * np.eye(n_penalized)]
        return np.asarray(scipy.linalg.block_diag(*blocks))

    @cached_property
    def jacobian(self) -> Array:
        """A symmetric matrix that is regular if and only if the network is isolated among the stationary ones.

        The derivative of the residual in (z, beta_f, beta_p) and -nu; with nu eliminated where the loss allows it.
        """
        K = self.columns
        if self.problem.is_interpolation:
            return np.block([[self.curvature, K.T], [K, np.zeros((len(K), len(K)))]])
        return self.curvature + K.T @ (self.weights[:, None] * K)

    def response(self, change: Array) -> Array:
        """d(z, beta_f, beta_p, nu) for a change (rows, ...) of the right-hand side: shortest where not unique."""
        split = self.columns.shape[1]
        flat = change.reshape(len(change), -1)
        if self.problem.is_interpolation:
            found = _solve_scaled(self.jacobian, flat)
            found[split:] *= -1
            return found.reshape(change.shape)
        dx = _solve_semidefinite(self.jacobian, flat[:split] + self.columns.T @ flat[split:])
        return np.vstack([dx, flat[split:] - self.weights[:, None] * (self.columns @ dx)]).reshape(change.shape)

    @cached_property
    def rate(self) -> Array:
        """Derivative of (z, beta_f, beta_p, nu) with respect to the weight decay."""
        change = np.concatenate([self.gradient / self.problem.penalty, np.zeros(len(self.nu))])
        return self.response(-change)

    def polished(self) -> Stationary:
        """Newton's method until the residual is rounding or no longer falls.

        A step ends where the first neuron vanishes, which is dropped: where predictions are nearly dependent a full
        step would take many others far beyond that. There it is also so long that the residual rises before it falls.
        """
        best = state = self
        failed = 0
        for _ in range(STEPS + len(self.faces)):
            if best.error <= 8 * EPS or failed > PATIENCE:
                break
            share, first = state._first_to_vanish
            state = state.step(share, first)
            failed = 0 if share < 1.0 or state.error < best.error else failed + 1
            best = min(best, state, key=lambda visited: visited.error)
        return best

    @property
    def _first_to_vanish(self) -> tuple[float, int]:
        """The share of a Newton step at which the first neuron has no weight left, and which: one, -1 if none has."""
        along = np.bincount(self.owner, self._newton[: self.z.size] * self.unit, minlength=len(self.faces))
        shares = np.where(along < 0, self.costs / np.where(along < 0, -along, 1.0), np.inf)
        return (float(shares.min()), int(shares.argmin())) if shares.min(initial=np.inf) < 1.0 else (1.0, -1)

    def step(self, share: float = 1.0, vanishing: int = -1) -> Stationary:
        """A Newton step, or a share of one; neurons that turn round, and the one that is vanishing, are dropped."""
        dz, linear, nu = np.split(share * self._newton, [self.z.size, self.columns.shape[1]])
        z = self.z + dz
        along = np.bincount(self.owner, z * self.unit, minlength=len(self.faces))
        state = replace(self, z=z, linear=self.linear + linear, nu=self.nu + nu)
        return state.take((along > 0) & (np.arange(len(along)) != vanishing))

    @cached_property
    def _newton(self) -> Array:
        return self.response(-self.residual)

    def take(self, kept: BoolArray) -> Stationary:
        """Some of the neurons (m,)."""
        faces = tuple(E for E, keep in zip(self.faces, kept, strict=True) if keep)
        z = self.z[kept[self.owner]]
        return replace(self, faces=faces, signs=self.signs[kept], active=self.active[kept], z=z)


def _solve_scaled(J: Array, rhs: Array, cutoff: float = 1e-13) -> Array:
    """The shortest solution of a symmetric system, rows and columns scaled to one size first."""
    scale = np.ones(len(J))
    for _ in range(3):
        size = np.sqrt(np.abs(J * scale * scale[:, None]).max(axis=1, initial=0.0))
        scale = scale / np.where(size > 0, size, 1.0)
    scaled = J * scale * scale[:, None]
    return np.asarray(scipy.linalg.lstsq(scaled, scale[:, None] * rhs, cond=cutoff)[0] * scale[:, None])
