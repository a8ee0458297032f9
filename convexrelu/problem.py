"""`TrainingProblem`: the data, the loss and the weight decay; primal value, dual value, lower bound.

Letters: `X` (n, d), `Y` (n, T), `nu` (n, T) dual variable, `lam` weight decay, `tau(nu)` dual norm: the largest
|nu^T relu(X w + b)| over neurons of cost one.

    primal   L(f(X)) + (lam / 2) (sum of squares of the penalised weights)
    dual     D(nu) - |Qp^T nu|^2 / (2 lam)   subject to   tau(nu) <= lam,  Qf^T nu = 0

with Qf, Qp the columns of the unpenalised and the penalised skip and output bias (Pilanci and Ergen, ICML 2020,
Theorem 1 and its appendix, for bias, skip and output bias by the same argument).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from convexrelu.arrays import EPS, Array, frozen, power_of_two, row_norms
from convexrelu.dual_domain import DualDomain
from convexrelu.errors import InvalidInputError
from convexrelu.interpolation import check_interpolable
from convexrelu.linear_fit import LinearFit, fit_linear
from convexrelu.linear_part import LinearPart, linear_part
from convexrelu.losses import DataLoss, ExactFit, Loss, PiecewiseLoss, SquaredLoss, get_loss
from convexrelu.losses.contract import checked_targets
from convexrelu.network import Network
from convexrelu.patterns.arrangement import Arrangement, arrange
from convexrelu.pricing.dual_norm import DualNorm, best_neuron
from convexrelu.pricing.least_norm import least_dual_norm
from convexrelu.validation import SMALLEST, check_choice, check_matrix, check_number, check_sample_weight, check_targets

MODES = ("none", "penalized", "free")


class TrainingProblem:
    """Training of a two-layer ReLU network with weight decay.

    The objective is

        sum_i sample_weight_i loss(f(x_i), y_i) + (weight_decay / 2) (sum of squares of the penalised weights)
        f(x) = sum_j v_j relu(w_j . x + b_j) + A x + c

    summed over samples and tasks. The width is not limited.

    Parameters
    ----------
    X : array (n, d)
        Data, one sample per row.
    Y : array (n,) or (n, T)
        Targets of one or several tasks: numbers; labels -1 and 1, or 0 and 1 (0 is stored as -1), for the losses
        "logistic", "hinge" and "squared_hinge"; for "softmax" the classes 0, ..., C - 1 as (n,), or one-hot rows.
    weight_decay : float > 0, default 1.0
        PyTorch's `weight_decay` for a summed loss with a factor 1/2 (see `from_torch` for others).
    loss : str or Loss, default "squared"
        "squared" (f - y)^2 / 2, "absolute" |f - y|, "huber" (PyTorch's), "quantile" (pinball), "logistic"
        log(1 + exp(-y f)), "hinge" (1 - y f)_+, "squared_hinge" (1 - y f)_+^2 / 2, "softmax" (cross-entropy), or an
        object from `convexrelu.losses`, such as `QuantileLoss(0.9)` or `HuberLoss(delta=0.1)`, or one of your own.
    bias : {"none", "penalized", "free"}, default "penalized"
        Hidden biases b_j: absent, penalised like weights, or unpenalised.
    output_bias : {"none", "penalized", "free"} or None
        The constant c. None stands for "free" if the bias or the skip is free, else for "none".
    skip : {"none", "penalized", "free"}, default "none"
        The linear map A.
    sample_weight : array (n,), optional
        Non-negative weights of the samples' losses; default ones.

    Raises
    ------
    InvalidInputError
        For data or options that cannot be used; the message names the argument. Labels that the unpenalised part of
        the network alone separates are refused: no network is best (logistic, softmax), or none is needed (hinge).

    Examples
    --------
    >>> import convexrelu as cr
    >>> problem = cr.TrainingProblem([[0.0], [1.0], [2.0]], [0.0, 1.0, 0.0], weight_decay=0.1)
    >>> problem
    TrainingProblem(n=3, d=1, T=1, loss='squared', weight_decay=0.1, bias='penalized', output_bias='none', skip='none')
    """

    X: Array
    Y: Array
    weight_decay: float
    loss: Loss
    bias: str
    output_bias: str
    skip: str
    sample_weight: Array
    arrangement: Arrangement
    linear: LinearPart

    def __init__(
        self,
        X: Any,
        Y: Any,
        weight_decay: float = 1.0,
        loss: str | Loss = "squared",
        bias: str = "penalized",
        output_bias: str | None = None,
        skip: str = "none",
        sample_weight: Any = None,
    ) -> None:
        hint = " For a weight decay of zero write `TrainingProblem.interpolation(X, Y)`."
        self.weight_decay = check_number(weight_decay, "weight_decay", above=0.0, hint=hint)
        self._set(X, Y, get_loss(loss), bias, output_bias, skip, sample_weight)

    @classmethod
    def interpolation(
        cls, X: Any, Y: Any, *, bias: str = "penalized", output_bias: str | None = None, skip: str = "none"
    ) -> TrainingProblem:
        """The limit of vanishing weight decay: the interpolating network of least norm.

        The objective is sum_j |neuron_j| |v_j| (plus half the squared norm of a penalised skip and output bias) over
        the networks with f(x_i) = y_i; it is infinite for networks that miss a target by more than 1e-9 of the
        largest.

        Raises
        ------
        InvalidInputError
            If no network meets the targets: equal inputs with different targets or, without hidden biases, inputs on
            one ray whose targets are not in proportion. The message names the rows.
        """
        problem = cls.__new__(cls)
        problem.weight_decay = 0.0
        problem._set(X, Y, ExactFit(), bias, output_bias, skip, None)
        check_interpolable(problem.X, problem.Y, problem.bias, problem.output_bias)
        return problem

    @classmethod
    def from_torch(
        cls,
        X: Any,
        Y: Any,
        weight_decay: float,
        *,
        loss: str | Loss = "squared",
        reduction: str = "mean",
        output_bias: str = "penalized",
        **options: Any,
    ) -> TrainingProblem:
        """The problem that a loss of `torch.nn` and an optimiser's coupled `weight_decay` pose.

        PyTorch minimises the mean or sum of a loss plus (weight_decay / 2) |all parameters|^2; this objective is that
        one times a factor, and so is its weight decay:

        =================================  ================  ============  ==========
        `torch.nn`                         `loss`            mean          sum
        =================================  ================  ============  ==========
        MSELoss, (f - y)^2                 "squared"         n T / 2       1/2
        L1Loss, HuberLoss, any other       by name           n T           1
        BCEWithLogitsLoss, targets 0, 1    "logistic"        n T           1
        CrossEntropyLoss, classes          "softmax"         n             1
        =================================  ================  ============  ==========

        The default architecture, Sequential(Linear, ReLU, Linear), penalises both biases. AdamW's decoupled decay is
        not this objective. Other options are those of `TrainingProblem`.
        """
        decay = check_number(weight_decay, "weight_decay", above=0.0)
        check_choice(reduction, "reduction", ("mean", "sum"))
        data = check_matrix(X, "X")
        targets = check_targets(Y, len(data))
        kind = get_loss(loss)
        factor = 0.5 if isinstance(kind, SquaredLoss) else 1.0
        if reduction == "mean":
            factor *= len(targets) if kind.couples_tasks else targets.size
        return cls(data, targets, decay * factor, kind, output_bias=output_bias, **options)

    @classmethod
    def from_sklearn(
        cls, X: Any, Y: Any, alpha: float, *, loss: str | Loss = "squared", **options: Any
    ) -> TrainingProblem:
        """The problem that `MLPRegressor` or `MLPClassifier(alpha=alpha)` with one hidden ReLU layer poses.

        For regression scikit-learn minimises half the mean of (f - y)^2 over samples and tasks plus alpha / (2 n)
        |coefficients|^2 with free intercepts; this objective is that one times n T, so the weight decay is alpha T.
        For classification, loss="logistic" (two classes) or "softmax", it is the mean over samples, and alpha.
        """
        decay = check_number(alpha, "alpha", above=0.0)
        data = check_matrix(X, "X")
        targets = check_targets(Y, len(data))
        kind = get_loss(loss)
        factor = 1 if kind.is_classification else targets.shape[1]
        return cls(data, targets, decay * factor, kind, **{"bias": "free", "output_bias": "free", **options})

    def _set(
        self, X: Any, Y: Any, loss: Loss, bias: str, output_bias: str | None, skip: str, sample_weight: Any
    ) -> None:
        self.X = check_matrix(X, "X")
        self.sample_weight = check_sample_weight(sample_weight, len(self.X))
        self.loss = loss
        self.Y = frozen(checked_targets(loss, check_targets(Y, len(self.X)), self.sample_weight))
        self.bias = check_choice(bias, "bias", MODES)
        self.skip = check_choice(skip, "skip", MODES)
        self.output_bias = _output_bias(output_bias, bias, skip)
        self.arrangement = arrange(self.X, self.bias)  # type: ignore[arg-type]
        self.linear = linear_part(self.X, self.output_bias, self.skip)
        self._check_attained()

    def _check_attained(self) -> None:
        """Refuse labels that the unpenalised part alone separates: no network is best, or none is needed."""
        if not self.loss.is_classification or not self.dual_domain.n_separated:
            return
        n, separated = int((self.sample_weight > 0).sum()), self.dual_domain.n_separated
        if self.loss.reaches_zero and separated < n:
            return
        labels = np.unique(self.Y[self.sample_weight > 0], axis=0)
        what = f"labels of {separated} of {n} samples in `Y` can be met by an unpenalised linear model at no cost"
        if len(labels) == 1:
            what = "labels in `Y` are all equal"
        elif self.loss.couples_tasks and not labels.any(axis=0).all():
            what = f"classes in `Y` do not include {np.flatnonzero(~labels.any(axis=0)).tolist()}"
        part = "skip" if self.skip == "free" else "output bias"
        end = (
            "is zero without any neuron"
            if self.loss.reaches_zero
            else "falls for ever as that grows, and no network is best"
        )
        raise InvalidInputError(
            f"the {what}, so the {self.loss.name} loss with a free {part} {end}; penalise the {part}, or leave it out."
        )

    def __repr__(self) -> str:
        (n, d), T = self.X.shape, self.Y.shape[1]
        decay = "" if self.is_interpolation else f"weight_decay={self.weight_decay:g}, "
        modes = f"bias={self.bias!r}, output_bias={self.output_bias!r}, skip={self.skip!r}"
        return f"TrainingProblem(n={n}, d={d}, T={T}, loss={self.loss.name!r}, {decay}{modes})"

    def with_weight_decay(self, weight_decay: float) -> TrainingProblem:
        """The same problem at another weight decay > 0."""
        return TrainingProblem(
            self.X, self.Y, weight_decay, self.loss, self.bias, self.output_bias, self.skip, self.sample_weight
        )

    @property
    def is_interpolation(self) -> bool:
        """Whether this is the minimum-norm interpolation problem."""
        return isinstance(self.loss, ExactFit)

    @property
    def penalty(self) -> float:
        """The price of a unit of norm: the weight decay, or one for interpolation."""
        return 1.0 if self.is_interpolation else self.weight_decay

    @property
    def negligible(self) -> float:
        """Objectives below this are rounding: EPS times that of predicting zero, or of one neuron as large as Y."""
        if self.is_interpolation:
            return EPS * float(np.abs(self.Y).max() / max(row_norms(self.arrangement.Z).max(initial=0.0), SMALLEST))
        # Without a parabola at its minimum a loss is as large as the rounding of the predictions.
        rounding = math.sqrt(EPS) if self.loss.is_shift_invariant and not self.loss.is_smooth else EPS
        return rounding * self.loss.value(np.zeros_like(self.Y), self.Y, self.sample_weight)

    # -- primal ---------------------------------------------------------------------------------------------------

    def objective(self, network: Network) -> float:
        """The non-convex objective of a network, whatever its scaling.

        Raises
        ------
        InvalidInputError
            If the network does not fit the data, or has a part that this problem does not have.
        """
        self.check_network(network)
        fit = self.loss.value(network(self.X), self.Y, self.sample_weight)
        half_squares = 0.5 * self._linear_squares(network)
        if self.is_interpolation:
            hidden = network.hidden if self.bias == "free" else np.column_stack([network.hidden, network.hidden_bias])
            return fit + float(row_norms(hidden) @ row_norms(network.output)) + half_squares
        weights = [network.hidden, network.output] + ([network.hidden_bias] if self.bias == "penalized" else [])
        half_squares += 0.5 * sum(float(np.sum(w**2)) for w in weights)
        return fit + self.weight_decay * half_squares

    def _linear_squares(self, network: Network) -> float:
        parts = ((self.skip, network.skip), (self.output_bias, network.output_bias))
        return sum(float(np.sum(weights**2)) for kind, weights in parts if kind == "penalized")

    def check_network(self, network: Network, name: str = "network") -> None:
        """Raise InvalidInputError for what is not a network of this problem's data."""
        if not isinstance(network, Network):
            hint = "; write result.network" if hasattr(network, "network") else ""
            raise InvalidInputError(f"`{name}` must be a convexrelu.Network, got {type(network).__name__}{hint}.")
        shape, wanted = network.skip.shape, (self.X.shape[1], self.Y.shape[1])
        if shape != wanted:
            raise InvalidInputError(
                f"`{name}` maps {shape[0]} inputs to {shape[1]} outputs; this problem has {wanted[0]} to {wanted[1]}."
            )
        parts = ("bias", network.hidden_bias), ("output_bias", network.output_bias), ("skip", network.skip)
        for part, weights in parts:
            if getattr(self, part) == "none" and weights.any():
                raise InvalidInputError(
                    f"`{name}` has non-zero {part} weights but the problem has {part}='none'; "
                    f"write TrainingProblem(..., {part}='penalized') or 'free'."
                )

    # -- dual -----------------------------------------------------------------------------------------------------

    def dual_value(self, nu: Any) -> float:
        """The dual objective at nu (n,) or (n, T): a lower bound if nu is feasible; minus infinity outside the domain.

        Feasible means tau(nu) <= weight_decay (1 for interpolation) and nu orthogonal to the free columns.
        """
        return self._dual_value(check_targets(nu, len(self.X), "nu"))[0]

    def _dual_value(self, nu: Array) -> tuple[float, float]:
        """Dual objective and a bound on its rounding error."""
        value, error = self.loss.dual_value(nu, self.Y, self.sample_weight)
        Qp = self.linear.penalized
        if not Qp.shape[1]:
            return value, error
        slopes = np.abs(Qp.T @ nu)
        square = float(np.sum(slopes**2)) / (2 * self.penalty)
        # Rounding of Qp itself (a d-term sum for each entry) and of the n-term sums; then of the squares.
        off = (len(nu) + self.X.shape[1] + 8) * EPS * (row_norms(Qp) @ np.abs(nu))
        squares_off = float(np.sum((2 * slopes + off) * off)) / (2 * self.penalty)
        return value - square, error + squares_off + (slopes.size + 8) * EPS * square + 2 * EPS * abs(value)

    def feasible_direction(self, nu: Array, penalized: Array | None = None) -> Array:
        """A dual variable near nu (n, T), in the domain of the loss and orthogonal to the free columns.

        For losses of f - y it is the part of nu that is orthogonal; exact zeros where the sample weight is zero. Given
        the coefficients beta (q', T) of the penalised columns nu is first moved until Qp^T nu = lam beta, as it is at
        an optimum: in the bound, errors of a solver are multiplied by the squares of these columns.
        """
        if penalized is not None and penalized.size:
            domain = self.dual_domain
            P = np.where(domain.used[:, None], self.linear.penalized, 0.0)
            P = P - domain.basis @ (domain.basis.T @ P)
            size = np.linalg.norm(P, axis=0)
            # What is left of a column within the free ones is rounding.
            own = size > 64 * len(P) * EPS * np.linalg.norm(self.linear.penalized, axis=0)
            excess = (self.linear.penalized.T @ nu - self.penalty * penalized)[own]
            # Columns parallel up to rounding ask for no more than one of them.
            nu = nu - np.linalg.lstsq(P.T[own] / size[own, None], excess / size[own, None], rcond=1e-10)[0]
        return self.dual_domain.nearest(nu)

    @cached_property
    def dual_domain(self) -> DualDomain:
        """Where dual variables may lie, the bound on their dual norm apart."""
        return DualDomain(self.loss, self.Y, self.sample_weight, self.linear.free)

    def lower_bound(self, nu: Array, norm: DualNorm) -> tuple[float, Array]:
        """A proven lower bound on the objective of every network the bound `norm` on tau(nu) speaks of.

        Parameters
        ----------
        nu : float64 (n, T)
            Orthogonal to the free columns up to rounding (`feasible_direction`).
        norm : DualNorm
            A proven upper bound on tau(nu).

        Returns
        -------
        (float, float64 (n, T))
            The bound, rounding subtracted, and the feasible multiple s nu that gives it.

        Notes
        -----
        D(s nu) with the best s among those with s tau(nu) <= lam. Where nu is not exactly orthogonal to the free
        columns, <nu, Qf beta> is subtracted, bounded over the networks below that value; the others need no bound.
        """
        unit = power_of_two(nu)
        nu, upper = nu / unit, norm.upper / unit
        upper = self.penalty / upper * (1 - 4 * EPS) if upper > 0 else math.inf
        Qp = self.linear.penalized
        curvature = float(np.sum((Qp.T @ nu) ** 2)) / self.penalty
        scale = self.loss.best_scale(nu, curvature, self.Y, self.sample_weight, upper)
        scaled = scale * nu if math.isfinite(scale) else np.zeros_like(nu)
        if np.abs(scaled).max() < SMALLEST:
            # Its squares are not representable, so neither are bounds on rounding.
            scaled = np.zeros_like(nu)
        value, error = self._dual_value(scaled)
        bound = value - error - self._free_leak(scaled, abs(value)) if math.isfinite(value) else 0.0
        # Every loss and penalty is at least zero, whatever nu.
        return max(bound, 0.0), frozen(scaled)

    def _free_leak(self, nu: Array, objective: float) -> float:
        """Bound on <nu, Qf beta> over networks no worse than `objective`, with nu orthogonal to Qf up to rounding."""
        if not self.linear.free.shape[1] or not nu.any():
            return 0.0
        Z, p = self.arrangement.Z, self.arrangement.n_penalized
        # An anchored neuron of cost one: |relu(Z u)| <= |Z[:, :p]|_F + sqrt(n) max_i |Z[i, :p]|.
        features = 2 * math.sqrt(len(Z)) * float(row_norms(Z[:, :p]).max(initial=0.0))
        hidden = features * objective / self.penalty
        linear = float(np.linalg.norm(self.linear.penalized)) * math.sqrt(2 * abs(objective) / self.penalty)
        fit = self.dual_domain.fit_radius(objective, hidden + linear)
        return self.dual_domain.leak(nu) * (fit + hidden + linear)

    # -- weight decay ---------------------------------------------------------------------------------------------

    def max_weight_decay(self) -> float:
        """The smallest weight decay at which the optimal network has no neurons: tau of the residual without them.

        Returns
        -------
        float
            To about 1e-9 relative (of losses with kinks, 1e-8) where the dual norm can be maximised by search; a lower
            bound on it in principle.

        Raises
        ------
        InvalidInputError
            For an interpolation problem.

        Notes
        -----
        With a penalised skip or output bias the residual depends on the weight decay itself; then the value is the
        fixed point of lam = tau(residual(lam)) reached from above. Losses with kinks may leave the dual variable
        without neurons open: then tau is minimised over all of them, by a linear program with a constraint for every
        neuron (`pricing.least_norm`). For a loss with kinks of your own the value is that of one dual variable: the
        optimal network is empty from there on, and may be so before.
        """
        if self.is_interpolation:
            raise InvalidInputError("`max_weight_decay` is for penalised problems; interpolation has no weight decay.")
        # Of losses with kinks the fit without neurons is a solver's.
        lam, close = math.inf, 1e-12 if self.loss.is_smooth else 1e-9
        for _ in range(200):
            previous, lam = lam, best_neuron(self.arrangement, self._linear_residual(lam))[0]
            if lam == 0 or not self.linear.penalized.shape[1] or abs(previous - lam) <= close * lam:
                break
        return lam

    def _linear_residual(self, lam: float) -> Array:
        """Dual variable of the best network without neurons at weight decay `lam`: the one of least dual norm."""
        fit, loss = self._linear_fit(lam), self.loss
        nu = self.feasible_direction(fit.nu)
        if loss.is_smooth or not isinstance(loss, PiecewiseLoss):
            return nu
        Q = np.hstack([self.linear.free, self.linear.penalized])[:, : len(fit.beta)]
        lower, upper = loss.dual_box(Q @ fit.beta, self.Y, self.sample_weight)
        return least_dual_norm(self.arrangement, nu, lower, upper, Q).nu

    def linear_coefficients(self, lam: float) -> tuple[Array, Array]:
        """Coefficients (q, T), (q', T) of the best skip and output bias without neurons at weight decay `lam`.

        The penalised columns have a ridge `lam` (infinite: they are left out; zero, for interpolation: they take only
        what the free columns leave).
        """
        if lam == 0:
            return self._interpolating_coefficients()
        beta, q = self._linear_fit(lam).beta, self.linear.free.shape[1]
        penalized = np.zeros((self.linear.penalized.shape[1], self.Y.shape[1]))
        penalized[: len(beta) - q] = beta[q:]
        return beta[:q], penalized

    def _linear_fit(self, lam: float) -> LinearFit:
        """Fit of the free columns and, with a ridge `lam` unless it is infinite, of the penalised ones."""
        Qf, Qp = self.linear.free, self.linear.penalized
        used = Qp.shape[1] if math.isfinite(lam) else 0
        ridge = np.concatenate([np.zeros(Qf.shape[1]), np.full(used, lam if used else 0.0)])
        return fit_linear(DataLoss(self.loss, self.Y, self.sample_weight), np.hstack([Qf, Qp[:, :used]]), ridge)

    def _interpolating_coefficients(self) -> tuple[Array, Array]:
        """Free coefficients first; penalised ones of least norm for the rest, unless that is rounding."""
        Qf, Qp = self.linear.free, self.linear.penalized
        basis = self.dual_domain.basis
        rest = self.Y - basis @ (basis.T @ self.Y)
        rest[np.abs(rest) <= 64 * len(rest) * EPS * np.abs(self.Y).max()] = 0.0
        penalized = np.asarray(np.linalg.lstsq(Qp - basis @ (basis.T @ Qp), rest, rcond=None)[0], dtype=float)
        free = np.asarray(np.linalg.lstsq(Qf, self.Y - Qp @ penalized, rcond=None)[0], dtype=float)
        return free, penalized

    def linear_network(self) -> Network:
        """The best network without neurons."""
        skip, output_bias = self.linear.to_weights(*self.linear_coefficients(self.weight_decay))
        d, T = skip.shape
        return Network(np.zeros((0, d)), np.zeros(0), np.zeros((0, T)), skip, output_bias, self.bias)


def _output_bias(output_bias: str | None, bias: str, skip: str) -> str:
    """The output bias meant by the argument; refuses the combination whose infimum no network attains."""
    if output_bias is None:
        return "free" if "free" in (bias, skip) else "none"
    check_choice(output_bias, "output_bias", MODES)
    if bias == "free" and output_bias != "free":
        raise InvalidInputError(
            f"`output_bias={output_bias!r}` with bias='free' has no optimal network: a constant is approached at "
            "vanishing cost by ever larger biases, never reached. Write output_bias='free', or drop the argument."
        )
    return output_bias
