"""What is true of a trained network, found without `verify`, and the complaints about what `verify` says of it.

Every objective is computed by PyTorch, from the loss and the decay that the training had, never by the package; so is
what training on still gains. The optimum is that of the program over all patterns by cvxpy and Clarabel where it takes
seconds (`oracles.convex_value`: one input, or 20 samples, and one task). Elsewhere it comes from `solve` to 1e-6: its
network only counts for what PyTorch says of it, but its lower bound rests on the package's proof; the only test of it
is then that no network known has a lower objective. The best network known may also be one that `verify` returned: what
PyTorch says of it bounds the optimum from above whoever found it, which can only make the checks stricter.

Letters: `P` the objective of the network at hand, `best` the lowest one known of any network, `bound` the lower bound.
"""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verify_training import LOSSES, Training, adam, descend, lbfgs, module_of

import convexrelu as cr

sys.path.append(str(Path(__file__).parents[1]))
from oracles import convex_value, exact_patterns, hidden_data

TOL = 1e-3
# The optimum counts as proven when this share of it is open.
PROVEN = 1e-5
# Of Clarabel's values: seen 1e-9.
ORACLE = 1e-7
ROUNDING = 1e-9
# "merging collinear neurons" takes directions that float32 cannot tell apart, at 1e-7, for one.
SAME = 1e-6


@dataclass
class Truth:
    """One objective: what PyTorch says of networks, and the optimum from above and from below."""

    X: np.ndarray
    Y: np.ndarray
    loss: str
    decay: float
    biases: str
    oracle: float | None = field(init=False)
    bound: float = field(init=False)
    best: float = math.inf

    def __post_init__(self):
        self.training = Training(torch.tensor(self.X), torch.tensor(self.Y), LOSSES[self.loss], self.decay, self.biases)
        n, T = self.Y.shape
        self.factor = {"squared": n * T / 2, "softmax": n}.get(self.loss, n * T)
        self.oracle = self._oracle()
        patterns = "enumerate" if self.X.shape[1] == 1 and T == 1 else "generate"
        result = cr.solve(self.problem(), patterns=patterns, tol=1e-6, time_limit=60)
        self.bound = result.certificate.lower_bound if self.oracle is None else self.oracle * (1 - ORACLE)
        self.value(torch_net(result.network))

    def problem(self):
        output = "free" if self.biases == "free" else "penalized"
        kinds = {"bias": self.biases, "output_bias": output, "loss": self.loss}
        return cr.TrainingProblem.from_torch(self.X, self.Y, self.decay, **kinds)

    def value(self, net):
        """The objective of a torch network, in the problem's units; the best one is remembered."""
        with torch.no_grad():
            value = self.factor * float(self.training.objective(net))
        self.best = min(self.best, value)
        return value

    def descended(self, net):
        """The lowest objective after L-BFGS, or after 2,000 steps of gradient descent, goes on from a network."""
        first, second = copy.deepcopy(net), copy.deepcopy(net)
        for _ in range(2):
            lbfgs(first, self.training, 200)
        descend(second, self.training, steps=2000, rate=1e-2)
        return min(self.value(n) for n in (net, first, second))

    def trained_on(self, net):
        """The same, or after Adam with a step size from 1e-3 to 0.

        Descent ends early where a knot is in the way; Adam walks over it. Started afresh it moves every weight by its
        step size, however small the gradient: that leaves saddles too, so it does not speak against "stationary".
        """
        return min(self.descended(net), self.value(adam(copy.deepcopy(net), self.training, steps=1000, rate=1e-3)))

    @property
    def is_proven(self):
        return self.best - self.bound <= PROVEN * self.best

    def _oracle(self):
        n, d = self.X.shape
        if self.Y.shape[1] > 1 or (d > 1 and n > 20):
            return None
        if d == 1:
            x = np.unique(self.X)
            right = self.X[:, 0] > (x[1:, None] + x[:-1, None]) / 2
            D = np.vstack([right, ~right, np.ones((1, n), dtype=bool)])
        else:
            D = exact_patterns(hidden_data(self.X, self.biases))
        kinds = {"bias": self.biases, "output_bias": self.biases, "patterns": D, "loss": self.loss}
        return convex_value(self.X, self.Y[:, 0], self.problem().weight_decay, **kinds)

    def __str__(self):
        source = ("certificate" if self.oracle is None else "oracle") + ("" if self.is_proven else ", NOT PROVEN")
        share = (self.best - self.bound) / self.best
        return (
            f"best {self.best:.8g}, from below within {share:.1e} ({source}{'' if self.is_proven else ', NOT PROVEN'})"
        )


def torch_net(network):
    """A network of the package, without a skip, in PyTorch."""
    return module_of(network.hidden, network.hidden_bias, network.output, network.output_bias)


