"""Times of a path on the diabetes data against cold solves, and leave-one-out against solving again.

Run with: PYTHONPATH=. python tests/benchmarks/path_and_leave_one_out.py [points] [smallest share of the largest weight
decay] [cold solves] [samples left out]. Rank 11 is beyond a proof: the points are UNPROVEN, and few boxes are spent.
"""

import sys
import time

import numpy as np
from sklearn.datasets import load_diabetes

import convexrelu as cr

BOXES = 100


def main(points=50, share=0.6, cold=5, left_out=20):
    X, y = load_diabetes(return_X_y=True)
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    problem = cr.TrainingProblem(X, y)
    decays = problem.max_weight_decay() * np.geomspace(1.0, share, int(points) + 1)[1:]
    began = time.process_time()
    path = cr.solve_path(problem, decays, max_boxes=BOXES)
    warm = time.process_time() - began
    print(f"{path!r}: {warm:.1f} s, neurons {path.n_neurons.tolist()}")
    print(f"concavity {path.concavity_violation:.1e}, slope {path.slope_violation:.1e}")
    compare_cold(path, warm, int(cold))
    compare_left_out(path.results[-1], int(left_out))


def compare_cold(path, warm, count):
    chosen = np.linspace(0, len(path) - 1, count).astype(int)
    began = time.process_time()
    objectives = [cr.solve(path.results[i].problem, max_boxes=BOXES).objective for i in chosen]
    cold = (time.process_time() - began) / count * len(path)
    worst = np.abs(np.array(objectives) / path.objectives[chosen] - 1).max()
    print(f"cold: about {cold:.1f} s for as many points, {cold / warm:.1f} times; objectives differ by {worst:.1e}")


def compare_left_out(result, count):
    problem = result.problem
    s = cr.sensitivity(result)
    print(s, s.failures)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(problem.X), size=min(count, len(problem.X)), replace=False)
    truth = np.array([left_out(problem, i, result.network) for i in chosen])
    step = truth - result.network(problem.X)[chosen, 0]
    error = np.abs(s.leave_one_out[chosen] - truth)
    print(f"leaving out {len(chosen)}: the prediction moves by {np.abs(step).mean():.2e}, the formula errs by", end=" ")
    print(f"{error.mean():.2e} on average, {error.max():.2e} at most")


def left_out(problem, i, network):
    keep = np.arange(len(problem.X)) != i
    rest = cr.TrainingProblem(problem.X[keep], problem.Y[keep], problem.weight_decay)
    return cr.solve(rest, max_boxes=BOXES, warm_start=network).network(problem.X[i : i + 1])[0, 0]


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
