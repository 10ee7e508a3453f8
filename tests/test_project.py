"""The project holds together: exports in sync, one direction, nothing private, notebooks that read as a paper."""
import ast, configparser, filecmp, os, re, shutil, subprocess, sys, venv
from pathlib import Path

import nbformat, pytest

from make_docs import XLT17, card, readme

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))
ORDER = "core languages distances corpora readers encoders features tasks extraction training model transfer stats calibration scores regression robustness metric strength selection sets unlabelled rankers selectors recommend adversarial cli".split()
TRACKED = [ROOT/f for f in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()]


def cells(path, kind=None): return [c for c in nbformat.read(path, as_version=4).cells if kind in (None, c.cell_type)]


def exported(folder, command):
    "Names of the modules that `command` exports from a copy of the notebooks, and those that differ from the committed ones."
    for name in ("nbs", "settings.ini", "pyproject.toml", "README.md"):
        (shutil.copytree if (ROOT/name).is_dir() else shutil.copy)(ROOT/name, folder/name)
    (folder/"xlt_nb").mkdir()
    shutil.copy(ROOT/"xlt_nb"/"__init__.py", folder/"xlt_nb")
    if command.name == "nbdev-export": (folder/"settings.ini").unlink() # nbdev 3 refuses it
    subprocess.run([command], cwd=folder, check=True, capture_output=True)
    names = {p.name for p in (folder/"xlt_nb").glob("*.py")}
    return names, [n for n in names if not (ROOT/"xlt_nb"/n).is_file() or not filecmp.cmp(folder/"xlt_nb"/n, ROOT/"xlt_nb"/n, shallow=False)]


def test_export_is_in_sync(tmp_path):
    names, different = exported(tmp_path, Path(sys.executable).parent/"nbdev_export")
    assert different == [] and names == {p.name for p in (ROOT/"xlt_nb").glob("*.py")}


def test_nbdev3_exports_the_same(tmp_path):
    "The day nbdev 2 no longer installs costs nothing."
    venv.create(tmp_path/"venv", with_pip=True)
    r = subprocess.run([tmp_path/"venv"/"bin"/"python", "-m", "pip", "install", "-q", "nbdev>=3,<4"], capture_output=True, text=True)
    if r.returncode: pytest.skip(f"nbdev 3 cannot be fetched here: {r.stderr.strip().splitlines()[-1]}")
    (tmp_path/"copy").mkdir()
    assert exported(tmp_path/"copy", tmp_path/"venv"/"bin"/"nbdev-export")[1] == []


