"""Pricing: the search that finds neurons worth adding, and the proofs that none is left."""
