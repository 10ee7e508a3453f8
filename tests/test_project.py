"""The project holds together: exports in sync, one direction, nothing private, notebooks that read as a paper."""
import ast, configparser, filecmp, re, shutil, subprocess, sys, venv
from pathlib import Path

import nbformat, pytest

from make_docs import XLT17, card, readme

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))
ORDER = "core languages distances corpora readers encoders pretraining tasks training transfer stats ablation regression metric selection adversarial cli".split()
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
    settings = configparser.ConfigParser(); settings.read(ROOT/"settings.ini")
    version = re.search(r'"(.*)"', (ROOT/"xlt_nb"/"__init__.py").read_text())[1]
    assert settings["DEFAULT"]["version"] == version and f"version: {version}" in (ROOT/"CITATION.cff").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_reads_as_a_paper(path):
    code = [c for c in cells(path, "code") if c.source.strip()]
    shown = [c for c in code if not re.search(r"^#\|\s*(export|default_exp|hide)", c.source, re.M) and not re.fullmatch(r"(\s*(import|from) .*\n?)+", c.source)]
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    assert sum(bool(c.outputs) for c in shown) >= 0.5*len(shown), "outputs are missing: execute it"
    assert path.stat().st_size < 400_000
    assert not [c for c in code if "parameters" in c.metadata.get("tags", []) and "#| export" in c.source]


def test_nothing_of_one_machine_is_named():
    private = re.compile(r"(?<![\w./~-])/(?:root|home|Users|work|tmp)/\w")
    text = {".py", ".ipynb", ".md", ".yaml", ".toml", ".ini", ".txt", ".json", ".cff", ".csv", ""}
    assert [str(p) for p in TRACKED if p.suffix in text and p.is_file() and p != Path(__file__) and p.stat().st_size < 2**21 and private.search(p.read_text("utf8", "ignore"))] == []


def test_development_data_is_not_committed():
    names = {p.relative_to(ROOT).parts[0] for p in TRACKED}
    assert names <= {".ci", ".gitignore", "CITATION.cff", "LICENSE", "Makefile", "README.md", "constraints.txt", "data", "nbs", "outputs", "pyproject.toml", "settings.ini", "tests", "xlt_nb"}
    assert not [p for p in TRACKED if p.suffix == ".xz" or p.is_file() and p.stat().st_size > 16*2**20]
