"""The best predictions without neurons: `fit_linear`.

Letters: `Q` (n, q) linear columns, `beta` (q, T) their coefficients, `ridge` (q,) their price, `nu` (n, T) dual
variable.

    minimise L(Q beta) + 1/2 sum_j ridge_j |beta_j|^2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from convexrelu.arrays import Array, IntArray
from convexrelu.losses import DataLoss, LossCone, SquaredLoss

# Of the conic solver.
TOLERANCE = 1e-11
NEWTON_STEPS = 30
# Relative error of values that are compared.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Coefficients `beta` (q, T) and a dual variable `nu` (n, T) of the best linear predictions.

    Of smooth losses nu is minus the gradient there; losses with kinks may have more than one.
    """

    beta: Array
    nu: Array


def fit_linear(data: DataLoss, Q: Array, ridge: Array) -> LinearFit:
    """Minimise a loss over linear predictions; columns are scaled to one size first."""
    if isinstance(data.loss, SquaredLoss):
        beta = least_squares(Q, data.Y, data.weight, ridge)
        return LinearFit(beta, -data.gradient(Q @ beta))
    size = np.abs(Q).max(axis=0, initial=0.0)
    scale = np.where(size > 0, data.loss.unit(data.Y) / np.where(size > 0, size, 1.0), 0.0)
    Q, ridge = Q * scale, ridge * scale**2
    if data.loss.is_smooth:
        beta = _smooth(data, Q, ridge)
        return LinearFit(scale[:, None] * beta, -data.gradient(Q @ beta))
    nothing = np.zeros((Q.shape[1], data.Y.shape[1]))
    if data.value(np.zeros_like(data.Y)) == 0:  # a solver would leave rounding, which is large next to nothing
        return LinearFit(nothing, np.zeros_like(data.Y))
    fit = fit_by_cones(data, Q, ridge)
    return LinearFit(scale[:, None] * fit.beta, fit.nu)


def least_squares(Q: Array, Y: Array, weight: Array, ridge: Array) -> Array:
    """Coefficients (q, T) of weighted least squares with a ridge; of least norm in scaled columns if not unique."""
    root = np.sqrt(weight)[:, None]
    A, B = np.vstack([root * Q, np.diag(np.sqrt(ridge))]), np.vstack([root * Y, np.zeros((len(ridge), Y.shape[1]))])
    # lstsq judges rank by the largest column; scaled columns are all alike.
    size = np.linalg.norm(A, axis=0)
    size[size == 0] = 1.0
    return np.asarray(np.linalg.lstsq(A / size, B, rcond=None)[0] / size[:, None])


@dataclass(frozen=True, eq=False)
class SmoothFit:
    """A smooth objective of the coefficients beta (q, T): loss of `offset + Q beta` and the ridge, in units of `unit`.

    The methods take and return flat arrays, as scipy wants them.
    """

    data: DataLoss
    Q: Array
    ridge: Array
    offset: Array
    unit: float = 1.0

    def _predict(self, x: Array) -> tuple[Array, Array]:
        beta = x.reshape(self.Q.shape[1], -1)
        return beta, self.offset + self.Q @ beta

    def value(self, x: Array) -> float:
        """The objective."""
        beta, F = self._predict(x)
        return (self.data.value(F) + 0.5 * float(self.ridge @ (beta**2).sum(axis=1))) / self.unit

    def gradient(self, x: Array) -> Array:
        """Its gradient."""
        beta, F = self._predict(x)
        slopes = self.Q.T @ self.data.gradient(F) + self.ridge[:, None] * beta
        return np.asarray(slopes.ravel() / self.unit)

    def hessian(self, x: Array) -> Array:
        """Its second derivative."""
        _, F = self._predict(x)
        T = F.shape[1]
        blocks = np.einsum("ni,ntu,nj->itju", self.Q, self.data.hessian(F), self.Q, optimize=True)
        return np.asarray(blocks.reshape(x.size, x.size) + np.diag(np.repeat(self.ridge, T))) / self.unit

    def minimise(self, beta: Array) -> Array:
        """Newton steps; where these do not get there, a trust region method and Newton steps from its end."""
        # Of ill-scaled data steps may go too far for numbers: these have no finite value and are not taken.
        with np.errstate(over="ignore", invalid="ignore"):
            x = self._polish(beta.ravel())
            if np.linalg.norm(self.gradient(x)) > self._rounding(x):
                options = {"gtol": self._rounding(x)}
                try:
                    found = minimize(
                        self.value, x, jac=self.gradient, hess=self.hessian, method="trust-exact", options=options
                    ).x
                except (ValueError, UnboundLocalError):
                    # A second derivative that is all but zero, where the loss saturates, or one so nearly singular
                    # that scipy runs out of tries to factor it before it has any step to return.
                    found = x
                x = self._polish(found)
        return x.reshape(beta.shape)

    def _polish(self, x: Array) -> Array:
        """Newton steps while they lower the gradient and not raise the value: they run away where losses saturate."""
        slope, value = self.gradient(x), self.value(x)
        for _ in range(NEWTON_STEPS):
            following = x - np.linalg.lstsq(self.hessian(x), slope, rcond=None)[0]
            new, after = self.gradient(following), self.value(following)
            if not (np.linalg.norm(new) < 0.9 * np.linalg.norm(slope) and after <= value + ROUNDING * abs(value)):
                break
            x, slope, value = following, new, after
        return x

    def _rounding(self, x: Array) -> float:
        """What rounding may leave of the gradient, with room."""
        beta, F = self._predict(x)
        terms = np.abs(self.Q).T @ np.abs(self.data.gradient(F)) + self.ridge[:, None] * np.abs(beta)
        return 1e-13 * float(np.linalg.norm(terms)) / self.unit


