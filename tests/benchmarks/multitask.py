"""Several tasks: seconds and proven gap; digits against PyTorch's Adam.

    python tests/benchmarks/multitask.py
    python tests/benchmarks/multitask.py --torch PYTHON [--seconds 60] [--weight-decay 1] [--loss squared]

With an interpreter that has torch: the objective on digits (1797 x 64, 10 classes, pixels / 16) that `solve` reaches in
the time, and what Adam does (full batch, cosine schedule, width 500, 32 bits, at three rates) in as
much. Contestants run in turns on one core; CPU seconds are printed because other processes may take part of it.
"""

import argparse
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_linnerud

import convexrelu as cr


def standardized(A):
    return (A - A.mean(axis=0)) / A.std(axis=0)


def random_problem(n, d, T, weight_decay):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    Y = np.maximum(X @ rng.standard_normal((d, 6)), 0.0) @ rng.standard_normal((6, T))
    return cr.TrainingProblem(X, Y + 0.1 * rng.standard_normal((n, T)), weight_decay)


def digits(python, seconds, weight_decay, losses):
    X, y = load_digits(return_X_y=True)
    X, Y = X / 16, np.eye(10)[y]
    for loss in losses:
        problem = cr.TrainingProblem(X, Y if loss == "squared" else y, weight_decay, loss)
        print(f"digits, {loss} loss, weight decay {weight_decay:g}, {seconds:g} s", flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        result = cr.solve(problem, time_limit=seconds, tol=1e-4)
        took = f"{time.perf_counter() - wall:6.1f} s wall {time.process_time() - cpu:6.1f} s cpu"
        print(f"  {'convexrelu':24s} {took}  {result.objective:.5f}  {result}", flush=True)
        for options in ("--rate 1e-2 --float32", "--rate 3e-3 --float32", "--rate 1e-3 --float32"):
            adam(
                python,
                seconds,
                options,
                X=np.column_stack([X, np.ones(len(X))]),
                Y=Y,
                softmax=loss == "softmax",
                lam=weight_decay,
            )


def adam(python, seconds, options, **problem):
    """Adam in an interpreter of its own, at a penalised bias: that of a column of ones."""
    script = Path(__file__).parent / "contestants" / "adam.py"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, **problem)
        command = [python, str(script), str(path), str(seconds), "--width", "500", *options.split()]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    at, value = map(float, done.stdout.splitlines()[-1].split())
    print(f"  Adam {options:25s} {at:6.1f} s wall {cpu:6.1f} s cpu  {value:.5f}", flush=True)


def main():
    linnerud = [standardized(A) for A in load_linnerud(return_X_y=True)]
    iris = load_iris(return_X_y=True)
    cases = [
        ("linnerud, weight decay 1", cr.TrainingProblem(*linnerud, 1.0), 1e-6),
        ("linnerud, weight decay 3", cr.TrainingProblem(*linnerud, 3.0), 1e-6),
        ("raw iris, softmax, weight decay 1", cr.TrainingProblem(*iris, 1.0, "softmax"), 1e-3),
        ("n=100, d=4, T=5, weight decay 1", random_problem(100, 4, 5, 1.0), 1e-3),
        ("n=100, d=4, T=5, weight decay 10", random_problem(100, 4, 5, 10.0), 1e-3),
    ]
    for name, problem, tol in cases:
        wall, cpu = time.perf_counter(), time.process_time()
        result = cr.solve(problem, tol=tol, time_limit=120)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name:34s} {wall:6.1f} s wall {cpu:6.1f} s cpu  {result}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", help="an interpreter that has torch")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--loss", choices=("squared", "softmax"), help="of digits; both by default")
    arguments = parser.parse_args()
    if arguments.torch:
        losses = [arguments.loss] if arguments.loss else ["squared", "softmax"]
        digits(arguments.torch, arguments.seconds, arguments.weight_decay, losses)
    else:
        main()
