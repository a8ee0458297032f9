"""`OptimalSet`: all globally optimal networks of a problem.

Letters: `(u_e, o_e)` active directions (`convexrelu.optimal_set.directions`), `alpha` (m,) their weights, `a_e = relu(Z
u_e) o_e^T` their predictions, `Q_f beta_f`, `Q_p beta_p` the free and the penalised linear part, `F` (n, T)
predictions, `lam` the price of norm.

    F = sum_e alpha_e a_e + Q_f beta_f + Q_p beta_p,   alpha >= 0

Every optimal network comes from such weights: each neuron has an active direction, |neuron| = |output weight|, and the
products of the two add up to alpha_e over the neurons of direction e; with a free bias a neuron may also lie on a
segment, between the two directions that share its weights. F is unique, and sum(alpha) with it, unless the loss is
straight or has kinks: then F moves in a polyhedron (`convexrelu.optimal_set.fits`), with one more weight for each
different sample that can move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen, row_norms
from convexrelu.errors import InvalidInputError, UnsupportedError
from convexrelu.monitor import Monitor
from convexrelu.network import Network
from convexrelu.optimal_set.connectivity import Connection, path_between
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.optimal_set.exchange import ON_KINK, active_tol, exchanged
from convexrelu.optimal_set.fits import Fits, fits_of
from convexrelu.optimal_set.membership import Membership, membership
from convexrelu.optimal_set.optimum import Optimum
from convexrelu.optimal_set.polish import network_of_neurons, without_idle_samples
from convexrelu.optimal_set.polytope import POSITIVE, Polytope
from convexrelu.optimal_set.predictions import Minimum, minimize_over, prediction_range, same_function, undetermined
from convexrelu.optimal_set.proof import census_of, patterns_at_hand
from convexrelu.optimal_set.refinement import free_vectors, optimum_of, vectors
from convexrelu.optimal_set.smallest import Smallest, smallest
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result
from convexrelu.validation import check_count, check_matrix, check_number

# Polishing that leaves more than this has failed: before and after the exchange with active directions.
TO_BEGIN, LEAST_ACCURACY = 1e-3, 1e-7
# Steps of hit and run between two samples, per dimension.
STEPS_PER_DIMENSION = 10


@dataclass(frozen=True, eq=False)
class OptimalSet:
    """The set of all optimal networks.

    Made by `Result.optimal_set()`. It is determined by a dual variable, which Newton's method brings to rounding first,
    by the directions that are active at it, and by the predictions that it allows: one only if the loss is strictly
    convex.

    Attributes
    ----------
    problem : TrainingProblem
        Without samples of weight zero.
    directions : Directions
    fits : Fits
        Bounds on the predictions on the samples of positive weight.
    polytope : Polytope
        The weights of the directions, then those of the samples whose predictions can move.
    optimum : Optimum
        An optimal network and the dual variable.
    complete : bool
        Whether it is proven that no other direction is active: that the set is all optimal networks (for a result
        optimal among given patterns: all with these patterns).
    completeness : str
        How that was proven, or why it was not.
    is_finite : bool
        False where infinitely many directions are active, as several tasks may have it: what is said then is true of
        the networks with the directions found.

    References
    ----------
    A. Mishkin and M. Pilanci, "Optimal sets and solution paths of ReLU networks", ICML 2023, Theorem 1.
    S. Kim, A. Mishkin and M. Pilanci, "Exploring the loss landscape of regularized neural networks via convex duality",
    2024.

    Examples
    --------
    >>> import numpy as np
    >>> import convexrelu as cr
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> optimal = cr.solve(cr.TrainingProblem(X, np.ones(4), weight_decay=0.1, bias="none")).optimal_set()
    >>> optimal
    OptimalSet(4 active directions, dimension 1, complete)
    >>> [network.n_neurons for network in optimal.vertices()]
    [2, 2]
    """

    problem: TrainingProblem
    directions: Directions
    fits: Fits
    polytope: Polytope
    optimum: Optimum
    complete: bool
    completeness: str
    is_finite: bool = True

    @classmethod
    def of(cls, result: Result, monitor: Monitor | None = None, proven: bool = True) -> OptimalSet:
        """The optimal set of a solved problem, in the time of the monitor; see `Result.optimal_set`.

        With `proven=False` the set of directions that are cheap to find, from a result that is near enough as it is.
        """
        monitor = monitor or Monitor()
        problem = without_idle_samples(result.problem)
        _check_bounded(problem)
        patterns = result.patterns if result.certificate.scope == "patterns" else None
        if patterns is not None and len(problem.X) < len(result.problem.X):
            raise UnsupportedError(
                "the optimal set over given patterns needs every sample that these tell apart: drop the samples of "
                "weight zero from the problem, and their columns from the patterns."
            )
        listed = patterns_at_hand(result, problem.arrangement) if patterns is None else patterns
        optimum = optimum_of(result, problem, listed, monitor, proven and patterns is None)
        _check_accuracy(optimum, TO_BEGIN)
        optimum, met = exchanged(optimum, result, patterns, listed, monitor)
        _check_accuracy(optimum, LEAST_ACCURACY)
        tol = active_tol(optimum)
        proof = census_of(Census(optimum, patterns, tol, monitor), result) if proven else met
        fits = fits_of(optimum, tol)
        polytope = _polytope(optimum, proof.directions, fits)
        polytope = polytope.bounded() if proven and fits.open.any() else polytope
        found = cls(problem, proof.directions, fits, polytope, optimum, proof.complete, proof.text, proof.finite)
        if proven:
            _check_objective(found, result)
        return found

    def __repr__(self) -> str:
        kind = "complete" if self.complete else "not proven complete" if self.is_finite else "of infinitely many"
        return f"OptimalSet({len(self.directions)} active directions, dimension {self.dimension}, {kind})"

    @cached_property
    def state(self) -> Stationary:
        """An optimal network with independent neurons, in the coordinates of its cells; of one task.

        Raises
        ------
        UnsupportedError
            For several tasks, or a loss with kinks.
        """
        if self.problem.Y.shape[1] > 1 or not (self.problem.loss.is_smooth or self.problem.is_interpolation):
            raise UnsupportedError(f"there is no such state of {self.problem}: it takes one task and a smooth loss.")
        return _at_vertex(self.optimum, self.directions, self.polytope)

    @property
    def accuracy(self) -> float:
        """Largest violation of the conditions of optimality by `optimum`, relative."""
        return self.optimum.accuracy

    @property
    def penalized(self) -> Array:
        """Coefficients (q',), or (q', T), of the penalised linear columns: the same in every optimal network."""
        return _one_task_flat(self.optimum.penalized)

    @property
    def fit(self) -> Array:
        """Optimal predictions (n,), or (n, T), on the samples of positive weight.

        Those of every optimal network unless the loss is flat or has kinks: see `fits`, and `prediction_range`.
        """
        return _one_task_flat(self.optimum.fit)

    @cached_property
    def objective(self) -> float:
        """The optimal value."""
        return self.problem.objective(self.minimal_network())

    # -- shape --------------------------------------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """The dimension of the polytope of weights."""
        return self.polytope.dimension

    @property
    def is_unique(self) -> bool | None:
        """Whether the optimal network is unique up to splitting, permuting and flipping its neurons.

        None where no second one exists among the directions found, but the set is not proven complete. `reason` says
        why.
        """
        if self._freedoms():
            return False
        return True if self.complete else None

    @cached_property
    def is_function_unique(self) -> bool | None:
        """Whether all optimal networks are the same function, at every input, though their weights may differ.

        None where no other function is known, but the set is not proven complete.

        Notes
        -----
        Weights differ and the function does not where neurons come in pairs u and -u, as they do for noisy data:
        relu(z) = relu(-z) + z, and what is linear adds up to the same.
        """
        freedoms = self._freedoms()
        if len(freedoms) > int(self.dimension > 0) or not same_function(self):
            return False
        return True if self.complete else None

    @property
    def reason(self) -> str:
        """Why the optimal network is unique, or what can be changed."""
        freedoms = self._freedoms()
        if freedoms:
            return "; ".join(freedoms)
        found = f"the predictions of the {len(self.directions)} active directions leave one choice of weights"
        return found if self.complete else f"{found}, but there may be more directions: {self.completeness}"

    def _freedoms(self) -> list[str]:
        """What distinguishes optimal networks, one phrase for each."""
        found = []
        heavy = self.polytope.bounds[1][: len(self.directions)] > POSITIVE * self.polytope.total
        if self.dimension and self.fits.open.any():
            found.append(f"weights, and predictions on samples, can be traded in {self.dimension} independent ways")
        elif self.dimension:
            count, ways = int(heavy.sum()), self.dimension
            same = ", the function staying the same" if same_function(self) else ""
            found.append(f"weight can be traded between {count} active directions in {ways} independent ways{same}")
        segments, rays = self.directions.segments, self.directions.rays
        if heavy[segments].all(axis=1).any():
            found.append("the bias of a neuron is free between the kinks of two samples")
        if heavy[rays].any():
            found.append("the bias of a neuron that is on at every sample is free")
        if undetermined(self.problem, self.problem.X.mean(axis=0) + np.eye(self.problem.X.shape[1])).any():
            found.append("the data leave the free skip or output bias undetermined in some direction")
        return found

    # -- networks -----------------------------------------------------------------------------------------------------

    def network(self, weights: Any) -> Network:
        """The optimal network with given weights, a point of `polytope`: one neuron for each positive one.

        Raises
        ------
        InvalidInputError
            If the weights are not in the polytope, to 1e-6 of their sum.
        """
        alpha = np.asarray(weights, dtype=float)
        if alpha.shape != (self.polytope.size,) or not np.isfinite(alpha).all():
            raise InvalidInputError(
                f"`weights` must be {self.polytope.size} numbers, a point of `polytope`; got shape {alpha.shape}."
            )
        nearest = self.polytope.corrected(alpha)
        if np.abs(nearest - alpha).max(initial=0.0) > 1e-6 * (self.polytope.total or 1.0):
            raise InvalidInputError(
                "`weights` are not in the polytope: the network would not predict what optimal networks do. Write "
                "convex combinations of weights that are, such as `polytope.center`."
            )
        return self.network_of(self.directions.neurons, self.directions.outputs, nearest, self.polytope)

    def network_of(self, neurons: Array, outputs: Array, weights: Array, polytope: Polytope) -> Network:
        """The network of directions (m', k), outputs (m', T) and a point of `polytope`, its free linear part fitted."""
        free = np.linalg.lstsq(polytope.Q, polytope.g - polytope.A @ weights, rcond=None)[0]
        alpha = weights[: len(neurons), None]
        return network_of_neurons(
            self.problem, alpha * neurons, outputs, np.asarray(free, dtype=float), self.optimum.penalized
        )

    def center(self) -> Network:
        """The analytic centre: of all optimal networks that with the largest product of its neurons' weights.

        Every direction that some optimal network uses has a neuron. Where predictions can move, how far each different
        sample is beyond its kink is a factor of the product too.
        """
        return self.network(self.polytope.center)

    def vertices(self) -> Iterator[Network]:
        """All optimal networks whose neurons have independent predictions, one at a time: `list` gives them all.

        There can be exponentially many; the first ones come at once. At a vertex with many more zero weights than
        dimensions at most 200,000 sets of them are tried, after which neighbours may be missed.
        """
        return (self.network(alpha) for alpha in self.polytope.vertices())

    def sample(self, k: int, random_state: int = 0) -> tuple[Network, ...]:
        """Random optimal networks, by hit and run in the polytope of weights from its centre.

        Parameters
        ----------
        k : int
        random_state : int, default 0

        Notes
        -----
        Uniform over the polytope in the limit of many steps; ten per dimension are taken between samples.
        """
        rng = np.random.default_rng(check_count(random_state, "random_state", least=0))
        steps = STEPS_PER_DIMENSION * max(self.dimension, 1)
        return tuple(self.network(alpha) for alpha in self.polytope.sample(rng, check_count(k, "k"), steps))

    def minimal_network(self) -> Network:
        """An optimal network no neuron of which can be dropped: a vertex, at most T (n - rank(Q)) neurons.

        Notes
        -----
        Weights are traded along dependences between predictions until these are independent, O(m n^2) (Mishkin and
        Pilanci 2023, Algorithm 1). Not always one with the fewest neurons: see `smallest_network`.
        """
        weights = self.polytope.pruned(self.polytope.center)
        return self.network(weights if not self.fits.open.any() else self._without_spare(weights))

    def _without_spare(self, weights: Array) -> Array:
        """Weights without directions that predictions can make up for: each in turn goes to zero if it can."""
        polytope, m = self.polytope, len(self.directions)
        for e in range(m):
            used = np.concatenate([weights[:m] > 0, np.ones(polytope.size - m, dtype=np.bool_)])
            if weights[e] > 0:
                least = polytope.restricted(used).minimize(np.eye(polytope.size)[e, used])
                if least[int(used[:e].sum())] == 0:
                    weights = np.zeros(polytope.size)
                    weights[used] = least
        return weights

    def smallest_network(self, time_limit: float | None = None) -> Smallest:
        """An optimal network with the fewest neurons, and a proven lower bound on their number.

        Parameters
        ----------
        time_limit : float, optional
            Seconds.

        Notes
        -----
        A mixed-integer program over the weights (HiGHS). The bound speaks of the directions listed: of all optimal
        networks where the set is complete.
        """
        limit = math.inf if time_limit is None else check_number(time_limit, "time_limit", above=0.0)
        return smallest(self, limit)

    def contains(self, network: Network, tol: float = 1e-6) -> Membership:
        """Whether a network is optimal: true or false in a condition, with a `reason`.

        Parameters
        ----------
        network : Network
            Of any width and scaling of its neurons.
        tol : float, default 1e-6
            Relative tolerance of every condition.

        Raises
        ------
        InvalidInputError
            If the network does not fit the problem.
        """
        return membership(self, network, check_number(tol, "tol", above=0.0))

    def path_between(self, a: Network, b: Network, width: int) -> Connection:
        """A path of optimal networks of at most `width` neurons from one to another, if they are connected.

        Parameters
        ----------
        a, b : Network
            Optimal, of at most `width` neurons.
        width : int

        Returns
        -------
        Connection
            True or false in a condition; its `networks` are the corners of the path, along which the objective is
            constant up to `objective_spread`.

        Raises
        ------
        InvalidInputError
            If a network is not optimal, or too wide.

        Notes
        -----
        A breadth-first search over the vertices of the polytope of weights, up to the order of the neurons (Kim,
        Mishkin and Pilanci 2024). With n + 1 neurons there is always a path.
        """
        return path_between(self, a, b, check_count(width, "width", least=0))

    # -- predictions --------------------------------------------------------------------------------------------------

    def minimize(self, objective: Callable[[Any], Any], X_new: Any) -> Minimum:
        """The optimal network whose predictions at new points minimise an objective.

        Parameters
        ----------
        objective : callable
            Takes the predictions, a cvxpy expression (N,), or (N, T) for several tasks, and returns a convex cvxpy
            expression of one number. For a maximum of a concave function return its negative.
        X_new : array (N, d)

        Returns
        -------
        Minimum
            `value` and `network`.

        Raises
        ------
        InvalidInputError
            If the objective is not convex by cvxpy's rules, or unbounded.

        Examples
        --------
        >>> import convexrelu as cr
        >>> problem = cr.TrainingProblem.interpolation([[0.0], [1.0], [2.0], [3.0]], [0.0, 0.0, 1.0, 3.0], bias="free")
        >>> optimal = cr.solve(problem).optimal_set()
        >>> round(-optimal.minimize(lambda f: -f[0], [[1.5]]).value, 6)
        0.5
        """
        return minimize_over(self, objective, self._points(X_new))

    def prediction_range(self, X_new: Any) -> tuple[Array, Array]:
        """The lowest and the highest prediction at new points over all optimal networks.

        Parameters
        ----------
        X_new : array (N, d)

        Returns
        -------
        lower, upper : float64 (N,), or (N, T) for several tasks
            Each attained, but not all by one network; infinite where the data do not determine a free skip (or, of
            softmax, a free output bias).

        Notes
        -----
        Two linear programs in the weights for each point. The range covers every optimal network where the set is
        complete, and otherwise those of the directions found.
        """
        lower, upper = prediction_range(self, self._points(X_new))
        return frozen(lower), frozen(upper)

    def _points(self, X_new: Any) -> Array:
        points = check_matrix(X_new, "X_new")
        if points.shape[1] != self.problem.X.shape[1]:
            raise InvalidInputError(f"`X_new` must have {self.problem.X.shape[1]} columns, got shape {points.shape}.")
        return points


def _one_task_flat(rows: Array) -> Array:
    """Rows (n,) of one task, (n, T) of several."""
    return frozen(rows[:, 0] if rows.shape[1] == 1 else rows)


def _check_bounded(problem: TrainingProblem) -> None:
    separated = problem.dual_domain.n_separated
    if separated:
        raise UnsupportedError(
            f"the optimal set of {problem} is unbounded: {separated} samples let the free linear part grow for ever at "
            "no cost. Drop them, or penalise the skip and the output bias."
        )


def _check_accuracy(optimum: Optimum, least: float) -> None:
    if optimum.accuracy > least:
        raise InvalidInputError(
            f"`result` could not be brought to the optimum: its conditions still fail by {optimum.accuracy:.1g}. "
            "Solve with a smaller `tol`, or rescale the data."
        )


def _check_objective(optimal: OptimalSet, result: Result) -> None:
    """Raise InvalidInputError if rounding of ill-scaled data has made the networks of the set worse than the result."""
    allowed = result.objective + LEAST_ACCURACY * max(result.objective, result.problem.negligible)
    if optimal.objective > allowed:
        raise InvalidInputError(
            f"the optimal set of `result` is lost in rounding: networks of objective {optimal.objective:.9g} came out, "
            f"but that of `result` is {result.objective:.9g}. Rescale the columns of `X` to similar sizes."
        )


def _polytope(optimum: Optimum, directions: Directions, fits: Fits) -> Polytope:
    problem = optimum.problem
    A, Q = vectors(problem, directions.neurons, directions.outputs), free_vectors(problem)
    g = (fits.ends - problem.linear.penalized @ optimum.penalized).ravel()
    total = float(optimum.costs.sum())
    if not fits.open.any():
        return Polytope(A, g, Q, total)
    # Weights of samples are measured in units in which they are about as large as those of directions.
    unit = problem.loss.unit(problem.Y)
    total = total or unit / (float(row_norms(A.T).max(initial=0.0)) or 1.0)
    return Polytope(np.hstack([A, fits.columns(problem.X, problem.Y) * (unit / total)]), g, Q, total)


def _at_vertex(optimum: Optimum, directions: Directions, polytope: Polytope) -> Stationary:
    """The network of a vertex of the polytope: no direction twice, none dependent."""
    alpha = polytope.pruned(polytope.center)
    used = alpha[: len(directions)] > 0
    neurons = alpha[: len(directions)][used, None] * directions.neurons[used]
    free = np.asarray(np.linalg.lstsq(polytope.Q, polytope.g - polytope.A @ alpha, rcond=None)[0], dtype=float)
    linear = np.concatenate([free, optimum.penalized[:, 0]])
    return Stationary.of(optimum.problem, neurons, directions.signs[used], linear, optimum.nu[:, 0], ON_KINK).polished()
