"""Hypothesis strategies: small integer data, where ties, duplicates, zero rows and constant columns are frequent."""

import itertools

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from convexrelu.network import Network
from convexrelu.problem import MODES, TrainingProblem

# Every legal (bias, output_bias, skip): with a free bias the output bias must be free.
LEGAL_MODES = [m for m in itertools.product(MODES, repeat=3) if m[0] != "free" or m[1] == "free"]

# The same examples in every run: a failure in CI is a failure at home. Solves take milliseconds to tenths of a second.
SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}


def examples(count):
    """Settings for a property that is worth this many examples in the default suite."""
    return settings(max_examples=count, **SETTINGS)


def modes():
    """The three choices as keyword arguments."""
    return st.sampled_from(LEGAL_MODES).map(lambda m: dict(zip(("bias", "output_bias", "skip"), m, strict=True)))


@st.composite
def data(draw, max_n=6, max_d=2, size=2):
    """An integer matrix (n, d) as float64; now and then with a constant column, a duplicate or an opposite row."""
    n, d = draw(st.integers(1, max_n)), draw(st.integers(1, max_d))
    X = np.array(draw(st.lists(st.integers(-size, size), min_size=n * d, max_size=n * d)), dtype=float).reshape(n, d)
    match draw(st.sampled_from(["plain", "plain", "constant", "duplicate", "opposite", "parallel"])):
        case "constant":
            X[:, -1] = 1.0
        case "duplicate":
            X[-1] = X[0]
        case "opposite":
            X[-1] = -X[0]
        case "parallel":
            X[-1] = 2 * X[0]
    return X


def vectors(n, size=3):
    """An integer vector (n,) as float64."""
    return st.lists(st.integers(-size, size), min_size=n, max_size=n).map(lambda v: np.array(v, dtype=float))


def weight_decays():
    """Small, middle and large against data of size one."""
    return st.sampled_from([0.03, 0.1, 0.5, 1.0, 3.0, 20.0])


@st.composite
def problems(draw, max_n=6, max_d=2, weighted=True):
    """Penalised problems of every kind."""
    X = draw(data(max_n, max_d))
    weight = None
    if weighted and draw(st.booleans()):
        weight = np.abs(draw(vectors(len(X), 2))) / 2
        weight[draw(st.integers(0, len(X) - 1))] = 1.0
    return TrainingProblem(X, draw(vectors(len(X))), draw(weight_decays()), sample_weight=weight, **draw(modes()))


@st.composite
def networks(draw, d, n_neurons=3, *, bias="penalized", output_bias="none", skip="none"):
    """Networks with small integer weights that have exactly the parts of a problem."""
    m = draw(st.integers(0, n_neurons))
    rows = draw(vectors(m * d, 2)).reshape(m, d)
    return Network(
        rows,
        None if bias == "none" else draw(vectors(m, 2)),
        draw(vectors(m, 2)).reshape(m, 1),
        draw(vectors(d, 2)).reshape(d, 1) if skip != "none" else None,
        draw(vectors(1, 2)) if output_bias != "none" else None,
        bias,
    )


@st.composite
def interpolation_problems(draw, max_n=5, max_d=2):
    """Interpolation problems that have a solution: the targets are those of a network of the same kind."""
    X, kinds = draw(data(max_n, max_d)), draw(modes())
    network = draw(networks(X.shape[1], **kinds))
    return TrainingProblem.interpolation(X, network(X), **kinds)


def with_data(problem, X=None, Y=None, weight_decay=None, sample_weight=None):
    """The same kind of problem with some of its data replaced."""
    X = problem.X if X is None else X
    Y = problem.Y if Y is None else Y
    kinds = kinds_of(problem)
    if problem.is_interpolation:
        return TrainingProblem.interpolation(X, Y, **kinds)
    decay = problem.weight_decay if weight_decay is None else weight_decay
    weight = problem.sample_weight if sample_weight is None else sample_weight
    return TrainingProblem(X, Y, decay, sample_weight=weight, **kinds)


def kinds_of(problem):
    """The three choices of a problem as keyword arguments."""
    return {"bias": problem.bias, "output_bias": problem.output_bias, "skip": problem.skip}
