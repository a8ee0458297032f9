"""What `verify` says of networks trained by many optimisers, next to the truth. Needs PyTorch.

    python tests/benchmarks/verify_table.py [--quick] [--fresh] [--data NAME ...] [--decay D] [--seed S]

`--fresh` takes data sets that no threshold of `verify` was chosen on. The truth comes from elsewhere: the optimum from
an exact solve to 1e-6, convergence from L-BFGS continued from the network in double precision, and a wrong objective
from knowing how the network was trained. The last column checks that

- the lower bound is not above the best objective known, and "optimal" is true of it within the tolerance,
- the certified gap is at most twice the true one, or a tenth of the tolerance, where the optimum itself was proven,
- "stationary" is said only of networks that L-BFGS does not improve by more than a tenth of their distance,
- "different objective" is said only where the training had one, and wherever it had one that the weights can tell
  (scikit-learn's Adam does not converge: either verdict is right there).
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine, make_friedman1
from sklearn.neural_network import MLPClassifier, MLPRegressor
from verify_training import LOSSES, groups, lbfgs, spoiled, train

import convexrelu as cr

TOL = 1e-3


def scaled(A):
    return (A - A.mean(axis=0)) / A.std(axis=0)


def column(y):
    return scaled(np.asarray(y, dtype=float))[:, None]


def bumps(seed, n):
    """One input, like the accelerations of a motorcyclist's head."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 1, n))
    bump = np.where(x < 0.3, 0.0, -2.5 * np.exp(-((x - 0.42) ** 2) / 0.006) + 1.2 * np.exp(-((x - 0.6) ** 2) / 0.01))
    return scaled(x[:, None]), column(bump + 0.3 * rng.standard_normal(n))


def data_sets():
    """Name -> (X, Y, loss)."""
    diabetes, linnerud, cancer = load_diabetes(), load_linnerud(), load_breast_cancer()
    means, signs = scaled(cancer.data[:, :3]), 2.0 * cancer.target[:, None] - 1
    return {
        "mcycle-like": (*bumps(0, 133), "squared"),
        "linnerud": (scaled(linnerud.target), column(linnerud.data[:, 0]), "squared"),
        "linnerud, T=3": (scaled(linnerud.data), scaled(linnerud.target), "squared"),
        "cancer-3": (means, signs, "squared"),
        "cancer, log": (means, signs, "logistic"),
        "diabetes-10": (scaled(diabetes.data), column(diabetes.target), "squared"),
    }


def fresh_data_sets():
    """The same for data that no threshold was chosen on."""
    iris, wine, linnerud = load_iris(), load_wine(), load_linnerud()
    rng = np.random.default_rng(5)
    waves = np.sort(rng.uniform(-2, 2, 300))
    X, y = make_friedman1(100, n_features=5, noise=1.0, random_state=3)
    lengths = scaled(iris.data[:, :3])
    return {
        "waves": (waves[:, None], column(np.sin(4 * waves) + 0.3 * rng.standard_normal(300)), "squared"),
        "waves, huber": (waves[:, None], column(np.sin(4 * waves) + rng.standard_t(2, 300)), "huber"),
        "waves, abs": (waves[:, None], column(np.sin(4 * waves) + rng.standard_t(2, 300)), "absolute"),
        "iris": (lengths, column(iris.data[:, 3]), "squared"),
        "iris, T=3": (lengths, np.eye(3)[iris.target], "softmax"),
        "iris, hinge": (lengths, 2.0 * (iris.target[:, None] == 1) - 1, "hinge"),
        "iris, sq hinge": (lengths, 2.0 * (iris.target[:, None] == 1) - 1, "squared_hinge"),
        "wine, T=3": (scaled(wine.data[:, [0, 6, 9]]), scaled(np.eye(3)[wine.target]), "squared"),
        "linnerud, T=2": (scaled(linnerud.data[:, :2]), scaled(linnerud.target[:, 1:]), "squared"),
        "friedman-5": (scaled(X), column(y), "squared"),
    }


