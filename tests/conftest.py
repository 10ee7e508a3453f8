"""Shared fixtures: tests write nothing into the checkout."""
import os, shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    "A cache folder for the tests: what was unpacked once is there, the user's kept states are left alone."
    from xlt_nb.core import cache_dir
    mine, before = cache_dir(), os.environ.get("XLT_CACHE")
    (mine/"encoders").mkdir(exist_ok=True)
    folder = tmp_path_factory.mktemp("cache")
    for p in mine.iterdir():
        if p.name != "states": (folder/p.name).symlink_to(p)
    os.environ["XLT_CACHE"] = str(folder)
    yield folder
    os.environ.pop("XLT_CACHE")
    if before: os.environ["XLT_CACHE"] = before


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    "An outputs folder of its own, with the committed tables in it."
    shutil.copytree(ROOT/"outputs"/"tables", tmp_path/"outputs"/"tables")
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path/"outputs"))
    return tmp_path/"outputs"


@pytest.fixture
def data_root():
    "Folder of data sets that the project does not ship; skips where it is not set."
    root = os.environ.get("XLT_DATA_DIR")
    if not root: pytest.skip("XLT_DATA_DIR is not set: data sets that are not shipped are not here")
    return root


LONG = ("test_wheel.py", "test_resume.py", "test_runs_on_smoke", "test_nbdev3_exports_the_same") # half a minute and more, each


def pytest_collection_modifyitems(items):
    "Long tests first: what is left for the end is short, so workers end together."
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))
