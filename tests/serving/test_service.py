"""The real service, started by `bentoml serve`, asked over HTTP."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from sqlalchemy import create_engine, make_url, text

from recloop.serving.schemas import MAX_EVENTS, MAX_HISTORY
from recloop.store import Store
from recloop.store.slates import PLACES, SCHEMA
from tests.support.bundles import packaged, popularity_bundle, world
from tests.support.service import serve
from tests.support.waiting import until

pytestmark = pytest.mark.integration
WORLD = world()


def event(number: int, **changes: Any) -> dict[str, Any]:
    fields = {"event_id": f"event-{number}", "user_id": "user-1", "item_id": "item-1", "event": "click"}
    return fields | {"timestamp": "2024-05-01T12:00:00Z"} | changes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    bundle = popularity_bundle(folder / "bundle", WORLD, metrics={"ndcg@10": 0.25})
    with serve(bundle, f"sqlite:///{folder}/store.sqlite") as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def count(client: httpx.Client, sample: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample))


def test_a_known_user_gets_items_they_have_not_seen(client: httpx.Client) -> None:
    answer = client.post("/recommend", json={"user_id": "user-1", "k": 4}).raise_for_status().json()
    seen = set(WORLD.filter(user_id="user-1")["item_id"])
    items = [item["item_id"] for item in answer["items"]]
    assert len(set(items)) == 4
    assert not seen & set(items)
    assert [item["score"] for item in answer["items"]] == sorted(
        (item["score"] for item in answer["items"]), reverse=True
    )
    assert (answer["policy"], answer["fallback"], answer["ignored"]) == ("top_n", None, 0)
    assert len(answer["request_id"]) == 36


@pytest.mark.parametrize(
    ("body", "fallback"),
    [
        ({}, "nobody"),
        ({"user_id": "stranger"}, "unknown_user"),
        ({"user_id": "stranger", "history": [{"item_id": "item-1", "timestamp": "2024-05-01"}]}, None),
        ({"history": [{"item_id": "item-1"}, {"item_id": "item-2"}]}, None),
        ({"history": [{"item_id": "unheard-of"}]}, "empty_history"),
    ],
)
def test_everybody_gets_an_answer_and_is_told_its_ground(
    client: httpx.Client, body: dict[str, Any], fallback: str | None
) -> None:
    answer = client.post("/recommend", json=body).raise_for_status().json()
    assert (len(answer["items"]), answer["fallback"]) == (10, fallback)


def test_an_empty_body_asks_for_nobody(client: httpx.Client) -> None:
    assert client.post("/recommend").raise_for_status().json()["fallback"] == "nobody"


def test_excluded_items_do_not_come(client: httpx.Client) -> None:
    first = client.post("/recommend", json={"k": 1}).json()["items"][0]["item_id"]
    answer = client.post("/recommend", json={"k": 1, "exclude": [first]}).json()
    assert answer["items"][0]["item_id"] != first


def test_similar_items(client: httpx.Client) -> None:
    answer = client.post("/similar", json={"item_id": "item-0", "k": 3}).raise_for_status().json()
    assert len(answer["items"]) == 3
    assert "item-0" not in [item["item_id"] for item in answer["items"]]


def test_items_like_an_unknown_one_are_404(client: httpx.Client) -> None:
    answer = client.post("/similar", json={"item_id": "unheard-of"})
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "item_id 'unheard-of' is not in the catalogue; ask for an item that the model knows."
    }


def test_an_item_nobody_knows_cannot_be_explained(client: httpx.Client) -> None:
    answer = client.post("/explain", json={"user_id": "user-1", "item_id": "unheard-of"})
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "item_id 'unheard-of' is not in the catalogue; ask for an item that the model knows."
    }


def test_popularity_has_no_reasons(client: httpx.Client) -> None:
    answer = client.post("/explain", json={"user_id": "user-1", "item_id": "item-0"}).raise_for_status().json()
    assert answer.pop("bundle") == client.post("/recommend", json={}).json()["bundle"]
    assert answer.pop("base") == answer.pop("score") > 0
    assert answer == {
        "item_id": "item-0",
        "contributions": [],
        "rest": 0.0,
        "method": "leave_one_out",
        "sums": True,
        "fallback": None,
        "ignored": 0,
    }
    slate = client.post("/recommend", json={"user_id": "user-1", "k": 2, "reasons": True}).raise_for_status().json()
    assert [item["reason"] for item in slate["items"]] == [None, None]


def test_the_model_page_shows_the_manifest(client: httpx.Client) -> None:
    manifest = client.get("/model").raise_for_status().json()["manifest"]
    assert (manifest["model"], manifest["metrics"]) == ("popularity", {"ndcg@10": 0.25})
    assert manifest["id"] == client.post("/recommend", json={}).json()["bundle"]


def test_feedback_is_stored_before_it_is_acknowledged(client: httpx.Client, folder: Path) -> None:
    request_id = client.post("/recommend", json={}).json()["request_id"]
    batch = [event(1, request_id=request_id), event(2, item_id="new to everybody", value=3), event(3, timestamp=-1)]
    answer = client.post("/feedback", json={"events": batch}).raise_for_status().json()
    with Store.open(f"sqlite:///{folder}/store.sqlite") as store:
        rows = next(store.events_after(0)).sort("event_id")
    assert (answer["accepted"], answer["duplicates"]) == (2, 0)
    assert [rejection["index"] for rejection in answer["rejected"]] == [2]
    assert "timestamp" in answer["rejected"][0]["reason"]
    assert rows["event_id"].to_list() == ["event-1", "event-2"]
    assert rows["request_id"].to_list() == [request_id, None]
    again = client.post("/feedback", json={"events": [*batch, event(1, event="purchase")]}).json()
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    assert [rejection["index"] for rejection in again["rejected"]] == [2, 3]


def test_what_somebody_does_counts_in_their_next_request(tmp_path: Path) -> None:
    bundle = packaged(tmp_path / "bundle", "ease", world(events=300), data={"feedback": 0})
    with serve(bundle, f"sqlite:///{tmp_path}/store.sqlite") as url, httpx.Client(base_url=url, timeout=30) as client:

        def slate(user: str) -> tuple[list[str], str | None]:
            answer = client.post("/recommend", json={"user_id": user, "k": 5}).raise_for_status().json()
            return [item["item_id"] for item in answer["items"]], answer["fallback"]

        for user, before in (("user-1", None), ("somebody new", "unknown_user")):
            items, fallback = slate(user)
            assert fallback == before
            events = [
                event(number, event_id=f"{user} {item}", user_id=user, item_id=item)
                for number, item in enumerate(items[:2])
            ]
            client.post("/feedback", json={"events": events}).raise_for_status()
            deadline = time.monotonic() + 5
            while set(slate(user)[0]) & set(items[:2]):
                assert time.monotonic() < deadline, "what they did does not count"
            assert slate(user)[1] is None
            assert slate(user)[0] != items


def test_reasons_come_when_asked_for_and_go_on_with_what_somebody_does(tmp_path: Path) -> None:
    bundle = packaged(tmp_path / "bundle", "ease", world(events=300), data={"feedback": 0})
    with serve(bundle, f"sqlite:///{tmp_path}/store.sqlite") as url, httpx.Client(base_url=url, timeout=30) as client:

        def slate(user: str, **fields: Any) -> list[dict[str, Any]]:
            body = {"user_id": user, "k": 5} | fields
            return client.post("/recommend", json=body).raise_for_status().json()["items"]

        plain = slate("user-1")
        assert all(item.keys() == {"item_id", "score"} for item in plain)
        assert slate("user-1", reasons=False) == plain
        with_reasons = slate("user-1", reasons=True)
        assert [{"item_id": one["item_id"], "score": one["score"]} for one in with_reasons] == plain
        for item in with_reasons:
            body = {"user_id": "user-1", "item_id": item["item_id"], "k": 100}
            told = client.post("/explain", json=body).raise_for_status().json()
            assert told["sums"]
            assert told["base"] + sum(one["contribution"] for one in told["contributions"]) == pytest.approx(
                item["score"], rel=1e-4
            )
            for_it = [one["item_id"] for one in told["contributions"] if one["contribution"] > 0]
            assert [one["item_id"] for one in item["reason"]["because"]] == for_it[:3]
            assert item["reason"]["method"] == told["method"] == "exact"

        assert slate("somebody new", reasons=True)[0]["reason"] is None
        done = event(1, user_id="somebody new", item_id=plain[0]["item_id"])
        client.post("/feedback", json={"events": [done]}).raise_for_status()
        request = {"user_id": "somebody new", "item_id": plain[1]["item_id"]}

        def explained() -> dict[str, Any] | None:
            answer = client.post("/explain", json=request).raise_for_status().json()
            return answer if answer["fallback"] is None else None

        (one,) = until(explained, seconds=5)["contributions"]
        assert (one["item_id"], one["timestamp"]) == (plain[0]["item_id"], "2024-05-01T12:00:00.000000+00:00")


def test_what_was_served_is_logged(client: httpx.Client, folder: Path) -> None:
    answers = [
        client.post("/recommend", json={"user_id": user, "k": 3}).raise_for_status().json()
        for user in ("user-1", "stranger")
    ]
    with Store.open(f"sqlite:///{folder}/store.sqlite") as store:
        deadline = time.monotonic() + 30
        ids = [answer["request_id"] for answer in answers]
        while (slates := _logged(store, ids)).height < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        places = pl.concat([pl.DataFrame(schema=PLACES), *store.impressions_after(0)]).filter(
            pl.col("request_id").is_in(ids)
        )
    assert slates.select("request_id", "user_id", "policy", "arm").rows() == [
        (ids[0], "user-1", "top_n", "champion"),
        (ids[1], "stranger", "top_n", "champion"),
    ]
    assert slates["bundle"].unique().to_list() == [answers[0]["bundle"]]
    assert slates["serial"].diff().to_list()[1:] == [1]
    for answer in answers:
        shown = places.filter(request_id=answer["request_id"]).sort("position")
        assert shown.select("item_id", "score", "propensity").rows() == [
            (item["item_id"], item["score"], 1.0) for item in answer["items"]
        ]
    assert count(client, 'recloop_slates_total{outcome="logged"}') >= 2
    assert count(client, 'recloop_slates_total{outcome="dropped"}') == 0
    assert count(client, "recloop_slates_waiting") == 0


def _logged(store: Store, ids: list[str]) -> pl.DataFrame:
    return (
        pl.concat([pl.DataFrame(schema=SCHEMA), *store.slates_after(0)])
        .filter(pl.col("request_id").is_in(ids))
        .sort("serial")
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/recommend", {"k": 1000}, "k"),
        ("/recommend", {"k": "ten"}, "k"),
        ("/recommend", {"user_id": 196}, "user_id"),
        ("/recommend", {"history": "item-1"}, "history"),
        ("/recommend", {"history": [{"item_id": "item-1", "timestamp": "never"}]}, "history.0.timestamp"),
        ("/recommend", {"filters": {"year": 1999}}, "filters.year"),
        ("/similar", {}, "item_id"),
        ("/similar", {"item_id": "item-1", "k": 0}, "k"),
        ("/recommend", {"reasons": 1}, "reasons"),
        ("/explain", {}, "item_id"),
        ("/explain", {"item_id": "item-1", "k": 101}, "k"),
        ("/explain", {"item_id": "item-1", "history": [{"item_id": "item-1"}] * (MAX_HISTORY + 1)}, "history"),
        ("/feedback", {}, "events"),
        ("/feedback", {"events": {}}, "events"),
        ("/feedback", {"events": [event(9)] * (MAX_EVENTS + 1)}, "events"),
    ],
)
def test_bad_input_is_400_with_the_name_of_the_field(
    client: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert [".".join(map(str, problem["loc"])) for problem in answer.json()["detail"]] == [field]
    assert all(problem["msg"] for problem in answer.json()["detail"])


def test_a_history_with_times_here_and_there_is_400_with_the_name_of_the_field(client: httpx.Client) -> None:
    answer = client.post("/recommend", json={"history": [{"item_id": "a", "timestamp": 1}, {"item_id": "b"}]})
    assert answer.status_code == 400
    assert answer.json() == {"error": "history: either every event has a timestamp or none has; add the missing ones."}


def test_so_it_is_where_an_item_is_to_be_explained(client: httpx.Client) -> None:
    history = [{"item_id": "item-1", "timestamp": 1}, {"item_id": "item-2"}]
    answer = client.post("/explain", json={"history": history, "item_id": "item-1"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "history: either every event has a timestamp or none has; add the missing ones."}


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"\xff\xfe", b'{"k": 1e999}', b'{"user_id": "\\ud800"}'])
def test_what_is_no_json_object_is_400(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"][0]["type"] in {"json_invalid", "model_type", "finite_number", "int_type"}


def test_too_large_a_body_is_413(client: httpx.Client) -> None:
    answer = client.post("/feedback", json={"events": [event(7, user_id="u" * (1 << 20))]})
    assert answer.status_code == 413
    assert "The body is larger than 1048576 bytes" in answer.json()["error"]


def test_other_forms_of_bodies_are_415(client: httpx.Client) -> None:
    assert client.post("/recommend", data={"k": "1"}).status_code == 415
    assert client.post("/recommend", files={"k": b"1"}).status_code == 415
    pickle = {"content-type": "application/vnd.bentoml+pickle"}
    assert client.post("/recommend", content=b"\x80", headers=pickle).status_code == 415


def test_unknown_pages_and_methods_are_4xx(client: httpx.Client) -> None:
    assert client.get("/recommend").status_code == 405
    assert client.post("/model").status_code == 405
    assert client.get("/nowhere").status_code == 404


def test_the_service_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_metrics_count_what_the_business_wants_to_know(client: httpx.Client) -> None:
    samples = {
        'recloop_recommendations_total{fallback="none"}': 1,
        'recloop_recommendations_total{fallback="nobody"}': 1,
        'recloop_feedback_events_total{outcome="accepted"}': 1,
        'recloop_feedback_events_total{outcome="duplicate"}': 1,
        'recloop_feedback_events_total{outcome="rejected"}': 2,
    }
    before = {sample: count(client, sample) for sample in samples}
    client.post("/recommend", json={"user_id": "user-1"})
    client.post("/recommend", json={})
    client.post("/feedback", json={"events": [event(20), event(20), event(20, event="view"), {}]})
    after = {sample: count(client, sample) for sample in samples}
    assert {sample: after[sample] - before[sample] for sample in samples} == samples
    assert count(client, "bentoml_service_request_total") > 0


def test_the_api_is_described(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    paths = {"/recommend", "/similar", "/explain", "/feedback", "/model", "/livez", "/readyz", "/metrics"}
    assert paths <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    assert schemas["RecommendRequest"]["properties"]["k"]["maximum"] == 100
    for name in ("ExplainRequest", "ExplainResponse"):
        assert schemas[name]["example"].keys() <= schemas[name]["properties"].keys()
    assert schemas["ReasonedItem"]["properties"].keys() == {"item_id", "score", "reason"}
    assert "event_id" in schemas["FeedbackRequest"]["properties"]["events"]["items"]["properties"]


def test_the_service_lives_without_bundle_and_store_and_takes_them_when_they_come(tmp_path: Path) -> None:
    bundle, store = tmp_path / "bundle", tmp_path / "missing" / "store.sqlite"
    with (
        serve(bundle, f"sqlite:///{store}", wait_for="/livez") as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        assert client.get("/readyz").status_code == 503
        refused = client.post("/recommend", json={})
        assert refused.status_code == 503
        assert refused.json()["error"].startswith("No bundle is loaded; package a model, or name its folder")
        assert client.post("/similar", json={"item_id": "a"}).status_code == 503
        assert client.post("/explain", json={"item_id": "a"}).status_code == 503
        assert client.get("/model").status_code == 503
        refused = client.post("/feedback", json={"events": [event(1)]})
        assert refused.status_code == 503, "whether ids become pseudonyms is not known yet"
        assert client.post("/forget", json={"user_id": "user-1"}).status_code == 503

        weights = popularity_bundle(bundle, WORLD) / "weights.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1])
        assert client.get("/readyz").status_code == 503
        weights.write_bytes(whole)
        assert client.get("/readyz").status_code == 200
        assert client.post("/recommend", json={"user_id": "user-1"}).status_code == 200

        refused = client.post("/feedback", json={"events": [event(1)]})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["error"].startswith("The store of events cannot be reached now, and nothing was stored")
        assert count(client, 'recloop_feedback_events_total{outcome="unavailable"}') == 1
        assert client.post("/recommend", json={"user_id": "user-1"}).status_code == 200
        store.parent.mkdir()
        assert client.post("/feedback", json={"events": [event(1)]}).json()["accepted"] == 1


def test_feedback_goes_to_postgresql(tmp_path: Path, postgres_url: str) -> None:
    bundle = popularity_bundle(tmp_path / "bundle", WORLD)
    with serve(bundle, postgres_url) as url, httpx.Client(base_url=url, timeout=30) as client:
        batch = [event(1, user_id="Zoë"), event(2), event(2, event="view"), event(3, value="x")]
        answer = client.post("/feedback", json={"events": batch}).raise_for_status().json()
        assert (answer["accepted"], answer["duplicates"]) == (2, 0)
        assert [rejection["index"] for rejection in answer["rejected"]] == [2, 3]
        with Store.open(postgres_url) as store:
            assert next(store.events_after(0)).sort("event_id")["user_id"].to_list() == ["Zoë", "user-1"]
        assert client.post("/feedback", json={"events": batch[:2]}).json()["duplicates"] == 2
        _lose(postgres_url)
        started = time.monotonic()
        refused = client.post("/feedback", json={"events": [event(4)]})
        assert refused.status_code == 503
        assert time.monotonic() - started < 10
        assert client.post("/recommend", json={"user_id": "user-1"}).status_code == 200
        _restore(postgres_url)
        assert client.post("/feedback", json={"events": [event(4)]}).json()["accepted"] == 1


def _lose(url: str) -> None:
    _administer(url, "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    _administer(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def _restore(url: str) -> None:
    _administer(url, "ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


def _administer(url: str, statement: str) -> None:
    target = make_url(url)
    engine = create_engine(target.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement.format(name=target.database)))
    engine.dispose()
