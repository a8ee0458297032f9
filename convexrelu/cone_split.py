"""A vector as the difference of two vectors of a cone: `split`, and what it costs at most: `ConeWidth`.

Letters: `K` (f, k) rows of length one of the cone {u : K u >= 0}, `p` penalised leading coordinates, `S u` = u[:p],
`w` (k,) a vector, `c` (k,) a vector inside the cone with |S c| = 1, `m` = min K c.

With v = (|w| / m) c every row has K v >= |w| >= |K w|, so that v and u = w + v are in the cone, and

    |S u| + |S v| <= |S w| + 2 kappa |w|,     kappa = 1 / m.

The best c makes kappa as small as the cone is wide. (Mishkin, Sahiner and Pilanci bound the same by a condition number
of rows of K, which such a decomposition needs independent; this holds for every cone with an interior.)

References
----------
A. Mishkin, A. Sahiner and M. Pilanci, "Fast convex optimization for two-layer ReLU networks: equivalent model classes
and cone decompositions", ICML 2022, Section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from convexrelu.arrays import Array, row_norms
from convexrelu.backends import Backend
from convexrelu.backends.conic import ConicProgram

# Tolerance of the small programs; what they leave is accounted for where it matters.
FINE = 1e-10
# Entries of an interior vector are at most this many times those of its penalised part: free ones might run away.
LARGEST = 1e6


@dataclass(frozen=True)
class ConeWidth:
    """How wide a cone is.

    Attributes
    ----------
    kappa : float
        The bound of the module; infinite for a cone without interior.
    center : float64 (k,)
        c, with |S c| = 1, or less where free coordinates alone lead inside; zeros if kappa is infinite.
    """

    kappa: float
    center: Array


def cone_width(K: Array, p: int, backend: Backend) -> ConeWidth:
    """The c of largest margin m: maximise m subject to K c >= m, |S c| <= 1.

    The answer is evaluated here: whatever c the backend finds, kappa holds for it.
    """
    K, k = _unit(K), K.shape[1]
    if not len(K):
        return ConeWidth(0.0, np.eye(1, k)[0])
    none, free = sp.csc_array((p, 1)), k - p
    rows = [
        sp.hstack([-sp.csc_array(K), np.ones((len(K), 1))]),
        sp.hstack([sp.csc_array((2 * free, p)), np.vstack([np.eye(free), -np.eye(free)]), sp.csc_array((2 * free, 1))]),
        sp.csc_array((1, k + 1)),
        sp.hstack([-sp.eye_array(p, k), none]),
    ]
    b = np.concatenate([np.zeros(len(K)), np.full(2 * free, LARGEST), [1.0], np.zeros(p)])
    q = np.append(np.zeros(k), -1.0)
    answer = backend.solve(_program(q, rows, b, len(K) + 2 * free, (p + 1,)), tol=FINE)
    return _evaluated(K, p, np.asarray(answer.x[:k]))


def _evaluated(K: Array, p: int, c: Array) -> ConeWidth:
    """The width that a vector proves."""
    size = float(np.linalg.norm(c[:p]))
    margin = float((K @ c).min()) - 1e-13 * float(np.abs(c).sum())
    if not np.isfinite(margin) or margin <= FINE * size:
        return ConeWidth(float("inf"), np.zeros_like(c))
    return ConeWidth(size / margin, c / max(size, FINE))


def split(w: Array, K: Array, p: int, backend: Backend) -> tuple[Array, Array]:
    """Vectors u, v of the cone with u - v = w and |S u| + |S v| least, as good as the backend is."""
    size, K, k = float(np.linalg.norm(w)), _unit(K), len(w)
    # Unknowns (v, s, t): s >= |S v + S w|, t >= |S v|; K v >= 0 and K (v + w) >= 0; in units of w.
    S, bound = sp.eye_array(p, k), sp.csc_array(np.eye(p + 1, 1))
    none = sp.csc_array((len(K), 2))
    ball = sp.vstack([sp.csc_array((1, k)), S])
    rows = [
        sp.hstack([-sp.csc_array(K), none]),
        sp.hstack([-sp.csc_array(K), none]),
        sp.hstack([-ball, -bound, 0 * bound]),
        sp.hstack([-ball, 0 * bound, -bound]),
    ]
    b = np.concatenate([np.zeros(len(K)), K @ w / size, [0.0], w[:p] / size, np.zeros(p + 1)])
    q = np.concatenate([np.zeros(k), np.ones(2)])
    answer = backend.solve(_program(q, rows, b, 2 * len(K), (p + 1, p + 1)), tol=FINE)
    v = size * np.asarray(answer.x[:k])
    return w + v, v


def _unit(K: Array) -> Array:
    return K / np.maximum(row_norms(K), 1e-300)[:, None]


def _program(q: Array, rows: list[sp.sparray], b: Array, n_nonneg: int, balls: tuple[int, ...]) -> ConicProgram:
    return ConicProgram(None, q, sp.csc_array(sp.vstack(rows)), b, 0, n_nonneg, balls)
