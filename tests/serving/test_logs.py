"""Lines of JSON that say nothing about anybody."""

import io
import json
import logging
from typing import Any

import pytest

from recloop.serving.logs import JsonLines, structure


def line(record: logging.LogRecord) -> dict[str, Any]:
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_a_line_says_when_how_grave_and_what() -> None:
    record = logging.LogRecord("bentoml.recloop", logging.WARNING, "f.py", 3, "%d slates\nare late", (7,), None)
    record.created = 0.25
    assert line(record) == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "WARNING",
        "logger": "bentoml.recloop",
        "message": "7 slates\nare late",
    }


def test_an_exception_is_its_kind_and_places_without_its_message() -> None:
    def fail() -> None:
        raise KeyError("ana@example.org")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("test")  # noqa: LOG001 - one that no other test has
    logger.addHandler(handler)
    try:
        fail()
    except KeyError:
        logger.exception("It failed.")
    found = json.loads(stream.getvalue())
    assert (found["error"], found["message"]) == ("KeyError", "It failed.")
    assert [place.rpartition(" ")[2] for place in found["trace"]][-1] == "fail"
    assert "ana" not in stream.getvalue()


@pytest.mark.parametrize(("env", "kind"), [({"RECLOOP_LOG": "json"}, JsonLines), ({}, type(None))])
def test_it_is_asked_for_by_the_environment(env: dict[str, str], kind: type) -> None:
    logger, handler = logging.getLogger("bentoml"), logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    formats = [(one, one.formatter) for one in [*logger.handlers, *logging.getLogger().handlers]]
    try:
        structure(env)
        assert type(handler.formatter) is kind
    finally:
        for one, before in formats:
            one.setFormatter(before)
        logger.removeHandler(handler)
