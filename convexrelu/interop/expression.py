"""`Expression`: what a layer of a foreign model computes, as a two-layer ReLU network of the model's input.

Letters: `x` (d,) input, `W` (m, d) hidden weights, `b` (m,) hidden biases, `V` (m, T) output weights, `A` (d, T) skip,
`c` (T,) output bias.

Reading a model means pushing the identity through its layers. A ReLU of something that already went through one, or
anything not affine, has no such expression and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convexrelu.arrays import Array
from convexrelu.errors import InvalidInputError, UnsupportedError

KINDS = "only two-layer ReLU networks, linear - ReLU - linear with or without a linear skip, can be read"


def unsupported(what: str, where: str = "model") -> UnsupportedError:
    """The error that refuses a part of a model by its name."""
    return UnsupportedError(f"`{where}` has {what}; {KINDS}.")


@dataclass(frozen=True, eq=False)
class Expression:
    """relu(x W' + b) V + x A + c, row by row."""

    hidden: Array
    hidden_bias: Array
    output: Array
    skip: Array
    output_bias: Array

    @classmethod
    def identity(cls, d: int) -> Expression:
        """The input itself."""
        return cls(np.zeros((0, d)), np.zeros(0), np.zeros((0, d)), np.eye(d), np.zeros(d))

    def check_export(self, dtype: str) -> None:
        """Raise an error if weights of that type cannot be written, or cannot hold these."""
        if dtype not in ("float64", "float32"):
            raise InvalidInputError(f"`dtype` must be 'float64' or 'float32', got {dtype!r}.")
        arrays = (self.hidden, self.hidden_bias, self.output, self.skip, self.output_bias)
        largest = max(float(np.abs(array).max(initial=0.0)) for array in arrays)
        if largest > float(np.finfo(dtype).max):
            raise InvalidInputError(f"`dtype` {dtype} cannot hold a weight of size {largest:g}; write 'float64'.")

    @property
    def width(self) -> int:
        """The number of values it computes."""
        return len(self.output_bias)

    def linear(self, M: Array) -> Expression:
        """Multiplied from the right by M (T, T')."""
        _check_finite(M)
        if len(M) != self.width:
            raise unsupported(f"a linear map of {len(M)} values where {self.width} arrive")
        return replace(self, output=self.output @ M, skip=self.skip @ M, output_bias=self.output_bias @ M)

    def shift(self, k: Array) -> Expression:
        """With constants (T,), or one constant, added."""
        constants = _check_finite(np.asarray(k, dtype=float).reshape(-1))
        if len(constants) not in (1, self.width):
            raise unsupported(f"an addition of {len(constants)} constants to {self.width} values")
        return replace(self, output_bias=self.output_bias + constants)

    def scale(self, s: Array | float) -> Expression:
        """Multiplied by constants (T,), or by one."""
        factors = _check_finite(np.asarray(s, dtype=float).reshape(-1))
        if len(factors) not in (1, self.width):
            raise unsupported(f"a multiplication of {self.width} values by {len(factors)} constants")
        return replace(
            self, output=self.output * factors, skip=self.skip * factors, output_bias=self.output_bias * factors
        )

    def relu(self) -> Expression:
        """Through a ReLU."""
        if len(self.hidden):
            raise unsupported("three layers or more (a ReLU of a ReLU)")
        T, d = self.width, len(self.skip)
        return Expression(self.skip.T, self.output_bias, np.eye(T), np.zeros((d, T)), np.zeros(T))

    def plus(self, other: Expression) -> Expression:
        """The sum of two; neurons they share are counted once."""
        if other.width != self.width or len(other.skip) != len(self.skip):
            raise unsupported(f"a sum of {self.width} and {other.width} values")
        skip, bias = self.skip + other.skip, self.output_bias + other.output_bias
        if other.hidden is self.hidden:
            return replace(self, output=self.output + other.output, skip=skip, output_bias=bias)
        return Expression(
            np.vstack([self.hidden, other.hidden]),
            np.concatenate([self.hidden_bias, other.hidden_bias]),
            np.vstack([self.output, other.output]),
            skip,
            bias,
        )


def _check_finite(weights: Array) -> Array:
    """The weights of a layer; a diverged training leaves NaN or infinite ones."""
    if not np.isfinite(weights).all():
        raise InvalidInputError("`model` has NaN or infinite weights: its training diverged; lower the step size.")
    return weights


class Input:
    """The input before anything says how many values it has."""

    def linear(self, M: Array) -> Expression:
        """See `Expression.linear`."""
        return Expression.identity(len(M)).linear(M)

    def plus(self, other: Expression) -> Expression:
        """See `Expression.plus`."""
        return Expression.identity(len(other.skip)).plus(other)


def linear(value: object, M: Array) -> Expression:
    """A linear map of an input or an expression."""
    if not isinstance(value, Input | Expression):
        raise unsupported("a product of two constants or of two inputs")
    return value.linear(M)


def total(a: object, b: object) -> Expression:
    """The sum of expressions, of which one may be a constant."""
    if isinstance(a, Expression) and isinstance(b, Expression):
        return a.plus(b)
    for this, other in ((a, b), (b, a)):
        if isinstance(this, Input) and isinstance(other, Expression):
            return this.plus(other)
        if isinstance(this, Expression) and isinstance(other, np.ndarray | float | int):
            return this.shift(np.asarray(other, dtype=float))
    raise unsupported("a sum of things that are not layers; begin with a linear layer")


def expression(value: object, what: str) -> Expression:
    """The value if it is an expression; otherwise the model does `what` before its first linear layer."""
    if not isinstance(value, Expression):
        raise unsupported(f"{what} before its first linear layer")
    return value
