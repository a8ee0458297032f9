"""`Verification`: what is known about a trained network, number by number, and the `Verdict` that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from convexrelu.arrays import Array
from convexrelu.certificate import Certificate
from convexrelu.improvements import DESCENDING, RESOLVING, Improvement
from convexrelu.network import Network
from convexrelu.optimal_range import OptimalRange, outside
from convexrelu.problem import TrainingProblem
from convexrelu.solve import solve
from convexrelu.stationarity import Stationarity
from convexrelu.subgradient import KINK
from convexrelu.validation import check_matrix


class Verdict(Enum):
    """What a network is, judged by proofs and by better networks, never by what a search failed to find."""

    OPTIMAL = "globally optimal"
    STATIONARY = "stationary but not optimal"
    NOT_CONVERGED = "not converged"
    DIFFERENT_OBJECTIVE = "trained on a different objective"
    UNPROVEN = "not proven"

    @property
    def advice(self) -> str:
        """One line."""
        return _ADVICE[self]


_ADVICE = {
    Verdict.OPTIMAL: "No network of any width is better by more than the tolerance; that is proven.",
    Verdict.STATIONARY: "At or next to a spurious stationary point: the gradient leads nowhere, new neurons do "
    "(`verification.improved`), and so may a kick to those that have shrunk to nothing.",
    Verdict.NOT_CONVERGED: "Train longer, with a smaller step size at the end, or take `verification.improved`.",
    Verdict.DIFFERENT_OBJECTIVE: "Check weight decay, loss reduction, and which parameters are decayed; AdamW's decay "
    "and decay per mini-batch are not the objective's. Training that ended before the decay acted looks the same.",
    Verdict.UNPROVEN: "No network that is better by more than the tolerance was found, none was ruled out: allow more "
    "`time_limit`.",
}


UNDECIDED = (
    "the weights do not tell which: the samples on kinks of the loss stay there under either weight decay. Another one "
    "(AdamW's) was in force, or the stated one had no time to act"
)
FITS = {
    RESOLVING: "the best network found with these activation patterns",
    DESCENDING: "what gradient descent still finds from there",
}


@dataclass(frozen=True, eq=False)
class MissingNeuron:
    """A neuron that lowers the objective when it joins the network.

    Attributes
    ----------
    hidden, hidden_bias, output : float64 (d,), float, float64 (T,)
        Balanced, at the best length.
    correlation : float
        With the residual, at cost one: above the weight decay, or it would not help.
    objective : float
        Of the network with it.
    gain : float
        By which that is lower.
    """

    hidden: Array
    hidden_bias: float
    output: Array
    correlation: float
    objective: float
    gain: float


@dataclass(frozen=True, eq=False, repr=False)
class Verification:
    """How far a trained network is from the global optimum, why, and what to do.

    Attributes
    ----------
    verdict : Verdict
    certificate : Certificate
        Objective, lower bound for every network of every width, gap: the network is at most this far from optimal.
    attained_gap : float
        (objective - that of the best network known) / objective: it is at least this far.
    parts : mapping of str to float
        The objective as a sum: the loss, and half the weight decay times the squares of each kind of weights.
    improvements : tuple of Improvement
        Rebalancing, removing dead neurons, merging, re-solving, training on, in this order, with what each gains.
    stationarity : Stationarity
    missing : MissingNeuron or None
        The best neuron found that the network lacks.
    prediction_distance : float
        Root mean square difference on the data to the best network's predictions.
    prediction_spread : float
        Standard deviation of the targets, to compare with.
    optimal_range : OptimalRange or str
        The range over all globally optimal networks at a few points, and how far predictions are outside; or the reason
        why it was not computed.
    rounding : float
        Largest difference on the data between the model's own predictions and its weights evaluated in float64.
    network : Network
        The model as read.
    improved : Network
        The best network known: the solver's, or the last improvement.
    problem : TrainingProblem
    tol : float
    notes : tuple of str
        What was learnt on reading the model.
    left_out : tuple of str
        What the time limit cut short.
    """

    verdict: Verdict
    certificate: Certificate
    attained_gap: float
    parts: Mapping[str, float]
    improvements: tuple[Improvement, ...]
    stationarity: Stationarity
    missing: MissingNeuron | None
    prediction_distance: float
    prediction_spread: float
    optimal_range: OptimalRange | str
    rounding: float
    network: Network
    improved: Network
    problem: TrainingProblem
    tol: float
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def objective(self) -> float:
        """The objective of the network as it is."""
        return self.certificate.objective

    @property
    def gap(self) -> float:
        """The certified relative gap."""
        return self.certificate.gap

    def distance_to_optimal(self, X_new: Any = None) -> Array:
        """How far predictions lie outside the range over all globally optimal networks.

        Parameters
        ----------
        X_new : array (N, d), optional
            Where to predict; by default on the data, where all optimal networks agree if the loss is strictly convex.

        Returns
        -------
        float64 (N,), or (N, T) for several tasks
            Zero where some optimal network predicts the same. Where the optimal set is not `complete` the range is that
            of the optimal networks found, and the distance may be too large.

        Raises
        ------
        InvalidInputError
            If the problem is not solved to a proven optimum.
        UnsupportedError
            For losses of one's own that are flat or have kinks, and where optimal weights have no bound.

        Notes
        -----
        Solves the problem again, to high accuracy, from `improved`; then two linear programs for each prediction.

        Examples
        --------
        >>> import convexrelu as cr
        >>> problem = cr.TrainingProblem([[1.0], [-1.0]], [1.0, 1.0], 0.1, bias="none")
        >>> blind = cr.Network([[1.0]], None, [[0.9]], bias="none")
        >>> cr.verify(problem, blind).distance_to_optimal().round(4).tolist()
        [0.0, 0.9]
        """
        points = self.problem.X if X_new is None else check_matrix(X_new, "X_new")
        optimal = solve(self.problem, tol=1e-8, warm_start=self.improved, canonical=False).optimal_set()
        return outside(self.network, points, *optimal.prediction_range(points))

    def __repr__(self) -> str:
        return (
            f"Verification({self.verdict.name}, objective={self.objective:.8g}, "
            f"lower_bound={self.certificate.lower_bound:.8g}, gap={self.gap:.2g}, attained_gap={self.attained_gap:.2g})"
        )

    def __str__(self) -> str:
        return self.report()

    def report(self) -> str:
        """Each number with a plain sentence."""
        lines = [f"{self.verdict.value.capitalize()}. {self.verdict.advice}", ""]
        lines += [f"  {value:>11}  {sentence}" for value, sentence in self.findings()]
        notes = [*self.notes, *(f"cut short by the time limit: {what}" for what in self.left_out)]
        return "\n".join([*lines, *(f"  note: {note}" for note in notes)])

    def findings(self) -> list[tuple[str, str]]:
        """The numbers of the report, as text, and what each means."""
        return [*self._objective(), *self._gains(), *self._stationary(), *self._predictions()]

    def _objective(self) -> list[tuple[str, str]]:
        c = self.certificate
        better = self.problem.objective(self.improved)
        rows = [(f"{c.objective:.6g}", f"objective of the network ({self.network.n_neurons} neurons), of which")]
        rows += [(f"{value:.6g}", f"  {name}") for name, value in self.parts.items()]
        rows.append((f"{c.lower_bound:.6g}", "proven: no network of any width has a lower objective than this"))
        rows.append(
            (f"{c.gap:.2e}", "certified gap: no network of any width saves more than this fraction of the objective")
        )
        found = (
            f"attained gap: a network of {self.improved.n_neurons} neurons, of objective {better:.6g}, saves this much"
        )
        none = "no better network was found"
        rows.append((f"{self.attained_gap:.2e}", found if self.attained_gap > 0 else none))
        return rows

    def _gains(self) -> list[tuple[str, str]]:
        size = max(abs(self.objective), 1e-300)
        rows = []
        for step in self.improvements:
            change = {"nothing": "the same function everywhere", "off the data": "the same predictions on the data"}
            told = change.get(step.changes, FITS.get(step.name, ""))
            left = f"{step.network.n_neurons} neurons left, objective {step.objective:.6g}"
            rows.append((f"{step.gain / size:.2e}", f"gained by {step.name} ({told}); {left}"))
        if not any(step.name == RESOLVING for step in self.improvements):
            kinks = "" if self.problem.loss.is_smooth else ", as the loss has kinks"
            rows.append(("-", f"not re-solved over its own patterns: too many for seconds{kinks}"))
        if self.missing is not None:
            told = "gained by one more neuron, the others as they are: its correlation with the residual is"
            pair = f"{self.missing.correlation:.4g}, the weight decay {self.problem.weight_decay:.4g}"
            rows.append((f"{self.missing.gain / size:.2e}", f"{told} {pair}"))
        return rows

    def _stationary(self) -> list[tuple[str, str]]:
        s, lam = self.stationarity, self.problem.weight_decay
        rows = [
            (f"{s.gradient:.2e}", "plain gradient, relative to the decay's pull; not zero at an optimum with kinks")
        ]
        rows += [
            (f"{residual:.2e}", f"smallest over the slopes at knots within {tol:g} of a sample")
            for tol, residual in s.curve
        ]
        rows.append(
            (f"{s.directional:.2e}", f"the same within {KINK:g}, both slopes tried on concave kinks (directional)")
        )
        rows.append(
            (f"{s.implied_weight_decay:.4g}", f"weight decay that the weights balance; the stated one is {lam:.4g}")
        )
        e = s.explanation
        decayed = " and ".join(["the weights", *(name.replace("_", " ") for name in e.decayed)])
        rows.append((f"{e.residual:.2e}", f"residual of the best fitting objective: {e.weight_decay:.4g} on {decayed}"))
        if e.is_undecided:
            rows.append(("-", UNDECIDED))
        return rows

    def _predictions(self) -> list[tuple[str, str]]:
        spread = f"the targets' standard deviation is {self.prediction_spread:.3g}"
        rows = [(f"{self.prediction_distance:.3g}", f"root mean square distance of predictions to the best; {spread}")]
        rows.append(self._range())
        rows.append((f"{self.rounding:.2e}", "largest difference between the model's own arithmetic and float64"))
        return rows

    def _range(self) -> tuple[str, str]:
        r = self.optimal_range
        if isinstance(r, str):
            return "-", f"not compared with the range over all optimal networks ({r}): `distance_to_optimal()` does"
        where = f"at {r.n_samples} samples and {len(r.points) - r.n_samples} points between neighbours"
        known = "all optimal networks" if r.complete else "the optimal networks found, not proven to be all"
        told = f"root mean square distance to the range over {known}, {where}; it is {r.width:.2g} wide"
        return f"{r.root_mean_square:.3g}", told
