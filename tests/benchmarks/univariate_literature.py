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
    knots in a closed interval between neighbouring points; and noisy gradient descent on a wide network comes to it as
    the noise goes to zero.
"""

import argparse
import itertools
import time

import numpy as np

from convexrelu import univariate as uv

# Largest n for penalised biases, and the gap asked of them: beyond, all three functions cost the same to rounding.
PENALIZED, GAP = 10**4, 1e-9
POWERS = (1.0, 1.5, 2.0, 3.0)
# Noisy gradient descent: temperatures, one after the other, and the step at the first of them; it falls with their cube
# root, as the kinks of the neurons cost accuracy of the size of the step. Steps between averages of the function.
TEMPERATURES = (0.1, 0.01, 0.001, 1e-4, 1e-5)
STEP, EVERY = 0.05, 20


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
        result = uv.interpolate(x, y, bias="penalized", tol=GAP)
        if result.certificate.gap <= 10 * GAP:
            yield "penalized biases", result.spline


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


def noisy_descent(x, y, lam, width, duration, t, seed=0):
    """By temperature the function at t, averaged over the second half of the time, and half the mean square of theta.

    The network is (1 / width) sum_j a_j relu(w_j x + b_j). Each neuron theta = (a, w, b) moves by

        d theta = -(width * gradient of the loss + lam theta) dt + sqrt(2 temperature) dW,

    whose stationary law, as the width grows, has the least sum of the loss, lam / 2 E|theta|^2 and -temperature times
    entropy; without noise that is the problem of `fit` with penalised biases and no skip.
    """
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((3, width))
    a, w, b = theta
    for temperature in TEMPERATURES:
        values, count = np.zeros(len(t)), 0
        eta = STEP * (temperature / TEMPERATURES[0]) ** (1 / 3)
        steps = int(duration / eta)
        for step in range(steps):
            hidden = np.maximum(np.outer(x, w) + b, 0.0)
            r, on = hidden @ a / width - y, (hidden > 0).astype(float)
            gradient = np.stack([r @ hidden, a * ((r * x) @ on), a * (r @ on)])
            theta *= 1 - eta * lam
            theta += np.sqrt(2 * eta * temperature) * rng.standard_normal(theta.shape) - eta * gradient
            if step >= steps // 2 and step % EVERY == 0:
                values += np.maximum(np.outer(t, w) + b, 0.0) @ a / width
                count += 1
        yield temperature, values / count, float(np.sum(theta**2)) / (2 * width)


def descent_to_the_limit(widths, duration, problems=3, n=6, lam=0.1):
    print("\n  noisy gradient descent by temperature: root mean square distance to the noiseless limit on [-2, 2], the")
    print("  largest distance, and half the mean square of the weights next to the norm of the limit")
    heads = "".join(f"{temperature:<24g}" for temperature in TEMPERATURES)
    print(f"  problem  knots  norm   width  {heads}seconds")
    t = np.linspace(-2, 2, 401)
    for seed, width in itertools.product(range(problems), widths):
        rng = np.random.default_rng(seed)
        x, y = np.sort(rng.uniform(-1.5, 1.5, n)), rng.standard_normal(n)
        limit = uv.fit(x, y, lam, bias="penalized", skip="none")
        assert limit.certificate.gap <= 1e-8
        norm = (limit.objective - 0.5 * np.sum((limit.spline(x)[:, 0] - y) ** 2)) / lam
        began, row = time.process_time(), ""
        for _, values, size in noisy_descent(x, y, lam, width, duration, t):
            error = values - limit.spline(t)[:, 0]
            row += f"{np.sqrt(np.mean(error**2)):.5f} {np.abs(error).max():.4f} {size:<9.3f}"
        knots = limit.spline.n_knots
        print(f"  {seed:<8} {knots:<6} {norm:.3f}  {width:<6} {row}{time.process_time() - began:.0f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=10**6, help="largest n of (a)")
    parser.add_argument("--problems", type=int, default=2000, help="number of problems of (c)")
    parser.add_argument("--widths", type=int, nargs="*", default=(100, 1000), help="of the networks of (c)")
    parser.add_argument("--duration", type=float, default=300.0, help="time at each temperature, (c)")
    parser.add_argument("--parts", default="abc", help="which of (a), (b), (c)")
    options = parser.parse_args()
    if "a" in options.parts:
        noisy_interpolation(options.largest)
    if "b" in options.parts:
        several_tasks()
    if "c" in options.parts:
        knots_per_interval(options.problems)
        descent_to_the_limit(options.widths, options.duration)
