"""The page that compares all models says what was measured, of every model."""

import json

from benchmarks.comparison import PAGE, RESULTS, families, page
from recloop import models


def test_the_page_is_written_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(json.loads(RESULTS.read_text(encoding="utf-8")))


def test_every_model_has_a_result_or_a_reason_and_a_family() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results) == set(models.names()) == set(families())
    assert all(("metrics" in one) != ("reason" in one) for one in results.values())
