"""A served model stays small: what only training, pipelines and reports need is never imported by the service."""

import json
import subprocess
import sys

HEAVY = ("dvc", "evidently", "great_expectations", "pandas", "prefect", "sklearn")
OURS = ("evaluation", "training", "expectations", "drift", "sources", "loop", "turn", "cli")


def imported(code: str) -> set[str]:
    """All modules that are imported after running `code` in a new interpreter."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_service_imports_nothing_of_training_or_reports() -> None:
    modules = imported(
        "import recloop.serving.service, recloop.serving.recommender, recloop.serving.feedback\n"
        "from recloop.models import find, names\n"
        "[find(name) for name in names()]"
    )
    assert "torch" in modules
    assert not [name for name in HEAVY if name in modules]
    assert not [name for name in modules if name.startswith(tuple(f"recloop.{part}" for part in OURS))]


def test_the_process_that_starts_workers_imports_no_torch() -> None:
    modules = imported("import recloop.serving.service")
    assert not modules & {"torch", "polars", "pyarrow", "scipy", "sqlalchemy"}
