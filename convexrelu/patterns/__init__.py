"""Activation patterns: the arrangement of the data, enumeration, sampling, and the patterns of a network."""

from convexrelu.patterns.arrangement import Arrangement, arrange
from convexrelu.patterns.enumeration import enumerate_arrangement, enumerate_patterns
from convexrelu.patterns.patterns import Patterns, neuron_patterns
from convexrelu.patterns.sampling import sample_arrangement, sample_patterns

__all__ = [
    "Arrangement",
    "Patterns",
    "arrange",
    "enumerate_arrangement",
    "enumerate_patterns",
    "neuron_patterns",
    "sample_arrangement",
    "sample_patterns",
]