# -- networks ---------------------------------------------------------------------------------------------------------


def cases(quick):
    """Label, options of `train`, and whether the training had another objective."""
    base = {"optimiser": "adam", "width": 100, "biases": "penalized"}
    yield "adam", base, False
    yield "adam, cosine", base | {"cosine": True, "steps": 6000}, False
    yield "adam, cosine, free biases", base | {"cosine": True, "biases": "free"}, False
    yield "adamw", base | {"optimiser": "adamw", "cosine": True}, True
    yield "sgd", base | {"optimiser": "sgd", "steps": 6000}, False
    yield "l-bfgs", base | {"optimiser": "lbfgs"}, False
    yield "adam, width 10, cosine", base | {"width": 10, "cosine": True, "steps": 6000}, False
    yield "l-bfgs, width 3", base | {"optimiser": "lbfgs", "width": 3}, False
    yield "early stopped", base | {"steps": 60}, False
    yield "mini-batch", base | {"batch": 16}, False
    if not quick:
        yield "adam, width 1000", base | {"width": 1000, "cosine": True}, False
        yield "l-bfgs, width 10", base | {"optimiser": "lbfgs", "width": 10}, False
        yield "l-bfgs, small start", base | {"optimiser": "lbfgs", "scale": 1e-2}, False


# -- truth and table --------------------------------------------------------------------------------------------------


def exact(problem):
    """The optimum, from above and from below."""
    small = problem.arrangement.Z.shape[1] <= 2 and problem.Y.shape[1] == 1
    result = cr.solve(problem, patterns="enumerate" if small else "generate", tol=1e-6, time_limit=60)
    return result.objective, result.certificate.lower_bound


def continued(problem, net):
    """The objective after L-BFGS goes on from a network."""
    factor = len(problem.Y) if problem.loss.couples_tasks else problem.Y.size
    decay = problem.weight_decay / factor * (2 if problem.loss.name == "squared" else 1)
    start = cr.Network.from_torch(net).to_torch()
    X, Y = torch.tensor(np.array(problem.X)), torch.tensor(np.array(problem.Y))
    for _ in range(2):
        lbfgs(start, X, Y, groups(start, decay, problem.bias == "penalized"), LOSSES[problem.loss.name], 200)
    return min(problem.objective(cr.Network.from_torch(start)), problem.objective(cr.Network.from_torch(net)))


def check(v, optimum, bound, polished, other):
    """The complaints about a verification."""
    complaints = []
    true_gap = (v.objective - optimum) / v.objective
    if v.certificate.lower_bound > optimum * (1 + 1e-9):
        complaints.append("bound above the optimum")
    if optimum - bound <= 1e-5 * optimum and v.gap > 2 * max(true_gap, 0.1 * TOL):
        complaints.append("loose gap")
    if v.verdict is cr.Verdict.OPTIMAL and true_gap > TOL + 1e-6:
        complaints.append("not optimal")
    if v.verdict is cr.Verdict.STATIONARY and (v.objective - polished) / v.objective > max(TOL, 0.1 * true_gap):
        complaints.append("not stationary")
    if v.verdict is cr.Verdict.NOT_CONVERGED and converged(v, polished, true_gap):
        complaints.append("converged?")
    if v.verdict is cr.Verdict.DIFFERENT_OBJECTIVE and other is False:
        complaints.append("same objective")
    missed = other and v.verdict is not cr.Verdict.DIFFERENT_OBJECTIVE and true_gap > 0.05
    if missed and not v.stationarity.explanation.is_undecided:
        complaints.append("another objective?")
    if v.problem.objective(v.improved) > v.objective:
        complaints.append("improved is worse")
    return complaints


def converged(v, polished, true_gap):
    """Neither L-BFGS nor the repairs get anywhere, and no knot is in the way (they stop L-BFGS short)."""
    repairs = sum(step.gain for step in v.improvements) / v.objective
    slow = max((v.objective - polished) / v.objective, repairs) < 0.02 * true_gap
    return slow and v.stationarity.directional < 0.03


