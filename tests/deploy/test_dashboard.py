"""Every series that the dashboard names is one that the running service gives, with the labels that it names."""

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recloop.client import Client, Event
from tests.support.bundles import popularity_bundle, world
from tests.support.service import ROOT, serve

EXPRESSIONS = [
    target["expr"]
    for panel in json.loads((ROOT / "deploy/grafana/dashboards/recloop.json").read_text())["panels"]
    for target in panel["targets"]
]
SERIES = re.compile(r"\b(?:recloop|bentoml)_\w+")
GROUPED = re.compile(r"by \(([^)]*)\)")
MATCHED = re.compile(r"(\w+)=\"")


@pytest.mark.integration
def test_every_series_of_the_dashboard_exists(tmp_path: Path) -> None:
    bundle = popularity_bundle(tmp_path / "bundle", world())
    with serve(bundle, f"sqlite:///{tmp_path}/store.sqlite") as url:
        with Client(url) as client:
            slate = client.recommend("user-1")
            client.feedback([Event(user_id="user-1", item_id=slate.items[0].item_id, event="click")])
        text = httpx.get(f"{url}/metrics").text
    labels = dict[str, set[str]]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    named = {name for expression in EXPRESSIONS for name in SERIES.findall(expression)}
    assert named <= labels.keys()
    for expression in EXPRESSIONS:
        wanted = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
        wanted |= set(MATCHED.findall(expression))
        assert wanted <= set.union(*(labels[name] for name in SERIES.findall(expression))), expression
    assert f'recloop_bundle_workers{{bundle="{slate.bundle}",model="popularity",part="champion"}} 1.0' in text


def test_every_series_of_the_service_is_on_the_dashboard() -> None:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase

    from recloop.serving import counters

    registry = CollectorRegistry()
    for metric in vars(counters).values():
        if isinstance(metric, MetricWrapperBase):
            registry.register(metric)
    ours = {family.name for family in registry.collect()}
    shown = {name for expression in EXPRESSIONS for name in SERIES.findall(expression)}
    assert {name for name in ours if not any(one.startswith(name) for one in shown)} == set()
    assert len(ours) >= 7
