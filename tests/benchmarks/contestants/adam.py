"""PyTorch Adam with a cosine schedule on a network of width 1000: `python adam.py PROBLEM.npz SECONDS`.

Prints lines "seconds objective"; the objective is the one of convexrelu, with bias "none" and the squared loss.
"""

import sys
import time

import numpy as np
import torch


def main(path, seconds, width=1000, rate=1e-2, checks=40):
    data = np.load(path)
    X, y = (torch.tensor(data[k], dtype=torch.float64) for k in ("X", "y"))
    lam = float(data["lam"])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    W = torch.nn.Parameter(torch.randn(width, X.shape[1], dtype=torch.float64) / np.sqrt(X.shape[1]))
    v = torch.nn.Parameter(torch.randn(width, dtype=torch.float64) / np.sqrt(width))

    def objective():
        return 0.5 * ((torch.relu(X @ W.T) @ v - y) ** 2).sum() + 0.5 * lam * ((W**2).sum() + (v**2).sum())

    optimiser = torch.optim.Adam([W, v], lr=rate)
    began, check = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + np.cos(np.pi * elapsed / seconds))
        optimiser.zero_grad()
        value = objective()
        value.backward()
        optimiser.step()
        if elapsed >= check * seconds / checks:
            check += 1
            print(elapsed, float(value), flush=True)
    print(time.perf_counter() - began, float(objective().detach()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
