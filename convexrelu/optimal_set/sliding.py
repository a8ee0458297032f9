"""Newton's method on an optimal network whose neurons may slide from cell to cell: `slide`, `joined`.

Letters as in `convexrelu.optimal_set.stationary`, and `a = s_e nu` (n,) what sample i pays neuron e for a unit of
activation, `c` (n,) the slopes of relu at its pre-activations: 0 where off, 1 where on, on a kink the multiplier in
between with which  lam z_e / |z_e| = E^T Z^T (c a)  holds for all coordinates, not only those of the face.

After every step with cells held fixed the cells follow: a neuron that has crossed a sample's hyperplane stays on it
where a < 0, for there the cost has a kink that attracts, and goes over to the other side where a >= 0; a kink whose
multiplier leaves [0, 1] is let go (a primal-dual active set method; the kinks of convexrelu.native are the same,
smoothed).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms
from convexrelu.optimal_set.stationary import Stationary, face_basis, tie_sizes
from convexrelu.problem import TrainingProblem
from convexrelu.pruning import DEPENDENT, independent_weights, off_columns

# Steps with changing cells; where they are not enough the method circles.
STEPS = 40
# That many steps all cells may change at once, which is fast but may circle; then a step ends at the first kink that
# attracts, and a neuron lets go of one kink at a time.
EAGER = 10
# Relative: pre-activations this near zero are those of samples on a face.
ON_KINK = 1e-11
# Multipliers may leave [0, 1] by rounding.
SLACK = 1e-9
# Relative rise of the objective that counts as rounding, and the shortest share of a step.
ROUNDING = 1e-13
SHORTEST = 1e-3
# Neurons of one sign with cosines this near one are the same.
SAME = 1e-10


def slide(state: Stationary, tol: float) -> Stationary | None:
    """The stationary network (to `tol`, relative) that Newton's method reaches from a state, None if it reaches none.

    Notes
    -----
    Each step costs one solve with a matrix of the size of the number of weights.
    """
    value = objective(state)
    for i in range(STEPS):
        stepped, value = _descent(state, value)
        moved = _with_cells_followed(stepped, len(stepped.nu)) if i < EAGER else None
        if moved is None:
            stepped, blocked = _up_to_a_kink(state, stepped)
            moved = _with_cells_followed(stepped, 0 if blocked else 1)
        if moved is None:
            return None
        if moved is stepped and moved.error <= tol:
            best = moved.polished()
            return best if len(best.faces) == len(moved.faces) else moved
        value = value if moved is stepped else objective(moved)
        state = moved
    return None


def objective(state: Stationary) -> float:
    """The objective of the network, neurons outside their cells counted as they are."""
    problem, U = state.problem, state.neurons
    fit = state.signs @ np.maximum(U @ problem.arrangement.Z.T, 0.0) + state.columns[:, state.z.size :] @ state.linear
    penalized = state.linear[state.n_free :]
    cost = float(problem.arrangement.cost(U).sum()) + 0.5 * float(penalized @ penalized)
    return problem.loss.value(fit[:, None], problem.Y, problem.sample_weight) + problem.penalty * cost


def _descent(state: Stationary, value: float) -> tuple[Stationary, float]:
    """A Newton step, halved until the objective does not rise, and the objective there."""
    share = 1.0
    while True:
        stepped = merged(state.step(share))
        after = objective(stepped)
        if after <= value * (1 + ROUNDING) or share < SHORTEST:
            return stepped, after
        share *= 0.5


def _up_to_a_kink(state: Stationary, stepped: Stationary) -> tuple[Stationary, bool]:
    """The step shortened to where a neuron meets a kink that attracts, and whether one does."""
    share = 1.0
    while len(stepped.faces) != len(state.faces) and share > SHORTEST:
        # Neurons vanish on the way: first see what the others meet before that.
        share *= 0.5
        stepped = state.step(share)
    if len(stepped.faces) != len(state.faces):
        return stepped, False
    Z = state.problem.arrangement.Z
    before, after = state.neurons @ Z.T, stepped.neurons @ Z.T
    meets = (state.active != (after > 0)) & (state.signs[:, None] * stepped.nu < 0) & ~on_kink(stepped)
    if not meets.any():
        return stepped, False
    way = np.abs(before - after)[meets]
    share = float((np.abs(before[meets]) / np.where(way > 0, way, np.inf)).min()) * (1 + 1e-9)
    z, linear, nu = (
        (1 - share) * old + share * new
        for old, new in ((state.z, stepped.z), (state.linear, stepped.linear), (state.nu, stepped.nu))
    )
    return replace(state, z=z, linear=linear, nu=nu), True


def predicted(state: Stationary, problem: TrainingProblem) -> Stationary:
    """The state moved along its derivative to a problem of another weight decay; else the state itself."""
    change = problem.weight_decay - state.problem.weight_decay
    start = replace(state, problem=problem)
    dz, linear, nu = np.split(state.rate * change, [state.z.size, state.columns.shape[1]])
    along = np.bincount(state.owner, (state.z + dz) * state.unit, minlength=len(state.faces))
    moved = replace(start, z=state.z + dz, linear=state.linear + linear, nu=state.nu + nu)
    return moved.take(along > 0)


def joined(state: Stationary, neurons: Array, signs: Array) -> Stationary:
    """The state with further neurons (m', k)."""
    both = np.vstack([state.neurons, neurons])
    return Stationary.of(state.problem, both, np.concatenate([state.signs, signs]), state.linear, state.nu, ON_KINK)


def merged(state: Stationary) -> Stationary:
    """The state with neurons of the same direction and sign made one."""
    if len(state.faces) < 2:
        return state
    unit = state.neurons / np.maximum(row_norms(state.neurons), 1e-300)[:, None]
    same = (unit @ unit.T > 1 - SAME) & (state.signs[:, None] == state.signs)
    first = np.argmax(same, axis=1)
    if (first == np.arange(len(first))).all():
        return state
    neurons = np.zeros_like(state.neurons)
    np.add.at(neurons, first, state.neurons)
    kept = first == np.arange(len(first))
    return Stationary.of(state.problem, neurons[kept], state.signs[kept], state.linear, state.nu, ON_KINK)


def independent(state: Stationary) -> Stationary:
    """An optimal network with the same predictions at the same cost, those of its neurons independent modulo Q_f."""
    free = state.problem.linear.free
    A = state.signs * np.maximum(state.problem.arrangement.Z @ state.neurons.T, 0.0)
    rest = off_columns(free, A)
    size = row_norms(rest.T)
    if not len(size) or ((size > 0).all() and np.linalg.svdvals(rest / size)[-1] > DEPENDENT):
        return state
    alpha = independent_weights(A, np.ones(len(size)), free)
    kept = alpha > 0
    lost = A @ (1 - alpha)
    linear = state.linear.copy()
    linear[: state.n_free] += np.linalg.lstsq(free, lost, rcond=None)[0]
    neurons = (alpha[:, None] * state.neurons)[kept]
    return Stationary.of(state.problem, neurons, state.signs[kept], linear, state.nu, ON_KINK)


def on_kink(state: Stationary) -> BoolArray:
    """Which samples (m, n) lie on the kinks of which neurons, by the faces of these."""
    arrangement = state.problem.arrangement
    near = np.abs(state.neurons @ arrangement.Z.T) <= ON_KINK * tie_sizes(arrangement, state.neurons)
    return near & (row_norms(arrangement.Z) > 0) & ~state.active


def _with_cells_followed(state: Stationary, most: int) -> Stationary | None:
    """The state in the cells that its neurons ask for, at most so many kinks of each let go.

    The state itself if these are its own cells; None where a face would be a point.
    """
    arrangement = state.problem.arrangement
    pre, pays = state.neurons @ arrangement.Z.T, state.signs[:, None] * state.nu
    tight = on_kink(state)
    crossed = ~tight & (state.active != (pre > 0))
    caught = crossed & (pays < 0)
    active = np.where(tight, False, pre > 0) & ~caught
    faces, z = list(state.faces), [state.z[state.owner == e] for e in range(len(state.faces))]
    changed = crossed.any(axis=1)
    for e in range(len(faces)):
        loose, on = _released(state, e, np.flatnonzero(tight[e]), pays[e], most)
        if changed[e] or len(loose):
            changed[e] = True
            kept = tight[e] | caught[e]
            kept[loose] = False
            active[e, loose] = on
            faces[e], z[e] = _onto_face(state, e, kept)
            if not faces[e].shape[1]:
                return None
    if not changed.any():
        return state
    return replace(state, faces=tuple(faces), active=active, z=np.concatenate([*z, np.zeros(0)]))


def _onto_face(state: Stationary, e: int, tight: BoolArray) -> tuple[Array, Array]:
    """The face where the samples `tight` are on the kink of neuron e, and the nearest point to the neuron on it."""
    arrangement = state.problem.arrangement
    p = arrangement.n_penalized
    E = face_basis(arrangement, tight)
    return E, E[:p].T @ state.neurons[e, :p]


def _released(state: Stationary, e: int, tight: IntArray, pays: Array, most: int) -> tuple[IntArray, BoolArray]:
    """Samples on the kink of neuron e that are let go, the worst first, and whether the neuron is then on there."""
    if not len(tight) or not most:
        return tight[:0], np.zeros(0, dtype=np.bool_)
    c = multipliers(state, e, tight)
    wrong = np.where(pays[tight] >= 0, np.inf, np.maximum(-c, c - 1))
    count = min(most, int((wrong > SLACK).sum()))
    if state.problem.bias == "free":
        # Something must hold the bias: where it should go to another sample, the neuron there is found by pricing.
        count = min(count, len(tight) - 1)
    away = np.argsort(-wrong, kind="stable")[:count]
    return tight[away], c[away] > 0.5


def multipliers(state: Stationary, e: int, tight: IntArray) -> Array:
    """Slopes c of the samples on the kink of neuron e; the shortest where they are dependent."""
    arrangement, a = state.problem.arrangement, state.signs[e] * state.nu
    wanted = state.problem.penalty * state.neurons[e] / state.costs[e]
    wanted[arrangement.n_penalized :] = 0.0
    missing = wanted - (state.active[e] * a) @ arrangement.Z
    rows = a[tight, None] * arrangement.Z[tight]
    size = np.maximum(row_norms(rows), 1e-300)
    scaled = np.linalg.lstsq((rows / size[:, None]).T, missing, rcond=1e-9)[0]
    return np.asarray(scaled / size)
