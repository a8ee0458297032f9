"""A path on the diabetes data against cold solves, and leave-one-out from one solve against solving 442 times again.

Run with: PYTHONPATH=. python tests/benchmarks/path_and_leave_one_out.py [points] [smallest share of the largest weight
decay] [cold solves] [share for leaving out] [samples left out]. Times are CPU seconds. Rank 11 is beyond a proof: the
points are UNPROVEN, few boxes are spent on them, and a cold solve may end higher than the path.
"""

import sys
import time

import numpy as np
from sklearn.datasets import load_diabetes

import convexrelu as cr
from convexrelu.following import Follower
from convexrelu.optimal_set.sliding import on_kink

BOXES = 100
TOL = 1e-6


def main(points=50, share=0.1, cold=6, left_share=0.3, left_out=442):
    X, y = load_diabetes(return_X_y=True)
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    problem = cr.TrainingProblem(X, y)
    largest = problem.max_weight_decay()
    if points:
        compare_path(problem, largest * np.geomspace(1.0, share, int(points) + 1)[1:], int(cold))
    if left_out:
        compare_left_out(problem.with_weight_decay(left_share * largest), int(left_out))


def compare_path(problem, decays, count):
    began = time.process_time()
    path = cr.solve_path(problem, decays, max_boxes=BOXES)
    warm = time.process_time() - began
    print(f"{path!r}: {warm:.1f} s")
    print(f"neurons {path.n_neurons.tolist()}")
    print(f"followed {sum(result.solution.message == 'followed' for result in path.results)} of {len(path)}")
    print(f"concavity {path.concavity_violation:.1e}, slope {path.slope_violation:.1e}")
    total = 0.0
    # The middles of equal stretches of the path stand for it.
    for i in ((np.arange(count) + 0.5) / count * len(path)).astype(int):
        began = time.process_time()
        result = cr.solve(path.results[i].problem, tol=TOL, max_boxes=BOXES)
        seconds = time.process_time() - began
        total += seconds
        more = result.objective / path.objectives[i] - 1
        print(f"cold at {path.weight_decays[i]:.1f}: {seconds:.1f} s, objective higher by {more:.1e} (relative)")
    cold = total / count * len(path)
    print(f"cold: about {cold:.1f} s for as many points, {cold / warm:.1f} times as long", flush=True)


def compare_left_out(problem, count):
    result = cr.solve(problem, tol=TOL, max_boxes=BOXES)
    began = time.process_time()
    s = cr.sensitivity(result)
    print(f"{problem}: {result.network.n_neurons} neurons; sensitivities in {time.process_time() - began:.1f} s")
    print(s, *s.failures, sep="\n  ")
    follower = Follower(TOL, 0, BOXES)
    follower.start(result)
    full = follower.last
    chosen = np.random.default_rng(0).permutation(len(problem.X))[:count]
    began, rows = time.process_time(), []
    for i in chosen:
        follower.last, follower.network = full, result.network
        weight = np.ones(len(problem.X))
        weight[i] = 0.0
        left = cr.TrainingProblem(problem.X, problem.Y, problem.weight_decay, sample_weight=weight)
        truth = follower.solve(left).network(problem.X[i : i + 1])[0, 0]
        rows.append((truth, same_cells(full, follower.last, i)))
    print(f"leaving out {count} samples: {time.process_time() - began:.1f} s")
    truth, same = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    table(truth, s.leave_one_out[chosen], full.fit[chosen], same, s.leave_one_out_in_cells[chosen])
    check_cold(problem, chosen[:4], truth)


def same_cells(full, left, i):
    """Whether all neurons stay in their cells, sample i apart: then the formula's only error is of second order."""
    if left is None or len(left.faces) != len(full.faces) or (left.signs != full.signs).any():
        return False
    others = np.arange(len(full.nu)) != i
    bits = [np.where(on_kink(state), 2, state.active)[:, others] for state in (full, left)]
    return bool((bits[0] == bits[1]).all())


def table(truth, formula, fit, same, foreseen):
    print("cells              samples   mean move    mean error   largest error")
    kinds = {"unchanged": same, "changed": ~same, "all": same | ~same, "kept, it says": foreseen, "not kept": ~foreseen}
    for name, rows in kinds.items():
        if rows.any():
            move, error = np.abs(truth - fit)[rows], np.abs(formula - truth)[rows]
            print(f"{name:18s} {rows.sum():7d}   {move.mean():9.2e}    {error.mean():9.2e}   {error.max():9.2e}")


def check_cold(problem, chosen, truth):
    for i, expected in zip(chosen, truth, strict=False):
        keep = np.arange(len(problem.X)) != i
        rest = cr.TrainingProblem(problem.X[keep], problem.Y[keep], problem.weight_decay)
        cold = cr.solve(rest, tol=TOL, max_boxes=BOXES).network(problem.X[i : i + 1])[0, 0]
        print(f"sample {i} from scratch: prediction {cold:.6f}, followed {expected:.6f}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