def _smooth(data: DataLoss, Q: Array, ridge: Array) -> Array:
    start = np.zeros((Q.shape[1], data.Y.shape[1]))
    unit = data.value(Q @ start)
    return SmoothFit(data, Q, ridge, np.zeros(data.Y.shape), unit).minimise(start) if start.size and unit else start


def fit_by_cones(data: DataLoss, Q: Array, ridge: Array, price: Array | None = None) -> LinearFit:
    """The cone form of the loss in the unknowns (beta, f, a), by Clarabel.

    With a `price` (q,) rows of beta also cost sum_j price_j |beta_j|, by the unknowns t_j >= |beta_j|.
    """
    import clarabel

    (n, T), q = data.Y.shape, Q.shape[1]
    cone = data.loss.cone_form(data.Y, data.weight)
    unit = data.value(np.zeros((n, T))) or 1.0
    squares = np.zeros(len(cone.auxiliary)) if cone.auxiliary_quadratic is None else cone.auxiliary_quadratic
    priced = np.zeros(0, dtype=np.intp) if price is None else np.flatnonzero(price)
    prices = np.zeros(0) if price is None else price[priced]
    diagonal = [np.repeat(ridge, T), cone.quadratic, squares, np.zeros(len(priced))]
    P = sp.diags_array(np.concatenate(diagonal) / unit).tocsc()
    linear = np.concatenate([np.zeros(q * T), cone.linear, cone.auxiliary, prices]) / unit
    A = _rows(sp.kron(Q, sp.eye_array(T)), cone, _norms(priced, q, T))
    b = np.concatenate([np.zeros(n * T), cone.rhs, np.zeros((T + 1) * len(priced))])
    cones = [clarabel.ZeroConeT(n * T + cone.n_zero), clarabel.NonnegativeConeT(cone.n_nonneg)]
    cones += [clarabel.ExponentialConeT()] * cone.n_exponential
    cones += [clarabel.SecondOrderConeT(T + 1)] * len(priced)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = TOLERANCE
    answer = clarabel.DefaultSolver(P, linear, A, b, cones, settings).solve()
    nu = -unit * np.array(answer.z[: n * T]).reshape(n, T)
    return LinearFit(np.array(answer.x[: q * T]).reshape(q, T), nu)


def _rows(fit: sp.sparray, cone: LossCone, norms: tuple[sp.sparray, sp.sparray]) -> sp.csc_array:
    """The rows Q beta - f = 0, then those of the loss, then those of the norms."""
    size = fit.shape[0]
    top = sp.hstack([fit, -sp.eye_array(size), sp.csr_array((size, len(cone.auxiliary)))])
    below = sp.hstack([sp.csr_array((len(cone.rhs), fit.shape[1])), cone.fit_rows, cone.auxiliary_rows])
    loss = sp.vstack([top, below])
    if not norms[0].shape[0]:
        return sp.csc_array(loss)
    return sp.csc_array(sp.block_array([[loss, None], [_wide(norms[0], loss.shape[1]), norms[1]]]))


def _wide(rows: sp.sparray, width: int) -> sp.sparray:
    """The rows with columns of zeros after their own."""
    return sp.hstack([rows, sp.csr_array((rows.shape[0], width - rows.shape[1]))])


def _norms(priced: IntArray, q: int, T: int) -> tuple[sp.sparray, sp.sparray]:
    """Rows of the cones (t_j, beta_j) for the priced rows of beta: their parts in beta and in t."""
    pick = sp.csr_array((np.ones(len(priced)), (np.arange(len(priced)), priced)), shape=(len(priced), q))
    below, first = np.eye(T + 1)[:, 1:], np.eye(T + 1)[:, :1]
    return -sp.kron(pick, below), -sp.kron(sp.eye_array(len(priced)), first)
