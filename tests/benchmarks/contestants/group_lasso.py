"""The package adelie (1.1.52, numpy < 2) over sampled patterns: `python group_lasso.py PROBLEM.npz SECONDS`.

adelie solves a path from the largest weight decay down to the one asked for and cannot be stopped halfway. Prints one
line "seconds objective", the objective being that of the network its weights make.
"""

import sys
import time

import adelie as ad
import numpy as np


def main(path):
    data = np.load(path)
    X, y, lam, active = np.asfortranarray(data["X"]), data["y"], float(data["lam"]), data["active"]
    n, d = X.shape
    began = time.perf_counter()
    features = ad.matrix.convex_relu(X, np.asfortranarray(active.T))
    cones = [np.ascontiguousarray((2.0 * pattern - 1)[:, None] * X) for pattern in active]
    none = np.full(n, np.inf)
    constraints = [ad.constraint.linear(K, np.zeros(n), none) for K in cones * 2]
    groups = d * np.arange(2 * len(active))
    state = ad.grpnet(
        features,
        ad.glm.gaussian(y),
        constraints=constraints,
        groups=groups,
        penalty=np.ones(len(groups)),
        lmda_path=[lam / n],
        intercept=False,
        adev_tol=1.0,
        progress_bar=False,
    )
    seconds = time.perf_counter() - began
    if not state.betas.shape[0]:
        print(seconds, float("inf"))
        return
    U = state.betas[-1].toarray().reshape(-1, d)
    sign = np.repeat([1.0, -1.0], len(active))
    fit = np.maximum(X @ U.T, 0) @ sign
    print(seconds, 0.5 * ((fit - y) ** 2).sum() + lam * np.linalg.norm(U, axis=1).sum())


if __name__ == "__main__":
    main(sys.argv[1])
