import re
from datetime import datetime, timedelta
from pathlib import Path

from recloop.data.tables import Tables
from recloop.expectations.validation import ValidateConfig, validate
from tests.expectations.asking import first


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_is_one_page_a_table_with_its_rules(tables: Tables, now: datetime, tmp_path: Path) -> None:
    changed = Tables(interactions=first(tables.interactions, 1, user_id="stranger"), users=tables.users)
    validate(changed, ValidateConfig(), previous=None, now=now, docs_folder=tmp_path / "docs")
    found = files(tmp_path / "docs")
    pages = sorted(name for name in found if name.endswith(".html"))
    assert [Path(name).name for name in pages] == ["index.html", "recloop-interactions.html", "recloop-users.html"]
    assert len(found) < 25
    text = found[pages[1]].decode()
    assert "unknown_user: every user of an event has a row in the table of users" in text
    assert "null_item_id: no item_id is missing, but for a share of 0.05 of the rows at most" in text
    for name in pages:
        logo = re.search(r'src="([^"]*logo-long.png)"', found[name].decode())
        assert logo is not None
        assert (tmp_path / "docs" / name).parent.joinpath(logo[1]).is_file()


def test_equal_data_gives_equal_pages(tables: Tables, now: datetime, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "a longer name"]
    for days, folder in enumerate(folders):
        validate(tables, ValidateConfig(), previous=None, now=now + timedelta(days=days), docs_folder=folder)
    one, other = map(files, folders)
    assert one == other
    assert not any(str(tmp_path).encode() in content for content in one.values())


def test_pages_of_an_earlier_run_are_gone(tables: Tables, now: datetime, tmp_path: Path) -> None:
    (tmp_path / "old.html").write_text("old", encoding="utf-8")
    validate(tables, ValidateConfig(), previous=None, now=now, docs_folder=tmp_path)
    assert not (tmp_path / "old.html").exists()
