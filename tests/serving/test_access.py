"""The guard before both ways to an answer: who may ask for what, and the security headers of every answer."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from recloop.errors import StoreError
from recloop.serving.access import CALLER, Guard, described, needed
from recloop.serving.door import Door
from recloop.serving.keyring import Holder, Keyring
from recloop.store import ApiKey, Store
from tests.serving.test_failing_canary import broken
from tests.support import asgi
from tests.support.bundles import packaged, world
from tests.support.service import serve
from tests.support.waiting import until

KINDS = {"content-type": "application/json"}
CLOSED = "default-src 'none'; frame-ancestors 'none'"
TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Ring:
    """Keys by their own text."""

    known = True

    def __init__(self, **keys: Holder) -> None:
        self.keys, self.noted, self.away = keys, list[tuple[str, str]](), False

    def find(self, key: bytes) -> Holder | None:
        return self.keys.get(key.decode())

    def refused(self, holder: Holder, action: str) -> None:
        if self.away:
            raise StoreError("The store is away.")
        self.noted.append((holder.id, action))


class Quick:
    """Answers everything at the door, and says who asked."""

    async def answer(self, body: bytes) -> bytes | None:
        return b'{"by": "the door", "caller": "%b"}' % CALLER.get().encode() if body == b"{}" else None


def holder(*scopes: str, rate: float | None = None, burst: int | None = None) -> Holder:
    key = ApiKey(id="-".join(scopes), digest="", name="", scopes=scopes, rate=rate, burst=burst, created=0)
    return Holder(key)


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    made = Ring(
        r=holder("recommend"),
        f=holder("feedback"),
        a=holder("admin"),
        all=holder("recommend", "feedback", "admin"),
        slow=holder("recommend", rate=0.01, burst=2),
    )
    monkeypatch.setattr(Guard, "required", True)
    monkeypatch.setattr(Guard, "keyring", made)
    monkeypatch.setattr(Door, "quick", Quick())
    return made


def _application() -> Starlette:
    async def echo(request: Request) -> Response:
        if request.url.path == "/":
            return HTMLResponse("<p>A page.</p>")
        if request.url.path == "/ui":
            own = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}
            return HTMLResponse("<p>A page.</p>", headers=own)
        return JSONResponse({"by": "the application", "caller": CALLER.get()})

    return Starlette(
        routes=[Route("/{path:path}", echo, methods=["GET", "POST", "OPTIONS"])], middleware=[Middleware(Door)]
    )


async def _ask(*sent: asgi.Sent) -> list[httpx.Response]:
    app = _application()
    await asgi.begin(app)
    return await asgi.ask(app, *sent)


def ask(path: str, key: str | None = None, method: str = "POST", **headers: str) -> tuple[str, str, dict[str, Any]]:
    sent = KINDS | headers | ({} if key is None else {"authorization": f"Bearer {key}"})
    return (method, path, {"content": b"{}", "headers": sent})


def answers(*sent: asgi.Sent) -> list[httpx.Response]:
    return asyncio.run(_ask(*sent))


def test_keys_are_asked_for_even_where_the_guard_could_not_be_put_before_all_else(ring: Ring) -> None:
    """An application that never told of its start still has the door, which then asks the guard itself."""
    del ring
    refused, served = asyncio.run(asgi.ask(_application(), ask("/recommend"), ask("/recommend", "r")))
    assert (refused.status_code, served.status_code) == (401, 200)
    assert served.json() == {"by": "the application", "caller": "recommend"}


def test_a_request_takes_one_token_of_its_key(ring: Ring) -> None:
    del ring
    told = [answer.status_code for answer in answers(*[ask("/similar", "slow")] * 3)]
    assert told == [200, 200, 429], "a burst of two, though guard and door see each request"


def statuses(*sent: tuple[str, str, dict[str, Any]]) -> list[int]:
    return [answer.status_code for answer in answers(*sent)]


@pytest.mark.usefixtures("ring")
def test_without_a_key_nothing_is_answered_on_either_way() -> None:
    short, long, bad = answers(ask("/recommend"), ask("/recommend", traceparent=TRACED["traceparent"]), ask("/x", "no"))
    assert short.status_code == long.status_code == bad.status_code == 401
    assert short.json() == long.json()
    assert short.json() == {
        "error": "This call needs an API key; send it in the header 'Authorization: Bearer KEY' or 'X-API-Key'."
    }
    assert short.headers["www-authenticate"] == "Bearer"
    assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert bad.json()["error"].startswith("The API key is not known or was revoked")


@pytest.mark.usefixtures("ring")
def test_a_key_opens_both_ways_and_says_who_asks() -> None:
    short, long = answers(ask("/recommend", "r"), ask("/recommend", "r", **TRACED))
    assert short.json() == {"by": "the door", "caller": "recommend"}
    assert long.json() == {"by": "the application", "caller": "recommend"}


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize(
    "headers", [{"x-api-key": "r"}, {"authorization": "bearer  r "}, {"authorization": "Basic eA==", "x-api-key": "r"}]
)
def test_a_key_may_come_in_either_header(headers: dict[str, str]) -> None:
    assert statuses(ask("/recommend", **headers)) == [200]


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize("headers", [{"authorization": "Basic r"}, {"authorization": "r"}, {"cookie": "key=r"}])
def test_a_key_that_comes_otherwise_is_none(headers: dict[str, str]) -> None:
    assert statuses(ask("/recommend", **headers)) == [401]


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize(
    ("path", "method", "may"),
    [
        ("/recommend", "POST", "r all"),
        ("/similar", "POST", "r all"),
        ("/explain", "POST", "r all"),
        ("/model", "GET", "r all"),
        ("/feedback", "POST", "f all"),
        ("/forget", "POST", "a all"),
        ("/metrics", "GET", "r f a all"),
        ("/forget/", "POST", "a all"),
        ("//feedback", "POST", "a all"),
        ("/FEEDBACK", "POST", "a all"),
        ("/anything/new", "GET", "a all"),
        ("/docs.json", "POST", "a all"),
        ("/forget", "OPTIONS", "a all"),
    ],
)
def test_scopes_imply_nothing_and_unknown_calls_are_for_admins(path: str, method: str, may: str) -> None:
    keys = ["r", "f", "a", "all"]
    found = statuses(*(ask(path, key, method) for key in keys))
    assert found == [200 if key in may.split() else 403 for key in keys]


@pytest.mark.usefixtures("ring")
def test_what_a_key_lacks_is_said() -> None:
    (answer,) = answers(ask("/feedback", "r"))
    assert answer.json()["error"] == (
        "This call needs an API key with the scope 'feedback', which this one does not have."
    )
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="feedback"'


@pytest.mark.usefixtures("ring")
def test_probes_the_description_and_pages_are_open() -> None:
    paths = [
        "/livez",
        "/readyz",
        "/healthz",
        "/",
        "/docs.json",
        "/schema.json",
        "/ui",
        "/ui/a.js",
        "/static_content/a.js",
    ]
    assert statuses(*(ask(path, method="GET") for path in paths)) == [200] * len(paths)
    assert statuses(ask("/uikit", method="GET"), ask("/static_content", method="GET")) == [401, 401]


@pytest.mark.usefixtures("ring")
def test_who_asks_too_often_waits() -> None:
    first, second, third, other = answers(*[ask("/recommend", "slow")] * 3, ask("/recommend", "r"))
    assert [one.status_code for one in (first, second, third, other)] == [200, 200, 429, 200]
    assert 98 <= int(third.headers["retry-after"]) <= 100
    assert third.json()["error"].startswith("This API key may make 0.01 requests a second")


def test_a_refused_erasure_is_audited_and_other_refusals_are_not(ring: Ring) -> None:
    assert statuses(ask("/forget", "r"), ask("/feedback", "r"), ask("/forget"), ask("/forget", "a")) == [
        403,
        403,
        401,
        200,
    ]
    assert ring.noted == [("recommend", "forget")]
    ring.away = True
    assert statuses(ask("/forget", "r")) == [403], "also while it cannot be recorded"


def test_while_the_keys_are_not_known_nobody_is_answered(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "known", False)
    closed, probe = answers(ask("/recommend", "all"), ask("/livez", method="GET"))
    assert (closed.status_code, closed.headers["retry-after"], probe.status_code) == (503, "5", 200)
    monkeypatch.setattr(Guard, "keyring", None)
    assert statuses(ask("/recommend", "all")) == [503]


def test_where_no_key_is_required_anyone_may_ask(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "required", False)
    short, forget, keyed = answers(ask("/recommend"), ask("/forget"), ask("/forget", "r"))
    assert short.json() == {"by": "the door", "caller": "anyone"}
    assert forget.json()["caller"] == keyed.json()["caller"] == "anyone"
    assert ring.noted == []


def test_before_the_service_has_said_anything_all_is_closed() -> None:
    assert (Guard.required, Guard.keyring) == (True, None)
    assert statuses(ask("/recommend"), ask("/livez", method="GET")) == [503, 200]


def test_a_websocket_is_closed(ring: Ring) -> None:
    sent = list[Message]()

    async def never(_: Scope, __: Receive, ___: Send) -> None:
        raise AssertionError("it came through")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Guard(never)({"type": "websocket", "path": "/recommend", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert ring.noted == []


@pytest.mark.usefixtures("ring")
def test_every_answer_has_the_security_headers() -> None:
    sent = [ask("/recommend", "r"), ask("/recommend", "r", **TRACED), ask("/recommend"), ask("/forget", "r")]
    for answer in answers(*sent, ask("/livez", method="GET")):
        found = answer.headers
        assert found.get_list("content-security-policy") == [CLOSED]
        assert found.get_list("cache-control") == ["no-store"]
        assert (found["x-content-type-options"], found["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.usefixtures("ring")
def test_a_page_may_load_what_is_its_own_and_its_own_policy_counts() -> None:
    page, ui = answers(ask("/", method="GET"), ask("/ui", method="GET"))
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy, "so no script that stands in the page or comes from elsewhere runs"
    assert policy["frame-ancestors"] == "'none'"
    assert ui.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert ui.headers.get_list("cache-control") == ["max-age=60"]
    assert ui.headers["x-content-type-options"] == "nosniff"


def test_the_description_tells_of_keys_where_a_call_needs_one() -> None:
    document = {
        "paths": {"/feedback": {"post": {"a": 1}, "summary": "s"}, "/livez": {"get": {}}},
        "components": {"schemas": {}},
    }
    found = described(document)
    assert set(found["components"]) == {"schemas", "securitySchemes"}
    assert found["paths"]["/feedback"] == {
        "post": {"a": 1, "security": [{}, {"bearer": []}, {"header": []}]},
        "summary": "s",
    }
    assert found["paths"]["/livez"] == {"get": {}}
    assert "securitySchemes" not in document["components"]


@pytest.mark.integration
class TestService:
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("service")

    @pytest.fixture(scope="class")
    def store(self, folder: Path) -> Iterator[Store]:
        with Store.open(f"sqlite:///{folder}/s.sqlite") as store:
            yield store

    @pytest.fixture(scope="class")
    def client(self, folder: Path, store: Store) -> Iterator[httpx.Client]:
        bundle = packaged(folder / "bundle", "ease", world(), data={"feedback": 0})
        settings = {"RECLOOP_LOG": "json"}
        with (
            serve(bundle, store.url, host="0.0.0.0", settings=settings, log=folder / "log") as url,
            httpx.Client(base_url=url, timeout=30) as client,
        ):
            yield client

    def key(self, store: Store, client: httpx.Client, *scopes: str, **limits: Any) -> tuple[str, dict[str, str]]:
        """A key that counts already: its id, and the header that carries it."""
        key, text = store.create_key("a test", scopes, **limits)
        header = {"X-API-Key": text}
        until(lambda: client.get("/metrics", headers=header).status_code == 200)
        return key.id, header

    def test_any_address_but_loopback_is_closed_until_there_is_a_key(self, client: httpx.Client, folder: Path) -> None:
        assert client.post("/recommend", json={}).status_code == 401
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        messages = until(
            lambda: [json.loads(line) for line in (folder / "log").read_text().splitlines() if line[:1] == "{"]
        )
        told = {line["message"]: line["level"] for line in messages}
        assert [level for said, level in told.items() if said.startswith("API keys are required on 0.0.0.0")] == [
            "WARNING"
        ]
        assert [level for said, level in told.items() if "'recloop keys create NAME --scope" in said] == ["ERROR"]

    def test_a_key_may_do_what_its_scopes_say_on_both_ways(self, client: httpx.Client, store: Store) -> None:
        _, header = self.key(store, client, "recommend")
        for way in ({}, TRACED):
            assert client.post("/recommend", json={"user_id": "user-1"}).status_code == 401
            answer = client.post("/recommend", json={"user_id": "user-1"}, headers=header | way)
            assert answer.status_code == 200
            assert answer.json()["items"]
            assert answer.headers["content-security-policy"] == CLOSED
            assert client.post("/feedback", json={"events": []}, headers=header | way).status_code == 403
        assert client.get("/model").status_code == 401
        assert client.get("/model", headers=header).status_code == 200

    def test_a_revoked_key_stops_within_seconds(self, client: httpx.Client, store: Store) -> None:
        key_id, header = self.key(store, client, "recommend")
        assert client.post("/recommend", json={}, headers=header).status_code == 200
        begun = time.monotonic()
        store.revoke_key(key_id)
        until(lambda: client.post("/recommend", json={}, headers=header).status_code == 401, seconds=10)
        assert time.monotonic() - begun < 10

    def test_who_asks_too_often_is_told_when_to_come_back(self, client: httpx.Client, store: Store) -> None:
        _, header = self.key(store, client, "recommend", rate=0.01, burst=8)
        found = [client.post("/recommend", json={}, headers=header) for _ in range(9)]
        assert found[0].status_code == 200
        assert found[-1].status_code == 429
        assert 1 <= int(found[-1].headers["retry-after"]) <= 100

    def test_erasures_are_audited_without_the_person(self, client: httpx.Client, store: Store) -> None:
        admin, header = self.key(store, client, "admin")
        other, weak = self.key(store, client, "recommend")
        assert client.post("/forget", json={"user_id": "user-3"}, headers=weak).status_code == 403
        assert client.post("/forget", json={"user_id": "user-3"}, headers=header).status_code == 200
        done, refused = store.audited(2)
        (erasure,) = store.erasures()
        assert (done.actor, done.action, done.outcome, done.subject) == (admin, "forget", "done", erasure.digest)
        assert (refused.actor, refused.action, refused.outcome) == (other, "forget", "refused")

    def test_other_sites_get_no_permission_and_pages_load_nothing_of_theirs(
        self, client: httpx.Client, store: Store
    ) -> None:
        _, header = self.key(store, client, "recommend")
        site = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
        answered = client.post("/recommend", json={}, headers=header | site)
        asked = client.options("/recommend", headers=site)
        assert answered.status_code == 200
        assert asked.status_code == 401
        for answer in (answered, asked):
            assert not [name for name in answer.headers if name.startswith("access-control")]
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
        document = client.get("/docs.json").json()
        assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
        for path, verb in (("/recommend", "post"), ("/forget", "post"), ("/model", "get")):
            assert {"bearer": []} in document["paths"][path][verb]["security"]

    def test_refusals_are_counted_and_nobody_is_in_the_log(
        self, client: httpx.Client, store: Store, folder: Path
    ) -> None:
        _, header = self.key(store, client, "recommend")
        client.post("/similar", json={"item_id": "item-0", "k": 3}, headers=header).raise_for_status()
        lines = client.get("/metrics", headers=header).text.splitlines()
        counts = {
            line.split(" ")[0]: float(line.split(" ")[1]) for line in lines if line.startswith("recloop_refusals_total")
        }
        assert counts['recloop_refusals_total{reason="no_key"}'] >= 1
        log = (folder / "log").read_text()
        assert "127.0.0.1" not in log, "the address of whoever asks"
        assert "user-" not in log
        assert header["X-API-Key"] not in log


@pytest.mark.integration
def test_a_failure_inside_shows_nothing_of_the_code(tmp_path: Path) -> None:
    broken(tmp_path / "bundle")
    with serve(tmp_path / "bundle", f"sqlite:///{tmp_path}/s.sqlite") as url:
        for way in ({}, TRACED):
            answer = httpx.post(f"{url}/recommend", json={"user_id": "user-1"}, headers=way, timeout=30)
            assert answer.status_code == 500
            assert "Traceback" not in answer.text
            assert ".py" not in answer.text
            assert "Error" not in answer.text
            assert answer.headers["content-security-policy"] == CLOSED


def test_what_a_path_needs() -> None:
    assert needed("GET", "/livez") is None
    assert needed("GET", "/recommend") == "recommend"
    assert needed("POST", "/ui/../forget") == needed("POST", "/livez") == "admin"


def test_a_keyring_is_what_the_guard_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/s.sqlite"
    with Store.open(url) as store:
        _, key = store.create_key("shop", ["recommend"])
    ring = Keyring(lambda: Store.open(url))
    monkeypatch.setattr(Guard, "keyring", ring)
    monkeypatch.setattr(Door, "quick", Quick())
    assert statuses(ask("/recommend", key), ask("/recommend", key + "x"), ask("/forget", key)) == [200, 401, 403]
    with Store.open(url) as store:
        assert [(row.action, row.outcome) for row in store.audited(1)] == [("forget", "refused")]
    ring.close()
