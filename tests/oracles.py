"""Slow and obvious answers to compare with, in the original coordinates: no rank reduction, no facets, no package code.

Letters: `X` (n, d) data, `A` (n, k) data of the arrangement (`X` or `[X 1]`), `D` (P, n) activation patterns, `nu` (n,)
dual variable.
"""

import contextlib
import itertools
import math
import warnings
from fractions import Fraction

import cvxpy as cp
import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import linprog, minimize, nnls

# -- activation patterns ----------------------------------------------------------------------------------------------


def hidden_data(X, bias):
    """What a neuron sees: `X`, or `[X 1]` where there are hidden biases."""
    X = np.asarray(X, dtype=float)
    return X if bias == "none" else np.column_stack([X, np.ones(len(X))])


def exact_patterns(A):
    """Every full-dimensional cell of the arrangement of the rows of A, one row at a time: which signs can come next?

    A side is open if a linear program finds a neuron with margin one on it; random neurons spare most of those
    programs. Zero rows are off.
    """
    n = len(A)
    moving = [i for i in range(n) if A[i].any()]
    seen = np.random.default_rng(0).standard_normal((2000, A.shape[1])) @ A.T > 0
    prefixes = [()]
    for count, _ in enumerate(moving, start=1):
        rows = moving[:count]
        known = {tuple(row) for row in seen[:, rows].tolist()}
        candidates = [(*prefix, bit) for prefix in prefixes for bit in (False, True)]
        prefixes = [c for c in candidates if c in known or _has_interior(A[rows], c)]
    patterns = np.zeros((len(prefixes), n), dtype=bool)
    patterns[:, moving] = np.array(prefixes, dtype=bool).reshape(len(prefixes), len(moving))
    return patterns


def _has_interior(rows, bits):
    signs = np.where(bits, 1.0, -1.0)[:, None]
    answer = linprog(np.zeros(rows.shape[1]), A_ub=-signs * rows, b_ub=-np.ones(len(rows)), bounds=(None, None))
    return answer.status == 0


def sampled_patterns(A, n_directions=20_000, seed=0):
    """Signs of very many random directions: misses cells that are too small to hit."""
    return np.unique(np.random.default_rng(seed).standard_normal((n_directions, A.shape[1])) @ A.T > 0, axis=0)


def count_in_general_position(n, r):
    """Number of cells of n hyperplanes through the origin in general position in r dimensions (Cover, 1965)."""
    return 2 * sum(math.comb(n - 1, k) for k in range(r))


# -- the convex program -----------------------------------------------------------------------------------------------


# Losses as cvxpy says them, of predictions f and targets y (labels -1 and 1 for the last three).
LOSSES = {
    "squared": lambda f, y: 0.5 * cp.square(f - y),
    "absolute": lambda f, y: cp.abs(f - y),
    "huber": lambda f, y: 0.5 * cp.huber(f - y, 1.0),
    "quantile": lambda f, y: cp.maximum(0.5 * (y - f), 0.5 * (f - y)),
    "logistic": lambda f, y: cp.logistic(-cp.multiply(y, f)),
    "hinge": lambda f, y: cp.pos(1 - cp.multiply(y, f)),
    "squared_hinge": lambda f, y: 0.5 * cp.square(cp.pos(1 - cp.multiply(y, f))),
}


