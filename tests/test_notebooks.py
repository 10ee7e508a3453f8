"""Every notebook runs headless under papermill, from another folder, on the smoke study; parameters are checked before any work."""
import subprocess, sys
from pathlib import Path

import papermill, pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from xlt_nb import cli
from xlt_nb.cli import main
from xlt_nb.core import XltError, side_by_side

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))
SMALL = {"06_training": dict(encoder="random:multilingual-e5-small", cost=40, epochs=1)}


def execute(name, out, **parameters):
    "Run a notebook; kernels that start at the same moment may pick the same port, and then one dies before it says a word."
    def once(): papermill.execute_notebook(str(ROOT/"nbs"/f"{name}.ipynb"), str(out), parameters, kernel_name="python3", progress_bar=False)
    try: once()
    except RuntimeError as e:
        if "before replying" not in str(e): raise
        once()


def execute_as_studies_do(name, out, parameters):
    "Run a notebook in a process forked from one that has imported what all need."
    for _ in side_by_side(cli._execute, [(ROOT/"nbs"/f"{name}.ipynb", out, parameters)], 1, None, cli._PRELOADED): pass


def contents(folder): return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "runs" not in p.parts}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_on_smoke(path, outputs, tmp_path, monkeypatch):
    "What has a study writes no table and no figure of it."
    monkeypatch.chdir(tmp_path)
    on_study, before = "study" in papermill.inspect_notebook(str(path)), contents(outputs)
    execute_as_studies_do(path.stem, tmp_path/"out.ipynb", ({"study": "smoke"} if on_study else {}) | SMALL.get(path.stem, {}))
    assert not on_study or contents(outputs) == before


def test_a_kernel_says_the_same(outputs, tmp_path):
    "Papermill with a kernel, as a user starts it, and with the engine of studies."
    execute("08c_scores", tmp_path/"kernel.ipynb")
    execute_as_studies_do("08c_scores", tmp_path/"here.ipynb", {})
    def said(name):
        cells = [c for c in load_notebook_node(str(tmp_path/name)).cells if c.cell_type == "code"]
        return ["".join(o.get("text", "") or o.get("data", {}).get("text/markdown", "") for o in c.outputs).strip() for c in cells]
    assert said("here.ipynb") == said("kernel.ipynb") and any(said("here.ipynb"))


def test_a_second_call_finds_its_runs(outputs, tmp_path):
    cli = Path(sys.executable).parent/"xlt-nb"
    first = subprocess.run([cli, "transfer", "--study", "smoke"], capture_output=True, text=True, check=True).stdout
    made = {p: p.stat().st_mtime_ns for p in (outputs/"runs").rglob("record.json")}
    second = subprocess.run([cli, "transfer", "--study", "smoke"], capture_output=True, text=True, check=True).stdout
    assert len(made) == 3 and second == first
    assert made == {p: p.stat().st_mtime_ns for p in (outputs/"runs").rglob("record.json")}, "runs were made again"


BAD = [("07_transfer", {"studdy": "smoke"}, "nearest: study"), ("07_transfer", {"study": "smok"}, "nearest: smoke"),
    ("07_transfer", {"study": "smoke", "corpus": "minionn"}, "corpus"), ("07_transfer", {"study": "smoke", "encoder": "multilingual-e5-smal"}, "nearest: multilingual-e5-small"), ("07_transfer", {"study": "smoke", "jobs": -1}, "jobs"),
    ("06_training", {"task": "event"}, "nearest: events"), ("06_training", {"epochs": -1}, "epochs"), ("06_training", {"sead": 1}, "nearest: seed")]


def execute_here(name, parameters):
    "The cells of a notebook with parameters as papermill injects them, in this process: no kernel, which is slow to start."
    notebook = parameterize_notebook(load_notebook_node(str(ROOT/"nbs"/f"{name}.ipynb")), parameters)
    names = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code": exec(compile(cell.source, f"{name} {cell.id}", "exec"), names)


@pytest.mark.parametrize("name, parameters, hint", BAD)
def test_bad_parameters_are_errors_before_work(name, parameters, hint, outputs):
    with pytest.raises(XltError, match=hint): execute_here(name, parameters)
    assert not (outputs/"runs").exists()


