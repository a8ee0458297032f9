"""Pattern generation with a proof: time, gap and profile on the reference cases.

    python tests/benchmarks/generation.py [--profile] [case ...]

Without arguments all cases run. A case solves to its tolerance; `good` is the time after which the objective stayed
within 1e-4 of the best ever met in the run. Times are wall-clock seconds; set OMP_NUM_THREADS=1 for one core. With
--profile a line more says where the time goes: the shares of samples, one every millisecond of processor time, on
lines of code with matrix products and with factorisations.
"""

import argparse
import linecache
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes

import convexrelu as cr


def teacher(n, d):
    """Targets of a random network with ten neurons, and noise."""
    r = np.random.default_rng(1)
    X = r.standard_normal((n, d))
    W = r.standard_normal((d, 10))
    a = r.standard_normal(10)
    return X, np.maximum(X @ W, 0) @ a + 0.1 * r.standard_normal(n)


def standardised(load):
    X, y = load(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X, 2.0 * y - 1 if len(np.unique(y)) == 2 else (y - y.mean()) / y.std()


def cases():
    """Name -> (data, bias, fraction of the largest weight decay, tolerance)."""
    sizes = [(50, 3, (0.1, 0.01, 0.001), 1e-6), (100, 5, (0.1, 0.01), 1e-6), (500, 6, (0.1, 0.01), 1e-4)]
    sizes += [(100, 8, (0.1, 0.01), 1e-2), (500, 20, (0.01, 0.001), 1e-6)]
    table = {f"{n}x{d}@{f:g}": (lambda n=n, d=d: teacher(n, d), "none", f, tol) for n, d, fs, tol in sizes for f in fs}
    for name, load in (("diabetes", load_diabetes), ("breast_cancer", load_breast_cancer)):
        table |= {f"{name}@{f:g}": (lambda load=load: standardised(load), "penalized", f, 1e-6) for f in (0.1, 0.01)}
    return table


def problem_of(name):
    data, bias, fraction, tol = cases()[name]
    problem = cr.TrainingProblem(*data(), bias=bias)
    return problem.with_weight_decay(fraction * problem.max_weight_decay()), tol


FACTORS = re.compile(r"solve|chol|svd|qr\(|lstsq|eigh|inv\(|nnls")


def kind_of(frame):
    """What the line of a frame does most: libraries' lines count as those that called them."""
    while "site-packages" in frame.f_code.co_filename and frame.f_back is not None:
        frame = frame.f_back
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0)  # generated code has no lines
    if "@" in line or "einsum" in line:
        return "products"
    return "factors" if FACTORS.search(line) else "the rest"


@contextmanager
def profile(wanted):
    """Count samples by the kind of line they fall on."""
    kinds = Counter()
    if wanted:
        signal.signal(signal.SIGPROF, lambda _, frame: kinds.update([kind_of(frame)]))
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    yield kinds
    signal.setitimer(signal.ITIMER_PROF, 0)


def run(name, profiled):
    problem, tol = problem_of(name)
    log = []
    began = time.perf_counter()
    with profile(profiled) as kinds:
        result = cr.solve(problem, tol=tol, callback=lambda s: log.append((time.perf_counter() - began, s.objective)))
    seconds = time.perf_counter() - began
    best = result.objective
    good = next(t for t, objective in log if objective <= best * (1 + 1e-4))
    shares = ", ".join(f"{k} {v:.2f}" for k, v in result.timings.items())
    print(
        f"{name:18} {result.status.name:9} {best:<14.8g} {result.certificate.gap:<9.1e} {result.network.n_neurons:<8d}"
        f"{good:<8.2f} {seconds:<8.2f} {shares}",
        flush=True,
    )
    if kinds:
        print(
            "    " + ", ".join(f"{kind} {count / kinds.total():.2f}" for kind, count in kinds.most_common()), flush=True
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", choices=[[], *cases()], default=[])
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    chosen = arguments.case or list(cases())
    print("case               status    objective      gap       neurons good    total    seconds in each stage")
    for case in chosen:
        run(case, arguments.profile)
