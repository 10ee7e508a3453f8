"""How densely the notebooks are written: what can be counted of their exported code, one row a notebook.

    python tests/style.py nbs                   print the table
    python tests/style.py nbs --export out.csv  and write it
    python tests/style.py nbs --append after    and put it into outputs/tables/style.csv, in place of rows named so

Works for any folder of nbdev notebooks; nothing is imported from the package. What counts as what:

- a cell: an exported code cell that does more than import; its lines are those of code (no blank lines, no `#|`)
- syntax nodes: expressions and statements, docstrings left out
- nested: comprehensions that hold another one or have more than one `for`
- semicolons: those that join two statements on a line
- assertions: `assert`, and calls of `test_…`, `expect_…`, `assert_…`, in cells that are not exported
- public functions: functions and classes of `#| export` cells without a leading underscore
- prose: the cell directly before is Markdown
"""
import argparse, ast, functools, io, json, os, re, tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT/"outputs"/"tables"/"style.csv"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SHOWN = { # column of the printed table: template over a row
    "notebook": "{notebook}",
    "cells": "{cells}",
    "lines of a cell": "{cell_median:g} / {cell_p95:.0f} / {cell_max:.0f}",
    "length of a line": "{line_median:g} / {line_p95:.0f} / {line_max:.0f}",
    "nodes a line": "{nodes_per_line:.1f}",
    "nested / semicolons": "{nested_per_100:.1f} / {semicolons_per_100:.1f}",
    "public": "{public}",
    "assertions": "{assertions_per_public:.2f}",
    "not called": "{not_called}",
    "prose": "{prose_percent:.0f}%",
    "kB": "{kb:.0f}",
}


@dataclass(frozen=True)
class Cell:
    "A cell of a notebook, with where it stands."
    notebook: str # name of the file, without its ending
    id: str
    kind: str # code, markdown or raw
    source: str
    before: str # kind of the cell before; empty for the first

    def __str__(self): return f"{self.notebook} cell {self.id}"

    def at(self, line: int) -> str: # where a reader finds a line, and what stands there
        text = self.source.split("\n")[line - 1].strip()
        return f"{self} line {line}: {text[:100]}"

    @functools.cached_property
    def exported(self) -> bool: return self.kind == "code" and bool(self._directive("export[is]?"))

    @functools.cached_property
    def public(self) -> bool: # `exporti` leaves its names out of `__all__`
        return self.kind == "code" and bool(self._directive("exports?"))

    @functools.cached_property
    def demo(self) -> bool: # runs in the notebook alone
        return self.kind == "code" and not self.exported and bool(self.source.strip())

    @functools.cached_property
    def python(self) -> str: # the source without IPython's lines, line by line in place
        if not re.search(r"^\s*[%!]", self.source, re.M): return self.source
        if self.source.lstrip().startswith("%%"): return ""
        return re.sub(r"^(\s*)[%!].*$", r"\1pass", self.source, flags=re.M)

    @functools.cached_property
    def tree(self) -> ast.Module:
        try: return ast.parse(self.python)
        except SyntaxError as e: raise SyntaxError(f"{self} line {e.lineno}: {e.msg}") from None

    @functools.cached_property
    def nodes(self) -> list: return list(ast.walk(self.tree))

    @functools.cached_property
    def lines(self) -> list: # of code: no directives, no blank lines
        return [x for x in self.source.split("\n") if x.strip() and not re.match(r"\s*#\s?\|", x)]

    @functools.cached_property
    def imports_only(self) -> bool:
        return all(isinstance(x, (ast.Import, ast.ImportFrom)) for x in self.tree.body)

    def _directive(self, name): return re.search(rf"^\s*#\s?\|\s*{name}\b", self.source, re.M)


@functools.cache
def read(path) -> tuple: # of `Cell`s
    "The cells of a notebook, in order."
    found, before = [], ""
    for n, c in enumerate(json.loads(Path(path).read_text(encoding="utf8"))["cells"]):
        source = "".join(c["source"])
        found.append(Cell(Path(path).stem, c.get("id", f"no. {n}"), c["cell_type"], source, before))
        before = c["cell_type"]
    return tuple(found)


def comprehensions(tree) -> list:
    "All comprehensions of a tree."
    return [x for x in ast.walk(tree) if isinstance(x, COMPREHENSIONS)]


def holds_another(comprehension) -> bool:
    "Does a comprehension stand inside this one?"
    return len(comprehensions(comprehension)) > 1


def joining_semicolons(source: str) -> list: # line numbers, one a semicolon
    "Semicolons with a statement after them on the line (a last one, which silences an output, joins nothing)."
    ends = (tokenize.NEWLINE, tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER)
    tokens = list(tokenize.generate_tokens(io.StringIO(source + "\n").readline))
    pairs = zip(tokens, tokens[1:])
    return [t.start[0] for t, after in pairs if t.type == tokenize.OP and t.string == ";" and after.type not in ends]


def called_name(node) -> str:
    "Last part of the name that a call calls, and of a decorator: `np.testing.assert_equal(…)` gives `assert_equal`."
    target = node.func if isinstance(node, ast.Call) else node
    return getattr(target, "attr", getattr(target, "id", ""))


def is_assertion(node, own=()) -> bool: # own: the notebook's public functions, which assert nothing here
    "`assert`, or a call of what asserts: `test_eq(…)`, `expect_fail(…)`, `np.testing.assert_allclose(…)`."
    if isinstance(node, ast.Assert): return True
    name = called_name(node) if isinstance(node, ast.Call) else ""
    return name not in own and bool(re.match(r"(test|expect|assert)_\w", name))


