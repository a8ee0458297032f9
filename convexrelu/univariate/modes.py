"""Which of the choices of `TrainingProblem` the 1-D engine knows: `check_modes`."""

from __future__ import annotations

from convexrelu.errors import UnsupportedError
from convexrelu.validation import check_choice

BIASES = ("free", "penalized")
SKIPS = ("free", "none")
# Training and interpolation without any bias take no skip.
NO_BIAS, NO_SKIP = ("none",), ("none",)
# Training with free biases takes this one too.
PENALIZED_SKIP = "penalized"


def check_modes(bias: str, skip: str, skips: tuple[str, ...] = SKIPS, biases: tuple[str, ...] = BIASES) -> None:
    """Raise if a choice is unknown, or known to `convexrelu.solve` only."""
    for value, name, served in ((bias, "bias", biases), (skip, "skip", skips)):
        check_choice(value, name, ("none", "penalized", "free"))
        if value not in served:
            raise UnsupportedError(
                f"`{name}={value!r}` is not part of the 1-D engine; use `convexrelu.solve`, "
                f"or one of {', '.join(map(repr, served))}."
            )


def check_all_modes(bias: str, skip: str, *, penalized_skip: bool) -> None:
    """The same where networks without biases are served too and, with free biases, maybe a penalised skip."""
    skips = (*SKIPS, PENALIZED_SKIP) if penalized_skip and bias == "free" else SKIPS
    check_modes(bias, skip, NO_SKIP if bias == "none" else skips, (*BIASES, *NO_BIAS))
