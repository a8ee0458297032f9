"""Time and proven gap of the 1-D engine, next to general solvers: `python tests/benchmarks/univariate_speed.py`.

The data are n uniformly random points with targets sin(8 x) + 0.3 noise. Times are of this process's CPU. The gap of a
general solver is that of its own predictions: the objective of the spline through them against our proven lower bound.
"""

import argparse
import time
import warnings

import cvxpy as cp
import numpy as np
import scipy.sparse as sp

from convexrelu import univariate as uv


def noisy_sine(n, T=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    frequencies = 8 + np.arange(T)
    return x, np.sin(np.outer(x, frequencies)) + 0.3 * rng.standard_normal((n, T))


def timed(function, *args, **options):
    began = time.process_time()
    value = function(*args, **options)
    return value, time.process_time() - began


def targets():
    print("\nTargets\n  n        T   weight decay   knots   proven gap   seconds   limit")
    cases = [(10**6, 1, 700.0, 2), (10**6, 1, 0.015, 4), (10**6, 1, 1.2e-5, 20), (10**5, 10, 30.0, 20)]
    cases += [(10**5, 10, 0.01, 20)]
    for n, T, lam, limit in cases:
        result, seconds = timed(uv.fit, *noisy_sine(n, T), lam)
        gap, count = result.certificate.gap, result.spline.n_knots
        print(f"  {n:<8} {T:<3} {lam:<14g} {count:<7} {gap:<12.1e} {seconds:<9.2f} {limit}")
    for function in (uv.interpolate, uv.solution_set, uv.sparsest):
        _, seconds = timed(function, *noisy_sine(10**6))
        print(f"  {10**6:<8} 1   {function.__name__:<35} {seconds:<9.2f} 1")


def losses(sizes):
    """Labels are the signs of the noisy sine."""
    print("\nLosses, weight decay n / 1000\n  n        loss            knots   proven gap   seconds")
    for n in sizes:
        x, Y = noisy_sine(n)
        for loss in ("absolute", "quantile", "huber", "logistic", "hinge", "squared_hinge"):
            labels = loss in ("logistic", "hinge", "squared_hinge")
            result, seconds = timed(uv.fit, x, np.sign(Y) if labels else Y, n / 1000, loss)
            gap, count = result.certificate.gap, result.spline.n_knots
            print(f"  {n:<8} {loss:<15} {count:<7} {gap:<12.1e} {seconds:.2f}", flush=True)


def growth():
    print("\nTime against n, weight decay n / 1000\n  n         knots   gap       seconds")
    sizes, times = [10**3, 10**4, 10**5, 10**6], []
    for n in sizes:
        result, seconds = timed(uv.fit, *noisy_sine(n), n / 1000)
        times.append(seconds)
        print(f"  {n:<9} {result.spline.n_knots:<7} {result.certificate.gap:<9.1e} {seconds:.3f}")
    print(f"  slope of the log-log line: {np.polyfit(np.log(sizes), np.log(times), 1)[0]:.2f}")


def trend_program(x, y, lam):
    """The same problem for a general solver: n predictions, second differences with their spacings."""
    h, n = np.diff(x), len(x)
    slopes = sp.diags_array([-1 / h, 1 / h], offsets=[0, 1], shape=(n - 1, n))
    bends = sp.diags_array([-np.ones(n - 2), np.ones(n - 2)], offsets=[0, 1], shape=(n - 2, n - 1)) @ slopes
    f = cp.Variable(n)
    return cp.Problem(cp.Minimize(0.5 * cp.sum_squares(f - y) + lam * cp.norm1(bends @ f))), f


def others(sizes):
    print("\nAgainst general solvers through cvxpy, weight decay n / 1000")
    print("  n        solver      status               seconds   true gap")
    for n in sizes:
        x, Y = noisy_sine(n)
        order = np.argsort(x)
        x, y, lam = x[order], Y[order, 0], n / 1000
        result, seconds = timed(uv.fit, x, y, lam)
        print(f"  {n:<8} {'convexrelu':<11} {result.status.value:<20} {seconds:<9.2f} {result.certificate.gap:.1e}")
        for solver in ("CLARABEL", "OSQP"):
            status, spent, gap = solved(x, y, lam, solver, result.certificate.lower_bound)
            print(f"  {n:<8} {solver:<11} {status:<20} {spent:<9.2f} {gap:.1e}", flush=True)


def solved(x, y, lam, solver, bound):
    program, f = trend_program(x, y, lam)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program.solve(solver=solver, time_limit=60)
        except cp.error.SolverError:
            return "error", time.process_time() - began, np.inf
    spent = time.process_time() - began
    if f.value is None:
        return program.status, spent, np.inf
    spline = uv.Spline.through(x, f.value)
    objective = 0.5 * np.sum((f.value - y) ** 2) + lam * spline.total_variation
    return program.status, spent, (objective - bound) / objective


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100_000, help="largest n for the general solvers")
    largest = parser.parse_args().largest
    targets()
    losses([n for n in (10**3, 10**4, 10**5) if n <= largest])
    growth()
    others([n for n in (10**3, 10**4, 10**5) if n <= largest])
