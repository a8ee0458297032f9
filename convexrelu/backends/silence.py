"""Keep native libraries from printing, at the level of the file descriptors they write to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Send file descriptors 1 and 2 to the null device for the duration of a block.

    Notes
    -----
    File descriptors belong to the whole process: whatever other threads print meanwhile is lost as well. Hence only
    the backends that print although told not to are wrapped, and only around the native call. Costs about 30
    microseconds. Without usable descriptors (a windowed program) the block runs as it is.
    """
    flush_native()
    try:
        saved = [os.dup(1), os.dup(2)]
    except OSError:
        yield
        return
    try:
        _point_at_null(1, 2)
        yield
    finally:
        # What C has buffered must go to the null device too, before the descriptors come back.
        flush_native()
        for target, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, target)
            os.close(copy)


def flush_native() -> None:
    """Write out what Python and C still hold in their buffers, so that output keeps its order."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _point_at_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)
