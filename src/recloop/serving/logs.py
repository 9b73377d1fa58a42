"""The service's log as lines of JSON, without personal data.

A line says when (UTC), how grave, which logger, and what. Of an exception it has the kind and the places in the code
that it passed through, never its message, which may quote what a caller sent. Nobody's address is logged: BentoML's log
of accesses, which has it, is switched off (`serving.service`).
"""

import logging
import os
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import orjson

VARIABLE = "RECLOOP_LOG"
LOGGERS = ("bentoml", "")


class JsonLines(logging.Formatter):
    """One record, one line: ``time``, ``level``, ``logger``, ``message``; of exceptions also ``error``, ``trace``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            fields["error"] = kind.__name__
            fields["trace"] = [f"{Path(at.filename).name}:{at.lineno} {at.name}" for at in traceback.extract_tb(trace)]
        return orjson.dumps(fields).decode()


def structure(env: Mapping[str, str] = os.environ) -> None:
    """Let the service log lines of JSON if its `RECLOOP_LOG` is ``json``; otherwise the log stays text."""
    if env.get(VARIABLE) == "json":
        for name in LOGGERS:
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(JsonLines())
