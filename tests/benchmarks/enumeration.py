"""Times of what should be instant: importing, a tiny solve, listing all patterns, real data over all patterns.

    python tests/benchmarks/enumeration.py

Wall-clock seconds, the best of a few runs; set OMP_NUM_THREADS=1 for one core.
"""

import subprocess
import sys
import time

import numpy as np
from sklearn.datasets import load_diabetes, load_linnerud

import convexrelu as cr


def best_of(repeats, function):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        value = function()
        times.append(time.perf_counter() - began)
    return min(times), value


def importing():
    code = "import time; t = time.perf_counter(); import convexrelu; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))


def tiny(**options):
    rng = np.random.default_rng(0)
    problem = cr.TrainingProblem(rng.standard_normal((10, 2)), rng.standard_normal(10), 0.1)
    return best_of(9, lambda: cr.solve(problem, **options))


def real_data():
    X, y = load_diabetes(return_X_y=True)
    exercises, physiology = load_linnerud(return_X_y=True)
    chins = exercises[:, 0]
    yield "diabetes, bmi, rank 2", cr.TrainingProblem(X[:, [2]], y, 10.0)
    for bias in ("none", "penalized"):
        yield f"linnerud, bias {bias}", cr.TrainingProblem(physiology, chins, 10.0, bias=bias)


if __name__ == "__main__":
    print(f"import convexrelu                 {importing():.3f} s (limit 0.3)")
    for options in ({}, {"patterns": "enumerate"}):
        seconds, result = tiny(**options)
        print(
            f"n=10, d=2 {options or 'default'!s:24}{1000 * seconds:.1f} ms (limit 20), gap {result.certificate.gap:.1e}"
        )
    for n, r, limit in ((1000, 2, 0.2), (100, 3, 1.0), (50, 4, 10.0)):
        X = np.random.default_rng(0).standard_normal((n, r))
        seconds, patterns = best_of(3, lambda X=X: cr.enumerate_patterns(X, bias="none"))
        print(f"{len(patterns):6d} cells of n={n}, rank {r}     {seconds:.3f} s (limit {limit})")
    for name, problem in real_data():
        seconds, result = best_of(1, lambda problem=problem: cr.solve(problem, patterns="enumerate"))
        print(f"{name:34}{seconds:.2f} s (limit 10), {result}")
