"""Whether keys are required goes by the socket that the worker was given."""

import socket
from collections.abc import Iterator

import pytest

from recloop.serving.binding import bind_address, rule


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")])
def listening(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    family, address = request.param
    with socket.socket(family) as opened:
        opened.bind((address, 0))
        opened.listen()
        yield opened, address


def test_the_socket_says_where_it_listens_and_stays_open(listening: tuple[socket.socket, str]) -> None:
    opened, address = listening
    assert bind_address(["service", ".", "--fd", str(opened.fileno()), "--backlog", "5"]) == address
    assert opened.getsockname()[0] == address


def test_what_cannot_be_told_is_not_guessed() -> None:
    one, other = socket.socketpair()
    with one, other:
        closed = socket.socket()
        number = closed.fileno()
        closed.close()
        for words in ([], ["--fd"], ["--fd", "x"], ["--fd", str(number)], ["--fd", str(one.fileno())]):
            assert bind_address(words) is None


@pytest.mark.parametrize(
    ("setting", "address", "expected"),
    [
        (None, "127.0.0.1", (False, False)),
        ("", "127.0.0.1", (False, False)),
        ("auto", "::1", (False, False)),
        ("auto", "0.0.0.0", (True, True)),
        ("auto", "::", (True, True)),
        ("auto", "10.1.2.3", (True, True)),
        ("auto", None, (True, True)),
        ("required", "127.0.0.1", (True, False)),
        ("required", "0.0.0.0", (True, True)),
        ("off", "127.0.0.1", (False, False)),
        ("off", "0.0.0.0", (False, True)),
        ("off", None, (False, True)),
        ("false", "127.0.0.1", (True, True)),
    ],
)
def test_keys_are_required_unless_only_this_machine_can_ask(
    setting: str | None, address: str | None, expected: tuple[bool, bool]
) -> None:
    found = rule(address, {} if setting is None else {"RECLOOP_API_KEYS": setting})
    assert (found.required, found.loud) == expected
    assert "RECLOOP_API_KEYS" in found.sentence