@dataclass
class Row:
    """One network, what `verify` says of it, and what PyTorch does."""

    label: str
    truth: Truth
    v: Any
    net: torch.nn.Module
    other: bool | None  # whether the training had another objective; None if it had, but did not converge to it either
    P: float = field(init=False)
    trained: float = math.nan
    repaired: float = math.nan

    def __post_init__(self):
        self.P, self.improved = self.truth.value(self.net), self.truth.value(torch_net(self.v.improved))
        if self.v.verdict not in (cr.Verdict.STATIONARY, cr.Verdict.NOT_CONVERGED):
            return
        # With several tasks a stationary network may lack neurons of its own patterns.
        self.repaired = self._repaired() if self.truth.Y.shape[1] == 1 else self.P
        # Training on cannot speak against "not converged" once a network of the same patterns speaks for it.
        settled = self.v.verdict is cr.Verdict.NOT_CONVERGED and self._gain(self.repaired) > 0.1 * self.gap
        if self.v.verdict is cr.Verdict.STATIONARY:
            self.trained = self.truth.descended(self.net)
        elif not settled:
            self.trained = self.truth.trained_on(self.net)

    def _repaired(self):
        """The lowest objective of the improvements whose neurons have patterns of the network's own."""
        own = patterns_of(self.v.network, self.truth.X)
        kept = [s.network for s in self.v.improvements if patterns_of(s.network, self.truth.X) <= own]
        return min((self.truth.value(torch_net(network)) for network in kept), default=self.P)

    @property
    def gap(self):
        """The true one, as far as known."""
        return (self.P - self.truth.best) / self.P

    def complaints(self):
        """All that is wrong; the true gap counts to the best network known in the end."""
        v, gap, said = self.v, self.gap, self.v.verdict
        wrong = {
            "objective": abs(v.objective - self.P) > ROUNDING * self.P or not self._adds_up(),
            "improved is worse": self.improved > self.P * (1 + ROUNDING),
            "improved is not optimal": self.truth.is_proven and self.improved * (1 - TOL) > self.truth.bound,
            "bound above the optimum": v.certificate.lower_bound > self.truth.best * (1 + ROUNDING),
            "loose gap": self.truth.is_proven and v.gap > 2 * max(gap, 0.1 * TOL),
            "not optimal": said is cr.Verdict.OPTIMAL and gap > TOL + ROUNDING,
            "nothing better": said not in (cr.Verdict.OPTIMAL, cr.Verdict.UNPROVEN) and gap < TOL - ROUNDING,
            "not stationary": said is cr.Verdict.STATIONARY and self._moves() > max(TOL, 0.1 * gap),
            "converged?": said is cr.Verdict.NOT_CONVERGED and self._moves() < 0.02 * gap,
            "same objective": said is cr.Verdict.DIFFERENT_OBJECTIVE and self.other is False,
            "another objective?": self._missed() and not self.is_undecided,
        }
        return [name for name, is_wrong in wrong.items() if is_wrong]

    @property
    def is_undecided(self):
        """Another objective was missed, with the word that weights do not tell it: only samples on kinks allow that."""
        has_kinks = self.truth.loss in ("absolute", "quantile", "hinge")
        return self._missed() and has_kinks and self.v.stationarity.explanation.is_undecided

    def _missed(self):
        return bool(self.other) and self.v.verdict is not cr.Verdict.DIFFERENT_OBJECTIVE and self.gap > 0.05

    def _gain(self, value):
        return (self.P - value) / self.P

    def _moves(self):
        """What training on gains, or a network of the same patterns: nothing at a directionally stationary point."""
        return self._gain(np.nanmin([self.trained, self.repaired]))

    def _adds_up(self):
        """Parts, the neuron that is missing, and every improvement are what they are said to be."""
        v, X, close = self.v, self.truth.X, ROUNDING * self.P
        right = [abs(sum(v.parts.values()) - self.P) <= close]
        right.append(abs(v.attained_gap - self._gain(min(self.improved, self.P))) <= ROUNDING)
        if v.missing is not None:
            W, V = np.vstack([v.network.hidden, v.missing.hidden]), np.vstack([v.network.output, v.missing.output])
            joined = module_of(W, np.append(v.network.hidden_bias, v.missing.hidden_bias), V, v.network.output_bias)
            right.append(abs(self.truth.value(joined) - v.missing.objective) <= close)
        anywhere = 3 * np.random.default_rng(0).standard_normal((100, X.shape[1]))
        places = {"nothing": np.vstack([X, anywhere]), "off the data": X}
        before = v.network
        for step in v.improvements:
            right.append(abs(self.truth.value(torch_net(step.network)) - step.objective) <= close)
            if step.changes in places:
                x = places[step.changes]
                moved = np.abs(step.network(x) - before(x)).max()
                right.append(moved <= SAME * (1 + np.abs(before(x)).max()))
            before = step.network
        return all(right)


def patterns_of(network, X):
    """The set of activation patterns of the neurons."""
    on = network.hidden @ X.T + network.hidden_bias[:, None] > 0
    return {row.tobytes() for row in on if row.any()}