@pytest.mark.parametrize("path", sorted((ROOT/"xlt_nb").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_one_direction(path):
    "A module imports only modules of earlier chapters (and itself, for worker processes)."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("xlt_nb")):
            found.add((node.module or "").removeprefix("xlt_nb").strip("."))
    assert {m for m in found if m} <= set(ORDER[:ORDER.index(path.stem) + 1])


def test_readme_comes_from_the_index(): assert (ROOT/"README.md").read_text(encoding="utf8") == readme()


def test_dataset_card_comes_from_the_corpus(): assert (XLT17/"README.md").read_text(encoding="utf8") == card()


def test_version_stands_in_one_place():
    settings = configparser.ConfigParser()
    settings.read(ROOT/"settings.ini")
    version = re.search(r'"(.*)"', (ROOT/"xlt_nb"/"__init__.py").read_text())[1]
    assert settings["DEFAULT"]["version"] == version and f"version: {version}" in (ROOT/"CITATION.cff").read_text()


def shows_something(source) -> bool:
    "Does a cell print, or end with a value? Assertions and definitions do not."
    if re.search(r"^#\|\s*(export|default_exp|hide)", source, re.M): return False
    if re.search(r"\b(print|display|show_figure)\(", source): return True
    try: body = ast.parse(source).body
    except SyntaxError: return True # a magic
    return bool(body) and isinstance(body[-1], ast.Expr) and "close(" not in ast.unparse(body[-1])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_reads_as_a_paper(path):
    code = [c for c in cells(path, "code") if c.source.strip()]
    shown = [c for c in code if shows_something(c.source)]
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    assert sum(bool(c.outputs) for c in shown) >= 0.5*len(shown), "outputs are missing: execute it"
    assert path.stat().st_size < 200_000
    assert not [c for c in code if "parameters" in c.metadata.get("tags", []) and "#| export" in c.source]


def test_nothing_of_one_machine_is_named():
    private = re.compile(r"(?<![\w./~-])/(?:root|home|Users|work|tmp)/\w")
    text = {".py", ".ipynb", ".md", ".yaml", ".toml", ".ini", ".txt", ".json", ".cff", ".csv", ""}
    assert [str(p) for p in TRACKED if p.suffix in text and p.is_file() and p != Path(__file__) and p.stat().st_size < 2**21 and private.search(p.read_text("utf8", "ignore"))] == []


def test_development_data_is_not_committed():
    names = {p.relative_to(ROOT).parts[0] for p in TRACKED}
    assert names <= {".ci", ".gitignore", "CITATION.cff", "LICENSE", "Makefile", "README.md", "constraints.txt", "data", "nbs", "outputs", "pyproject.toml", "settings.ini", "tests", "xlt_nb"}
    shipped = {ROOT/"data"/"published", ROOT/"data"/"litmus"} # whose cards name a licence that allows it
    assert not [p for p in TRACKED if p.suffix == ".xz" and p.parent not in shipped or p.is_file() and p.stat().st_size > 16*2**20]
    assert sum(p.stat().st_size for p in TRACKED if p.is_file()) < 16*2**20, "all that is tracked"


ADDED = """
import dataclasses, sys
import numpy as np
from little import little_encoder, made_up
from xlt_nb.corpora import register_corpus
from xlt_nb.distances import distance_matrix, register_distance
from xlt_nb.encoders import Preset, register_preset
from xlt_nb.tasks import Tagging, register_task, tasks_of
from xlt_nb.readers import load_corpus

@register_corpus("shouts", ["en", "es"], parallel=True, labels=["events"])
def read_shouts(languages=None, root=None):
    "Texts in capitals."
    corpus, examples = made_up("shouts", n=12), {}
    for (lang, split), part in corpus.examples.items():
        if lang in (languages or ("en", "es")):
            examples[lang, split] = [dataclasses.replace(e, words=tuple(w.upper() for w in e.words)) for e in part]
    return dataclasses.replace(corpus, examples=examples)

@register_task("verbs")
class Verbs(Tagging):
    "Where the verb is."
    needs = ("events",)
    def __init__(self, corpus): super().__init__(["verb"])
    def spans(self, e): return [s._replace(label="verb") for s in e.events]

@register_distance("letters", "difference of the second letters of two codes", modes=("knn",))
def letters(languages, mode):
    place = np.array([ord(x.code[1]) - ord("a") for x in languages])/25
    return abs(place[:, None] - place), np.ones((len(place), len(place)))

encoder = little_encoder(sys.argv[1], "bert", layers=3)
register_preset(encoder, Preset(layers=2, frozen=1, epochs=2, batch_size=4, lr_encoder=1e-3, lr_head=1e-2, dropout=0.0, pooling="mean"))

from xlt_nb.core import load_run
from xlt_nb.transfer import load_study, run_matrix, table_name, transfer_matrix, zero_shot
study = load_study(sys.argv[2])
results, counts = run_matrix(study, study.matrices[0], jobs=1)
assert set(results.task) == {"verbs"} and set(results.corpus) == {"shouts"} and set(results.encoder) == {"shouting"}
config = load_run(results.run_id.iloc[0]).record["config"]
assert (config["layers"], config["frozen"], config["epochs"], config["pooling"]) == (2, 1, 2, "mean")
cells, d = zero_shot(transfer_matrix(results)), distance_matrix("letters", ["en", "es"])
print(len(cells), table_name("shouts", "verbs"), round(float(d.loc["en", "es"]), 3), "verbs" in tasks_of(load_corpus("shouts")))
"""


def test_what_is_added_in_one_place_works_everywhere(outputs, tmp_path):
    "A corpus, a task, a distance and an encoder's preset, registered in a script of the user: the same grid, tables and matrices."
    (tmp_path/"mine.py").write_text(ADDED)
    encoder = tmp_path/"shouting"
    (tmp_path/"mine.yaml").write_text(f"matrices:\n  - {{task: verbs, corpus: shouts, encoder: {encoder}, seeds: [0]}}\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT/"tests")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, tmp_path/"mine.py", encoder, tmp_path/"mine.yaml"]
    r = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert r.stdout.split() == ["2", "transfer_shouts_verbs", "0.2", "True"], r.stderr
    assert (outputs/"tables"/"transfer_shouts_verbs.csv").is_file()