def convex_value(
    X,
    y,
    weight_decay,
    *,
    bias="penalized",
    output_bias="none",
    skip="none",
    sample_weight=None,
    patterns=None,
    loss="squared",
):
    """Optimal value of the program of theory A.1 by cvxpy and Clarabel; `weight_decay=None` is interpolation.

    `loss` is a name or a function of predictions and targets like those of LOSSES.
    """
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    A = hidden_data(X, bias)
    D = exact_patterns(A) if patterns is None else np.asarray(patterns)
    # Unpenalised biases run away in the all-on cell (theory A.3): the free output bias is the same constant.
    D = D[D.any(axis=1) & ~(D.all(axis=1) & (bias == "free"))]
    p = A.shape[1] - (bias == "free")
    price = 1.0 if weight_decay is None else weight_decay
    fit, cost, constraints = cp.Constant(np.zeros(len(X))), cp.Constant(0.0), []
    for sign in (1.0, -1.0) if len(D) else ():
        U = cp.Variable((len(D), A.shape[1]))
        pre = U @ A.T
        constraints.append(cp.multiply(2.0 * D - 1, pre) >= 0)
        fit = fit + sign * cp.sum(cp.multiply(D.astype(float), pre), axis=0)
        cost = cost + price * cp.sum(cp.norm(U[:, :p], 2, axis=1))
    for kind, columns in ((skip, X), (output_bias, np.ones((len(X), 1)))):
        if kind != "none":
            beta = cp.Variable(columns.shape[1])
            fit = fit + columns @ beta
            cost = cost + (price / 2 * cp.sum_squares(beta) if kind == "penalized" else 0.0)
    if weight_decay is None:
        constraints.append(fit == y)
    else:
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        cost = cost + weight @ LOSSES.get(loss, loss)(fit, y)
    return _minimum(cp.Problem(cp.Minimize(cost), constraints))


def _minimum(program):
    """The optimal value at the tightest tolerance that Clarabel reaches: it stalls at 1e-10 on some programs.

    Where it fails at all of them SCS may not: measured on a logistic and a softmax program.
    """
    for tol in (1e-10, 1e-9, 1e-8):
        with warnings.catch_warnings(), contextlib.suppress(cp.SolverError):
            warnings.simplefilter("ignore", UserWarning)  # "Solution may be inaccurate": hence the loop
            program.solve(solver=cp.CLARABEL, tol_gap_abs=tol, tol_gap_rel=tol, tol_feas=tol)
            if program.status == cp.OPTIMAL:
                return float(program.value)
    program.solve(solver=cp.SCS, eps_abs=1e-9, eps_rel=1e-9, max_iters=1_000_000)
    if program.status == cp.OPTIMAL:
        return float(program.value)
    raise AssertionError(f"the oracle failed: {program.status}")


# -- gradient descent -------------------------------------------------------------------------------------------------


def _sigmoid(t):
    return np.exp(-np.logaddexp(0.0, -t))


# Values and slopes of the losses of LOSSES, sample by sample.
SLOPES = {
    "squared": lambda f, y: (0.5 * (f - y) ** 2, f - y),
    "absolute": lambda f, y: (np.abs(f - y), np.sign(f - y)),
    "huber": lambda f, y: (np.where(abs(f - y) < 1, 0.5 * (f - y) ** 2, abs(f - y) - 0.5), np.clip(f - y, -1, 1)),
    "quantile": lambda f, y: (0.5 * np.abs(f - y), 0.5 * np.sign(f - y)),
    "logistic": lambda f, y: (np.logaddexp(0.0, -y * f), -y * _sigmoid(-y * f)),
    "hinge": lambda f, y: (np.maximum(1 - y * f, 0.0), np.where(y * f < 1, -y, 0.0)),
    "squared_hinge": lambda f, y: (0.5 * np.maximum(1 - y * f, 0.0) ** 2, -y * np.maximum(1 - y * f, 0.0)),
}


def raw_objective(parts, X, y, weight_decay, bias, output_bias, skip, weight, loss="squared"):
    """The objective of design.md for weights (hidden, hidden_bias, output, A, c), and its gradient, written out."""
    W, b, v, A, c = parts
    pre = X @ W.T + b
    features = np.maximum(pre, 0.0)
    losses, slopes = SLOPES[loss](features @ v + X @ A + c, y)
    g = weight * slopes
    back = g[:, None] * v * (pre > 0)
    kinds = ("penalized", bias, "penalized", skip, output_bias)
    gradients = [back.T @ X, back.sum(axis=0), features.T @ g, X.T @ g, np.array(g.sum())]
    value = weight @ losses
    for i, (kind, part) in enumerate(zip(kinds, parts, strict=True)):
        if kind == "penalized":
            value += 0.5 * weight_decay * np.sum(np.square(part))
            gradients[i] = gradients[i] + weight_decay * part
        if kind == "none":
            gradients[i] = 0.0 * gradients[i]
    return value, gradients


