"""The errors of the package: one base, a few children, each also the fitting builtin."""


class ConvexReLUError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidInputError(ConvexReLUError, ValueError):
    """An argument cannot be used; the message names it, what was received and what to write instead."""


class UnsupportedError(ConvexReLUError, NotImplementedError):
    """The request is meaningful but the chosen method cannot serve it; the message names one that can."""


class NotInstalledError(ConvexReLUError, ImportError):
    """An optional dependency is missing; the message says how to install it."""


class TimeLimitError(ConvexReLUError, TimeoutError):
    """What was asked has no partial answer, and its time is over; the message says what to allow instead."""


class TooManyPatternsError(ConvexReLUError, ValueError):
    """An enumeration would exceed its limit; the message gives the count and what to do instead."""
