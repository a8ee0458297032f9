"""PyTorch Adam with a cosine schedule: `python adam.py PROBLEM.npz SECONDS [--width 1000] [--rate 1e-2] [--float32]`.

Prints lines "seconds objective"; the objective is the one of convexrelu without biases (append a column of ones to `X`
for penalised ones), for targets `y` (n,) or `Y` (n, T), with the squared loss or, if `softmax` is set, cross-entropy.
"""

import argparse
import time

import numpy as np
import torch


def main(arguments, checks=40):
    data = np.load(arguments.path)
    kind = torch.float32 if arguments.float32 else torch.float64
    X = torch.tensor(data["X"], dtype=kind)
    Y = torch.tensor(data["Y"] if "Y" in data else data["y"][:, None], dtype=kind)
    softmax, lam = bool(data["softmax"]) if "softmax" in data else False, float(data["lam"])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    width, d = arguments.width, X.shape[1]
    W = torch.nn.Parameter(torch.randn(width, d, dtype=kind) / np.sqrt(d))
    V = torch.nn.Parameter(torch.randn(width, Y.shape[1], dtype=kind) / np.sqrt(width))

    def objective():
        F = torch.relu(X @ W.T) @ V
        fit = torch.nn.functional.cross_entropy(F, Y, reduction="sum") if softmax else 0.5 * ((F - Y) ** 2).sum()
        return fit + 0.5 * lam * ((W**2).sum() + (V**2).sum())

    optimiser = torch.optim.Adam([W, V], lr=arguments.rate)
    began, check, seconds = time.perf_counter(), 0, arguments.seconds
    while (elapsed := time.perf_counter() - began) < seconds:
        optimiser.param_groups[0]["lr"] = arguments.rate * 0.5 * (1 + np.cos(np.pi * elapsed / seconds))
        optimiser.zero_grad()
        value = objective()
        value.backward()
        optimiser.step()
        if elapsed >= check * seconds / checks:
            check += 1
            print(elapsed, float(value.detach()), flush=True)
    print(time.perf_counter() - began, float(objective().detach()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--float32", action="store_true")
    main(parser.parse_args())
