"""Programs whose cones are polyhedral, for backends that know linear constraints only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from convexrelu.backends.conic import ConicProgram, Vector


def linear_form(program: ConicProgram) -> tuple[ConicProgram, sp.csc_array | None]:
    """Replace second-order cones of dimension 1 and 2 by linear inequalities.

    (t, u) with t >= |u| is t + u >= 0 and t - u >= 0, so the slacks become M s with M made of blocks [[1, 1], [1, -1]].

    Parameters
    ----------
    program : ConicProgram
        An LP or a QP by its `kind`.

    Returns
    -------
    program : ConicProgram
        The same program with zero and non-negative rows only.
    M : scipy.sparse csc of shape (m, m), or None
        z = M' z_linear is the dual variable of the program given; None for the identity.
    """
    if not program.second_order:
        return program, None
    M = _split_matrix(program)
    n_nonneg = program.n_rows - program.n_zero
    linear = replace(program, A=(M @ program.A).tocsc(), b=M @ program.b, n_nonneg=n_nonneg, second_order=())
    return linear, M


def _split_matrix(program: ConicProgram) -> sp.csc_array:
    sizes = np.array(program.second_order)
    first = program.n_zero + program.n_nonneg + np.cumsum(sizes) - sizes
    bound = first[sizes == 2]  # the row of t; that of u is the next
    diagonal = np.ones(program.n_rows)
    diagonal[bound + 1] = -1.0
    rows = np.concatenate([np.arange(program.n_rows), bound, bound + 1])
    columns = np.concatenate([np.arange(program.n_rows), bound + 1, bound])
    values = np.concatenate([diagonal, np.ones(2 * bound.size)])
    return sp.coo_array((values, (rows, columns)), shape=(program.n_rows, program.n_rows)).tocsc()


def kkt_error(program: ConicProgram, x: Vector, z: Vector) -> float:
    """Return the largest relative violation of the optimality conditions of a program with linear rows only.

    Each of the three (primal feasibility, stationarity and dual signs, duality gap) is divided by one plus the largest
    term that enters it; infinite if an entry is not finite.
    """
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        return np.inf
    Ax, Px, Atz = program.A @ x, program.quadratic_gradient(x), program.A.T @ z
    slack = program.b - Ax
    free, signed = slice(program.n_zero), slice(program.n_zero, None)
    primal = max(_size(slack[free]), _size(np.minimum(slack[signed], 0.0))) / (1 + max(_size(Ax), _size(program.b)))
    dual = max(_size(Px + program.q + Atz), _size(np.minimum(z[signed], 0.0)))
    dual /= 1 + max(_size(Px), _size(program.q), _size(Atz))
    terms = np.array([x @ Px, program.q @ x, program.b @ z])
    return float(max(primal, dual, abs(terms.sum()) / (1 + _size(terms))))


def _size(vector: Vector) -> float:
    return float(np.abs(vector).max(initial=0.0))
