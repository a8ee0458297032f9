"""`OptimalRange`: a network's predictions against the range of those of all globally optimal networks.

On the samples all optimal networks predict the same where the loss is strictly convex; they may differ elsewhere. So
some of the points to compare at lie midway between neighbouring samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convexrelu.arrays import Array, frozen
from convexrelu.errors import ConvexReLUError, TimeLimitError
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result

if TYPE_CHECKING:
    from convexrelu.optimal_set import OptimalSet

# Samples, and as many points between them, at which the range is computed: two linear programs each.
SAMPLES = 10
# Measured: the optimal set mostly takes 0.2 to 9 times as long as the solution it is made from, on 20 to 569 samples.
TIMES_SOLUTION = 10.0
TOO_LONG = "it would take longer than the time that is left"
GIVEN_UP, RANGE = "it was not done in the time that was left", "the range of their predictions"


@dataclass(frozen=True, eq=False, repr=False)
class OptimalRange:
    """Lowest and highest predictions over all globally optimal networks, at a few points.

    Attributes
    ----------
    points : float64 (N, d)
        Samples, then points midway between these and their nearest neighbours.
    n_samples : int
        How many of the points are samples.
    lower, upper : float64 (N, T)
        Each attained by some optimal network; infinite where the data do not determine a free part.
    distance : float64 (N, T)
        By how much the network's predictions leave the range.
    complete : bool
        Whether the optimal networks known are proven to be all; otherwise distances may be too large.
    """

    points: Array
    n_samples: int
    lower: Array
    upper: Array
    distance: Array
    complete: bool

    def __repr__(self) -> str:
        return f"OptimalRange({len(self.points)} points, distance {self.root_mean_square:.3g}, width {self.width:.3g})"

    @property
    def root_mean_square(self) -> float:
        """Of the distances."""
        return float(np.sqrt(np.mean(self.distance**2)))

    @property
    def width(self) -> float:
        """The mean of upper - lower."""
        return float(np.mean(self.upper - self.lower))


def outside(network: Network, points: Array, lower: Array, upper: Array) -> Array:
    """By how much a network's predictions at the points leave a range, in the shape of its ends, (N,) or (N, T)."""
    F = network(points).reshape(lower.shape)
    return frozen(np.maximum(np.maximum(lower - F, F - upper), 0.0))


def optimal_range(network: Network, result: Result, taken: float, left: float) -> OptimalRange | str:
    """Compare a network with all optimal ones, if the time that is left allows.

    Parameters
    ----------
    network : Network
    result : Result
        Of its problem, optimal within its tolerance.
    taken, left : float
        Seconds that the solution took, and that are left; infinite for no limit. Tried where the first tell that it may
        be done in time, and given up when it is not.

    Returns
    -------
    OptimalRange or str
        Or the reason why not.
    """
    if left < TIMES_SOLUTION * taken:
        return TOO_LONG
    monitor = Monitor(time_limit=left)
    points, n_samples = _points(result.problem)
    try:
        optimal = result.optimal_set(left if math.isfinite(left) else None)
        lower, upper = _ends(optimal, points, monitor)
    except TimeLimitError:
        return GIVEN_UP
    except ConvexReLUError as error:  # a set that cannot be computed leaves the rest of the report as it is
        return str(error).rstrip(".")
    distance = outside(network, points, lower, upper)
    return OptimalRange(frozen(points), n_samples, frozen(lower), frozen(upper), distance, optimal.complete)


def _ends(optimal: OptimalSet, points: Array, monitor: Monitor) -> tuple[Array, Array]:
    """The range (N, T), (N, T) at points, one at a time for the sake of the clock."""
    ends = []
    for x in points:
        monitor.check_time(RANGE)
        ends.append(optimal.prediction_range(x[None]))
    lower, upper = np.array(ends).reshape(len(points), 2, -1).swapaxes(0, 1)
    return lower, upper


def _points(problem: TrainingProblem) -> tuple[Array, int]:
    """Some distinct samples and the middles between each and its nearest neighbour."""
    X = np.unique(problem.X[problem.sample_weight > 0], axis=0)
    chosen = np.random.default_rng(0).permutation(len(X))[:SAMPLES]
    if len(X) == 1:
        return X, 1
    size = np.maximum(X.std(axis=0), 1e-300)
    distances = np.linalg.norm((X[chosen, None] - X[None]) / size, axis=2)
    distances[np.arange(len(chosen)), chosen] = math.inf
    nearest = np.argmin(distances, axis=1)
    between = np.unique((X[chosen] + X[nearest]) / 2, axis=0)
    return np.vstack([X[chosen], between]), len(chosen)
