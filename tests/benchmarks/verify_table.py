"""What `verify` says of networks trained by many optimisers, next to the truth. Needs PyTorch.

    python tests/benchmarks/verify_table.py [--quick] [--fresh] [--data NAME ...] [--decay D] [--seed S] [--cpu-clock]
        [--cache FOLDER]

`--fresh` takes data sets that no threshold of `verify` was chosen on. With `--cpu-clock` time limits count seconds of
the processor, for a machine that has other work; `--cache` keeps trained networks, which take half of the time. The
truth is found without `verify`, by PyTorch, an oracle and `solve` (see `verify_truth`). The last column complains where

- objective: an objective (of the network, with the missing neuron, after a repair), the sum of the parts or the
  attained gap is not what PyTorch says to 1e-9; or a repair changes the function, or the fit, and says it does not;
- improved is worse; or where the optimum is proven, improved is not optimal: not within the tolerance;
- bound above the optimum: the lower bound is above the objective of the best network known;
- loose gap: the optimum is proven, and the certified gap more than twice the true one and a fifth of the tolerance;
- not optimal: "optimal" is said of a network that the best one known beats by more than the tolerance;
- nothing better: "stationary", "not converged" or "different objective" is said of one that no network known beats so;
- not stationary: "stationary" is said, but L-BFGS or gradient descent going on from the network, or a network in hand
  of no other activation patterns, gains more than the tolerance and a tenth of the distance to the best one known;
- converged?: "not converged" is said, but none of these, nor Adam, gains 2 % of that distance. (A directionally
  stationary network of one task is the best of its own patterns, theory B.7; with several tasks these do not count.)
- same objective: "different objective" is said, and the training had the stated one;
- another objective?: the training had another one, the true gap is above 0.05, and "different objective" is not said.
  Losses with kinks have the excuse that `verify` says that the weights do not tell: counted apart, as "undecided".

scikit-learn's Adam in batches decays by other than the stated amount, and its constant steps end far from stationary
for either: "different objective" and "not converged" are both right there. True gaps are to the best network known in
the end. Columns: "trained" and "own" are what training on (where it matters) and a network of the same patterns gain;
seconds are those of `verify`, CPU and wall. Ctrl-C ends a data set with the networks that are done.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine, make_friedman1
from sklearn.neural_network import MLPClassifier, MLPRegressor
from verify_training import module, module_of, spoiled, train
from verify_truth import ROUNDING, TOL, Row, Truth

import convexrelu as cr


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


# -- table ------------------------------------------------------------------------------------------------------------


class Table:
    """Verifies networks of one data set, and prints a row for each when all are known."""

    def __init__(self, X, Y, loss, options):
        self.rows, self.truths = [], {}
        self.X, self.Y, self.loss, self.options = X, Y, loss, options

    def add(self, label, biases, net, other, model=None, problem=None):
        """A torch network, and the model it came from if that is another."""
        print(label, end="; ", file=sys.stderr, flush=True)
        if biases not in self.truths:
            self.truths[biases] = Truth(self.X, self.Y, self.loss, self.options.decay, biases)
        truth = self.truths[biases]
        cpu, wall = time.process_time(), time.monotonic()
        v = cr.verify(problem or truth.problem(), model or net, tol=TOL, time_limit=self.options.time_limit)
        seconds = time.process_time() - cpu, time.monotonic() - wall
        self.rows.append((Row(label, truth, v, net, other), *seconds))

    def show(self, name):
        """Print all; return the numbers of complaints and of rows left undecided."""
        names = ("true gap", "certified", "attained", "trained", "own", "residual", "directed", "explain")
        heads = " ".join(f"{n:>9}" for n in names)
        last = f"{'implied':>8} {'decay':>8} {'cpu':>5} {'wall':>5} complaints"
        print(f"{name + ':':29} {'verdict':20} {heads} {last}")
        for row, cpu, wall in self.rows:
            s, v, P = row.v.stationarity, row.v, row.P
            gains = (P - row.trained) / P, (P - row.repaired) / P
            numbers = (row.gap, v.gap, v.attained_gap, *gains, s.residual, s.directional, s.explanation.residual)
            text = " ".join(f"{x:9.1e}" for x in numbers)
            decays = f"{s.implied_weight_decay:8.3g} {v.problem.weight_decay:8.3g}"
            said = [*row.complaints(), *(["(undecided)"] if row.is_undecided else [])]
            print(f"  {row.label:27} {v.verdict.name:20} {text} {decays} {cpu:5.1f} {wall:5.1f} {', '.join(said)}")
        for biases, truth in self.truths.items():
            below = truth.best < truth.bound * (1 - ROUNDING)
            print(f"  biases {biases}: {truth}{' BELOW THE BOUND' if below else ''}", flush=True)
        rows = [row for row, *_ in self.rows]
        return np.array([len(rows), sum(len(r.complaints()) for r in rows), sum(r.is_undecided for r in rows)])


def trained(X, Y, options, **how):
    """A trained network, from the cache if it is there."""
    if options.cache is None:
        return train(X, Y, options.decay, seed=options.seed, **how)
    told = repr(sorted(how.items())) + repr((options.decay, options.seed, torch.__version__))
    key = hashlib.sha256(told.encode() + X.tobytes() + Y.tobytes()).hexdigest()[:20]
    path = Path(options.cache) / f"{key}.pt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(train(X, Y, options.decay, seed=options.seed, **how).state_dict(), path)
    net = module(X.shape[1], how["width"], Y.shape[1], 0)
    net.load_state_dict(torch.load(path, weights_only=True))
    return net


def rows_of(table, X, Y, loss, options):
    """All networks of a data set."""
    nets = {}
    for label, how, other in cases(options.quick):
        nets[label] = trained(X, Y, options, loss=loss, **how)
        table.add(label, how["biases"], nets[label], other)
    for how in ("duplicated", "unbalanced", "dead"):
        table.add(f"l-bfgs, {how}", "penalized", spoiled(nets["l-bfgs"], how), False)
    table.add("decayed, said to be free", "free", nets["adam, cosine"], True)
    if loss not in ("squared", "logistic", "softmax"):
        return
    for solver in ("lbfgs", "adam"):
        alpha = options.decay * len(X) * (0.5 if loss == "squared" else 1.0)
        settings = {"max_iter": 3000, "random_state": options.seed, "tol": 1e-9, "max_fun": 10**6}
        kind = MLPRegressor if loss == "squared" else MLPClassifier
        labels = Y.argmax(axis=1) if loss == "softmax" else Y[:, 0] if Y.shape[1] == 1 else Y
        mlp = kind(hidden_layer_sizes=100, alpha=alpha, solver=solver, **settings).fit(X, labels)
        net = module_of(mlp.coefs_[0].T, mlp.intercepts_[0], mlp.coefs_[1], mlp.intercepts_[1])
        # Adam's mini-batches of 200 decay by alpha / 200 each, not alpha / n.
        other = None if solver == "adam" and len(X) > 200 else False
        problem = cr.TrainingProblem.from_sklearn(X, Y, alpha, loss=loss)
        table.add(f"scikit-learn, {solver}", "free", net, other, mlp, problem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--data", nargs="*")
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--cpu-clock", action="store_true")
    parser.add_argument("--cache")
    options = parser.parse_args()
    if options.cpu_clock:
        time.perf_counter = time.process_time
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what runs in the background ignore it
    warnings.simplefilter("ignore")
    total = np.zeros(3, dtype=int)
    for name, (X, Y, loss) in (fresh_data_sets() if options.fresh else data_sets()).items():
        if not options.data or name in options.data:
            table = Table(X, Y, loss, options)
            try:
                rows_of(table, X, Y, loss, options)
            except KeyboardInterrupt:  # what there is so far
                name += ", interrupted"
            total += table.show(name)
    print("{} networks, {} complaints, {} undecided".format(*total))


if __name__ == "__main__":
    main()
