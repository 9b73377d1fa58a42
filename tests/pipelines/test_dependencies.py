"""DVC does not follow imports: what a stage imports must be among its `deps`, or a change of code goes unnoticed."""

from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Words, not behaviour: a change here does not make a result stale.
FOUNDATION = {"recloop", "recloop.columns", "recloop.config", "recloop.errors", "recloop.progress", "pipelines"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("recloop", "pipelines", cache_dir=None)


def source(module: str) -> Path:
    base = ROOT / ("src" if module.startswith("recloop") else "") / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_module_that_a_stage_imports_is_a_dependency(stage: str, graph: grimp.ImportGraph) -> None:
    listed = [ROOT / dep for dep in STAGES[stage]["deps"]]
    imported = graph.find_upstream_modules(f"pipelines.{stage}") - FOUNDATION
    missing = sorted(
        module
        for module in imported
        if source(module).name != "__init__.py"
        if not any(source(module).is_relative_to(dep) for dep in listed)
    )
    assert not missing, f"dvc.yaml: stage '{stage}' imports {missing} without listing them in deps"


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_listed_code_is_imported(stage: str, graph: grimp.ImportGraph) -> None:
    imported = {source(module) for module in graph.find_upstream_modules(f"pipelines.{stage}")}
    imported.add(source(f"pipelines.{stage}"))
    code = [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "pipelines/")) and "$" not in dep]
    idle = [str(dep.relative_to(ROOT)) for dep in code if not any(path.is_relative_to(dep) for path in imported)]
    assert not idle, f"dvc.yaml: stage '{stage}' lists {idle}, which it does not import"


def test_every_stage_module_has_a_stage_and_the_reverse() -> None:
    modules = {path.stem for path in (ROOT / "pipelines").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)
