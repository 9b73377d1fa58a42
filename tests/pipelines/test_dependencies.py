"""DVC does not follow imports: what a stage imports must be among its `deps`, or a change of code goes unnoticed."""

from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Words, not behaviour: a change here does not make a result stale.
WORDS = ("columns", "config", "errors", "progress", "search")
FOUNDATION = {"recloop", "pipelines", *(f"recloop.{name}" for name in WORDS)}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("recloop", "pipelines", cache_dir=None)


def source(module: str) -> Path:
    base = ROOT / ("src" if module.startswith("recloop") else "") / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def imports(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """All modules below a stage; those found by name count as imported by the package that finds them."""
    found = graph.find_upstream_modules(f"pipelines.{stage}")
    for package in ("recloop.models", "recloop.metrics", "recloop.policies"):
        if package in found:
            for module in graph.find_children(package):
                found |= {module} | graph.find_upstream_modules(module)
    return found


def is_code(dep: str) -> bool:
    return dep.startswith(("src/", "pipelines/"))


def covers(dep: str, path: Path) -> bool:
    """Whether a dependency names the file or a folder above it; the model of a matrix stands for every model."""
    if "${item.model}" in dep:
        return path.parent == (ROOT / dep).parent
    return path.is_relative_to(ROOT / dep)


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_module_that_a_stage_imports_is_a_dependency(stage: str, graph: grimp.ImportGraph) -> None:
    files = {source(module) for module in imports(stage, graph) - FOUNDATION}
    code = [dep for dep in STAGES[stage]["deps"] if is_code(dep)]
    missing = sorted(
        str(path.relative_to(ROOT))
        for path in files
        if path.name != "__init__.py" and not any(covers(dep, path) for dep in code)
    )
    assert not missing, f"dvc.yaml: stage '{stage}' imports {missing} without listing them in deps"


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_listed_code_is_imported(stage: str, graph: grimp.ImportGraph) -> None:
    files = {source(module) for module in imports(stage, graph)} | {source(f"pipelines.{stage}")}
    code = [dep for dep in STAGES[stage]["deps"] if is_code(dep)]
    idle = [dep for dep in code if not any(covers(dep, path) for path in files)]
    assert not idle, f"dvc.yaml: stage '{stage}' lists {idle}, which it does not import"


def test_every_stage_module_has_a_stage_and_the_reverse() -> None:
    modules = {path.stem for path in (ROOT / "pipelines").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)
