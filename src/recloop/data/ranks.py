"""The rank of an answer that cannot be found."""

UNRANKED = (1 << 63) - 1
"""Stands for the rank of a target that is not among the candidates: beyond every cut-off, and fits int64."""
