"""Where dual variables bound anything: in the domain of the loss and orthogonal to the free columns, `DualDomain`.

Letters: `Q` (n, q) free columns, `nu` (n, T) dual variable, `lower` <= nu <= `upper` the box of the loss.

Losses of labels have boxes with zero on their boundary: there, projecting nu on the complement of Q may leave the box,
and shrinking does not bring it back. Moving towards an interior point does. By Stiemke's lemma there is one exactly if
no combination of free columns is on its label's side everywhere and beyond it somewhere; samples where it is are free
of charge, and their nu is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from convexrelu.arrays import EPS, Array, BoolArray
from convexrelu.linear_fit import fit_linear
from convexrelu.losses import DataLoss, LogisticLoss, Loss, SoftmaxLoss

WIDE = np.longdouble
WIDE_EPS = float(np.finfo(WIDE).eps)
# Room to leave to the boundary where rows must sum to zero: entries are then known up to rounding only.
MARGIN = 1e-14
# Depth, relative to the sample weights, below which an interior point is none.
SHALLOW = 1e-9
# Above so many samples linear programs for an interior point are slow; one as deep as this will do.
MANY, DEEP = 200, 1e-3


@dataclass(frozen=True, eq=False)
class DualDomain:
    """The feasible dual variables of a loss with targets and weights, next to free columns (n, q)."""

    loss: Loss
    Y: Array
    weight: Array
    free: Array

    @cached_property
    def _box(self) -> tuple[Array, Array]:
        return self.loss.domain(self.Y, self.weight)

    @cached_property
    def is_pointed(self) -> bool:
        """Whether zero is on the boundary of the box, and free columns make that matter."""
        lower, upper = self._box
        edge = ((lower == 0) | (upper == 0)) & (self.weight > 0)[:, None]
        return bool(edge.any()) and self.free.shape[1] > 0

    @cached_property
    def used(self) -> BoolArray:
        """Samples whose dual variable need not be zero."""
        heavy = self.weight > 0
        if not self.is_pointed or self.loss.couples_tasks:
            return heavy
        return np.asarray(heavy & (self._separated == 0).all(axis=1))

    @cached_property
    def _separated(self) -> Array:
        """One (n, T) where free columns put a sample beyond its label's side at no cost to the others, else zero.

        The cone {a >= 0 : sum_i sign_i a_i Q_i = 0} has a point of largest support: maximise sum min(a, 1) over it.
        """
        heavy, upper = self.weight > 0, self._box[1]
        separated = np.zeros(self.Y.shape)
        if self._logistic is not None:
            return separated
        for t in range(self.Y.shape[1]):
            signs = np.where(upper[heavy, t] > 0, 1.0, -1.0)
            rows = (signs[:, None] * self._columns[heavy]).T
            n = rows.shape[1]
            least = sp.hstack([-sp.eye_array(n), sp.eye_array(n)])
            answer = linprog(
                np.repeat([0.0, -1.0], n),
                A_ub=least,
                b_ub=np.zeros(n),
                A_eq=np.hstack([rows, np.zeros_like(rows)]),
                b_eq=np.zeros(len(rows)),
                bounds=[(0, None)] * n + [(0, 1)] * n,
            )
            separated[heavy, t] = answer.x[n:] < 0.5
        return separated

    @property
    def n_separated(self) -> int:
        """Number of samples of positive weight that the free columns satisfy free of charge."""
        if not self.is_pointed:
            return 0
        if self.loss.couples_tasks:
            return int((self.weight > 0).sum()) if self._interior is None else 0
        return int((self.weight > 0).sum() - self.used.sum())

    @cached_property
    def _columns(self) -> Array:
        """Free columns in one unit: their coefficients cost nothing."""
        size = np.abs(self.free).max(axis=0)
        return self.free / np.where(size > 0, size, 1.0)

    @cached_property
    def basis(self) -> Array:
        """Orthonormal basis of the free columns on the samples used, zero elsewhere."""
        free = np.where(self.used[:, None], self.free, 0.0)
        size = np.abs(free).max(axis=0)
        U, singular, _ = np.linalg.svd(free[:, size > 0] / size[size > 0], full_matrices=False)
        return U[:, singular > len(free) * EPS * singular.max(initial=0.0)]

    @cached_property
    def _interior(self) -> Array | None:
        """A feasible point deep in the box, relative to the sample weights; None without one.

        About as deep as any, unless there are many samples.
        """
        if self._logistic is not None:
            return self._logistic
        lower, upper = (bound[self.used] for bound in self._box)
        scale = np.broadcast_to(self.weight[self.used, None], lower.shape).ravel()
        (n, T), size = lower.shape, lower.size
        equations = [sp.kron(self.basis[self.used].T, sp.eye_array(T))]
        if self.loss.couples_tasks:
            equations.append(sp.kron(sp.eye_array(n), np.ones((1, T))))
        rows = sp.vstack([sp.hstack([part, sp.csr_array((part.shape[0], 1))]) for part in equations])
        cap = np.where(np.isfinite(upper.ravel()), upper.ravel(), scale)
        floor = np.where(np.isfinite(lower.ravel()), lower.ravel(), -scale)
        one, depth = sp.eye_array(size), scale[:, None]
        answer = linprog(
            np.append(np.zeros(size), -1.0),
            A_ub=sp.vstack([sp.hstack([one, depth]), sp.hstack([-one, depth])]),
            b_ub=np.concatenate([cap, -floor]),
            A_eq=rows,
            b_eq=np.zeros(rows.shape[0]),
            bounds=(None, None),
        )
        if not answer.success or answer.x[-1] <= SHALLOW:
            return None
        point = np.zeros(self.Y.shape)
        point[self.used] = answer.x[:-1].reshape(n, T)
        return self._projected(point)

    @cached_property
    def _logistic(self) -> Array | None:
        """For many samples: the residual of the logistic fit by the free columns alone, where that is deep in the box.

        Such a fit exists exactly if nothing is separated; its residual is orthogonal to the columns.
        """
        heavy = self.weight > 0
        if heavy.sum() <= MANY:
            return None
        coupled, weight, free = self.loss.couples_tasks, self.weight[heavy, None], self._columns[heavy]
        labels = self.Y if coupled else np.where(self._box[1] > 0, 1.0, -1.0)
        data = DataLoss(SoftmaxLoss() if coupled else LogisticLoss(), labels[heavy], weight[:, 0])
        nu = fit_linear(data, free, np.zeros(free.shape[1])).nu
        lower, upper = (bound[heavy] for bound in self._box)
        room = np.minimum(nu - np.maximum(lower, -weight), np.minimum(upper, weight) - nu)
        if float((room / weight).min()) <= DEEP:
            return None
        point = np.zeros(self.Y.shape)
        point[heavy] = nu
        return point

    def nearest(self, nu: Array) -> Array:
        """A feasible dual variable (n, T) near nu, orthogonal to the free columns up to rounding.

        Its box may still ask for shrinking (`Loss.largest_scale`) where zero is inside.
        """
        lower, upper = self._box
        nu = np.where(self.used[:, None], np.clip(nu, lower, upper), 0.0)
        if not self.is_pointed:
            return self._projected(nu)
        if not self.loss.couples_tasks:
            nu = self._slid(nu)
        return self._inside(self._projected(nu))

    def _projected(self, nu: Array) -> Array:
        # Twice is enough for full orthogonality (Parlett, The Symmetric Eigenvalue Problem, Section 6.9).
        for _ in range(2):
            nu = nu - self.basis @ (self.basis.T @ nu)
        return np.where(self.used[:, None], nu, 0.0)

    def _slid(self, nu: Array) -> Array:
        """Move nu towards orthogonality, each entry in proportion to its distance to the box's boundary."""
        lower, upper = self._box
        for _ in range(3):
            room = np.minimum(np.minimum(nu - lower, upper - nu), self.weight[:, None])
            for t in range(nu.shape[1]):
                columns = room[:, t : t + 1] * self.basis
                steps = np.linalg.lstsq(columns.T, -(self.basis.T @ nu[:, t]), rcond=None)[0]
                nu[:, t] += room[:, t] * steps
            nu = np.clip(nu, lower, upper)
        return nu

    def _inside(self, nu: Array) -> Array:
        """The first point in the box on the way to the interior point; zero if there is none."""
        lower, upper = self._box
        margin = MARGIN * self.weight[:, None] * self.loss.couples_tasks
        inside = self._interior
        if inside is None:
            return np.zeros_like(nu)
        outside = np.maximum(np.maximum(lower + margin - nu, nu - upper + margin), 0.0)
        room = np.where(nu < inside, inside - lower - margin, upper - margin - inside)
        with np.errstate(invalid="ignore"):
            share = np.where(outside > 0, outside / (outside + np.maximum(room, 0.0)), 0.0).max()
        return np.asarray(np.clip(nu + share * (inside - nu), lower, upper))

    def fit_radius(self, objective: float, hidden: float) -> float:
        """Bound on |f| over the samples used, for networks of at most this objective and hidden part.

        Where the loss itself bounds nothing: with an interior point nu0 of depth rho, and D >= 0 around it, L(f) >=
        D(nu0 - rho sign f) - <nu0, f> + rho |f|_1, and <nu0, f> is at most |nu0| |hidden| as nu0 is orthogonal to Q.
        """
        radius = self.loss.fit_radius(objective, self.Y, self.weight)
        if math.isfinite(radius) or not self.is_pointed:
            return radius
        inside = self._interior
        if inside is None:
            return math.inf
        lower, upper = (bound[self.used] for bound in self._box)
        upper = np.minimum(upper, self.weight[self.used, None])
        lower = np.maximum(lower, -self.weight[self.used, None])
        point = inside[self.used]
        root = math.sqrt(self.Y.shape[1])
        depth = float(np.minimum(point - lower, upper - point).min()) * (1 - 1e-9) / root - self.leak(inside)
        size = float(np.linalg.norm(inside)) + self.leak(inside)
        return (max(objective, 0.0) + size * hidden) / depth * (1 + 1e-9) if depth > 0 else math.inf

    def leak(self, nu: Array) -> float:
        """Bound on |nu^T Q beta| / |Q beta| over the samples used: what rounding leaves of orthogonality."""
        if nu[~self.used].any():  # fits there have no bound
            return math.inf
        rounding = 4 * (len(nu) + 4) * EPS * float(np.linalg.norm(nu))
        return min(float(np.linalg.norm(self.basis.T @ nu)) + rounding, self._exact_leak(nu))

    def _exact_leak(self, nu: Array) -> float:
        """The same by the columns themselves: |Q^T nu|, in extended precision, over the least singular value of Q."""
        Q, nu = self.free[self.used], nu[self.used]
        if len(Q) < Q.shape[1]:
            return math.inf
        Q = Q / 2.0 ** np.frexp(np.abs(Q).max(axis=0))[1]
        singular = np.linalg.svd(Q, compute_uv=False)
        least = float(singular[-1]) - 4 * (len(Q) + 4) * EPS * float(singular[0])
        if least <= 0:
            return math.inf
        error = (len(Q) + 2) * WIDE_EPS * float(np.linalg.norm(np.abs(Q).T @ np.abs(nu)))
        return (float(np.linalg.norm(Q.astype(WIDE).T @ nu.astype(WIDE))) + 1.01 * error) / least * (1 + 1e-9)
