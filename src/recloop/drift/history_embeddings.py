"""Do people look alike to the model? Its vectors of what they did in either window.

Shapes: C contexts, D dimensions of the model's vectors, P directions.
"""
# ruff: noqa: N803 - names carry shapes

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recloop.drift.bins import binned
from recloop.drift.comparison import BIN, Comparison, compare
from recloop.drift.inputs import Inputs
from recloop.drift.windows import WINDOW

_DIRECTIONS = 4
_NOTHING = 1e-6
"""Spread, as a share of the largest, below which a direction is none."""


def measure(inputs: Inputs) -> Comparison | None:
    """Distribution of the vectors of contexts along the directions in which those of the reference differ most.

    Those are the first principal components, at most 4. Along each, the contexts are binned at the deciles; a context
    counts once for every direction, so that the squared distance is the mean of the directions' squared distances.
    Nothing for a model whose scores do not factorise.
    """
    answers = inputs.answers
    if answers is None or answers.vectors is None:
        return None
    told = np.isfinite(answers.vectors.sum(axis=1))
    blocks, vectors = answers.blocks.filter(pl.Series(told)), answers.vectors[told].astype(np.float64)
    reference = (blocks[WINDOW] == 0).to_numpy()
    if reference.sum() < 2:
        return None
    parts: list[pl.DataFrame] = []
    labels: list[str] = []
    for number, places in enumerate(_along(vectors, reference).T, start=1):
        part, names = binned(blocks.with_columns(pl.Series("place", places)), "place")
        parts.append(part.with_columns(pl.col(BIN) + len(labels)))
        labels += [f"direction {number}: {name}" for name in names]
    if not parts:
        return None
    return compare(pl.concat(parts), labels, column="vector", tolerance=inputs.config.score_tolerance)


def _along(vectors_CD: NDArray[np.float64], reference: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where vectors lie along the principal components of those of `reference`, (C, P); P may be 0."""
    centred = vectors_CD - vectors_CD[reference].mean(axis=0)
    spread, directions = np.linalg.eigh(centred[reference].T @ centred[reference])
    kept = np.flatnonzero(spread > _NOTHING * spread[-1])[::-1][:_DIRECTIONS]
    return centred @ directions[:, kept]
