"""What training in one variable returns: `UnivariateResult`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from convexrelu.arrays import Array
from convexrelu.certificate import Certificate
from convexrelu.errors import UnsupportedError
from convexrelu.network import Network
from convexrelu.result import Status
from convexrelu.univariate.conversion import to_network
from convexrelu.univariate.solution_set import SolutionSet, solutions_through
from convexrelu.univariate.spline import Spline


@dataclass(frozen=True, eq=False, repr=False)
class UnivariateResult:
    """A trained function of one variable with its proof.

    Attributes
    ----------
    spline : Spline
        The function.
    certificate : Certificate
        Of exactly this function; always global.
    status : Status
    bias, skip, output_bias : str
        The problem's.
    points : float64 (k,)
        The distinct points of the data, increasing.
    rounds : int
        Passes over the data.
    neurons : Network or None
        The network, where the spline does not tell it.
    """

    spline: Spline
    certificate: Certificate
    status: Status
    bias: str
    skip: str
    points: Array
    rounds: int = 0
    neurons: Network | None = None
    output_bias: str = "free"

    @property
    def objective(self) -> float:
        """The objective of the function; of an interpolant, its norm."""
        return self.certificate.objective

    @cached_property
    def network(self) -> Network:
        """A network of least norm that computes the function."""
        return to_network(self.spline, self.bias, self.skip) if self.neurons is None else self.neurons

    def solution_set(self) -> SolutionSet:
        """All functions with the least objective: the interpolants of least norm of this one's predictions.

        For one task and a skip. For the squared loss the predictions are unique, and so is the set.

        Raises
        ------
        UnsupportedError
            For several tasks or without a skip.
        """
        if self.spline.values.shape[1] > 1 or self.skip == "none" or self.bias != "free":
            raise UnsupportedError("`solution_set` is for one task with free bias and skip.")
        return solutions_through(self.points, self.spline)

    def __repr__(self) -> str:
        c = self.certificate
        proof = f"lower_bound={c.lower_bound:.8g}, gap={c.gap:.2g}, scope={c.scope!r}"
        return (
            f"UnivariateResult({self.status.name}, objective={c.objective:.8g}, {proof}, {self.spline.n_knots} knots)"
        )


def judged(certificate: Certificate, tol: float) -> Status:
    """The status that a certificate earns."""
    return Status.OPTIMAL if certificate.gap <= tol else Status.FAILED
