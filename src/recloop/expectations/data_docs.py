"""Data Docs: the pages that Great Expectations builds about its results.

The pages are made free of clocks and random names, so that equal results give equal files.
"""

import os
import re
import shutil
from itertools import count
from pathlib import Path
from typing import Any

_SITE = "local_site"
_LOGO = re.compile(r"https://great-expectations-web-assets[^\"' ]*/logo-long\.png[^\"' ]*")
_RANDOM = re.compile(r"(?<=collapse-body-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_IMAGES = {"favicon.ico", "logo-long.png"}


def build(context: Any, folder: Path) -> None:
    """Build the site of all results in a context of Great Expectations, in place of what `folder` holds."""
    shutil.rmtree(folder, ignore_errors=True)
    _forget_load_times(context.validation_results_store)
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "site_section_builders": {"expectations": "None", "profiling": "None"},
    }
    context.update_data_docs_site(_SITE, site)
    context.build_data_docs(site_names=[_SITE])
    for image in (folder / "static" / "images").iterdir():
        if image.name not in _IMAGES:
            image.unlink()
    for page in sorted(folder.rglob("*.html")):
        logo = os.path.relpath(folder / "static" / "images" / "logo-long.png", page.parent)
        page.write_text(_settled(page.read_text(encoding="utf-8"), Path(logo).as_posix()), encoding="utf-8")


def _forget_load_times(store: Any) -> None:
    for key in store.list_keys():
        result = store.get(key)
        result.meta["batch_markers"] = {}
        store.set(key, result)


def _settled(html: str, logo: str) -> str:
    """The page with a local logo, and its random names replaced by numbers in order of appearance."""
    numbers = count()
    names: dict[str, str] = {}

    def numbered(match: re.Match[str]) -> str:
        if match[0] not in names:
            names[match[0]] = str(next(numbers))
        return names[match[0]]

    return _RANDOM.sub(numbered, _LOGO.sub(logo, html))