def gradient_descent(
    X,
    y,
    weight_decay,
    *,
    bias="penalized",
    output_bias="none",
    skip="none",
    sample_weight=None,
    widths=(4, 12),
    seeds=3,
    loss="squared",
):
    """The best of several L-BFGS runs on the non-convex objective: an upper bound on the optimum, nothing more."""
    X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    modes = (X, y, weight_decay, bias, output_bias, skip, weight, loss)
    runs = [_descend(modes, width, seed) for width, seed in itertools.product(widths, range(seeds))]
    return min(runs)


def _descend(modes, width, seed):
    d = modes[0].shape[1]
    shapes = [(width, d), (width,), (width,), (d,), ()]
    splits = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def unpack(flat):
        return [part.reshape(shape) for part, shape in zip(np.split(flat, splits), shapes, strict=True)]

    def function(flat):
        value, gradients = raw_objective(unpack(flat), *modes)
        return value, np.concatenate([np.ravel(g) for g in gradients])

    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(shape) for shape in shapes]
    for i, kind in ((1, modes[3]), (3, modes[5]), (4, modes[4])):
        if kind == "none":
            parts[i] = np.zeros(shapes[i])
    start = np.concatenate([np.ravel(part) for part in parts])
    return float(minimize(function, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-14}).fun)


# -- the dual norm ----------------------------------------------------------------------------------------------------


def dual_norm(X, nu, bias):
    """The largest |nu . relu(X w + b)| over neurons of cost one, attained by a neuron that is evaluated here.

    With a free bias sum(nu) must be zero; the best bias is then at a kink: each sample is the origin once (theory A.3).
    """
    X, nu = np.asarray(X, dtype=float), np.asarray(nu, dtype=float)
    if bias == "free":
        return max(dual_norm(X - x, nu, "none") for x in X)
    A = hidden_data(X, bias)
    best = 0.0
    for bits in exact_patterns(A):
        K = np.where(bits, 1.0, -1.0)[:, None] * A
        for sign in (1.0, -1.0):
            # Moreau: g plus the best non-negative combination of the cone's normals is g's projection onto the cone.
            g = sign * (nu * bits) @ A
            w = g + K.T @ nnls(K.T, -g, maxiter=100 * len(A))[0]
            best = max(best, correlation(A, nu, w))
    return best


def correlation(A, nu, w):
    """|nu . relu(A w)| of the neuron w scaled to norm one."""
    norm = np.linalg.norm(w)
    return float(abs(nu @ np.maximum(A @ w, 0.0)) / norm) if norm > 0 else 0.0


# -- exact arithmetic -------------------------------------------------------------------------------------------------


def fractions(array):
    """The entries of an array as exact rational numbers, in nested lists."""
    array = np.asarray(array)
    return [fractions(row) for row in array] if array.ndim else Fraction(float(array))


def exact_objective(X, y, weight_decay, network, *, bias, output_bias, skip, sample_weight=None):
    """The penalised objective of a network for one task in rational arithmetic: a true upper bound on the optimum."""
    X, y = fractions(X), fractions(y)
    W, b = fractions(network.hidden), fractions(network.hidden_bias)
    v, A = fractions(network.output[:, 0]), fractions(network.skip[:, 0])
    c = Fraction(float(network.output_bias[0]))
    weight = fractions(np.ones(len(y)) if sample_weight is None else sample_weight)
    loss = Fraction(0)
    for x, target, s in zip(X, y, weight, strict=True):
        f = c + sum((a * t for a, t in zip(A, x, strict=True)), Fraction(0))
        for w, shift, out in zip(W, b, v, strict=True):
            pre = shift + sum(p * t for p, t in zip(w, x, strict=True))
            f += out * max(pre, Fraction(0))
        loss += s * (f - target) ** 2 / 2
    squares = sum(p**2 for w in W for p in w) + sum(out**2 for out in v)
    squares += sum(shift**2 for shift in b) if bias == "penalized" else 0
    squares += sum(a**2 for a in A) if skip == "penalized" else 0
    squares += c**2 if output_bias == "penalized" else 0
    return loss + Fraction(float(weight_decay)) * squares / 2


