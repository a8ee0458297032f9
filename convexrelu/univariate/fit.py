"""`fit`: penalised training in one variable, certified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.errors import UnsupportedError
from convexrelu.linear_fit import fit_linear
from convexrelu.losses import DataLoss, LogisticLoss, Loss, PiecewiseLoss, SquaredLoss, get_loss
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.label_radius import check_labels
from convexrelu.univariate.lower_bound import certified, norm
from convexrelu.univariate.modes import check_all_modes
from convexrelu.univariate.no_bias import fit_no_bias
from convexrelu.univariate.penalized_bias import train_neurons
from convexrelu.univariate.result import UnivariateResult, judged
from convexrelu.univariate.samples import Samples, samples
from convexrelu.univariate.spline import Spline
from convexrelu.univariate.tilted import Trained, train
from convexrelu.validation import check_count, check_number

# Of the tolerance: the estimated gap at which training stops, so that the proof has room for rounding.
SHARE = 0.1


def fit(
    x: Any,
    Y: Any,
    weight_decay: float = 1.0,
    loss: str | Loss = "squared",
    bias: str = "free",
    skip: str = "free",
    sample_weight: Any = None,
    *,
    tol: float = 1e-8,
    max_rounds: int = 200,
) -> UnivariateResult:
    """Train a two-layer ReLU network with weight decay on one input to its global optimum.

    The objective is that of `TrainingProblem`: the loss plus (weight_decay / 2) times the squares of the penalised
    weights. The output bias is free, or absent where both the biases are penalised and there is no skip.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order, repeated ones allowed.
    Y : array (n,) or (n, T)
        Targets.
    weight_decay : float > 0, default 1.0
    loss : str or Loss, default "squared"
        One of the package's: "squared", "absolute", "huber", "quantile", "logistic", "hinge", "squared_hinge", or an
        object such as `QuantileLoss(0.9)`. Others than "squared" are for one task, and not for penalised biases.
    bias : {"free", "penalized", "none"}
        Without biases there is no output bias and no skip.
    skip : {"free", "penalized", "none"}
        A penalised skip goes with free biases and one task.
    sample_weight : array (n,), optional
        Non-negative weights of the samples' losses.
    tol : float > 0, default 1e-8
        Relative gap to reach.
    max_rounds : int, default 200
        Limit on the passes over the data at each resolution.

    Returns
    -------
    UnivariateResult
        With `status` OPTIMAL if and only if the gap is proven to be within tol.

    Raises
    ------
    InvalidInputError
        For data or options that cannot be used, labels that a free skip or output bias separates among them.
    UnsupportedError
        For losses of your own, softmax, several tasks with another loss than the squared one or a penalised skip, other
        losses with penalised biases: use `convexrelu.solve`.

    Notes
    -----
    With a skip this is l1 trend filtering (for several tasks, with norms of the tasks' curvature). Knots are taken in
    where the dual constraint is violated; each round costs O(n T) for the data and O(m T^3) for m knots, and 5 to 20
    rounds do. The proof of the gap costs O(n T). Other losses train the spline with each set of knots by an interior
    point method, in 10 to 40 passes over the data.

    With penalised biases, and without a skip for several tasks, neurons are trained one by one by Newton's method on
    their knots, which need not be at samples; a round costs O(n T) and a sparse system of the size of the network.

    References
    ----------
    S.-J. Kim, K. Koh, S. Boyd, D. Gorinevsky, "l1 trend filtering", SIAM Review 2009; R. Parhi, R. Nowak, "Banach space
    representer theorems for neural networks and ridge splines", JMLR 2021, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convexrelu import univariate
    >>> x = np.linspace(0, 1, 1001)
    >>> result = univariate.fit(x, np.abs(x - 0.5), weight_decay=0.1)
    >>> result.status.name, result.spline.n_knots, result.certificate.gap < 1e-8
    ('OPTIMAL', 1, True)
    """
    check_all_modes(bias, skip, penalized_skip=True)
    lam = check_number(weight_decay, "weight_decay", above=0.0, hint=" For zero use `univariate.interpolate`.")
    tol = check_number(tol, "tol", above=0.0)
    rounds = check_count(max_rounds, "max_rounds")
    kind, data = get_loss(loss), samples(x, Y, sample_weight)
    _check_served(kind, bias, skip, data.Y.shape[1])
    data = replace(data, Y=kind.targets(data.Y))
    if bias == "none":
        return fit_no_bias(data, kind, lam, tol)
    if bias == "penalized" or (skip == "none" and data.Y.shape[1] > 1):
        return _neuron_fit(data, lam, kind, bias, skip, tol)
    heavy = data.weight > 0
    if kind.is_classification:
        check_labels(data.x[heavy], data.Y[heavy, 0], kind, skip)
    spread = data.x[heavy].max() > data.x[heavy].min()
    trained = train(data, kind, lam, skip, SHARE * tol, rounds) if spread else _constant(data, kind)
    nu, spline = _dual(data, kind, trained), trained.spline
    objective = kind.value(spline(data.x), data.Y, data.weight) + lam * norm(spline, skip)
    found = certified(data, objective, nu, lam, kind, bias, skip)
    return UnivariateResult(spline, found, judged(found, tol), bias, skip, data.points, trained.rounds)


def _constant(data: Samples, loss: Loss) -> Trained:
    """The best constant: all there is to choose at one point."""
    heavy, T = data.weight > 0, data.Y.shape[1]
    kept = DataLoss(loss, data.Y[heavy], data.weight[heavy])
    fit = fit_linear(kept, np.ones((len(kept.Y), 1)), np.zeros(1))
    # Exactly at a target where the loss has a kink there.
    target = kept.Y[[np.argmin(row_norms(kept.Y - fit.beta))]]
    constant = min(fit.beta, target, key=lambda c: kept.value(np.repeat(c, len(kept.Y), axis=0)))
    spline = Spline(data.x[heavy][:1], constant, np.zeros((2, T)))
    return Trained(spline, None, 0, fit.nu)


def _neuron_fit(data: Samples, lam: float, loss: Loss, bias: str, skip: str, tol: float) -> UnivariateResult:
    """Train neuron by neuron, where no spline tells the norm."""
    points, means, weight = data.merged()
    network, values = train_neurons(points, means, weight, lam, bias, skip, SHARE * tol)
    spline = from_network(network)
    objective = loss.value(spline(data.x), data.Y, data.weight)
    objective += lam * float(network.neuron_norms() @ row_norms(network.output))
    at_samples = values[np.minimum(np.searchsorted(points, data.x), len(points) - 1)]
    nu = np.where(data.weight[:, None] > 0, -loss.gradient(at_samples, data.Y, data.weight), 0.0)
    found = certified(data, objective, nu, lam, loss, bias, skip)
    return UnivariateResult(spline, found, judged(found, tol), bias, skip, data.points, 0, network)


def _check_served(loss: Loss, bias: str, skip: str, T: int) -> None:
    """Raise if `convexrelu.solve` is needed."""
    squared = isinstance(loss, SquaredLoss)
    if not squared and (bias == "penalized" or not isinstance(loss, PiecewiseLoss | LogisticLoss)):
        modes = "" if bias == "free" else " with bias='penalized'"
        raise UnsupportedError(f"`loss={loss.name!r}`{modes} is not part of `univariate.fit`; use `convexrelu.solve`.")
    if T > 1 and (skip == "penalized" or not squared):
        raise UnsupportedError(
            "Several tasks are part of `univariate.fit` with loss='squared' and skip='free' or 'none' only; "
            "use `convexrelu.solve`."
        )


def _dual(data: Samples, loss: Loss, trained: Trained) -> Array:
    """The dual variable (n, T): the one of the training or, for the squared loss, that of the spline.

    The latter is the residual, with the digits that the values of the spline cannot hold.
    """
    if trained.nu is not None:
        nu = np.zeros_like(data.Y)
        nu[data.weight > 0] = trained.nu
        return nu
    assert trained.correction is not None
    F, correction = trained.spline(data.x), trained.correction(data.x).astype(np.longdouble)
    nu = -loss.gradient(F, data.Y, data.weight) - data.weight[:, None] * correction
    return np.where(data.weight[:, None] > 0, nu, 0.0)
