"""Several tasks: seconds and proven gap. Run `python tests/benchmarks/multitask.py`."""

import time

import numpy as np
from sklearn.datasets import load_linnerud

import convexrelu as cr


def standardized(A):
    return (A - A.mean(axis=0)) / A.std(axis=0)


def random_problem(n, d, T, weight_decay):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    Y = np.maximum(X @ rng.standard_normal((d, 6)), 0.0) @ rng.standard_normal((6, T))
    return cr.TrainingProblem(X, Y + 0.1 * rng.standard_normal((n, T)), weight_decay)


def main():
    linnerud = [standardized(A) for A in load_linnerud(return_X_y=True)]
    cases = [
        ("linnerud, weight decay 1", cr.TrainingProblem(*linnerud, 1.0), 1e-6),
        ("linnerud, weight decay 3", cr.TrainingProblem(*linnerud, 3.0), 1e-6),
        ("n=100, d=4, T=5, weight decay 1", random_problem(100, 4, 5, 1.0), 1e-3),
        ("n=100, d=4, T=5, weight decay 10", random_problem(100, 4, 5, 10.0), 1e-3),
    ]
    for name, problem, tol in cases:
        wall, cpu = time.perf_counter(), time.process_time()
        result = cr.solve(problem, tol=tol, time_limit=120)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{name:34s} {wall:6.1f} s wall {cpu:6.1f} s cpu  {result}", flush=True)


if __name__ == "__main__":
    main()