def spline_slopes(x, y):
    """Slopes (n-1,) of the piecewise linear interpolant of distinct sorted x, and their changes (n-2,), exactly."""
    x, y = fractions(x), fractions(y)
    slopes = [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(len(x) - 1)]
    return slopes, [slopes[i + 1] - slopes[i] for i in range(len(slopes) - 1)]


def univariate_interpolation_value(x, y, skip):
    """Least norm of a 1-D interpolant with free bias: theory D.1 (free skip) and D.2 (none), exactly."""
    slopes, changes = spline_slopes(x, y)
    variation = sum((abs(change) for change in changes), Fraction(0))
    if skip == "free":
        return variation
    return max(variation, (variation + abs(slopes[0] + slopes[-1])) / 2)


# -- several tasks ----------------------------------------------------------------------------------------------------


def simplicial_cones(A, bits):
    """The closed cell of a pattern as cones spanned by k unit rays (k, k), one per row; k = A.shape[1] is 2 or 3."""
    K = np.where(bits, 1.0, -1.0)[:, None] * A
    K = K[A.any(axis=1)]
    if A.shape[1] == 2:
        candidates = np.column_stack([-K[:, 1], K[:, 0]])
    else:
        candidates = np.array([np.cross(a, b) for a, b in itertools.combinations(K, 2)])
    candidates = np.vstack([candidates, -candidates])
    size = np.linalg.norm(candidates, axis=1)
    unit = candidates[size > 1e-9] / size[size > 1e-9, None]
    rays = np.unique(np.round(unit[(unit @ K.T >= -1e-9).all(axis=1)], 10), axis=0)
    if A.shape[1] == 2:
        return [rays]
    middle = rays.mean(axis=0)
    across = np.linalg.svd(middle[None])[2][1:]
    flat = (rays - middle) @ across.T
    rays = rays[np.argsort(np.arctan2(flat[:, 1], flat[:, 0]))]
    return [rays[[0, i, i + 1]] for i in range(1, len(rays) - 1)]


def joint_convex_value(X, Y, weight_decay, *, bias="penalized", output_bias="none", skip="none"):
    """Optimal value of several tasks, rank 2 or 3: theory C.2, a doubly non-negative block for each simplicial cone.

    Penalised linear columns are not covered; `weight_decay=None` is interpolation.
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    A, n = hidden_data(X, bias), len(X)
    p = A.shape[1] - (bias == "free")
    free = np.hstack([X if skip == "free" else X[:, :0], np.ones((n, int(output_bias == "free")))])
    # Unpenalised columns: everything happens on their orthogonal complement.
    complement = np.linalg.svd(np.hstack([free, np.zeros((n, 1))]))[0][:, np.linalg.matrix_rank(free) :]
    price = 1.0 if weight_decay is None else weight_decay
    S, cost, constraints = cp.Constant(np.zeros((n, n))), cp.Constant(0.0), []
    for bits in exact_patterns(A):
        for rays in simplicial_cones(A, bits) if bits.any() else ():
            G = cp.Variable((len(rays), len(rays)), PSD=True)
            Phi = np.maximum(A @ rays.T, 0.0)
            S, cost = S + Phi @ G @ Phi.T, cost + 0.5 * cp.trace(rays[:, :p] @ rays[:, :p].T @ G)
            constraints.append(G >= 0)
    ridge = np.zeros((n, n)) if weight_decay is None else weight_decay * np.eye(n)
    W, target = cp.Variable((Y.shape[1], Y.shape[1]), symmetric=True), complement.T @ Y
    middle = complement.T @ (ridge + S) @ complement
    constraints.append(cp.bmat([[(middle + middle.T) / 2, target], [target.T, W]]) >> 0)
    return price * _minimum(cp.Problem(cp.Minimize(cost + 0.5 * cp.trace(W)), constraints))


def joint_loss_value(X, Y, weight_decay, *, loss, bias="penalized", output_bias="none", sample_weight=None):
    """Optimal value of several tasks with any loss, rank 2 or 3: matrices [[G, V], [V^T, W]] for each simplicial cone.

    `loss` is a name of LOSSES, or "softmax" for one-hot Y.
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    A, (n, T) = hidden_data(X, bias), Y.shape
    p = A.shape[1] - (bias == "free")
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    fit = np.ones((n, 1)) @ cp.Variable((1, T)) if output_bias == "free" else cp.Constant(np.zeros((n, T)))
    cost, constraints = cp.Constant(0.0), []
    for bits in exact_patterns(A):
        for rays in simplicial_cones(A, bits) if bits.any() else ():
            k = len(rays)
            M = cp.Variable((k + T, k + T), PSD=True)
            fit = fit + np.maximum(A @ rays.T, 0.0) @ M[:k, k:]
            cost = cost + 0.5 * cp.trace(rays[:, :p] @ rays[:, :p].T @ M[:k, :k]) + 0.5 * cp.trace(M[k:, k:])
            constraints.append(M[:k, :k] >= 0)
    if loss == "softmax":
        losses = cp.log_sum_exp(fit, axis=1) - cp.sum(cp.multiply(Y, fit), axis=1)
    else:
        losses = cp.sum(LOSSES[loss](fit, Y), axis=1)
    return _minimum(cp.Problem(cp.Minimize(weight @ losses + weight_decay * cost), constraints))


