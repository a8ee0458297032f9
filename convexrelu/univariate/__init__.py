"""One input: exact training in closed form or in linear time."""

from __future__ import annotations

from convexrelu.univariate.conversion import curvature, from_network, knots, to_network
from convexrelu.univariate.fit import fit
from convexrelu.univariate.integrals import distance, integral
from convexrelu.univariate.interpolate import interpolate
from convexrelu.univariate.path import UnivariatePath, fit_path
from convexrelu.univariate.result import UnivariateResult
from convexrelu.univariate.solution_set import SolutionSet, solution_set
from convexrelu.univariate.sparsest import sparsest
from convexrelu.univariate.spline import Spline

__all__ = [
    "SolutionSet",
    "Spline",
    "UnivariatePath",
    "UnivariateResult",
    "curvature",
    "distance",
    "fit",
    "fit_path",
    "from_network",
    "integral",
    "interpolate",
    "knots",
    "solution_set",
    "sparsest",
    "to_network",
]
