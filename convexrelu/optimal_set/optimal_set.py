"""`OptimalSet`: all globally optimal networks of a problem.

Letters: `(u_e, s_e)` active directions (`convexrelu.optimal_set.directions`), `alpha` (m,) their weights, `a_e = s_e
relu(Z u_e)` their predictions, `Q_f beta_f`, `Q_p beta_p` the free and the penalised linear part, `f` the optimal
predictions, which are unique, `lam` the price of norm.

    f = sum_e alpha_e a_e + Q_f beta_f + Q_p beta_p,   alpha >= 0;   cost lam sum(alpha), the same all over the set

Every optimal network comes from such weights: each neuron has an active direction, |neuron| = |output weight|, and the
products of the two add up to alpha_e over the neurons of direction e; with a free bias a neuron may also lie on a
segment, between the two directions that share its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from convexrelu.arrays import Array, frozen
from convexrelu.errors import InvalidInputError
from convexrelu.network import Network
from convexrelu.optimal_set.directions import Census, Directions
from convexrelu.optimal_set.membership import Membership, membership
from convexrelu.optimal_set.polish import check_supported, network_of_neurons, polish, without_idle_samples
from convexrelu.optimal_set.polytope import POSITIVE, Polytope
from convexrelu.optimal_set.predictions import Minimum, minimize_over, outside_span, prediction_range
from convexrelu.optimal_set.proof import Proof, census_of
from convexrelu.optimal_set.smallest import Smallest, smallest
from convexrelu.optimal_set.stationary import Stationary
from convexrelu.problem import TrainingProblem
from convexrelu.result import Result
from convexrelu.validation import check_count, check_matrix, check_number

# Relative: a direction is active when its correlation reaches the price of norm up to this, or up to ten times what
# polishing leaves. Polished correlations are exact to about 1e-14.
ACTIVE = 1e-9
# Polishing that leaves more than this has failed.
LEAST_ACCURACY = 1e-7
# Steps of hit and run between two samples, per dimension.
STEPS_PER_DIMENSION = 10


@dataclass(frozen=True, eq=False)
class OptimalSet:
    """The set of all optimal networks.

    Made by `Result.optimal_set()`. It is determined by the optimal predictions and dual variable, which Newton's method
    brings to rounding first, and by the directions that are active at that dual variable.

    Attributes
    ----------
    problem : TrainingProblem
        Without samples of weight zero.
    directions : Directions
    polytope : Polytope
        The weights of the directions.
    state : Stationary
        An optimal network with independent neurons, and the dual variable.
    accuracy : float
        Largest violation of the optimality conditions by `state`, relative.
    complete : bool
        Whether it is proven that no other direction is active: that the set is all optimal networks (for a result
        optimal among given patterns: all with these patterns).
    completeness : str
        How that was proven, or why it was not.

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
    polytope: Polytope
    state: Stationary
    accuracy: float
    complete: bool
    completeness: str

    @classmethod
    def of(cls, result: Result) -> OptimalSet:
        """The optimal set of a solved problem; see `Result.optimal_set`."""
        check_supported(result.problem, "the optimal set")
        problem = without_idle_samples(result.problem)
        patterns = result.patterns if result.certificate.scope == "patterns" else None
        state, accuracy = polish(result, problem, patterns)
        if accuracy > LEAST_ACCURACY:
            raise InvalidInputError(
                f"`result` could not be brought to the optimum: its conditions still fail by {accuracy:.1g}. Solve "
                "with a smaller `tol`, or rescale the data."
            )
        census = Census(state, patterns, max(ACTIVE, 10 * accuracy))
        proof: Proof = census_of(census, result)
        polytope = _polytope(state, proof.directions)
        vertex = _at_vertex(state, proof.directions, polytope)
        return cls(problem, proof.directions, polytope, vertex, accuracy, proof.complete, proof.text)

    def __repr__(self) -> str:
        kind = "complete" if self.complete else "not proven complete"
        return f"OptimalSet({len(self.directions)} active directions, dimension {self.dimension}, {kind})"

    @property
    def penalized(self) -> Array:
        """Coefficients of the penalised linear columns: the same in every optimal network."""
        return self.state.linear[self.state.n_free :]

    @property
    def fit(self) -> Array:
        """The optimal predictions (n,) on the samples of positive weight: the same in every optimal network."""
        return frozen(self.state.fit)

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
        if self.dimension:
            count = int(self.polytope.can_be_positive.sum())
            found.append(f"weight can be traded between {count} active directions in {self.dimension} independent ways")
        heavy = self.polytope.bounds[1] > POSITIVE * self.polytope.total
        segments, rays = self.directions.segments, self.directions.rays
        if heavy[segments].all(axis=1).any():
            found.append("the bias of a neuron is free between the kinks of two samples")
        if heavy[rays].any():
            found.append("the bias of a neuron that is on at every sample is free")
        if outside_span(self.problem, self.problem.X.mean(axis=0) + np.eye(self.problem.X.shape[1])).any():
            found.append("the data leave the free skip undetermined in some direction")
        return found

    # -- networks -----------------------------------------------------------------------------------------------------

    def network(self, weights: Any) -> Network:
        """The optimal network with given weights (m,) of the directions, one neuron for each positive one.

        Raises
        ------
        InvalidInputError
            If the weights are not in the polytope, to 1e-6 of their sum.
        """
        alpha = np.asarray(weights, dtype=float)
        if alpha.shape != (self.polytope.size,) or not np.isfinite(alpha).all():
            raise InvalidInputError(
                f"`weights` must be {self.polytope.size} numbers, one for each direction; got shape {alpha.shape}."
            )
        nearest = self.polytope.corrected(alpha)
        if np.abs(nearest - alpha).max(initial=0.0) > 1e-6 * (self.polytope.total or 1.0):
            raise InvalidInputError(
                "`weights` are not in the polytope: the network would not predict what optimal networks do. Write "
                "convex combinations of weights that are, such as `polytope.center`."
            )
        return self.network_of(self.directions.neurons, self.directions.signs, nearest, self.polytope)

    def network_of(self, neurons: Array, signs: Array, alpha: Array, polytope: Polytope) -> Network:
        """The network of directions (m', k), signs and weights (m',), its free linear part fitted."""
        rest = polytope.g - polytope.A @ alpha
        free = np.asarray(np.linalg.lstsq(polytope.Q, rest, rcond=None)[0], dtype=float)
        return network_of_neurons(self.problem, alpha[:, None] * neurons, signs, free, self.penalized)

    def center(self) -> Network:
        """A network in the relative interior: every direction that some optimal network uses has a neuron."""
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
        """An optimal network no neuron of which can be dropped: a vertex, at most n - rank(Q) neurons.

        Notes
        -----
        Weights are traded along dependences between predictions until these are independent, O(m n^2) (Mishkin and
        Pilanci 2023, Algorithm 1). Not always one with the fewest neurons: see `smallest_network`.
        """
        return self.network(self.polytope.pruned(self.polytope.center))

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

    # -- predictions --------------------------------------------------------------------------------------------------

    def minimize(self, objective: Callable[[Any], Any], X_new: Any) -> Minimum:
        """The optimal network whose predictions at new points minimise an objective.

        Parameters
        ----------
        objective : callable
            Takes the predictions, a cvxpy expression (N,), and returns a convex cvxpy expression of one number. For a
            maximum of a concave function return its negative.
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
        lower, upper : float64 (N,), float64 (N,)
            Each attained, but not all by one network; infinite where a free skip is not determined by the data.

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


def _polytope(state: Stationary, directions: Directions) -> Polytope:
    problem = state.problem
    A = directions.signs * np.maximum(problem.arrangement.Z @ directions.neurons.T, 0.0)
    g = state.fit - problem.linear.penalized @ state.linear[state.n_free :]
    return Polytope(A, g, problem.linear.free, float(state.costs.sum()))


def _at_vertex(state: Stationary, directions: Directions, polytope: Polytope) -> Stationary:
    """The state with one neuron for each direction of a vertex of the polytope: none twice, none dependent."""
    alpha = polytope.pruned(polytope.center)
    used = alpha > 0
    neurons = alpha[used, None] * directions.neurons[used]
    free = np.asarray(np.linalg.lstsq(polytope.Q, polytope.g - polytope.A @ alpha, rcond=None)[0], dtype=float)
    linear = np.concatenate([free, state.linear[state.n_free :]])
    return Stationary.of(state.problem, neurons, directions.signs[used], linear, state.nu, ACTIVE).polished()
