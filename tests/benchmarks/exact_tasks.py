"""Several tasks: generation against the exact program, kernels without a task. Run `tests/benchmarks/exact_tasks.py`.

Columns of the first table: simplicial cones of the program, seconds of the processor for the program and for
generation, relative difference of the two objectives. Of the second: mean error of the kernel of the other tasks in
predicting a task, relative to the network's own predictions.
"""

import time

import numpy as np

import convexrelu as cr


def timed(problem, **options):
    start = time.process_time()
    result = cr.solve(problem, tol=1e-6, **options)
    return result, time.process_time() - start


def compare(n, d, T, weight_decay):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((n, d)), rng.standard_normal((n, T))
    interpolates = weight_decay == 0
    problem = cr.TrainingProblem.interpolation(X, Y) if interpolates else cr.TrainingProblem(X, Y, weight_decay)
    exact, seconds = timed(problem, patterns="enumerate", backend="clarabel")
    found, other = timed(problem)
    difference = found.objective / exact.objective - 1
    states = f"{exact.status.name} / {found.status.name}"
    cones = exact.effort["cones"]
    print(
        f"{n:3d} {d:3d} {T:3d} {weight_decay:5.1f} {cones:6d} {seconds:7.2f} {other:7.2f} {difference:9.1e}  {states}"
    )


def leave_one_task_out(T, n=8):
    X, W = np.random.default_rng(0).standard_normal((n, 2)), np.random.default_rng(2).standard_normal((2, 4))
    rng = np.random.default_rng(1)
    Y = (np.maximum(X @ W, 0.0) @ rng.standard_normal((4, T)) + 0.1 * rng.standard_normal((n, T))) / np.sqrt(T)
    result, seconds = timed(cr.TrainingProblem(X, Y, 0.05))
    F = result.network(X)
    errors = [result.kernel(without_task=t).predict(X)[:, t] - F[:, t] for t in range(min(T, 10))]
    relative = [np.linalg.norm(e) / np.linalg.norm(F[:, t]) for t, e in enumerate(errors)]
    print(f"{T:4d} {result.network.n_neurons:4d} {np.mean(relative):9.5f} {seconds:7.2f}  {result.status.name}")


def main():
    print("  n   d   T decay  cones   exact  native      diff  status")
    for d, n in ((2, 6), (3, 5)):
        for T in (1, 2, 5, 12):
            for weight_decay in (0.2, 0.0):
                compare(n, d, T, weight_decay)
    print("   T   neurons  error  seconds")
    for T in (2, 4, 10, 30, 100):
        leave_one_task_out(T)


if __name__ == "__main__":
    main()
