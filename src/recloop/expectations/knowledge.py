"""What must hold for the knowledge graph: triples of head, relation and tail."""

from typing import Annotated, Literal

import polars as pl
from pydantic import Field

from recloop.columns import HEAD, ITEM, ITEM_ENTITY, KNOWLEDGE, TAIL
from recloop.config import Config
from recloop.data.tables import Tables
from recloop.expectations.ids import blank_rule, null_rule
from recloop.expectations.rule import Rule, Severity, derived_rule
from recloop.expectations.schema import schema_rules

RowRule = Literal[
    "null_head",
    "null_relation",
    "null_tail",
    "blank_head",
    "blank_relation",
    "blank_tail",
    "duplicate_triple",
    "names_no_item",
]


class KnowledgeConfig(Config):
    """What a knowledge graph may look like.

    Attributes:
        severity: what a broken rule is, where it is not the rule's own severity.
        tolerated: for a rule about rows, the share that may break it, where it is not `ValidateConfig.tolerated_share`;
            ``names_no_item`` has .99, as triples between things that are no items are ordinary in a graph.
    """

    severity: dict[RowRule, Severity] = Field(default={})
    tolerated: dict[RowRule, Annotated[float, Field(ge=0, le=1)]] = Field(default={})


def rules(tables: Tables, frame: pl.DataFrame) -> list[Rule]:
    """The rules for a table of triples; only those of the schema where that does not hold.

    Args:
        tables: all tables, since triples name items.
        frame: the triples.
    """
    schema = schema_rules(frame, dict.fromkeys(KNOWLEDGE, pl.String()))
    if not all(rule.holds for rule in schema):
        return schema
    duplicate = derived_rule(
        name="duplicate_triple",
        says="no triple is given twice",
        remedy="keep one of the triples at their source",
        bad=~pl.struct(KNOWLEDGE).is_first_distinct(),
        quarantine=True,
        tolerated=None,
    )
    return [
        *schema,
        *(null_rule(column) for column in KNOWLEDGE),
        *(blank_rule(column) for column in KNOWLEDGE),
        duplicate,
        _link_rule(tables),
    ]


def _link_rule(tables: Tables) -> Rule:
    holders = (frame for frame in (tables.interactions, tables.items) if frame is not None)
    ids = [frame[ITEM] for frame in holders if frame.schema.get(ITEM) == pl.String]
    items = pl.concat(ids).drop_nulls().unique() if ids else pl.Series(ITEM, [], dtype=pl.String)
    known = pl.concat([items, ITEM_ENTITY + items]).implode()
    return derived_rule(
        name="names_no_item",
        says=f"triples have an item as their head or tail, as '{ITEM_ENTITY}<item_id>' or as '<item_id>'",
        remedy=f"translate the graph's names of items to '{ITEM_ENTITY}<item_id>' when it is ingested",
        bad=~(pl.col(HEAD).is_in(known) | pl.col(TAIL).is_in(known)),
        severity="warning",
        tolerated=0.99,
    )