def softmax_descent(X, Y, weight_decay, *, bias, output_bias, sample_weight, width=6, seed=0):
    """An L-BFGS run on the softmax objective of several classes, one-hot Y: an upper bound on the optimum."""
    d, C = X.shape[1], Y.shape[1]
    shapes = [(width, d), (width,), (width, C), (C,)]
    splits = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    decays = [1.0, float(bias == "penalized"), 1.0, float(output_bias == "penalized")]
    masks = [1.0, float(bias != "none"), 1.0, float(output_bias != "none")]

    def function(flat):
        W, b, V, c = (
            part.reshape(shape) * m for part, shape, m in zip(np.split(flat, splits), shapes, masks, strict=True)
        )
        pre = X @ W.T + b
        F = np.maximum(pre, 0.0) @ V + c
        total = np.logaddexp.reduce(F, axis=1)
        g = sample_weight[:, None] * (np.exp(F - total[:, None]) - Y)
        back = (g @ V.T) * (pre > 0)
        slopes = [back.T @ X, back.sum(axis=0), np.maximum(pre, 0.0).T @ g, g.sum(axis=0)]
        parts = (W, b, V, c)
        value = sample_weight @ (total - np.sum(Y * F, axis=1))
        value += 0.5 * weight_decay * sum(k * np.sum(part**2) for k, part in zip(decays, parts, strict=True))
        whole = zip(slopes, decays, parts, masks, strict=True)
        return value, np.concatenate([np.ravel((s + weight_decay * k * part) * m) for s, k, part, m in whole])

    start = np.random.default_rng(seed).standard_normal(sum(int(np.prod(shape)) for shape in shapes))
    return float(minimize(function, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).fun)


def joint_dual_norm(X, N, bias):
    """The largest |N^T relu(X w + b)| over neurons of cost one: top eigenvectors on all faces of all cells (C.3).

    With a free bias the columns of N must sum to zero; each sample is the origin once, as for one task.
    """
    X, N = np.asarray(X, dtype=float), np.asarray(N, dtype=float)
    if bias == "free":
        return max(joint_dual_norm(X - x, N, "none") for x in X)
    A, best = hidden_data(X, bias), 0.0
    k = A.shape[1]
    moving = np.flatnonzero(A.any(axis=1))
    for bits in exact_patterns(A):
        for size in range(k):
            for tight in itertools.combinations(moving, size):
                E = np.linalg.svd(A[list(tight)])[2][size:].T if size else np.eye(k)
                M = N.T @ (bits[:, None] * A) @ E
                for w in np.linalg.svd(M)[2] @ E.T:
                    best = max(best, joint_correlation(A, N, w), joint_correlation(A, N, -w))
    return best


def joint_correlation(A, N, w):
    """|N^T relu(A w)| of the neuron w scaled to norm one."""
    norm = np.linalg.norm(w)
    return float(np.linalg.norm(N.T @ np.maximum(A @ w, 0.0)) / norm) if norm > 0 else 0.0


# -- one input --------------------------------------------------------------------------------------------------------