def definitions(cells) -> dict: # name → (cell, node)
    "Public functions and classes that a notebook exports."
    return {x.name: (c, x) for c in cells if c.public for x in c.tree.body
            if isinstance(x, DEFINITIONS) and not x.name.startswith("_")}


def names(nodes) -> set:
    "All names that nodes read, as `f` or as `module.f`."
    used = {x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}
    return used | {x.attr for x in nodes if isinstance(x, ast.Attribute)}


def not_called(cells) -> list: # names, in order
    "Public functions and classes that no cell of their own notebook shows at work."
    used = set().union(*(names(c.nodes) for c in cells if c.demo))
    return [name for name in definitions(cells) if name not in used]


def n_nodes(cell) -> int:
    "Expressions and statements of a cell, without docstrings."
    documented = [x for x in cell.nodes if isinstance(x, (*DEFINITIONS, ast.Module))]
    docstrings = sum(ast.get_docstring(x, clean=False) is not None for x in documented)
    return sum(isinstance(x, (ast.expr, ast.stmt)) for x in cell.nodes) - 2*docstrings


def n_nested(cell) -> int:
    "Comprehensions that hold another one or have more than one `for`."
    return sum(holds_another(x) or len(x.generators) > 1 for x in comprehensions(cell.tree))


def spread(values, name: str) -> dict: # median, 95th percentile and largest; nan where there is nothing
    "Three numbers that describe many."
    if not values: return {f"{name}_{k}": float("nan") for k in ("median", "p95", "max")}
    return {f"{name}_median": np.median(values), f"{name}_p95": np.percentile(values, 95), f"{name}_max": max(values)}


def share(part, whole, of=1) -> float: # nan where there is nothing to share
    return of*part/whole if whole else float("nan")


def row(name: str, notebooks: list, size: int) -> dict: # notebooks: lists of cells; size in bytes
    "What is counted, over one or more notebooks."
    exported = [c for cells in notebooks for c in cells if c.exported and not c.imports_only]
    lines = [len(x) for c in exported for x in c.lines]
    public = sum(len(definitions(cells)) for cells in notebooks)
    assertions = sum(n_assertions(cells) for cells in notebooks)
    return {
        "notebook": name, "cells": len(exported),
        **spread([len(c.lines) for c in exported], "cell"),
        **spread(lines, "line"),
        "nodes_per_line": share(sum(map(n_nodes, exported)), len(lines)),
        "nested_per_100": share(sum(map(n_nested, exported)), len(lines), 100),
        "semicolons_per_100": share(sum(len(joining_semicolons(c.python)) for c in exported), len(lines), 100),
        "public": public, "assertions": assertions, "assertions_per_public": share(assertions, public),
        "not_called": sum(len(not_called(cells)) for cells in notebooks),
        "prose_percent": share(sum(c.before == "markdown" for c in exported), len(exported), 100),
        "kb": size/1000,
    }


def n_assertions(cells) -> int:
    "Assertions in the cells of a notebook that are not exported."
    own = definitions(cells)
    return sum(is_assertion(x, own) for c in cells if c.demo for x in c.nodes)


def measure(folder) -> pd.DataFrame: # one row a notebook, the last, `all`, over all of them
    "The table of a folder of notebooks."
    paths = sorted(Path(folder).glob("*.ipynb"))
    if not paths: raise SystemExit(f"{folder}: no notebooks here (expected a folder with .ipynb files)")
    rows = [row(p.stem, [read(p)], p.stat().st_size) for p in paths]
    return pd.DataFrame([*rows, row("all", list(map(read, paths)), sum(p.stat().st_size for p in paths))])


def as_text(table: pd.DataFrame) -> str:
    "The table as it is printed."
    rows = table.to_dict("records")
    shown = pd.DataFrame(index=range(len(rows)))
    for column, template in SHOWN.items(): shown[column] = [template.format(**r) for r in rows]
    return shown.replace(r"nan( / nan)*%?", "–", regex=True).to_string(index=False)


def write(table: pd.DataFrame, path) -> None:
    "A CSV that is whole or not there."
    partial = Path(path).with_suffix(".partial")
    table.to_csv(partial, index=False, float_format="%.4g")
    os.replace(partial, path)


def append(table: pd.DataFrame, when: str, path=TABLE) -> None:
    "Put a measurement beside the earlier ones, in place of the one of the same name."
    new = table.assign(when=when)[["when", *table]]
    if Path(path).exists():
        old = pd.read_csv(path)
        new = pd.concat([old[old.when != when], new], ignore_index=True)
    write(new, path)


def main(argv=None) -> None:
    p = argparse.ArgumentParser(description="How densely a folder of nbdev notebooks is written.")
    p.add_argument("folder", help="folder of notebooks")
    p.add_argument("--export", metavar="CSV", help="write the table to this file")
    p.add_argument("--append", metavar="WHEN", help="put the table into --table under this name (before, after)")
    p.add_argument("--table", metavar="CSV", default=TABLE, help="where --append puts it (default: %(default)s)")
    args = p.parse_args(argv)
    table = measure(args.folder)
    if args.export: write(table, args.export)
    if args.append: append(table, args.append, args.table)
    print(as_text(table))
    for path in sorted(Path(args.folder).glob("*.ipynb")):
        if missing := not_called(read(path)): print(f"\nnot called in {path.stem}: {', '.join(missing)}")


if __name__ == "__main__": main()
