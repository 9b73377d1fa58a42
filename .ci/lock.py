"""Print a lock file from the report of `pip install --dry-run --report` (see `make lock`)."""

import json
import sys
from pathlib import Path

HEADER = """\
# Every package that recloop runs, tests and documents with, at the versions tested together (`make lock` renews it).
# torch is named exactly: a looser spelling can fetch gigabytes of CUDA packages onto a machine without a GPU.
"""

report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
found = {
    entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"] for entry in report["install"]
}
found.pop("recloop", None)
sys.stdout.write(HEADER + "".join(f"{name}=={found[name].partition('+')[0]}\n" for name in sorted(found)))
