"""All optimal networks of a problem: `OptimalSet`."""

from convexrelu.optimal_set.membership import Membership
from convexrelu.optimal_set.optimal_set import OptimalSet
from convexrelu.optimal_set.predictions import Minimum
from convexrelu.optimal_set.smallest import Smallest

__all__ = ["Membership", "Minimum", "OptimalSet", "Smallest"]