def fewest_knots(x, y):
    """The fewest knots of a continuous piecewise linear interpolant of distinct sorted x: dynamic programming, exactly.

    State: the slopes with which a point can be reached, "=" that of the chord, ">" or "<" any steeper or flatter one.
    """
    if len(x) < 2:
        return 0
    slopes, _ = spline_slopes(x, y)
    costs = {"=": 0, ">": 1, "<": 1}
    for before, slope in itertools.pairwise(slopes):
        reach = {want: min(costs[s] + _bend(before, s, slope, want) for s in costs) for want in "=><"}
        anything = min(costs.values())
        costs = {"=": reach["="], ">": min(reach["<"] + 1, anything + 2), "<": min(reach[">"] + 1, anything + 2)}
    return min(costs.values())


def _bend(before, state, slope, want):
    """Knots needed at a point to leave it with a slope equal to, above or below `slope`: none or one."""
    reached = {"=": before, ">": np.inf, "<": -np.inf}[state]
    if want == "=":
        meets = {"=": before == slope, ">": slope > before, "<": slope < before}[state]
    elif want == ">":
        meets = reached > slope or state == ">"
        meets = meets or (state == "<" and before > slope)
    else:
        meets = reached < slope or state == "<"
        meets = meets or (state == ">" and before < slope)
    return 0 if meets else 1


def interpolant_range(x, y, at, value, skip, n_grid=4):
    """Least and largest f(at) over interpolants of norm `value` with knots on a grid that has all crossings of lines.

    A linear program: too narrow if the grid misses a knot, never too wide.
    """
    from scipy.optimize import linprog

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    slopes = np.diff(y) / np.diff(x)
    knots = [*x, x[0] - 1, x[-1] + 1]
    for k in range(len(x) - 1):
        knots.extend(np.linspace(x[k], x[k + 1], n_grid + 2)[1:-1])
        if 0 < k < len(x) - 2 and slopes[k + 1] != slopes[k - 1]:
            t = (y[k] - y[k + 1] + slopes[k + 1] * x[k + 1] - slopes[k - 1] * x[k]) / (slopes[k + 1] - slopes[k - 1])
            knots.extend([t] if x[k] < t < x[k + 1] else [])
    knots = np.array(knots)

    def features(points):
        right = np.maximum(points[:, None] - knots, 0)
        left = np.zeros((len(points), 0)) if skip == "free" else np.maximum(knots - points[:, None], 0)
        linear = [points[:, None]] if skip == "free" else []
        hidden = np.hstack([right, left])
        return np.hstack([hidden, -hidden, np.ones((len(points), 1)), *linear])

    n_linear = 2 if skip == "free" else 1
    A = features(x)
    price = np.concatenate([np.ones(A.shape[1] - n_linear), np.zeros(n_linear)])
    bounds = [(0, None)] * (A.shape[1] - n_linear) + [(None, None)] * n_linear
    goal = features(np.array([at]))[0]
    ends = []
    for sign in (1.0, -1.0):
        limits = {"A_ub": price[None], "b_ub": [value * (1 + 1e-12) + 1e-12], "A_eq": A, "b_eq": y, "bounds": bounds}
        ends.append(sign * linprog(sign * goal, **limits).fun)
    return ends


def group_trend_value(x, Y, weight_decay, sample_weight):
    """Optimal value of training with free bias and skip, several tasks, by cvxpy: knots at all inner samples (D.1)."""
    x, Y = np.asarray(x, dtype=float), np.asarray(Y, dtype=float)
    inner = np.unique(x)[1:-1]
    H = np.maximum(x[:, None] - inner, 0.0)
    V = cp.Variable((len(inner), Y.shape[1])) if len(inner) else None
    fit = np.column_stack([x, np.ones(len(x))]) @ cp.Variable((2, Y.shape[1]))
    fit = fit + (H @ V if len(inner) else 0.0)
    error = cp.sum_squares(cp.multiply(np.sqrt(sample_weight)[:, None], fit - Y)) / 2
    norm = cp.sum(cp.norm(V, 2, axis=1)) if len(inner) else 0.0
    return _minimum(cp.Problem(cp.Minimize(error + weight_decay * norm)))


