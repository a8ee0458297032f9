"""What `verify` says of networks trained by many optimisers, next to the truth. Needs PyTorch.

    python tests/benchmarks/verify_table.py [--quick]

The truth comes from elsewhere: the optimum from an exact solve to 1e-6, convergence from L-BFGS continued from the
network in double precision, and a wrong objective from knowing how the network was trained. The last column checks that

- the lower bound is not above the optimum, "optimal" is true within the tolerance,
- "stationary" is said only of networks that L-BFGS does not improve by more than a tenth of their distance,
- "different objective" is said only where the training had one.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_linnerud
from sklearn.neural_network import MLPRegressor

import convexrelu as cr

TOL = 1e-3


def scaled(A):
    return (A - A.mean(axis=0)) / A.std(axis=0)


def data_sets():
    """Name -> (X, y): one, three and ten features."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 1, 133))
    bump = np.where(x < 0.3, 0.0, -2.5 * np.exp(-((x - 0.42) ** 2) / 0.006) + 1.2 * np.exp(-((x - 0.6) ** 2) / 0.01))
    diabetes, linnerud, cancer = load_diabetes(), load_linnerud(), load_breast_cancer()
    return {
        "mcycle-like": (scaled(x[:, None]), scaled(bump + 0.3 * rng.standard_normal(133))),
        "linnerud": (scaled(linnerud.target), scaled(linnerud.data[:, 0])),
        "cancer-3": (scaled(cancer.data[:, :3]), 2.0 * cancer.target - 1),
        "diabetes-10": (scaled(diabetes.data), scaled(diabetes.target)),
    }


# -- training ---------------------------------------------------------------------------------------------------------


def module(d, width, seed, scale=1.0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.ReLU(), torch.nn.Linear(width, 1)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    return net


def groups(net, decay, bias_decayed):
    """Parameter groups: without the decay on biases if they are free."""
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": decay * bias_decayed}]


def train(X, y, decay, *, optimiser, width, biases, steps=3000, batch=None, seed=0, rate=None, cosine=False, scale=1.0):
    """Minimise mean squared error with PyTorch's weight decay; `decay` is PyTorch's for that mean."""
    net = module(X.shape[1], width, seed, scale)
    X, y = torch.tensor(X), torch.tensor(y)[:, None]
    parameters = groups(net, decay, biases == "penalized")
    if optimiser == "lbfgs":
        return lbfgs(net, X, y, parameters)
    kinds = {
        "sgd": (torch.optim.SGD, 0.05, {"momentum": 0.9}),
        "adam": (torch.optim.Adam, 0.01, {}),
        "adamw": (torch.optim.AdamW, 0.01, {}),
    }
    kind, default, options = kinds[optimiser]
    optim = kind(parameters, lr=rate or default, **options)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optim, steps) if cosine else None
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = slice(None) if batch is None else torch.randint(len(X), (batch,), generator=draw)
        optim.zero_grad()
        torch.mean((net(X[rows]) - y[rows]) ** 2).backward()
        optim.step()
        if plan:
            plan.step()
    return net


def lbfgs(net, X, y, parameters, steps=300):
    optim = torch.optim.LBFGS(
        [p for g in parameters for p in g["params"]],
        max_iter=steps,
        line_search_fn="strong_wolfe",
        tolerance_change=1e-14,
        tolerance_grad=1e-12,
    )

    def closure():
        optim.zero_grad()
        loss = torch.mean((net(X) - y) ** 2)
        for g in parameters:
            loss = loss + g["weight_decay"] / 2 * sum((p**2).sum() for p in g["params"])
        loss.backward()
        return loss

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
        new = module(W.shape[1], len(W), 0)
        new[0].weight.copy_(W), new[0].bias.copy_(b), new[2].weight.copy_(v), new[2].bias.copy_(last.bias)
    return new


def cases(quick):
    """Label, options of `train`, and whether the training had another objective."""
    base = {"optimiser": "adam", "width": 100, "biases": "penalized"}
    yield "adam", base, False
    yield "adam, cosine", base | {"cosine": True, "steps": 6000}, False
    yield "adam, cosine, free biases", base | {"cosine": True, "biases": "free"}, False
    yield "adamw", base | {"optimiser": "adamw", "cosine": True}, True
    yield "sgd", base | {"optimiser": "sgd", "steps": 6000}, False
    yield "l-bfgs", base | {"optimiser": "lbfgs"}, False
    yield "adam, width 10, cosine", base | {"width": 10, "cosine": True, "steps": 6000}, False
    yield "l-bfgs, width 3", base | {"optimiser": "lbfgs", "width": 3}, False
    yield "early stopped", base | {"steps": 60}, False
    yield "mini-batch", base | {"batch": 16}, False
    if not quick:
        yield "adam, width 1000", base | {"width": 1000, "cosine": True}, False
        yield "l-bfgs, width 10", base | {"optimiser": "lbfgs", "width": 10}, False
        yield "l-bfgs, small start", base | {"optimiser": "lbfgs", "scale": 1e-2}, False


# -- truth and table --------------------------------------------------------------------------------------------------


def exact(problem):
    """The optimum, from above and from below."""
    small = problem.arrangement.Z.shape[1] <= 2
    result = cr.solve(problem, patterns="enumerate" if small else "generate", tol=1e-6, time_limit=60)
    return result.objective, result.certificate.lower_bound