@pytest.mark.parametrize("name, parameters, hint", [BAD[0], BAD[-1]])
def test_papermill_shows_the_error(name, parameters, hint, outputs, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match=f"XltError.*{hint}"): execute(name, tmp_path/"out.ipynb", **parameters)
    assert not (outputs/"runs").exists()


WRONG = [(["transfer", "--study", "smok"], "smoke"), (["distances", "--kinds", "sintactic"], "syntactic"), (["distances", "--languages", "zzz"], "zzz"),
    (["study", "smok"], "smoke"), (["transfer", "--study", "smoke", "--encoder", "multilingual-e5-smal"], "nearest: multilingual-e5-small"), (["transfer", "--study", "smoke", "--jobs", "-1"], "jobs")]


@pytest.mark.parametrize("command, hint", WRONG)
def test_command_line_errors(command, hint, outputs, capsys):
    assert main(command) == 2 and hint in capsys.readouterr().err and not (outputs/"runs").exists()


def test_the_command_ends_with_a_line_and_its_status(outputs):
    command, hint = WRONG[0]
    r = subprocess.run([Path(sys.executable).parent/"xlt-nb", *command], capture_output=True, text=True)
    assert r.returncode == 2 and hint in r.stderr and r.stderr.startswith("xlt-nb: error: ") and r.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["distances", "transfer", "explain", "recommend", "study", "cache"])
def test_help_explains_every_option(command):
    text = subprocess.run([Path(sys.executable).parent/"xlt-nb", command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--list" in text and "usage: xlt-nb" in text


def test_the_cache_is_shown_and_cleared(tmp_path, monkeypatch):
    monkeypatch.setenv("XLT_CACHE", str(tmp_path))
    def says(*options): return subprocess.run([Path(sys.executable).parent/"xlt-nb", "cache", *options], capture_output=True, text=True, check=True).stdout
    assert "nothing is kept" in says() and "of at most 10000 MB (XLT_CACHE_GB)" in says()
    folder = tmp_path/"states"/"0123456789abcdef-0-8-cpu-bf16"
    folder.mkdir(parents=True)
    (folder/"a.safetensors").write_bytes(bytes(3_000_000))
    assert "0123456789abcdef" in says() and "3 of at most" in says()
    assert "3 MB freed" in says("--clear") and "nothing is kept" in says()


def little_notebook(path, source):
    "A notebook of one cell."
    import nbformat
    cell = nbformat.v4.new_code_cell(source)
    about = {"kernelspec": {"name": "python3", "language": "python", "display_name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=about), path)


def test_a_chapter_is_executed_again_only_if_something_it_can_read_changed(outputs, tmp_path):
    from xlt_nb.cli import run_chapters
    chapter, out = tmp_path/"01_a.ipynb", tmp_path/"out"
    def executed(**parameters):
        before = (out/"01_a.ipynb").stat().st_mtime_ns if (out/"01_a.ipynb").exists() else 0
        run_chapters([chapter], parameters, out, jobs=1)
        return (out/"01_a.ipynb").stat().st_mtime_ns > before
    little_notebook(chapter, "print(1)")
    assert executed() and not executed()
    little_notebook(chapter, "print(2)")
    assert executed() and not executed()
    (outputs/"tables"/"new.csv").write_text("a\n1\n")
    assert executed() and not executed()
    (out/"01_a.ipynb").unlink()
    assert executed()
    little_notebook(chapter, "1/0")
    with pytest.raises(RuntimeError, match="01_a.ipynb failed"): executed()
    little_notebook(chapter, "print(2)")
    assert executed(), "what a failed chapter left is not taken for its result"


def test_chapters_wait_for_the_tables_that_they_read():
    from xlt_nb.cli import stages
    parts = [[p.stem for p in part] for part in stages([p for p in NOTEBOOKS if p.stem != "index"])]
    place = {name: k for k, part in enumerate(parts) for name in part}
    assert place["07_transfer"] == 0 < place["09_regression"] == place["10_metric"] < place["13_results"]
    assert parts[0][0] == "07_transfer" and sum(map(len, parts)) == len(NOTEBOOKS) - 1
