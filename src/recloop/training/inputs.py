"""What the split has left for training: files in, the catalogue and the training data out."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from recloop import models
from recloop.data.splits import examples, unprompted
from recloop.data.tables import read_attributes, read_json, read_parquet
from recloop.data.vocabulary import Vocabulary
from recloop.models.base import Model, TrainingData
from recloop.training.config import EarlyStopping


def read(artifacts: Path, kind: type[Model], how: EarlyStopping) -> tuple[Vocabulary, TrainingData]:
    """The catalogue of a model of class `kind`, and all that it may learn from and be validated by.

    Validation asks what the test will ask: questions of the kind that `split.targets` said, and not for what followed
    from a slate, see `unprompted`.

    Args:
        artifacts: the folder that the stages `validate` and `split` wrote to.
        kind: the model's class.
        how: whether validation masks what was seen.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    learnt, asked = (read_parquet(artifacts / "split" / f"{part}.parquet") for part in ("train", "valid"))
    attributes = read_attributes(artifacts / "clean")
    items = models.catalogue(kind, learnt, attributes.items)
    data = TrainingData.from_tables(learnt, items, attributes)
    if not asked.height:
        return items, data
    made = read_json(artifacts / "split" / "split.json")
    prompted = artifacts / "clean/prompted.parquet"
    own, shown = unprompted(asked, read_parquet(prompted) if prompted.is_file() else None)
    valid, _, _ = examples(
        learnt if made["strategy"] == "leave_last_out" else pl.concat([learnt, shown]),
        own,
        items,
        mode=made["targets"],
        mask_seen=how.mask_seen,
        strategy=made["strategy"],
        people=attributes.users,
    )
    return items, replace(data, valid=valid)