class Table:
    """Prints a row for each network, and remembers optima and complaints."""

    def __init__(self, time_limit):
        self.time_limit, self.optima, self.complaints = time_limit, {}, 0
        names = ("true gap", "certified", "attained", "l-bfgs", "residual", "directed", "explain", "repairs")
        heads = " ".join(f"{name:>9}" for name in names)
        print(f"{'data':14} {'training':27} {'verdict':20} {heads} {'implied':>8} {'decay':>8} {'sec':>6}  complaints")

    def row(self, name, label, problem, net, other):
        key = (name, problem.bias, problem.weight_decay)
        if key not in self.optima:
            self.optima[key] = exact(problem)
        began = time.process_time()
        v = cr.verify(problem, net, tol=TOL, time_limit=self.time_limit)
        seconds = time.process_time() - began
        optimum, bound = self.optima[key]
        optimum = min(optimum, problem.objective(v.improved))  # the exact solve may have run out of time
        self.optima[key] = optimum, bound
        polished = np.nan if isinstance(net, BaseEstimator) else continued(problem, net)
        complaints = check(v, optimum, bound, polished, other)
        s, gap, rest = v.stationarity, (v.objective - optimum) / v.objective, (v.objective - polished) / v.objective
        repairs = sum(step.gain for step in v.improvements) / v.objective
        numbers = (gap, v.gap, v.attained_gap, rest, s.residual, s.directional, s.explanation.residual, repairs)
        text = " ".join(f"{x:9.1e}" for x in numbers)
        decays = f"{s.implied_weight_decay:8.3g} {problem.weight_decay:8.3g}"
        start = f"{name:14} {label:27} {v.verdict.name:20}"
        print(f"{start} {text} {decays} {seconds:6.1f}  {', '.join(complaints)}", flush=True)
        self.complaints += len(complaints)


def problem_for(X, Y, decay, biases, loss):
    output = "free" if biases == "free" else "penalized"
    return cr.TrainingProblem.from_torch(X, Y, decay, bias=biases, output_bias=output, loss=loss)


def rows_of(table, name, X, Y, loss, options):
    """All rows of a data set."""
    nets = {}
    for label, how, other in cases(options.quick):
        nets[label] = train(X, Y, options.decay, loss=loss, seed=options.seed, **how)
        table.row(name, label, problem_for(X, Y, options.decay, how["biases"], loss), nets[label], other)
    problem = problem_for(X, Y, options.decay, "penalized", loss)
    for how in ("duplicated", "unbalanced", "dead"):
        table.row(name, f"l-bfgs, {how}", problem, spoiled(nets["l-bfgs"], how), False)
    free = problem_for(X, Y, options.decay, "free", loss)
    table.row(name, "decayed, said to be free", free, nets["adam, cosine"], True)
    if loss not in ("squared", "logistic", "softmax"):
        return
    for solver in ("lbfgs", "adam"):
        alpha = options.decay * len(X) * (0.5 if loss == "squared" else 1.0)
        settings = {"max_iter": 3000, "random_state": options.seed, "tol": 1e-9, "max_fun": 10**6}
        kind = MLPRegressor if loss == "squared" else MLPClassifier
        labels = Y.argmax(axis=1) if loss == "softmax" else Y[:, 0] if Y.shape[1] == 1 else Y
        mlp = kind(hidden_layer_sizes=100, alpha=alpha, solver=solver, **settings).fit(X, labels)
        # Adam's mini-batches of 200 decay by alpha / 200 each, not alpha / n.
        other = None if solver == "adam" and len(X) > 200 else False
        table.row(name, f"scikit-learn, {solver}", cr.TrainingProblem.from_sklearn(X, Y, alpha, loss=loss), mlp, other)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--data", nargs="*")
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table(options.time_limit)
    for name, (X, Y, loss) in (fresh_data_sets() if options.fresh else data_sets()).items():
        if not options.data or name in options.data:
            rows_of(table, name, X, Y, loss, options)
    print(f"{table.complaints} complaints")


if __name__ == "__main__":
    main()
