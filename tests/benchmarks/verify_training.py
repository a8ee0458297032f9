"""Networks trained by PyTorch's optimisers, for `verify_table.py`: every optimiser, width and spoiling of its rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

# Mean losses as torch.nn has them; labels are -1 and 1, or one-hot rows (softmax).
LOSSES = {
    "squared": lambda f, y: torch.mean((f - y) ** 2),
    "absolute": lambda f, y: torch.mean(torch.abs(f - y)),
    "quantile": lambda f, y: torch.mean(torch.abs(f - y)) / 2,
    "huber": lambda f, y: torch.nn.functional.huber_loss(f, y),
    "logistic": lambda f, y: torch.mean(torch.nn.functional.softplus(-y * f)),
    "hinge": lambda f, y: torch.mean(torch.relu(1 - y * f)),
    "squared_hinge": lambda f, y: torch.mean(torch.relu(1 - y * f) ** 2) / 2,
    "softmax": lambda f, y: torch.nn.functional.cross_entropy(f, y),
}


@dataclass
class Training:
    """A mean loss of X (n, d) and Y (n, T), with PyTorch's weight decay: `decay` is PyTorch's for that mean."""

    X: torch.Tensor
    Y: torch.Tensor
    mean_loss: Callable
    decay: float
    biases: str

    def groups(self, net):
        """Parameter groups: without the decay on biases if they are free."""
        biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
        weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
        decays = self.decay, self.decay * (self.biases == "penalized")
        return [{"params": p, "weight_decay": d} for p, d in zip((weights, biases), decays, strict=True)]

    def objective(self, net):
        """What an optimiser with coupled weight decay minimises."""
        decays = (g["weight_decay"] / 2 * sum((p**2).sum() for p in g["params"]) for g in self.groups(net))
        return self.mean_loss(net(self.X), self.Y) + sum(decays)


def module(d, width, T, seed, scale=1.0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.ReLU(), torch.nn.Linear(width, T)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    return net


def module_of(W, b, V, c):
    """A network with hidden weights (m, d) and biases (m,), output weights (m, T) and biases (T,)."""
    net = module(W.shape[1], len(W), V.shape[1], 0)
    arrays = W, b, V.T, c
    with torch.no_grad():
        for p, array in zip((net[0].weight, net[0].bias, net[2].weight, net[2].bias), arrays, strict=True):
            p.copy_(torch.as_tensor(np.array(array)))
    return net


def train(
    X,
    Y,
    decay,
    *,
    optimiser,
    width,
    biases,
    loss="squared",
    steps=3000,
    batch=None,
    seed=0,
    rate=None,
    cosine=False,
    scale=1.0,
):
    """Minimise a mean loss of X (n, d) and Y (n, T); see `Training`."""
    net = module(X.shape[1], width, Y.shape[1], seed, scale)
    training = Training(torch.tensor(X), torch.tensor(Y), LOSSES[loss], decay, biases)
    if optimiser == "lbfgs":
        return lbfgs(net, training)
    kinds = {
        "sgd": (torch.optim.SGD, 0.05, {"momentum": 0.9}),
        "adam": (torch.optim.Adam, 0.01, {}),
        "adamw": (torch.optim.AdamW, 0.01, {}),
    }
    kind, default, options = kinds[optimiser]
    optim = kind(training.groups(net), lr=rate or default, **options)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps) if cosine else None
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = slice(None) if batch is None else torch.randint(len(X), (batch,), generator=draw)
        step(net, training, optim, rows)
        if plan:
            plan.step()
    return net


def step(net, training, optim, rows):
    optim.zero_grad()
    training.mean_loss(net(training.X[rows]), training.Y[rows]).backward()
    optim.step()


def descend(net, training, steps, rate):
    """Plain gradient descent on all samples."""
    optim = torch.optim.SGD(training.groups(net), lr=rate)
    for _ in range(steps):
        step(net, training, optim, slice(None))
    return net


def adam(net, training, steps, rate):
    """Adam on all samples, with a step size that falls to zero."""
    optim = torch.optim.Adam(training.groups(net), lr=rate)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps)
    for _ in range(steps):
        step(net, training, optim, slice(None))
        plan.step()
    return net


def lbfgs(net, training, steps=300):
    optim = torch.optim.LBFGS(
        list(net.parameters()),
        max_iter=steps,
        line_search_fn="strong_wolfe",
        tolerance_change=1e-14,
        tolerance_grad=1e-12,
    )

    def closure():
        optim.zero_grad()
        objective = training.objective(net)
        objective.backward()
        return objective

    optim.step(closure)
    return net


def spoiled(net, how):
    """The same function, badly kept: duplicated, unbalanced, or with neurons that are off."""
    with torch.no_grad():
        first, last = net[0], net[2]
        W, b, v = first.weight.clone(), first.bias.clone(), last.weight.clone()
        if how == "duplicated":
            W, b, v = torch.cat([W, W]), torch.cat([b, b]), torch.cat([v, v], 1) / 2
        elif how == "unbalanced":
            W, b, v = 3 * W, 3 * b, v / 3
        elif how == "dead":
            W, b, v = torch.cat([W, 0.1 * W]), torch.cat([b, -10 + 0 * b]), torch.cat([v, v], 1)
        return module_of(W, b, v.T, last.bias)
