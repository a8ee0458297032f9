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

from convexrelu.arrays import Array, BoolArray, IntArray, row_norms

# Curvature across a tight sample, relative to that of 1/2 |w|^2, without and with a free bias: its inverse is what a
# tight sample lets through of a step, and its product with the rounding of a step is an error in slopes.
_STIFF, _STIFF_FREE = 1e7, 1e5
# Curvature along a free bias, which has none of its own: it moves first, to the next kink.
_FLAT = 1e-6
# A step this short, relative to the neuron at its longest, is rounding; a slope this far outside [0, 1] is.
_STILL, _OUTSIDE = 1e-6, 1e-7
# A pre-activation this small, relative to the norms of neuron and row, starts as a tight one.
_TIE = 1e-9
# Entries of an array (starts x samples) up to which the dozen in use at once stay in the cache.
_CACHED = 98_304
# Newton steps at the maximum of a face, and of a start that has arrived: each divides what is left by about 1e7.
_SETTLING, _ARRIVING = 1, 3
# Kinks looked at in one step; a step ends at the last of them at the latest. Those further than this are none.
_KINKS, _FAR, _LARGEST = 16, 1e9, 1e300


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
        A step costs a product of (B x n) with (n x k), and nine at the maximum of a face.

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

    `side` (B, n) is 1 where a sample is on, -1 where it is off, and 0 where it is tight and stays on its kink; `pull`
    (B, k) is the gradient of the correlation without the tight samples, `inverse` (B, k, k) the inverse of the
    curvature, which is stiff across them: both are kept up to date. What tight samples take of the gradient, `taken`
    (B, n), is their weights times slopes. Arrays are multiplied by zeros and ones instead of masked, which costs
    several times as much.
    """

    def __init__(self, Z: Array, n_penalized: int, a: Array, u: Array) -> None:
        self.Z, self.p, self.a, self.u = Z, n_penalized, a, u.copy()
        self.rows, self.sizes = np.ascontiguousarray(Z.T), row_norms(Z)
        # A zero row is never tight: it has no kink.
        stiff = _STIFF_FREE if n_penalized < Z.shape[1] else _STIFF
        self.stiff = np.where(self.sizes > 0, stiff / np.where(self.sizes > 0, self.sizes, 1.0) ** 2, 0.0)
        self.t = u @ self.rows
        self.lengths = row_norms(u)
        tight = (np.abs(self.t) <= _TIE * self.lengths[:, None] * self.sizes) & (a < 0) & (self.stiff > 0)
        self.side = np.where(tight, 0.0, np.where(self.t > 0, 1.0, -1.0))
        self.c = (self.side > 0).astype(float)
        self.pull = (a * self.c) @ Z
        self.arrived = np.zeros(len(u), dtype=bool)
        self.metric = np.where(np.arange(Z.shape[1]) < n_penalized, 1.0, _FLAT)
        self.inverse = np.repeat(np.diag(1.0 / self.metric)[None], len(u), axis=0)
        starts, samples = np.nonzero(tight)
        while len(starts):
            first = np.diff(starts, prepend=-1) > 0
            self._stiffen(starts[first], samples[first])
            starts, samples = starts[~first], samples[~first]

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
        late = np.flatnonzero(~self.arrived)
        self.t[late] = self.u[late] @ self.rows
        self.c[late] = self.t[late] > 0

    def _step(self, rows: IntArray) -> IntArray:
        """Move some starts and release a tight sample of each that is at the maximum of its face.

        Returns those that have not arrived.
        """
        gradient = self._gradient(self.u[rows], self.pull[rows])
        step = _products(self.inverse[rows], gradient)
        still = row_norms(step) <= _STILL * self.lengths[rows]
        moving = ~still
        slope = np.einsum("bj,bj->b", gradient[moving], step[moving])
        still[moving] = self._move(rows[moving], step[moving], slope)
        return np.concatenate([rows[~still], self._release(rows[still])])

    def _gradient(self, u: Array, pull: Array) -> Array:
        """Gradients of the value where that of the correlation is `pull`."""
        gradient = pull.copy()
        gradient[:, : self.p] -= u[:, : self.p]
        return gradient

    def _release(self, rows: IntArray) -> IntArray:
        """Release the tight sample with the most to gain, on the side that gains; returns the starts that have one."""
        tight, a, at = (self.side[rows] == 0).astype(float), self.a[rows], np.arange(len(rows))
        taken = self._settled(rows, np.zeros_like(tight), _SETTLING)
        excess = tight * np.maximum(taken, a - taken) * self.sizes
        worst = np.argmax(excess, axis=1)
        some = excess[at, worst] > _OUTSIDE * self.lengths[rows]
        self._arrive(rows[~some], taken[~some])
        rows, worst, at = rows[some], worst[some], at[some]
        on = taken[at, worst] < a[at, worst]
        self._loosen(rows, worst, tight[some] * self.stiff)
        self.side[rows, worst], self.t[rows, worst] = np.where(on, 1.0, -1.0), 0.0
        self.pull[rows] += (on * a[at, worst])[:, None] * self.Z[worst]
        return rows

    def _settled(self, rows: IntArray, taken: Array, n_steps: int) -> Array:
        """What tight samples take of the gradient at the maximum of a face, from a first guess.

        An augmented Lagrangian, which moves the neurons by what they are off that maximum.
        """
        u, pull, inverse, stiff = self.u[rows], self.pull[rows], self.inverse[rows], self.stiff * (self.side[rows] == 0)
        for _ in range(n_steps):
            taken = taken - stiff * (u @ self.rows)
            step = _products(inverse, self._gradient(u, pull + taken @ self.Z))
            u += step
            taken -= stiff * (step @ self.rows)
        self.u[rows] = u
        return taken

    def _arrive(self, rows: IntArray, taken: Array) -> None:
        """Note the pre-activations and slopes of starts at their ends."""
        self.arrived[rows] = True
        taken, tight = self._settled(rows, taken, _ARRIVING), self.side[rows] == 0
        self.t[rows] = (self.u[rows] @ self.rows) * ~tight
        slopes = np.clip(taken / np.where(tight, self.a[rows], 1.0), 0.0, 1.0)
        self.c[rows] = np.where(tight, slopes, self.side[rows] > 0)

    def _loosen(self, rows: IntArray, samples: IntArray, stiff: Array) -> None:
        """Take away the curvature across a tight sample of each start; `stiff` (B, n) is that of all tight ones."""
        inverse, z = self.inverse[rows], self.Z[samples]
        across = _products(inverse, z)
        # What stiffness leaves of these is small: a second step makes up for its rounding.
        across += _products(inverse, z - self.metric * across - (stiff * (across @ self.rows)) @ self.Z)
        stiff[np.arange(len(rows)), samples] = 0.0
        curvature = across**2 @ self.metric + row_norms(np.sqrt(stiff) * (across @ self.rows)) ** 2
        # The share of the curvature across the sample that is its own: 1, but of equal and opposite samples.
        share = np.maximum(self.stiff[samples] * np.einsum("bj,bj->b", across, z), 0.0)
        inverse += _outer(across * np.sqrt(share / curvature)[:, None])
        self.inverse[rows] = inverse

    def _move(self, rows: IntArray, step: Array, slope: Array) -> BoolArray:
        """Go along each direction to the first point where the value stops rising; whether it is the face's maximum."""
        t, dt = self.t[rows], step @ self.rows
        with np.errstate(over="ignore"):  # of huge data: the length to a kink that is never met is infinite
            kinks, at, gains = _next_kinks(t, dt, self.side[rows], self.a[rows])
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
        self.lengths[rows] = np.maximum(self.lengths[rows], row_norms(self.u[rows]))
        dt *= length[:, None]
        t += dt
        self.t[rows] = t
        self._tighten(rows[kinked], kinks[b, last][kinked])
        return np.asarray(smooth & (last == 0))

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
        self.side[rows, samples] = 0.0
        self._stiffen(rows, samples)

    def _stiffen(self, rows: IntArray, samples: IntArray) -> None:
        """Add the curvature across a tight sample of each start."""
        inverse, z = self.inverse[rows], self.Z[samples]
        across = _products(inverse, z)
        curvature = np.einsum("bj,bj->b", across, z) + 1 / self.stiff[samples]
        inverse -= _outer(across / np.sqrt(curvature)[:, None])
        self.inverse[rows] = inverse


