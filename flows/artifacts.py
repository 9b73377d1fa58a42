"""What the Prefect UI shows of the files that stages wrote: tables, the decision with its reasons, links to reports.

The UI keeps every version of an artifact under its key, so a key's page is a history over flow runs.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from recloop.data.tables import read_json

OUTPUTS = Path("artifacts")
REPORT = OUTPUTS / "validation/validation.json"


def publish(stage: str, root: Path) -> None:
    """Publish the artifact of a stage that has just been brought up to date; most stages have none.

    Raises:
        DataError: a file that the stage should have written is not there or not readable.
    """
    if stage in PUBLISHERS:
        PUBLISHERS[stage](root)


def publish_refusal(stage: str, root: Path) -> None:
    """Publish what a stage that refused its input has written about it."""
    if stage == "validate" and (root / REPORT).is_file():
        validation(root)


def validation(root: Path) -> None:
    """Every expectation with its severity and result, and the rows that went to quarantine."""
    result = read_json(root / REPORT)
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(result["rows"].items()))
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result["quarantined_by_reason"].items()))
    create_table_artifact(
        key="validation",
        table=[
            {
                "result": "ok" if check["success"] else "FAILED",
                "severity": check["severity"],
                "table": check["table"],
                "column": check["column"] or "",
                "rule": check["rule"],
                "failing rows": check["failing"],
                "observed": _cell(check["observed"]),
                "examples": "" if check["success"] else "; ".join(map(_row, check["examples"])),
            }
            for check in sorted(result["checks"], key=lambda check: (check["success"], check["severity"]))
        ],
        description=(
            f"**{'The data are valid' if result['success'] else 'The data are not valid'}**: {rows}. "
            f"Quarantined: {result['quarantined']:,}{f' ({reasons})' if reasons else ''}. "
            f"{_report(root, 'Data Docs', 'validation/data_docs/index.html')}"
        ),
    )


def gate(root: Path) -> None:
    """The leaderboard, and the decision with its reasons."""
    folder = root / OUTPUTS / "gate"
    decision = read_json(folder / "decision.json")
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = [{column: _number(cell) for column, cell in row.items()} for row in csv.DictReader(file)]
    create_table_artifact(
        key="leaderboard",
        table=rows,
        description=f"Test window, every item ranked. Decided by **{decision['metric']}**: {_verdict(decision)}",
    )
    create_markdown_artifact(_decision_text(decision), key="gate-decision", description=_verdict(decision))


def drift(root: Path) -> None:
    """Every drift check with its threshold."""
    result = read_json(root / OUTPUTS / "drift/drift.json")
    windows = " against ".join(_window(result[name]) for name in ("current", "reference"))
    create_table_artifact(
        key="drift",
        table=[
            {
                "result": "DRIFTED" if check["drifted"] else "ok",
                "check": check["name"],
                "column": check["column"] or "",
                "statistic": check["statistic"],
                "value": _cell(check["value"]),
                "threshold": _cell(check["threshold"]),
                "rows": f"{_cell(check['n_current'])} / {_cell(check['n_reference'])}",
            }
            for check in sorted(result["checks"], key=lambda check: not check["drifted"])
        ],
        description=f"**{result['verdict']}**: {windows}. {_report(root, 'Evidently report', 'drift/drift.html')}",
    )


def bundle(root: Path) -> None:
    """The packaged model and where it comes from."""
    manifest = read_json(root / OUTPUTS / "bundle/manifest.json")
    facts = {
        "bundle": manifest["id"],
        "model": manifest["model"],
        "items": f"{manifest['n_items']:,}",
        "users": f"{manifest['n_users']:,}",
        "data version": manifest["data"]["hash"],
        "trained on": " to ".join(manifest["data"]["train_window"]),
        "code revision": manifest["git_revision"] or "",
        "seed": str(manifest["seed"]),
    }
    text = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items())])
    create_markdown_artifact(text, key="bundle", description=f"{manifest['model']}, bundle {manifest['id']}")


PUBLISHERS: Mapping[str, Callable[[Path], None]] = {
    "validate": validation,
    "gate": gate,
    "drift": drift,
    "package": bundle,
}
"""What to publish after which stage."""


def _verdict(decision: Mapping[str, Any]) -> str:
    if decision["verdict"] == "promote":
        return f"Promote {decision['winner']}."
    champion = decision["champion"]
    return f"Keep {champion['model'] if champion else decision['winner'] or 'what there is'}."


def _decision_text(decision: Mapping[str, Any]) -> str:
    lines = [f"# {_verdict(decision)}", *(f"- {reason}" for reason in decision["reasons"])]
    for candidate in decision["candidates"]:
        lines.append(f"\n## {candidate['model']}: {'passed' if candidate['passed'] else 'rejected'}")
        lines.append(f"- {decision['metric']} {_cell(candidate['value'])}")
        for rival, against in sorted(candidate["against"].items()):
            if against:
                low, high = (_cell(bound) for bound in against["ci95"])
                lines.append(f"- against {rival}: {_cell(against['difference'])} (95% interval {low} to {high})")
        lines += [
            f"- floor {floor['name']}: {_cell(floor['value'])}, bound {_cell(floor['bound'])}, "
            f"{'kept' if floor['passed'] else 'BROKEN'}"
            for floor in candidate["floors"]
        ]
        lines += [f"- {reason}" for reason in candidate["reasons"]]
    return "\n".join(lines)


def _report(root: Path, name: str, path: str) -> str:
    """A browser follows no link from a page to a local file, so the address is shown to be copied."""
    return f"{name}: `{(root / OUTPUTS / path).as_uri()}`"


def _window(window: Mapping[str, Any] | None) -> str:
    if not window:
        return "nothing"
    return f"{window['from']} to {window['to']} ({_cell(window['rows'])} rows)"


def _row(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{column} {_cell(value)}" for column, value in row.items())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(text: str) -> str:
    try:
        return f"{float(text):.4f}" if "." in text else text
    except ValueError:
        return text
