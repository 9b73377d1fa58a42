"""The published table is what was measured, and nothing else."""

import json

from benchmarks.published.__main__ import GATES, RESULTS, TABLE, Gate, table, verdict
from recloop import models


def test_the_table_is_written_from_the_results() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert TABLE.read_text(encoding="utf-8") == table(records)
    names = {gate.name for gate in GATES}
    assert {key.rpartition("/")[0] for key in records} <= names


def test_seeds_are_listed_in_order_whenever_they_were_run() -> None:
    records = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert table(dict(reversed(records.items()))) == table(records)


def test_gates_name_models_that_are_there() -> None:
    assert len({gate.name for gate in GATES}) == len(GATES)
    assert {gate.model for gate in GATES} <= set(models.names())


def test_a_gate_is_reached_only_if_every_bound_is() -> None:
    gate = Gate("data", "ease", {"hit@10": 0.3, "ndcg@10": 0.2}, "somebody")
    assert verdict(gate, {"metrics": {"hit@10": 0.3, "ndcg@10": 0.2}}).startswith("reached: ")
    missed = verdict(gate, {"metrics": {"hit@10": 0.4, "ndcg@10": 0.1999}})
    assert missed == "missed: hit@10 0.4000 (published 0.3000), ndcg@10 0.1999 (published 0.2000)"
