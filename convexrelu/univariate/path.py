"""`fit_path`: the exact path of penalised training in the weight decay, for one task, squared loss and a free skip.

Letters: `lam` weight decay, `z` values at the nodes, `delta` curvature, `u` its signs, `G` double sum of the residual.

Between two events z and G are affine in lam: z = M^-1 B - lam M^-1 bends^T u. An event is a knot whose curvature
vanishes, or a sample at which |G| reaches lam and a knot begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convexrelu.arrays import Array, IntArray, frozen
from convexrelu.errors import InvalidInputError
from convexrelu.univariate.hats import bends, bends_transposed
from convexrelu.univariate.knot_selection import KnotSet
from convexrelu.univariate.samples import samples
from convexrelu.univariate.spline import Spline
from convexrelu.univariate.trend_filter import TrendProblem, trend_filter, values_between
from convexrelu.validation import check_count, check_number

# Relative: events closer to each other than this are one.
TIE = 1e-10
# Relative step below an event at which training starts anew where events coincide.
JUMP = 1e-6
# Of the size of the data: a largest weight decay below this is the rounding of data on a line.
STRAIGHT = 1e-14


@dataclass(frozen=True, eq=False, repr=False)
class UnivariatePath:
    """The optimal splines for all weight decays down to the last one.

    Attributes
    ----------
    weight_decays : float64 (k,)
        Of the events, decreasing; the first is the least at which the optimum is a line. In between, the prediction at
        every point is affine in the weight decay.
    splines : tuple of Spline
        At the events.
    n_knots : int64 (k,)
        Between this event and the next, where the set of knots is constant.
    complete : bool
        Whether every event down to the asked weight decay is there.
    """

    weight_decays: Array
    splines: tuple[Spline, ...]
    n_knots: IntArray
    complete: bool

    def __repr__(self) -> str:
        least, most = self.weight_decays[-1], self.weight_decays[0]
        return f"UnivariatePath({len(self.splines)} events, weight decay {least:.3g} to {most:.3g})"

    def spline(self, weight_decay: float) -> Spline:
        """The optimum at a weight decay.

        Raises
        ------
        InvalidInputError
            If it is below the last event.
        """
        k = self._piece(weight_decay)
        if k < 0:
            return self.splines[0]
        if weight_decay == self.weight_decays[k]:
            return self.splines[k]
        above, below = self.weight_decays[k], self.weight_decays[k + 1]
        return self.splines[k].blended(self.splines[k + 1], (above - weight_decay) / (above - below))

    def degrees_of_freedom(self, weight_decay: float) -> int:
        """The trace of the derivative of the predictions in the targets: the number of knots and two.

        References
        ----------
        R. J. Tibshirani, J. Taylor, "Degrees of freedom in lasso problems", Annals of Statistics 2012, Theorem 3.
        """
        k = self._piece(weight_decay)
        return 2 if k < 0 else int(self.n_knots[k]) + 2

    def _piece(self, weight_decay: float) -> int:
        """The last event at or above the weight decay; -1 above all."""
        lam = check_number(weight_decay, "weight_decay", above=0.0)
        if lam < self.weight_decays[-1]:
            raise InvalidInputError(
                f"`weight_decay` must be at least {self.weight_decays[-1]:g}, where the path ends, got {lam:g}; "
                "call fit_path with a smaller `least`."
            )
        return int(np.searchsorted(-self.weight_decays, -lam, side="right")) - 1


def fit_path(
    x: Any, y: Any, *, least: float | None = None, sample_weight: Any = None, max_events: int = 10_000
) -> UnivariatePath:
    """All optima of `fit` as the weight decay falls, for one task, squared loss, free bias and skip.

    Parameters
    ----------
    x : array (n,) or (n, 1)
    y : array (n,) or (n, 1)
    least : float > 0, optional
        Where to stop; by default a thousandth of the largest weight decay with a knot.
    sample_weight : array (n,), optional
    max_events : int, default 10000

    Returns
    -------
    UnivariatePath

    Raises
    ------
    InvalidInputError
        For data that cannot be used, or of several tasks.

    Notes
    -----
    Each event costs O(n). Where events coincide training starts anew a little below them, so that up to there the path
    is interpolated over a relative step of 1e-6.

    References
    ----------
    R. J. Tibshirani, J. Taylor, "The solution path of the generalized lasso", Annals of Statistics 2011.

    Examples
    --------
    >>> from convexrelu import univariate
    >>> path = univariate.fit_path([0, 1, 2, 3, 4], [0, 1, 3, 1, 0], least=0.01)
    >>> float(path.weight_decays[0]), path.degrees_of_freedom(3.0), path.degrees_of_freedom(1.0)
    (2.0, 2, 3)
    """
    data = samples(x, y, sample_weight)
    if data.Y.shape[1] > 1:
        raise InvalidInputError(f"`y` must have one task, got {data.Y.shape[1]}.")
    points, means, weight = data.merged()
    count = check_count(max_events, "max_events")
    problem = TrendProblem(points, means, weight, 1.0)
    if len(points) < 3:
        return _line(Spline.through(points, means))
    ends = np.array([0, len(points) - 1])
    piece = _Piece(problem, KnotSet(ends, np.zeros((2, 1)), np.zeros((2, 1))))
    first = float(np.abs(piece.G_fixed).max())
    if first <= STRAIGHT * float(weight @ np.abs(means[:, 0])) * float(np.ptp(points)):
        return _line(piece.spline(0.0))
    least = 1e-3 * first if least is None else check_number(least, "least", above=0.0)
    return _follow(problem, piece, first, min(least, first), count)


def _line(spline: Spline) -> UnivariatePath:
    """The path of data on a line: no events."""
    none = np.zeros(1, dtype=np.intp)
    return UnivariatePath(frozen(np.array([np.finfo(np.float64).tiny])), (spline,), none, True)


class _Piece:
    """The optimum with given knots and signs as an affine function of lam."""

    def __init__(self, problem: TrendProblem, knots: KnotSet) -> None:
        self.problem, self.knots = problem, knots
        nodes, x = knots.nodes, problem.x
        system = problem.system(nodes)
        self.z_fixed, self.z_slope = np.split(
            system.solve(np.hstack([system.B, -bends_transposed(system.x, knots.u)])), 2, axis=1
        )
        r = problem.residual(values_between(x, nodes, self.z_fixed))
        moved = -problem.weight[:, None] * values_between(x, nodes, self.z_slope)
        self.G_fixed, self.G_slope = problem.double_sum(r)[:, 0], problem.double_sum(moved)[:, 0]

    def spline(self, lam: float) -> Spline:
        return Spline.through(self.problem.x[self.knots.nodes], self.z_fixed + lam * self.z_slope)

    def next_event(self, lam: float, skipped: int) -> tuple[float, int, float]:
        """The largest lam of an event below, the sample it is at, and the sign of a knot that begins (0: it ends).

        `skipped` is the sample of the last event, which is at its limit here and moves away from it.
        """
        nodes = self.knots.nodes
        x = self.problem.x[nodes]
        fixed, slope = bends(x, self.z_fixed)[:, 0], bends(x, self.z_slope)[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = -fixed / slope
            begins = [self.G_fixed / (sign - self.G_slope) for sign in (1.0, -1.0)]
        candidates = []
        ends[(nodes == skipped) & (ends >= lam * (1 - TIE))] = 0.0
        ends[[0, -1]] = 0.0
        candidates.append((ends, nodes, 0.0))
        for sign, at in zip((1.0, -1.0), begins, strict=True):
            at[nodes] = 0.0
            if skipped >= 0 and at[skipped] >= lam * (1 - TIE):
                at[skipped] = 0.0
            candidates.append((at, np.arange(len(at)), sign))
        best = (0.0, -1, 0.0)
        for at, where, sign in candidates:
            at = np.where(np.isfinite(at) & (at <= lam * (1 + TIE)), at, 0.0)
            k = int(np.argmax(at))
            if at[k] > best[0]:
                best = (min(float(at[k]), lam), int(where[k]), sign)
        return best

    def changed(self, sample: int, sign: float) -> _Piece:
        """With the knot of an event begun or ended."""
        nodes, u = self.knots.nodes, self.knots.u
        if sign == 0:
            keep = nodes != sample
            nodes, u = nodes[keep], u[keep]
        else:
            place = int(np.searchsorted(nodes, sample))
            nodes, u = np.insert(nodes, place, sample), np.insert(u, place, sign, axis=0)
        return _Piece(self.problem, KnotSet(nodes, np.zeros((len(nodes), 1)), u))

    def is_optimal(self, lam: float) -> bool:
        """Whether the conditions of optimality hold at lam, up to rounding."""
        G = self.G_fixed + lam * self.G_slope
        delta = bends(self.problem.x[self.knots.nodes], self.z_fixed + lam * self.z_slope)
        turned = float(np.min(delta * self.knots.u, initial=0.0))
        return bool(np.abs(G).max() <= lam * (1 + 1e-8)) and turned >= -1e-8 * float(np.abs(delta).max(initial=0.0))


def _follow(problem: TrendProblem, piece: _Piece, first: float, least: float, count: int) -> UnivariatePath:
    """Event after event, from the first knot on."""
    lam, sample = first, int(np.argmax(np.abs(piece.G_fixed)))
    lams, splines, numbers = [first], [piece.spline(first)], []
    piece = piece.changed(sample, float(np.sign(piece.G_fixed[sample])))
    while lam > least and len(lams) < count:
        below, following, sign = piece.next_event(lam, sample)
        below = max(below, least)
        if below > lam * (1 - TIE) or not piece.is_optimal(0.5 * (lam + below)):
            # Several events at once: which knots they leave is read from the optimum a little below.
            below, following = max(lam * (1 - JUMP), least), -1
            knots, _ = trend_filter(TrendProblem(problem.x, problem.Y, problem.weight, below), 1e-13)
            piece, sign = _Piece(problem, knots), 0.0
        lams.append(below)
        splines.append(piece.spline(below))
        numbers.append(len(piece.knots.nodes) - 2)
        lam, sample = below, following
        if lam > least and sample >= 0:
            piece = piece.changed(sample, sign)
    numbers.append(len(piece.knots.nodes) - 2)
    return UnivariatePath(frozen(np.array(lams)), tuple(splines), np.array(numbers), lam <= least)
