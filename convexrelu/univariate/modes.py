"""Which of the choices of `TrainingProblem` the 1-D engine knows: `check_modes`."""

from __future__ import annotations

from convexrelu.errors import UnsupportedError
from convexrelu.validation import check_choice

BIASES = ("free", "penalized")
SKIPS = ("free", "none")
# Training with free biases takes this one too.
PENALIZED_SKIP = "penalized"


def check_modes(bias: str, skip: str, skips: tuple[str, ...] = SKIPS) -> None:
    """Raise if a choice is unknown, or known to `convexrelu.solve` only."""
    for value, name, served in ((bias, "bias", BIASES), (skip, "skip", skips)):
        check_choice(value, name, ("none", "penalized", "free"))
        if value not in served:
            raise UnsupportedError(
                f"`{name}={value!r}` is not part of the 1-D engine; use `convexrelu.solve`, "
                f"or one of {', '.join(map(repr, served))}."
            )
