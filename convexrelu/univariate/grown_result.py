"""Training and interpolation neuron by neuron, certified: `fit_grown`, `interpolate_grown`."""

from __future__ import annotations

import numpy as np

from convexrelu.errors import UnsupportedError
from convexrelu.losses import LogisticLoss, Loss, PiecewiseLoss, SoftmaxLoss, SquaredLoss
from convexrelu.problem import TrainingProblem
from convexrelu.univariate.conversion import from_network
from convexrelu.univariate.growth import grown
from convexrelu.univariate.line_certificate import certified_on_line
from convexrelu.univariate.result import UnivariateResult, judged

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
    return _certified(problem, tol, rounds)


def _certified(problem: TrainingProblem, tol: float, rounds: int) -> UnivariateResult:
    network, nu = grown(problem, SHARE * tol, rounds)
    found = certified_on_line(problem, network, nu)
    spline, points = from_network(network), np.unique(problem.X[:, 0])
    modes = problem.bias, problem.skip
    return UnivariateResult(
        spline, found, judged(found, tol), *modes, points, 0, network, output_bias=problem.output_bias
    )
