"""`fit`: penalised training in one variable, certified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convexrelu.arrays import Array, row_norms
from convexrelu.linear_fit import fit_linear
from convexrelu.losses import DataLoss, Loss, SquaredLoss, get_loss
from convexrelu.problem import TrainingProblem
from convexrelu.result import Status
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.grown_result import check_known, fit_grown
from convexrelu.univariate.label_radius import check_labels
from convexrelu.univariate.lower_bound import certified, norm
from convexrelu.univariate.modes import output_bias_of
from convexrelu.univariate.no_bias import fit_no_bias
from convexrelu.univariate.penalized_bias import train_neurons
from convexrelu.univariate.result import UnivariateResult, judged
from convexrelu.univariate.samples import Samples, check_points, samples
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
    output_bias: str | None = None,
    tol: float = 1e-8,
    max_rounds: int = 200,
) -> UnivariateResult:
    """Train a two-layer ReLU network with weight decay on one input to its global optimum.

    The objective is that of `TrainingProblem`: the loss plus (weight_decay / 2) times the squares of the penalised
    weights.

    Parameters
    ----------
    x : array (n,) or (n, 1)
        Points in any order, repeated ones allowed.
    Y : array (n,) or (n, T)
        Targets of one or several tasks, or classes for "softmax".
    weight_decay : float > 0, default 1.0
    loss : str or Loss, default "squared"
        One of the package's: "squared", "absolute", "huber", "quantile", "logistic", "hinge", "squared_hinge",
        "softmax", or an object such as `QuantileLoss(0.9)`.
    bias : {"free", "penalized", "none"}
    skip : {"free", "penalized", "none"}
    sample_weight : array (n,), optional
        Non-negative weights of the samples' losses.
    output_bias : {"free", "penalized", "none"} or None
        None stands for "free" if the bias or the skip is free, else for "none"; with a free bias it must be free.
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
        For losses of your own, and labels part of which are met at no cost: use `convexrelu.solve`.

    Notes
    -----
    With a skip this is l1 trend filtering (for several tasks, with norms of the tasks' curvature). Knots are taken in
    where the dual constraint is violated; each round costs O(n T) for the data and O(m T^3) for m knots, and 5 to 20
    rounds do. The proof of the gap costs O(n T). Other losses train the spline with each set of knots by an interior
    point method, in 10 to 40 passes over the data.

    With penalised biases, and without a skip for several tasks, neurons are trained one by one by Newton's method on
    their knots, which need not be at samples; a round costs O(n T) and a sparse system of the size of the network. All
    other cases train candidate neurons by an interior point method, in steps of O(n T^2) and O(m T^3), and price all
    neurons in O(n T).

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
    constant = output_bias_of(output_bias, bias, skip)
    lam = check_number(weight_decay, "weight_decay", above=0.0, hint=" For zero use `univariate.interpolate`.")
    tol = check_number(tol, "tol", above=0.0)
    rounds = check_count(max_rounds, "max_rounds")
    kind, data = get_loss(loss), samples(x, Y, sample_weight)
    check_known(kind)
    data = replace(data, Y=kind.targets(data.Y))
    way = _way(kind, bias, skip, constant == output_bias_of(None, bias, skip), data.Y.shape[1])
    if way == "no bias":
        return fit_no_bias(data, kind, lam, tol)
    found = _neuron_fit(data, lam, kind, bias, skip, tol) if way == "squares" else None
    if found and found.status is Status.OPTIMAL:
        return found
    if way in ("neurons", "squares"):
        X = check_points(x)[:, None]
        other = fit_grown(TrainingProblem(X, Y, lam, kind, bias, constant, skip, sample_weight), tol, rounds)
        # Neurons with knots close to one another are more than the special way can take.
        return min(filter(None, (other, found)), key=lambda result: result.certificate.gap)
    heavy = data.weight > 0
    if kind.is_classification:
        check_labels(data.x[heavy], data.Y[heavy, 0], kind, skip)
    spread = data.x[heavy].max() > data.x[heavy].min()
    trained = train(data, kind, lam, skip, SHARE * tol, rounds) if spread else _constant(data, kind)
    spline = trained.spline
    F = spline(data.x)
    nu = _dual(data, kind, trained, F)
    objective = kind.value(F, data.Y, data.weight) + lam * norm(spline, skip)
    proof = certified(data, objective, nu, lam, kind, bias, skip)
    return UnivariateResult(spline, proof, judged(proof, tol), bias, skip, data.points, trained.rounds)


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
    modes = bias, skip, data.points, 0, network, output_bias_of(None, bias, skip)
    return UnivariateResult(spline, found, judged(found, tol), *modes)


def _way(loss: Loss, bias: str, skip: str, usual: bool, T: int) -> str:
    """How to train: the special ways are faster where they exist. `usual`: the default output bias."""
    squared = isinstance(loss, SquaredLoss)
    if not usual or (bias, skip) == ("penalized", "penalized"):
        return "neurons"
    if bias == "none":
        return "no bias" if skip == "none" and (squared or T == 1) else "neurons"
    if bias == "penalized" or (T > 1 and skip == "none"):
        return "squares" if squared else "neurons"
    served = squared and skip == "free" if T > 1 else not loss.couples_tasks
    return "spline" if served else "neurons"


def _dual(data: Samples, loss: Loss, trained: Trained, F: Array) -> Array:
    """The dual variable (n, T): the one of the training or, for the squared loss, that of the spline's values F.

    The latter is the residual, with the digits that the values of the spline cannot hold.
    """
    if trained.nu is not None:
        nu = np.zeros_like(data.Y)
        nu[data.weight > 0] = trained.nu
        return nu
    assert trained.correction is not None
    correction = trained.correction(data.x).astype(np.longdouble)
    nu = -loss.gradient(F, data.Y, data.weight) - data.weight[:, None] * correction
    return np.where(data.weight[:, None] > 0, nu, 0.0)
