"""Training and interpolation neuron by neuron, certified: `fit_grown`, `interpolate_grown`."""

from __future__ import annotations

import numpy as np

from convexrelu.certificate import Certificate
from convexrelu.errors import UnsupportedError
from convexrelu.losses import LogisticLoss, Loss, PiecewiseLoss, SoftmaxLoss, SquaredLoss
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.growth import grown
from convexrelu.univariate.interpolant import made_interpolant
from convexrelu.univariate.line_certificate import certified_on_line
from convexrelu.univariate.result import UnivariateResult, judged
from convexrelu.univariate.spline import Spline

# Of the tolerance: the estimated gap at which training stops, so that the proof has room for rounding.
SHARE = 0.1


def check_known(loss: Loss) -> None:
    """Raise if the engine cannot train with a loss: only those of the package have the form it needs."""
    if not isinstance(loss, SquaredLoss | PiecewiseLoss | LogisticLoss | SoftmaxLoss):
        raise UnsupportedError(
            f"`loss={loss.name!r}` is not one of the package's own, which `univariate.fit` takes; "
            "use `convexrelu.solve`."
        )


def fit_grown(problem: TrainingProblem, tol: float, rounds: int) -> UnivariateResult:
    """The best network of one input, of any kind the problem may have."""
    check_known(problem.loss)
    if problem.loss.is_classification and problem.dual_domain.n_separated:
        raise UnsupportedError(
            "labels of some samples in `Y` are met by an unpenalised linear model at no cost, which `univariate.fit` "
            "does not take for this loss; use `convexrelu.solve`, or penalise the skip and the output bias."
        )
    return _certified(problem, tol, rounds)


def interpolate_grown(problem: TrainingProblem, tol: float, rounds: int) -> UnivariateResult:
    """The interpolating network of least norm."""
    if problem.bias == "none" or np.ptp(problem.X) == 0:
        return _certified(problem, tol, rounds)
    made = made_interpolant(problem, SHARE * tol, rounds)
    found = certified_on_line(problem, made.network, made.nu, made.objective)
    return _result(problem, made.network, made.spline, found, tol)


def _certified(problem: TrainingProblem, tol: float, rounds: int) -> UnivariateResult:
    network, nu = grown(problem, SHARE * tol, rounds)
    return _result(problem, network, from_network(network), certified_on_line(problem, network, nu), tol)


def _result(
    problem: TrainingProblem, network: Network, spline: Spline, found: Certificate, tol: float
) -> UnivariateResult:
    points, modes = np.unique(problem.X[:, 0]), (problem.bias, problem.skip)
    return UnivariateResult(
        spline, found, judged(found, tol), *modes, points, 0, network, output_bias=problem.output_bias
    )
