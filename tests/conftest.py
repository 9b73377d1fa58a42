"""What every test shares: quiet tools, few threads, and the rule that CI skips nothing."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("recloop", deadline=None, print_blob=True)
settings.load_profile("recloop")
# Each worker of pytest-xdist has a core; more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name, value in {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}.items():
    os.environ[name] = value

pytest_plugins = ["tests.support.postgres"]

MUST_RUN_IN_CI = ("integration", "browser", "realdata")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a test of real components that cannot run has failed."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in MUST_RUN_IN_CI)
    if os.environ.get("CI") == "true" and report.skipped and marked and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but under CI=true it must run: {report.longrepr}"
    return report
