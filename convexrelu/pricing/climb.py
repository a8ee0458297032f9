"""Climb from many starts at once to exact local maxima, kinks included, by an active set of tight samples.

Letters as in `convexrelu.pricing.search`: each row climbs `a . relu(Z u) - 1/2 |w|^2`, `w` the penalised part of `u`.
Along a line this is quadratic between the kinks of the samples; a kink with `a_i > 0` raises the slope, one with
`a_i < 0` lowers it and may end the climb: the sample becomes tight, and the climb goes on in the face `z_i . u = 0`.
At the maximum of a face the slopes `c` of its tight samples are known; the one furthest outside [0, 1] is released.
No step lowers the value, and every row ends at a point that no tight sample can leave to gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convexrelu.arrays import Array, IntArray

# Curvature across a tight sample, relative to that of 1/2 |w|^2: what it lets through is 1e-9 of a step.
_STIFF = 1e9
# Curvature along a free bias, which has none of its own: it moves first, to the next kink.
_FLAT = 1e-6
# A step this short, relative to the neuron at its longest, is rounding; a slope this far outside [0, 1] is.
_STILL, _OUTSIDE = 1e-6, 1e-7
# A pre-activation this small, relative to the norms of neuron and row, starts as a tight one.
_TIE = 1e-9
# Entries of an array (starts x samples) up to which the dozen in use at once stay in the cache.
_CACHED = 98_304
# Newton steps of a start that has arrived: each divides what is left by about 1e9.
_SETTLING = 2
# Kinks looked at in one step; a step ends at the last of them at the latest. Those further than this are none.
_KINKS, _FAR = 24, 1e9


@dataclass(frozen=True)
class Climbed:
    """Where the starts ended: neurons `u` (B, k), pre-activations `t` (B, n) and slopes of relu `c` (B, n)."""

    u: Array
    t: Array
    c: Array


def climb(Z: Array, n_penalized: int, a: Array, u: Array, max_steps: int) -> Climbed:
    """Climb from each start to a local maximum.

    Parameters
    ----------
    Z : (n, k) float64
        Reduced hidden data.
    n_penalized : int
        `k`, or `k - 1` when the last coordinate is a free bias, and the last column of `Z` ones.
    a : (B, n) float64
        Weights of the samples; with a free bias their sums must vanish up to rounding.
    u : (B, k) float64
        Starts. Those of positive correlation are first given their best lengths: so it does not fall in a climb.
    max_steps : int
        A step costs two products of (B x n) with (n x k) and one k x k solve per start.

    Returns
    -------
    Climbed
    """
    # A free bias is measured in units of the largest row, so that rows are about as long in it as in the others.
    unit = np.ones(Z.shape[1])
    unit[n_penalized:] = max(float(np.linalg.norm(Z[:, :n_penalized], axis=1).max(initial=0.0)), 1e-300)
    climbing = _Climb(Z * unit, n_penalized, a, _best_lengths(Z, n_penalized, a, u) / unit)
    climbing.run(max_steps)
    return Climbed(climbing.u * unit, climbing.t, climbing.c)


def _best_lengths(Z: Array, p: int, a: Array, u: Array) -> Array:
    """The starts with |w| equal to their correlation at |w| = 1, where that is positive."""
    values = np.einsum("bi,bi->b", np.maximum(u @ Z.T, 0.0), a)
    squares = np.einsum("bj,bj->b", u[:, :p], u[:, :p])
    good = (values > 0) & (squares > 0)
    return np.asarray(u * np.where(good, values / np.where(good, squares, 1.0), 1.0)[:, None])


class _Climb:
    """All starts.

    `side` (B, n) is 1 where a sample is on, else -1; `loose` (B, n) is 0 where it is tight, and stays on its kink, else
    1; `pull` (B, k) is the gradient of the correlation without the tight samples. Arrays are multiplied by zeros and
    ones instead of masked, which costs several times as much.
    """

    def __init__(self, Z: Array, n_penalized: int, a: Array, u: Array) -> None:
        self.Z, self.p, self.a, self.u = Z, n_penalized, a, u.copy()
        self.rows, self.sizes = np.ascontiguousarray(Z.T), np.linalg.norm(Z, axis=1)
        # A zero row is never tight: it has no kink.
        self.stiff = np.where(self.sizes > 0, _STIFF / np.where(self.sizes > 0, self.sizes, 1.0) ** 2, 0.0)
        self.t = u @ self.rows
        self.lengths = np.linalg.norm(u, axis=1)
        tight = (np.abs(self.t) <= _TIE * self.lengths[:, None] * self.sizes) & (a < 0) & (self.stiff > 0)
        self.side, self.loose = np.where(self.t > 0, 1.0, -1.0), 1.0 - tight
        self.c = (self.side > 0).astype(float)
        self.pull = (a * (self.side > 0) * self.loose) @ Z
        # The starts at their ends, and what tight samples take of the gradient there: their weights times slopes.
        self.arrived, self.taken = np.zeros(len(u), dtype=bool), np.zeros_like(self.t)
        # Curvature (B, k, k) of each start in the face of its tight samples, kept up to date, and what each adds to it.
        metric = np.diag(np.where(np.arange(Z.shape[1]) < n_penalized, 1.0, _FLAT))
        self.stiffness = self.stiff[:, None, None] * Z[:, :, None] * Z[:, None, :]
        self.system = metric + (tight @ self.stiffness.reshape(len(Z), -1)).reshape(len(u), *metric.shape)

    def run(self, max_steps: int) -> None:
        """Step all starts until each has arrived: so many at a time as the cache takes, the next as others end."""
        size = max(_CACHED // len(self.Z), 8)
        left, going, waiting = np.full(len(self.u), max_steps), np.arange(0), np.arange(len(self.u))
        while len(going) or len(waiting):
            room = size - len(going)
            going, waiting = np.concatenate([going, waiting[:room]]), waiting[room:]
            left[going] -= 1
            going = self._step(going)
            going = going[left[going] > 0]
        self._settle(np.flatnonzero(self.arrived))

    def _step(self, rows: IntArray) -> IntArray:
        """Move, or release a tight sample of, each of some starts; returns those that have not arrived."""
        gradient, step, dt = self._newton(rows, self.pull[rows])
        still = np.linalg.norm(step, axis=1) <= _STILL * self.lengths[rows]
        moving = ~still
        slope = np.einsum("bj,bj->b", gradient[moving], step[moving])
        self._move(rows[moving], step[moving], dt[moving] * self.loose[rows[moving]], slope)
        released = self._release(rows[still], -self.stiff * dt[still] * (1.0 - self.loose[rows[still]]))
        return np.concatenate([rows[moving], released])

    def _newton(self, rows: IntArray, pull: Array) -> tuple[Array, Array, Array]:
        """Gradients, steps to the maxima of the faces, changes of pre-activations."""
        gradient = pull.copy()
        gradient[:, : self.p] -= self.u[rows, : self.p]
        step = np.linalg.solve(self.system[rows], gradient[:, :, None])[:, :, 0]
        return gradient, step, step @ self.rows

    def _release(self, rows: IntArray, taken: Array) -> IntArray:
        """Release the tight sample with the most to gain, on the side that gains; returns the starts that have one."""
        a, at = self.a[rows], np.arange(len(rows))
        excess = (1.0 - self.loose[rows]) * np.maximum(taken, a - taken) * self.sizes
        worst = np.argmax(excess, axis=1)
        some = excess[at, worst] > _OUTSIDE * self.lengths[rows]
        self.arrived[rows[~some]], self.taken[rows[~some]] = True, taken[~some]
        rows, worst, at = rows[some], worst[some], at[some]
        on = taken[at, worst] < a[at, worst]
        self.loose[rows, worst], self.side[rows, worst] = 1.0, np.where(on, 1.0, -1.0)
        self.system[rows] -= self.stiffness[worst]
        self.pull[rows] += (on * a[at, worst])[:, None] * self.Z[worst]
        return rows

    def _settle(self, rows: IntArray) -> None:
        """Remove what is left of the gradient of starts that have arrived, and note their slopes."""
        tight, taken = self.loose[rows] == 0, self.taken[rows]
        pull = (self.a[rows] * (self.side[rows] > 0) * ~tight) @ self.Z
        for _ in range(_SETTLING):
            off = self.u[rows] @ self.rows  # tight samples ought to be on their kinks
            _, step, dt = self._newton(rows, pull + (tight * (taken - self.stiff * off)) @ self.Z)
            self.u[rows] += step
            taken = tight * (taken - self.stiff * (off + dt))
        self.t[rows] = (self.u[rows] @ self.rows) * ~tight
        slopes = np.clip(taken / np.where(tight, self.a[rows], 1.0), 0.0, 1.0)
        self.c[rows] = np.where(tight, slopes, self.side[rows] > 0)

    def _move(self, rows: IntArray, step: Array, dt: Array, slope: Array) -> None:
        """Go along each direction to the first point where the value stops rising."""
        t, side = self.t[rows], self.side[rows]
        with np.errstate(over="ignore"):  # of huge data: the length to a kink that is never met is infinite
            kinks, at, gains = _next_kinks(t, dt, side, self.a[rows])
            # Slope of the value along the line before each kink, and the length at which it would vanish there.
            before = slope[:, None] + np.cumsum(gains, axis=1) - gains
            top = before / slope[:, None]
            smooth, kinked = top <= at, before + gains <= slope[:, None] * at
        ends = smooth | kinked
        last, b = np.where(ends.any(axis=1), np.argmax(ends, axis=1), at.shape[1] - 1), np.arange(len(rows))
        smooth, kinked = smooth[b, last], kinked[b, last] & ~smooth[b, last]
        length = np.where(smooth, top[b, last], at[b, last])
        passed, which = np.nonzero(np.arange(at.shape[1]) < (last + ~(smooth | kinked))[:, None])
        self._pass(rows, passed, kinks[passed, which])
        self.u[rows] += length[:, None] * step
        self.lengths[rows] = np.maximum(self.lengths[rows], np.linalg.norm(self.u[rows], axis=1))
        dt *= length[:, None]
        t += dt
        self.t[rows] = t
        self._tighten(rows[kinked], kinks[b, last][kinked])

    def _pass(self, rows: IntArray, passed: IntArray, samples: IntArray) -> None:
        """Turn samples on or off: `samples[j]` of the start `rows[passed[j]]`, in order."""
        starts = rows[passed]
        side = -self.side[starts, samples]
        self.side[starts, samples] = side
        first = np.flatnonzero(np.diff(starts, prepend=-1))
        if len(first):
            self.pull[starts[first]] += np.add.reduceat(
                (side * self.a[starts, samples])[:, None] * self.Z[samples], first
            )

    def _tighten(self, rows: IntArray, samples: IntArray) -> None:
        """Keep a sample of each start on its kink."""
        self.pull[rows] -= ((self.side[rows, samples] > 0) * self.a[rows, samples])[:, None] * self.Z[samples]
        self.t[rows, samples] = self.loose[rows, samples] = 0.0
        self.system[rows] += self.stiffness[samples]


def _next_kinks(t: Array, dt: Array, side: Array, a: Array) -> tuple[IntArray, Array, Array]:
    """The first kinks along each line: samples, lengths at which they are met, changes of slope (none if far)."""
    # Without masks, which cost ten times as much: what leaves its kink gets there at a speed of next to nothing.
    speed = dt * side
    np.negative(speed, out=speed)
    np.maximum(speed, 1e-200, out=speed)
    at = np.abs(t)
    at += 1e-190
    at /= speed
    count = min(_KINKS, t.shape[1])
    kinks = np.argpartition(at, count - 1, axis=1)[:, :count]
    kinks = np.take_along_axis(kinks, np.argsort(np.take_along_axis(at, kinks, axis=1), axis=1), axis=1)
    at = np.take_along_axis(at, kinks, axis=1)
    gains = np.take_along_axis(a, kinks, axis=1) * np.abs(np.take_along_axis(dt, kinks, axis=1))
    return kinks, at, np.where(at < _FAR, gains, 0.0)
