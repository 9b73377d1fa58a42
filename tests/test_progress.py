import io
import sys

import pytest

from recloop.progress import busy, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard error look like a terminal for the rest of the test; standard output is none."""
    # Not a fixture: between the set-up of a test and the test itself pytest puts its own standard error back.
    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    return err


def test_silent_when_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with busy("waiting"):
        assert list(track(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    err = terminal(monkeypatch)
    assert list(track(iter("ab"), "spelling")) == ["a", "b"]
    assert "spelling" in err.getvalue()


def test_bars_join_the_display_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    err = terminal(monkeypatch)
    with busy("validate"):
        assert list(track(range(3), "counting")) == [0, 1, 2]
        assert list(zip(track("ab", "outer"), track("cd", "inner"), strict=True)) == [("a", "c"), ("b", "d")]
    for word in ("validate", "counting", "0/3", "outer", "inner", "0/2"):
        assert word in err.getvalue()


def test_what_is_printed_to_a_pipe_stays_in_the_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    err = terminal(monkeypatch)
    with busy("validate"):
        sys.stdout.write("an answer\n")
    assert capsys.readouterr().out == "an answer\n"
    assert "an answer" not in err.getvalue()


def test_an_error_takes_the_display_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    with pytest.raises(ValueError, match="disk"), busy("validate"):
        raise ValueError("disk")
    with busy("again"):
        assert list(track(range(2), "counting")) == [0, 1]
