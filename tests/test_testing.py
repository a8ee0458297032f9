"""The conformance test for losses: it passes a correct one and names what is wrong with others."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

import convexrelu as cr
from convexrelu.losses import HuberLoss, LogisticLoss, Loss, LossCone, SquaredLoss
from convexrelu.testing import check_loss


class Poisson(Loss):
    """exp(f) - y f + y log y - y for counts y > 0: a loss of one's own, as `Loss` documents it."""

    name = "poisson"
    is_smooth = True

    def targets(self, Y):
        assert (Y > 0).all()
        return Y

    def value(self, F, Y, weight):
        return float(np.sum(weight[:, None] * (np.exp(F) - Y * F + Y * np.log(Y) - Y)))

    def gradient(self, F, Y, weight):
        return weight[:, None] * (np.exp(F) - Y)

    def curvature(self, F, Y, weight):
        return weight[:, None] * np.exp(F)

    def domain(self, Y, weight):
        return np.where(weight[:, None] > 0, -np.inf, 0.0) * np.ones(Y.shape), weight[:, None] * Y

    def dual_value(self, nu, Y, weight):
        heavy = weight > 0
        if nu[~heavy].any():
            return -math.inf, 0.0
        nu, Y, w = nu[heavy], Y[heavy], weight[heavy, None]
        rate = Y - nu / w
        if (rate <= 0).any():
            return -math.inf, 0.0
        terms = w * (rate - rate * np.log(rate) + Y * np.log(Y) - Y)
        size = w * (np.abs(rate * np.log(rate)) + rate + np.abs(Y * np.log(Y)) + Y)
        return math.fsum(terms.ravel()), 1e-14 * math.fsum(size.ravel())

    def fit_radius(self, value, Y, weight):
        return math.inf

    def cone_form(self, Y, weight):
        """t >= exp(f), cost weight (t - y f)."""
        n, w = Y.size, np.repeat(weight, Y.shape[1])
        first, last = (sp.kron(sp.eye_array(n), column) for column in ([[-1.0], [0.0], [0.0]], [[0.0], [0.0], [-1.0]]))
        rhs = np.tile([0.0, 1.0, 0.0], n)
        return LossCone(np.zeros(n), -w * Y.ravel(), w, sp.csc_array(first), sp.csc_array(last), rhs, n_exponential=n)


class Flipped(SquaredLoss):
    def gradient(self, F, Y, weight):
        return -super().gradient(F, Y, weight)


class Optimistic(HuberLoss):
    def dual_value(self, nu, Y, weight):
        value, error = super().dual_value(nu, Y, weight)
        return value + 1e-3, error


class Unbounded(HuberLoss):
    def dual_value(self, nu, Y, weight):
        return SquaredLoss().dual_value(nu, Y, weight)


class Bent(LogisticLoss):
    def curvature(self, F, Y, weight):
        return 2 * super().curvature(F, Y, weight)


class Concave(SquaredLoss):
    def value(self, F, Y, weight):
        return float(np.sum(weight[:, None] * np.sqrt(np.abs(F - Y))))


class Narrow(SquaredLoss):
    def fit_radius(self, value, Y, weight):
        return 1e-3


class Unweighted(SquaredLoss):
    def value(self, F, Y, weight):
        return super().value(F, Y, np.ones(len(weight)))


class OtherCone(SquaredLoss):
    def cone_form(self, Y, weight):
        return super().cone_form(2 * Y, weight)


COUNTS = np.array([1.0, 2.0, 5.0, 3.0, 0.5])


def test_a_loss_of_ones_own_passes_and_trains():
    check_loss(Poisson(), COUNTS)
    X = np.arange(5.0)[:, None]
    for output_bias in ("none", "penalized"):
        result = cr.solve(cr.TrainingProblem(X, COUNTS, 0.1, Poisson(), output_bias=output_bias))
        assert result.status is cr.Status.OPTIMAL
        other = cr.solve(cr.TrainingProblem(X, COUNTS, 0.1, Poisson(), output_bias=output_bias), "enumerate")
        assert other.objective == pytest.approx(result.objective, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Flipped(), "gradient"),
        (Optimistic(), "dual_value"),
        (Unbounded(), "outside domain"),
        (Bent(), "curvature"),
        (Concave(), "convex"),
        (Narrow(), "fit_radius"),
        (Unweighted(), "proportional to the weights"),
        (OtherCone(), "cone_form"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Loss) else "",
)
def test_what_is_wrong_is_named(loss, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(loss)