# -- optimal sets -----------------------------------------------------------------------------------------------------


def univariate_range(x, y, points):
    """Lowest and highest value at points inside the data of all interpolants of least total variation of the slope.

    Theory D.3, for distinct sorted x and a free skip: where the slope changes with the same sign at both ends of an
    interval, the function lies between the chord and the two neighbouring segments, prolonged; elsewhere on the chord.
    """
    slopes, changes = spline_slopes(x, y)
    slopes, changes = [float(s) for s in slopes], [0.0, *map(float, changes), 0.0]
    lower, upper = [], []
    for point in points:
        k = min(max(int(np.searchsorted(x, point)) - 1, 0), len(x) - 2)
        chord = y[k] + slopes[k] * (point - x[k])
        low = high = chord
        if changes[k] * changes[k + 1] > 0:
            ends = [y[k] + slopes[k - 1] * (point - x[k]), y[k + 1] + slopes[k + 1] * (point - x[k + 1])]
            low, high = (max(ends), chord) if changes[k] > 0 else (chord, min(ends))
        lower.append(low)
        upper.append(high)
    return np.array(lower), np.array(upper)


def direct_range(X, fit, cost, point, **kinds):
    """`direct_range_with` the least slack with which Clarabel succeeds."""
    for slack in (1e-7, 1e-6, 1e-5):
        with contextlib.suppress(cp.SolverError):
            return direct_range_with(slack, X, fit, cost, point, **kinds)
    raise AssertionError("the oracle failed")


def direct_range_with(slack, X, fit, cost, point, *, bias, output_bias, skip):
    """Lowest and highest prediction at a point over all networks with these predictions on X and at most this cost.

    The point joins the data, so that predictions there are linear in the blocks of each of *its* cells too. Cost and
    predictions may be off by `slack` (relative), without which solvers find no interior: directions may then turn by
    its root.
    """
    X, fit = np.asarray(X, dtype=float), np.asarray(fit, dtype=float)
    both = np.vstack([X, point])
    A = hidden_data(both, bias)
    D = exact_patterns(A)
    D = D[D.any(axis=1)]
    p = A.shape[1] - (bias == "free")
    prediction, norm, constraints = cp.Constant(np.zeros(len(both))), cp.Constant(0.0), []
    for sign in (1.0, -1.0):
        U = cp.Variable((len(D), A.shape[1]))
        pre = U @ A.T
        constraints += [cp.multiply(2.0 * D - 1, pre) >= 0, cp.abs(U[:, p:]) <= 1e3 * (1 + np.abs(both).max())]
        prediction = prediction + sign * cp.sum(cp.multiply(D.astype(float), pre), axis=0)
        norm = norm + cp.sum(cp.norm(U[:, :p], 2, axis=1))
    for kind, columns in ((skip, both), (output_bias, np.ones((len(both), 1)))):
        if kind == "free":
            prediction = prediction + columns @ cp.Variable(columns.shape[1])
    size = slack * max(np.abs(fit).max(), 1e-3)
    constraints += [norm <= cost * (1 + slack) + size, cp.abs(prediction[:-1] - fit) <= size]
    ends = []
    for sign in (1.0, -1.0):
        program = cp.Problem(cp.Minimize(sign * prediction[-1]), constraints)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            program.solve(solver=cp.CLARABEL)
        ends.append(sign * float(program.value))
    return ends[0], ends[1]


