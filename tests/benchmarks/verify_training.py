"""Networks trained by PyTorch's optimisers, for `verify_table.py`: every optimiser, width and spoiling of its rows."""

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


def module(d, width, T, seed, scale=1.0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(d, width), torch.nn.ReLU(), torch.nn.Linear(width, T)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    return net


def groups(net, decay, bias_decayed):
    """Parameter groups: without the decay on biases if they are free."""
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": decay * bias_decayed}]


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
    """Minimise a mean loss of X (n, d) and Y (n, T) with PyTorch's weight decay; `decay` is PyTorch's for that mean."""
    net = module(X.shape[1], width, Y.shape[1], seed, scale)
    X, Y, mean_loss = torch.tensor(X), torch.tensor(Y), LOSSES[loss]
    parameters = groups(net, decay, biases == "penalized")
    if optimiser == "lbfgs":
        return lbfgs(net, X, Y, parameters, mean_loss)
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
        mean_loss(net(X[rows]), Y[rows]).backward()
        optim.step()
        if plan:
            plan.step()
    return net


def lbfgs(net, X, Y, parameters, mean_loss, steps=300):
    optim = torch.optim.LBFGS(
        [p for g in parameters for p in g["params"]],
        max_iter=steps,
        line_search_fn="strong_wolfe",
        tolerance_change=1e-14,
        tolerance_grad=1e-12,
    )

    def closure():
        optim.zero_grad()
        loss = mean_loss(net(X), Y)
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
        new = module(W.shape[1], len(W), len(last.bias), 0)
        new[0].weight.copy_(W), new[0].bias.copy_(b), new[2].weight.copy_(v), new[2].bias.copy_(last.bias)
    return new
