"""Three results on networks of one input, reproduced: `python tests/benchmarks/univariate_literature.py`.

(a) Noisy interpolation (N. Joshi, G. Vardi, N. Srebro, "Noisy interpolation learning with shallow univariate ReLU
    networks", ICLR 2024): targets are pure noise, so the L^p risk is the integral of |f|^p over [0, 1]. The linear
    spline is tempered for every p; least-norm interpolants are tempered for p < 2 and catastrophic for p >= 2 on random
    points, tempered on the grid.
(b) Several tasks (J. Nakhleh, J. Shenouda, R. Nowak, "The effects of multi-task learning on ReLU neural network
    functions", 2024): connecting the dots is the only solution unless neighbouring curvatures are aligned, and equals
    the interpolant of least norm in the first-order Sobolev space.
(c) Mean field (A. Shevchenko, V. Kungurtsev, M. Mondelli, "Mean-field analysis of piecewise linear solutions for wide
    ReLU networks", JMLR 2022): the limit of noisy gradient descent, penalised biases without a skip, has at most three
    knots in a closed interval between neighbouring points.
"""

import argparse
import itertools

import numpy as np

from convexrelu import univariate as uv

# Largest n for the cone program of penalised biases.
PENALIZED = 1000
POWERS = (1.0, 1.5, 2.0, 3.0)


def risks(spline):
    return [uv.integral(spline, p=p, lower=0.0, upper=1.0) for p in POWERS]


def interpolants(x, y):
    """The two ends of the solution set and the linear spline."""
    solutions = uv.solution_set(x, y)
    free = np.flatnonzero(solutions.free)
    start = np.concatenate([[True], np.diff(free) > 1])
    position = np.arange(len(free)) - np.maximum.accumulate(np.where(start, np.arange(len(free)), 0))
    yield "spikes on every other free interval", solutions.spiked(free[position % 2 == 0])
    yield "spikes on the others", solutions.spiked(free[position % 2 == 1])
    yield "linear spline", solutions.connect_the_dots()
    if len(x) <= PENALIZED:
        yield "penalized biases", uv.interpolate(x, y, bias="penalized").spline


def noisy_interpolation(largest):
    print("(a) median L^p risks of interpolants of pure noise of variance 1")
    print(f"  {'design':<8}{'n':>8}  {'interpolant':<37}" + "".join(f"p = {p:<8g}" for p in POWERS))
    sizes = [n for n in (10**2, 10**3, 10**4, 10**5, 10**6) if n <= largest]
    for design, n in itertools.product(("random", "grid"), sizes):
        draws = {}
        for seed in range(max(3, min(25, 10**6 // n))):
            rng = np.random.default_rng(seed)
            x = np.sort(rng.random(n)) if design == "random" else np.linspace(0, 1, n)
            for name, spline in interpolants(x, rng.standard_normal(n)):
                draws.setdefault(name, []).append(risks(spline))
        for name, values in draws.items():
            row = "".join(f"{value:<12.3g}" for value in np.median(values, axis=0))
            print(f"  {design:<8}{n:>8}  {name:<37}{row}", flush=True)


def largest_aligned(x, Y):
    """The largest cosine between curvatures of neighbouring points."""
    slopes = np.diff(Y, axis=0) / np.diff(x)[:, None]
    delta = np.diff(slopes, axis=0)
    unit = delta / np.linalg.norm(delta, axis=1, keepdims=True)
    return float(np.sum(unit[1:] * unit[:-1], axis=1).max())


def several_tasks(n=30):
    print("\n(b) several tasks: uniqueness needs the largest cosine of neighbouring curvatures below one")
    print("  T    largest cosine      |connect the dots - Sobolev interpolant|")
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(n))
    for T in (1, 2, 3, 10):
        Y = rng.standard_normal((n, T))
        t = np.linspace(x[0], x[-1], 2001)
        kernel = 1 + np.minimum(x[:, None], x) - x[0]
        sobolev = (1 + np.minimum(t[:, None], x) - x[0]) @ np.linalg.solve(kernel, Y)
        error = np.abs(uv.interpolate(x, Y).spline(t) - sobolev).max()
        print(f"  {T:<4} {largest_aligned(x, Y):<19.12f} {error:.1e}")


def knots_per_interval(problems):
    print(f"\n(c) knots of the noiseless limit in closed intervals between neighbours, {problems} random problems")
    counts, unproven = np.zeros(8, dtype=int), 0
    for seed in range(problems):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 10))
        x, y = np.sort(rng.standard_normal(n)), rng.standard_normal(n)
        result = uv.fit(x, y, 10 ** rng.uniform(-2, 0), bias="penalized", skip="none")
        if result.certificate.gap > 1e-8:
            unproven += 1
            continue
        # Knots that have converged to one another are one; one on a point counts for the intervals on both sides of it.
        near = 1e-6 * np.ptp(x)
        t = result.spline.pruned().knots
        t = t[np.concatenate([[True], np.diff(t) > near])][:, None]
        inside = (t >= x[:-1] - near) & (t <= x[1:] + near)
        counts += np.bincount(np.minimum(inside.sum(axis=0), 7), minlength=8)
    print("  knots      " + "".join(f"{k:<9}" for k in range(len(counts))))
    print(
        "  intervals  "
        + "".join(f"{count:<9}" for count in counts)
        + f"(left out, gap above 1e-8: {unproven} problems)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=10**6, help="largest n of (a)")
    parser.add_argument("--problems", type=int, default=2000, help="number of problems of (c)")
    options = parser.parse_args()
    noisy_interpolation(options.largest)
    several_tasks()
    knots_per_interval(options.problems)