def sharp_range(X, nu, fit, weight_decay, point, *, bias, output_bias, skip):
    """Dual norm of nu, and lowest and highest prediction at a point over all networks that nu proves optimal.

    The point joins the data, so that each of *its* cells has one prediction there too. Over a cell the neurons that
    earn what they cost have one direction of weights, the projection of the cell's gradient, and with a free bias every
    bias that earns as much: a linear program in scales and biases. `fit` is a pair of bounds on the predictions.
    """
    X, n = np.asarray(X, dtype=float), len(X)
    both = np.vstack([X, point])
    A = hidden_data(both, bias)
    p = A.shape[1] - (bias == "free")
    blocks, cones, prices, norm = [], [], [], 0.0
    for bits, sign in itertools.product(exact_patterns(A), (1.0, -1.0)):
        u, length = _projected(A, bits, sign * nu, p)
        norm = max(norm, length)
        if length >= weight_decay * (1 - 1e-7):
            pre = np.column_stack([A[:, :p] @ u, A[:, p:]])  # of the scale, and of a free bias
            blocks.append(sign * bits[:, None] * pre)
            cones.append(np.where(bits, -1.0, 1.0)[:, None] * pre)
            prices.append(weight_decay * np.eye(1, pre.shape[1]) - nu @ blocks[-1][:n])
    free = [c for kind, c in ((skip, both), (output_bias, np.ones((n + 1, 1)))) if kind == "free"]
    free = np.hstack([np.zeros((n + 1, 1)), *free])
    design = np.hstack([free, *blocks])
    # Scales are at least zero, neurons in their cells, and earn what they cost.
    rows = [np.vstack([cone, price, -np.eye(1, cone.shape[1])]) for cone, price in zip(cones, prices, strict=True)]
    inside = block_diag(free[:0], *rows)
    lower, upper = fit
    ends = _extremes(np.vstack([design[:n], -design[:n], inside]), np.concatenate([upper, -lower]), design[-1])
    return norm, *ends


def _extremes(rows, bounds, goal):
    """Least and largest goal . x with rows x <= bounds, the rows beyond these <= 0; infinite where unbounded."""
    room = np.concatenate([bounds, np.zeros(len(rows) - len(bounds))]) + 1e-9
    used, tight = (
        np.isfinite(room),
        dict.fromkeys(("primal_feasibility_tolerance", "dual_feasibility_tolerance"), 1e-10),
    )
    for sign in (1.0, -1.0):
        answer = linprog(sign * goal, A_ub=rows[used], b_ub=room[used], bounds=(None, None), options=tight)
        yield -sign * np.inf if answer.status == 3 else sign * answer.fun


def _projected(A, bits, nu, p):
    """Unit weights (p,) of the best neuron of a cell of the data and a last row without loss, and its correlation."""
    gradient = (bits[:-1] * nu) @ A[:-1]
    K = np.where(bits, 1.0, -1.0)[:, None] * A
    K = K[np.linalg.norm(K, axis=1) > 0]
    K = K / np.linalg.norm(K, axis=1)[:, None]
    # A free bias has no cost: its multiplier equation is met exactly, in effect.
    weight = np.where(np.arange(A.shape[1]) < p, 1.0, 1e5)
    rho = nnls((K * weight).T, -gradient * weight, maxiter=10_000)[0]
    q = (gradient + K.T @ rho)[:p]
    length = float(np.linalg.norm(q))
    return q / (length or 1.0), length


def planar_maximisers(A, N, level):
    """Unit neurons u (m, 2) with |N^T relu(A u)| >= level, the largest there is, and whether they fill an interval.

    Between two kinks the square is a quadratic form of the angle: its top eigenvectors and the kinks are all there is.
    """
    normals = A[np.linalg.norm(A, axis=1) > 0]
    kinks = np.arctan2(normals[:, 1], normals[:, 0])[:, None] + np.array([np.pi / 2, -np.pi / 2])
    kinks = np.unique((kinks.ravel() % (2 * np.pi)).round(12))
    found, filled = [(np.cos(t), np.sin(t)) for t in kinks], False
    for low, high in zip(kinks, np.append(kinks[1:], kinks[0] + 2 * np.pi), strict=True):
        middle = np.array([np.cos((low + high) / 2), np.sin((low + high) / 2)])
        G = (A * (A @ middle > 0)[:, None]).T @ N
        values, vectors = np.linalg.eigh(G @ G.T)
        filled |= bool(values[0] >= level**2 * (1 - 1e-7))
        for u in (vectors[:, 1], -vectors[:, 1]):
            if np.cos((high - low) / 2) <= u @ middle:
                found.append(tuple(u))
    found = np.array(found)
    active = np.linalg.norm(np.maximum(found @ A.T, 0) @ N, axis=1) >= level * (1 - 1e-9)
    return np.unique(found[active].round(9), axis=0), filled