def _products(matrices: Array, vectors: Array) -> Array:
    """Products of (B, k, k) with (B, k)."""
    return np.asarray((matrices @ vectors[:, :, None])[:, :, 0])


def _outer(vectors: Array) -> Array:
    """Outer products (B, k, k) of (B, k) with themselves."""
    return vectors[:, :, None] * vectors[:, None, :]


def _next_kinks(t: Array, dt: Array, side: Array, a: Array) -> tuple[IntArray, Array, Array]:
    """The first kinks along each line: samples, lengths at which they are met, changes of slope (none if far)."""
    # Without masks, which cost ten times as much: what leaves its kink, or stays on it, gets there at next to no speed.
    speed = dt * side
    np.negative(speed, out=speed)
    np.maximum(speed, 1e-200, out=speed)
    at = np.abs(t)
    at += 1e-190
    at /= speed
    kinks, at = _smallest(at, min(_KINKS, t.shape[1]))
    places = kinks + t.shape[1] * np.arange(len(t))[:, None]
    gains = a.take(places) * np.abs(dt.take(places))
    return kinks, at, np.where(at < _FAR, gains, 0.0)


def _smallest(values: Array, count: int) -> tuple[IntArray, Array]:
    """The smallest of each row's positive values, in order: their places, and themselves up to a few last bits.

    Values above 1e300 count as that. Into those bits the places are put, so that values are sorted and not places: in
    half the time.
    """
    mask = (1 << (values.shape[1] - 1).bit_length()) - 1
    keys = np.minimum(values, _LARGEST).view(np.int64) & ~mask  # infinity and a place would be no number
    keys |= np.arange(values.shape[1])
    keys = keys.view(float)
    keys.partition(count - 1, axis=1)
    keys = keys[:, :count]
    keys.sort(axis=1)
    return np.asarray(keys.view(np.int64) & mask), keys