def continued(problem, net):
    """The objective after L-BFGS goes on from a network."""
    n = problem.Y.size
    decay = 2 * problem.weight_decay / n
    start = cr.Network.from_torch(net).to_torch()
    X, y = torch.tensor(np.array(problem.X)), torch.tensor(np.array(problem.Y))
    for _ in range(2):
        lbfgs(start, X, y, groups(start, decay, problem.bias == "penalized"), 200)
    return min(problem.objective(cr.Network.from_torch(start)), problem.objective(cr.Network.from_torch(net)))


def check(v, optimum, bound, polished, other):
    """The complaints about a verification."""
    complaints = []
    true_gap = (v.objective - optimum) / v.objective
    if v.certificate.lower_bound > optimum * (1 + 1e-9):
        complaints.append("bound above the optimum")
    if v.verdict is cr.Verdict.OPTIMAL and (v.objective - bound) / v.objective > TOL + 1e-6:
        complaints.append("not optimal")
    if v.verdict is cr.Verdict.STATIONARY and (v.objective - polished) / v.objective > max(TOL, 0.1 * true_gap):
        complaints.append("not stationary")
    if v.verdict is cr.Verdict.NOT_CONVERGED and converged(v, polished, true_gap):
        complaints.append("converged?")
    if v.verdict is cr.Verdict.DIFFERENT_OBJECTIVE and not other:
        complaints.append("same objective")
    if other and v.verdict is not cr.Verdict.DIFFERENT_OBJECTIVE and true_gap > 0.05:
        complaints.append("another objective?")
    if v.improved is not None and v.problem.objective(v.improved) > v.objective:
        complaints.append("improved is worse")
    return complaints


def converged(v, polished, true_gap):
    """Neither L-BFGS nor the repairs get anywhere, and no knot is in the way (they stop L-BFGS short)."""
    repairs = sum(step.gain for step in v.improvements) / v.objective
    slow = max((v.objective - polished) / v.objective, repairs) < 0.02 * true_gap
    return slow and v.stationarity.directional < 0.03


def row(name, label, problem, net, other, optima):
    key = (name, problem.bias, problem.weight_decay)
    if key not in optima:
        optima[key] = exact(problem)
    optimum, bound = optima[key]
    began = time.process_time()
    v = cr.verify(problem, net, tol=TOL)
    seconds = time.process_time() - began
    polished = continued(problem, net) if not isinstance(net, MLPRegressor) else np.nan
    complaints = check(v, optimum, bound, polished, other)
    gap, rest = (v.objective - optimum) / v.objective, (v.objective - polished) / v.objective
    s = v.stationarity
    numbers = (gap, v.gap, v.attained_gap, rest, s.residual, s.directional, s.explanation.residual)
    repairs = sum(step.gain for step in v.improvements) / v.objective
    text = " ".join(f"{x:9.1e}" for x in (*numbers, repairs))
    decays = f"{s.implied_weight_decay:8.3g} {problem.weight_decay:8.3g}"
    print(
        f"{name:12} {label:27} {v.verdict.name:20} {text} {decays} {seconds:6.1f}  {', '.join(complaints)}", flush=True
    )
    return complaints


def problem_for(X, y, decay, biases):
    output = "free" if biases == "free" else "penalized"
    return cr.TrainingProblem.from_torch(X, y, decay, bias=biases, output_bias=output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", nargs="*")
    parser.add_argument("--decay", type=float, default=0.01)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = ("true gap", "certified", "attained", "l-bfgs", "residual", "directed", "explain", "repairs")
    heads = " ".join(f"{name:>9}" for name in names)
    print(f"{'data':12} {'training':27} {'verdict':20} {heads} {'implied':>8} {'decay':>8} {'sec':>6}  complaints")
    optima, complaints, nets = {}, [], {}
    for name, (X, y) in data_sets().items():
        if options.data and name not in options.data:
            continue
        for label, how, other in cases(options.quick):
            net = train(X, y, options.decay, **how)
            nets[label] = net
            complaints += row(name, label, problem_for(X, y, options.decay, how["biases"]), net, other, optima)
        for how in ("duplicated", "unbalanced", "dead"):
            problem = problem_for(X, y, options.decay, "penalized")
            complaints += row(name, f"l-bfgs, {how}", problem, spoiled(nets["l-bfgs"], how), False, optima)
        problem = problem_for(X, y, options.decay, "free")
        complaints += row(name, "decayed, said to be free", problem, nets["adam, cosine"], True, optima)
        for solver in ("lbfgs", "adam"):
            alpha = options.decay * len(X) / 2
            settings = {"max_iter": 3000, "random_state": 0, "tol": 1e-9, "max_fun": 10**6}
            mlp = MLPRegressor(hidden_layer_sizes=100, alpha=alpha, solver=solver, **settings)
            # Adam's mini-batches of 200 decay by alpha / 200 each, not alpha / n.
            other = solver == "adam" and len(X) > 200
            complaints += row(
                name,
                f"scikit-learn, {solver}",
                cr.TrainingProblem.from_sklearn(X, y, alpha),
                mlp.fit(X, y),
                other,
                optima,
            )
    print(f"{len(complaints)} complaints")


if __name__ == "__main__":
    main()
