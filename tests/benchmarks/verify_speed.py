"""How long `verify` takes for networks of width 1000 on 500 samples: CPU seconds, next to what is asked.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/verify_speed.py [--time-limit 10] [--steps 300] [--data NAME ...]

Needs no PyTorch: the networks are trained by Adam in NumPy. Up to rank four the gap is proven.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_diabetes

import convexrelu as cr

WIDTH, N = 1000, 500
ASKED = {"1-D": 1.0, "3-D": 10.0, "10-D": 10.0, "diabetes": 10.0}


def scaled(A):
    return (A - A.mean(axis=0)) / A.std(axis=0)


def problems():
    """Name -> problem with penalised hidden biases."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, N))[:, None]
    yield "1-D", cr.TrainingProblem(x, np.sin(6 * x) + 0.3 * rng.standard_normal((N, 1)), 0.5)
    for d, decay in ((3, 5.0), (10, 10.0)):
        X = rng.standard_normal((N, d))
        wave = np.sin(2 * X[:, :1]) + X[:, 1:2] * X[:, 2:3]
        yield f"{d}-D", cr.TrainingProblem(X, wave + 0.3 * rng.standard_normal((N, 1)), decay)
    data = load_diabetes()
    yield "diabetes", cr.TrainingProblem(scaled(data.data), scaled(data.target), 0.01 * len(data.target) / 2)


def adam(problem, steps, rate=0.02):
    """Full-batch Adam with a step size that falls to zero."""
    rng = np.random.default_rng(0)
    X, lam = np.column_stack([problem.X, np.ones(len(problem.X))]), problem.weight_decay
    d, T = X.shape[1], problem.Y.shape[1]
    weights = [rng.standard_normal(shape) / np.sqrt(WIDTH) / 2 for shape in ((d, WIDTH), (WIDTH, T))]
    mean, square = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, steps + 1):
        W, V = weights
        A = np.maximum(X @ W, 0.0)
        G = A @ V - problem.Y
        gradients = X.T @ ((A > 0) * (G @ V.T)) + lam * W, A.T @ G + lam * V
        for i, g in enumerate(gradients):
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.999 * square[i] + 0.001 * g**2
            move = (mean[i] / (1 - 0.9**step)) / (np.sqrt(square[i] / (1 - 0.999**step)) + 1e-12)
            weights[i] = weights[i] - rate * (1 - step / (steps + 1)) * move
    W, V = weights
    return cr.Network(W[:-1].T, W[-1], V)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data", nargs="*")
    options = parser.parse_args()
    # What is loaded once for all is no part of a verification.
    cr.verify(cr.TrainingProblem([[0.0], [1.0]], [0.0, 1.0], 0.1), cr.Network([[1.0]], [0.0], [[0.5]]))
    print(f"{'data':9} {'CPU s':>6} {'wall s':>6} {'asked':>6} {'certified':>10} {'attained':>10}  verdict")
    for name, problem in problems():
        if options.data and name not in options.data:
            continue
        network = adam(problem, options.steps)
        cpu, wall = time.process_time(), time.perf_counter()
        v = cr.verify(problem, network, time_limit=options.time_limit)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        numbers = f"{cpu:6.2f} {wall:6.2f} {ASKED[name]:6.0f} {v.gap:10.1e} {v.attained_gap:10.1e}"
        print(f"{name:9} {numbers}  {v.verdict.value}", flush=True)


if __name__ == "__main__":
    main()
