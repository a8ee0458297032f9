"""Objective against time: pattern generation, sampled patterns, and descent on a wide network.

    python tests/benchmarks/comparison.py CASE [--seconds 60] [--torch PYTHON] [--adelie PYTHON] [--picture FILE.png]

CASE is one of `generation.py` with bias "none". PyTorch and adelie run in interpreters of their own, which must have
them (adelie 1.1.52 needs numpy < 2); without the argument they are left out. Prints, for each contestant, its best
objective in the time, its excess over the best of all, and how long ours took to get as low.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.optimize
from generation import cases, problem_of

import convexrelu as cr

SAMPLED = 1000
CONTESTANTS = Path(__file__).parent / "contestants"


def ours(problem, seconds):
    log, began = [], time.perf_counter()
    result = cr.solve(problem, time_limit=seconds, callback=lambda s: log.append((s.seconds, s.objective)))
    return [*log, (time.perf_counter() - began, result.objective)]


def sampled(problem, seconds):
    """The program over 1,000 sampled patterns, by Clarabel."""
    began = time.perf_counter()
    result = cr.solve(problem, patterns=SAMPLED, backend="clarabel", time_limit=seconds)
    return [(time.perf_counter() - began, result.objective)]


def lbfgs(problem, seconds, width=1000):
    """SciPy L-BFGS on the non-convex objective of a wide network."""
    X, y, lam = problem.X, problem.Y[:, 0], problem.weight_decay
    d = X.shape[1]
    rng = np.random.default_rng(0)
    start = np.concatenate([rng.standard_normal(width * d) / np.sqrt(d), rng.standard_normal(width) / np.sqrt(width)])

    def value(theta):
        W, v = theta[: width * d].reshape(width, d), theta[width * d :]
        H = np.maximum(X @ W.T, 0)
        r = H @ v - y
        dW = ((np.outer(r, v)) * (H > 0)).T @ X
        gradient = np.concatenate([dW.ravel(), H.T @ r]) + lam * theta
        return 0.5 * r @ r + 0.5 * lam * theta @ theta, gradient

    log, began = [], time.perf_counter()

    def record(intermediate_result):
        log.append((time.perf_counter() - began, float(intermediate_result.fun)))
        if log[-1][0] > seconds:
            raise StopIteration

    options = {"maxiter": 10**7, "maxfun": 10**8, "ftol": 0.0, "gtol": 0.0}
    scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B", callback=record, options=options)
    return log


def elsewhere(python, script, problem, seconds):
    """A contestant in an interpreter of its own."""
    active = cr.sample_patterns(problem.X, SAMPLED, bias=problem.bias).active
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, X=problem.X, y=problem.Y[:, 0], lam=problem.weight_decay, active=active)
        command = [python, str(CONTESTANTS / script), str(path), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20 * seconds)
    if done.returncode:
        print(done.stderr[-500:])
    return [tuple(map(float, line.split())) for line in done.stdout.splitlines()]


def table(logs):
    best = min(min(value for _, value in log) for log in logs.values() if log)
    print("contestant          objective       excess     at second   ours as low at")
    for name, log in logs.items():
        if not log:
            print(f"{name:20}nothing in the time")
            continue
        at, value = min(log, key=lambda entry: entry[1])
        as_low = next((t for t, v in logs["ours"] if v <= value), float("nan"))
        print(f"{name:20}{value:<16.8g}{value / best - 1:<11.1e}{at:<12.2f}{as_low:.2f}")
    return best


def picture(logs, best, path, title):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for name, log in logs.items():
        if log:
            t, v = np.array(log).T
            plt.loglog(
                np.maximum(t, 0.01), np.maximum(np.minimum.accumulate(v) / best - 1, 1e-9), marker=".", label=name
            )
    plt.xlabel("seconds")
    plt.ylabel("objective above the best (relative)")
    plt.title(title)
    plt.legend()
    plt.savefig(path, dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=[name for name, case in cases().items() if case[1] == "none"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--torch", help="an interpreter that has torch")
    parser.add_argument("--adelie", help="an interpreter that has adelie")
    parser.add_argument("--picture", help="where to write a picture")
    arguments = parser.parse_args()
    problem, _ = problem_of(arguments.case)
    logs = {"ours": ours(problem, arguments.seconds), "L-BFGS": lbfgs(problem, arguments.seconds)}
    logs["sampled, Clarabel"] = sampled(problem, arguments.seconds)
    if arguments.torch:
        logs["Adam"] = elsewhere(arguments.torch, "adam.py", problem, arguments.seconds)
    if arguments.adelie:
        logs["sampled, adelie"] = elsewhere(arguments.adelie, "group_lasso.py", problem, arguments.seconds)
    best = table(logs)
    if arguments.picture:
        picture(logs, best, arguments.picture, arguments.case)
