"""Rows of bits as 64-bit words, so that a few hundred thousand of them are compared in a few milliseconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convexrelu.arrays import BoolArray, IntArray

Words = NDArray[np.uint64]


def to_words(bits: BoolArray) -> Words:
    """Pack bits (R, m) into words (R, W), the first bit highest: words sort as the rows of bits do."""
    packed = np.packbits(bits, axis=1)
    padded = np.zeros((len(bits), 8 * max(1, -(-bits.shape[1] // 64))), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(">u8").astype(np.uint64)


def from_words(words: Words, m: int) -> BoolArray:
    """The bits (R, m) that were packed."""
    return np.unpackbits(words.astype(">u8").view(np.uint8), axis=1, count=m).view(np.bool_)


def bit_words(m: int) -> Words:
    """Words (m, W) with one bit set: the j-th row has bit j."""
    words = np.zeros((m, max(1, -(-m // 64))), dtype=np.uint64)
    j = np.arange(m)
    words[j, j // 64] = np.uint64(1) << (63 - j % 64).astype(np.uint64)
    return words


def distinct_words(words: Words) -> tuple[Words, IntArray, IntArray]:
    """Distinct rows in ascending order, the first place of each in `words`, and the inverse map (R,)."""
    order = np.lexsort(words.T[::-1]) if words.shape[1] > 1 else np.argsort(words[:, 0], kind="stable")
    ordered = words[order]
    new = np.ones(len(words), dtype=np.bool_)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    inverse = np.empty(len(words), dtype=np.intp)
    inverse[order] = np.cumsum(new) - 1
    return ordered[new], order[new], inverse
