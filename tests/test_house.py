"""House rules over all notebooks and their package.

A line says one thing; what is public is shown and asserted; a name means one thing; nothing is kept that nothing uses.
Every rule is a function that returns what it found, with notebook, cell and line; the last tests show it a breach.
"""
import argparse, ast, collections, importlib.metadata, itertools, json, re, sys, tomllib
from pathlib import Path

import pytest

import style
from style import COMPREHENSIONS, DEFINITIONS, ROOT, called_name, definitions, holds_another, is_assertion, names, read

NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))
PACKAGE = ROOT/"xlt_nb"
TESTS = [p for p in sorted((ROOT/"tests").glob("*.py")) if p != Path(__file__)] # names made up here use nothing
OURS = [ROOT/"tests"/"style.py", Path(__file__)] # what measures keeps the rules itself
WIDTH, LARGEST = 120, 200_000 # columns; bytes
LIMITS = {"cell_median": 10, "line_p95": 105} # at most, over all notebooks
ASSERTIONS = 2 # at least, a public function
EFFECTS = """print display append extend insert add update remove discard clear setdefault
    setattr write writelines write_text mkdir unlink""".split()
CONSUMERS = "list tuple set dict sum any all max min deque".split()
WRAPPERS = """cache lru_cache wraps contextmanager dataclass staticmethod classmethod property cached_property
    no_grad inference_mode setter""".split()
READ_BY = {"pyarrow": ("read_parquet", "to_parquet")} # pandas imports it when these are called

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def none(found: list, rule: str) -> None:
    "Fail with all that was found, a line each."
    if found: pytest.fail(f"{rule} ({len(found)}):\n" + "\n".join(found), pytrace=False)


def code(cells) -> list: return [c for c in cells if c.exported or c.demo]


# Lines ---------------------------------------------------------------------------------------------------------------

def wide_lines(cells) -> list:
    "Lines with more columns than fit beside their sentence."
    found = [(c, n, len(x)) for c in code(cells) for n, x in enumerate(c.source.split("\n"), 1)]
    return [f"{c.at(n)} … {width} columns" for c, n, width in found if width > WIDTH]


def nested_comprehensions(cells) -> list:
    "Comprehensions that hold another one."
    found = [(c, x) for c in code(cells) for x in c.nodes if isinstance(x, COMPREHENSIONS)]
    return [c.at(x.lineno) for c, x in found if holds_another(x)]


def semicolons(cells) -> list:
    "Statements that share a line."
    return [c.at(n) for c in code(cells) for n in style.joining_semicolons(c.python)]


def hidden_effects(cells) -> list:
    "Comprehensions run for what they do: as a statement, consumed at once, thrown away, or calling `print` and so on."
    found = []
    for c in code(cells):
        shown = c.tree.body[-1] if c.demo and c.tree.body else None # a notebook shows the value of its last expression
        effects = [x for x in c.nodes if thrown_away(x, shown) or changes_things(x)]
        found += [c.at(x.lineno) for x in effects]
    return found


def thrown_away(node, shown) -> bool: # shown: the statement whose value the notebook shows
    "Is this statement a comprehension whose value nobody gets?"
    if isinstance(node, ast.Assign):
        return is_comprehension(node.value) and all(getattr(t, "id", "") == "_" for t in node.targets)
    if node is shown or not isinstance(node, ast.Expr): return False
    call = node.value
    if not isinstance(call, ast.Call): return is_comprehension(call)
    return called_name(call) in CONSUMERS and any(map(is_comprehension, call.args))


def is_comprehension(node) -> bool: # or a `map`
    return isinstance(node, COMPREHENSIONS) or isinstance(node, ast.Call) and getattr(node.func, "id", "") == "map"


def changes_things(node) -> bool:
    "Is this a comprehension that calls what is called for its effect?"
    if not isinstance(node, COMPREHENSIONS): return False
    own = [x for x in ast.walk(node) if isinstance(x, ast.Call)]
    return any(called_name(x) in EFFECTS for x in own)


@each_notebook
def test_no_wide_line(path): none(wide_lines(read(path)), f"lines over {WIDTH} columns")


def test_no_wide_line_in_the_modules():
    "Their first line is the notebook's subtitle; nbdev breaks `__all__` where it likes."
    wide = []
    for path in sorted((ROOT/"xlt_nb").glob("[a-z]*.py")):
        lines = enumerate(path.read_text(encoding="utf8").splitlines(), 1)
        wide += [f"{path.name} line {n}" for n, line in lines if len(line) > WIDTH and not line.startswith("__all__")]
    none(wide, f"lines over {WIDTH} columns")


@each_notebook
def test_no_nested_comprehension(path): none(nested_comprehensions(read(path)), "comprehensions in a comprehension")


@each_notebook
def test_one_statement_a_line(path): none(semicolons(read(path)), "semicolons that join statements")


@each_notebook
def test_no_effect_in_a_comprehension(path): none(hidden_effects(read(path)), "comprehensions run for their effect")


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_the_measure_keeps_the_rules(path):
    cell = style.Cell(path.name, "file", "code", path.read_text(encoding="utf8"), "")
    for rule in (wide_lines, nested_comprehensions, semicolons, hidden_effects): none(rule([cell]), rule.__doc__)


def too_large(path) -> list:
    "A notebook that nobody waits for."
    size = path.stat().st_size
    return [] if size < LARGEST else [f"{path.stem}: {size:,} bytes, under {LARGEST:,} expected"]


def too_dense(folder) -> list:
    "What is out of the limits over all notebooks of a folder."
    whole = style.measure(folder).iloc[-1]
    found = [f"{k}: {whole[k]:.4g}, at most {limit} expected" for k, limit in LIMITS.items() if not whole[k] <= limit]
    few = f"assertions_per_public: {whole.assertions_per_public:.2f}, at least {ASSERTIONS} expected"
    return found if whole.assertions_per_public >= ASSERTIONS else [*found, few]


@each_notebook
def test_notebook_is_small(path): none(too_large(path), "size")


def test_style_as_a_whole(): none(too_dense(ROOT/"nbs"), "all notebooks together")


# What is public ------------------------------------------------------------------------------------------------------

def module_of(cells) -> str: # empty: the notebook exports none
    "Name of the module that a notebook exports."
    found = [re.search(r"^#\|\s*default_exp\s+(\w+)", c.source, re.M) for c in cells if c.kind == "code"]
    return next((m[1] for m in found if m), "")


def all_of(source: str) -> set:
    "`__all__` of a module, read without importing it."
    assignments = [x for x in ast.parse(source).body if isinstance(x, ast.Assign)]
    found = [x.value for x in assignments if getattr(x.targets[0], "id", "") == "__all__"]
    return set(ast.literal_eval(found[0])) if found else set()


def not_asserted(cells, public) -> list: # public: names of `__all__`
    "Public functions and classes that their own notebook does not use, or about which it asserts nothing."
    unused = set(style.not_called(cells))
    about = asserted(cells)
    found = []
    for name, (cell, node) in definitions(cells).items():
        if name not in public: continue
        place = cell.at(node.lineno)
        if name in unused: found.append(f"{place} … {name}: no cell of its notebook uses it")
        elif name not in about: found.append(f"{place} … {name}: used, but nothing is asserted about it")
    return found


def asserted(cells) -> set: # public names
    "What assertions are about: names in them, what their variables were made from, and what stands in the same cell."
    public, demo = set(definitions(cells)), [c for c in cells if c.demo]
    made_from = origins([x for c in demo for x in c.nodes], public)
    about = set()
    for c in demo:
        assertions = [x for x in c.nodes if is_assertion(x, public)]
        if assertions: about |= names(c.nodes)
        for x in assertions: about = about.union(*(made_from[n] for n in names(ast.walk(x))))
    return about & public


def origins(nodes, public) -> dict: # variable → public names
    "The public names from which each variable was made, through any number of steps."
    steps = [(bound, used) for bound, used in map(flow, nodes) if bound and used]
    made_from = collections.defaultdict(set)
    changed = True
    while changed:
        changed = False
        for bound, used in steps:
            new = (used & public).union(*(made_from[n] for n in used))
            for name in bound:
                changed |= not new <= made_from[name]
                made_from[name] |= new
    return made_from


def flow(node) -> tuple: # (names that get a value, names it comes from)
    "How a statement hands values on."
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return all_names(targets), all_names([node.value]) if node.value else set()
    if isinstance(node, (ast.For, ast.comprehension)): return all_names([node.target]), all_names([node.iter])
    if isinstance(node, ast.withitem) and node.optional_vars:
        return all_names([node.optional_vars]), all_names([node.context_expr])
    if isinstance(node, DEFINITIONS): return {node.name}, all_names(node.body)
    if isinstance(node, ast.Try): return {h.name for h in node.handlers if h.name}, all_names(node.body)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        return all_names([node.value.func.value]), all_names(node.value.args) # rows.append(f(x))
    return set(), set()


def all_names(trees) -> set:
    "All names in some trees, read or written."
    nodes = [x for t in trees for x in ast.walk(t)]
    return names(nodes) | {x.id for x in nodes if isinstance(x, ast.Name)}


def two_meanings(modules: dict) -> list: # modules: name → source
    "Public names that two modules define; also a class `View` and a function `view` that knows nothing of it."
    imported = {m: imported_names(ast.parse(source)) for m, source in modules.items()}
    public = [(m, name) for m, source in modules.items() for name in sorted(all_of(source) - imported[m])]
    pairs = [(a, b) for a, b in itertools.combinations(public, 2) if a[0] != b[0]]
    found = [(a, b) for a, b in pairs if a[1] == b[1] or is_namesake(a, b, imported) or is_namesake(b, a, imported)]
    return ["{}.{} and {}.{}".format(*a, *b) for a, b in found]


def is_namesake(a, b, imported: dict) -> bool: # a, b: (module, name)
    "Is `a` a class and `b` a function of that name that is not made with it? (`run` may make a `Run`)"
    capital = a[1][0].isupper() and not a[1].isupper()
    return capital and b[1] == a[1].lower() and a[1] not in imported[b[0]]


def imported_names(tree) -> set: # as they are called in the file
    return {a.asname or a.name for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) for a in x.names}


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if module_of(read(p))], ids=lambda p: p.stem)
def test_public_is_shown_and_asserted(path):
    module = PACKAGE/f"{module_of(read(path))}.py"
    public = all_of(module.read_text(encoding="utf8"))
    none(not_asserted(read(path), public), "public without use or assertion")


def test_one_meaning_a_name():
    modules = {p.stem: p.read_text(encoding="utf8") for p in sorted(PACKAGE.glob("[a-z]*.py"))}
    none(two_meanings(modules), "names with two meanings")


# What nothing uses ---------------------------------------------------------------------------------------------------

def dead_helpers(notebooks: list, tests: list) -> list: # lists of cells; trees
    "Private functions, classes, methods and constants of the package that neither it nor its tests use."
    modules = list(map(trees_of, notebooks))
    reaches, from_tests = list(map(reached, modules)), reached(tests)
    found = []
    for n, cells in enumerate(notebooks):
        used = mentions(modules[n])
        outside = from_tests.union(*reaches[:n], *reaches[n + 1:])
        for cell, node, name in private_names(c for c in cells if c.exported):
            inside = mentions([node]) if isinstance(node, DEFINITIONS) else {} # by itself
            idle = used[name] <= inside.get(name, 0) and name not in outside and not is_registered(node)
            if idle: found.append(f"{cell.at(node.lineno)} … {name}: nothing uses it")
    return found


def trees_of(cells) -> list:
    "What a notebook exports."
    return [c.tree for c in cells if c.exported]


def private_names(cells) -> list: # of (cell, node, name)
    "Names with one leading underscore: of a module, and of its classes."
    found = []
    for c in cells:
        classes = [x for x in c.tree.body if isinstance(x, ast.ClassDef)]
        for x in [*c.tree.body, *(y for k in classes for y in k.body)]: found += [(c, x, n) for n in bound_names(x)]
    return [(c, x, n) for c, x, n in found if re.match(r"_[A-Za-z]", n)]


def bound_names(node) -> list:
    "Names that a statement of a module or a class defines."
    if isinstance(node, DEFINITIONS): return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [x.id for t in targets for x in ast.walk(t) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)]


def is_registered(node) -> bool:
    "Does a decorator hand the definition to somebody? (`cache` and its like do not)"
    return any(called_name(d) not in WRAPPERS for d in getattr(node, "decorator_list", []))


def mentions(trees) -> collections.Counter: # of names
    "Names read in some trees: `f`, `module.f`, and the last part of texts like 'module.f'."
    nodes = [x for t in trees for x in ast.walk(t)]
    plain = [x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)]
    return collections.Counter(plain + [n for x in nodes for n in by_reference(x)])


def reached(trees) -> set:
    "What files read of other modules: imported names, attributes, texts that name them."
    nodes = [x for t in trees for x in ast.walk(t)]
    imported = {a.name for x in nodes if isinstance(x, ast.ImportFrom) for a in x.names}
    return imported | {n for x in nodes for n in by_reference(x)}


def by_reference(node) -> list:
    "Name of an attribute, or the one in a text."
    if isinstance(node, ast.Attribute): return [node.attr]
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return [text.rpartition(".")[2]] if re.fullmatch(r"[\w.]+", text) else []


@pytest.fixture(scope="module")
def tests(): return [ast.parse(p.read_text(encoding="utf8")) for p in TESTS] # trees


def test_no_dead_helper(tests):
    none(dead_helpers([read(p) for p in NOTEBOOKS], tests), "private names that nothing uses")


# What is installed ---------------------------------------------------------------------------------------------------

def normal(name: str) -> str: # of a distribution, as package indexes compare names
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirements) -> set:
    "Distributions that a list of requirements names."
    return {normal(re.match(r"[\w.-]+", r)[0]) for r in requirements}


def imports(tree) -> list: # of (first part of the module's name, node)
    "All imports of other packages."
    found = [(a.name, x) for x in ast.walk(tree) if isinstance(x, ast.Import) for a in x.names]
    found += [(x.module, x) for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and not x.level]
    return [(name.split(".")[0], x) for name, x in found]


def distributions(name: str, installed=importlib.metadata.packages_distributions()) -> set:
    "Distributions that an import may come from."
    return {normal(d) for d in installed.get(name, [name])}


def idle_pins(pins, tools, trees) -> list:
    "Pins that no code imports, names in a text or reads through pandas, and that are no declared tool."
    used = {d for t in trees for name, _ in imports(t) for d in distributions(name)}
    texts = {normal(n) for t in trees for x in ast.walk(t) for n in by_reference(x)}
    through = {pin for pin, how in READ_BY.items() if texts & set(map(normal, how))}
    return sorted(required(pins) - tools - used - texts - through)


def undeclared(cells, module: str, runtime: set, extras: set) -> list:
    "Imports that pyproject does not declare: as dependencies, or, where a function imports when called, in an extra."
    found = []
    for c in cells:
        if not c.exported: continue
        whole = {id(x) for x in c.tree.body}
        for name, node in imports(c.tree):
            declared = runtime if id(node) in whole else runtime | extras
            known = name in sys.stdlib_module_names or name == module or distributions(name) & declared
            if not known: found.append(f"{c.at(node.lineno)} … {name}: not declared in pyproject.toml")
    return found


@pytest.fixture(scope="module")
def project(): return tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf8"))["project"]


def extras_of(project) -> set: return required(r for extra in project["optional-dependencies"].values() for r in extra)


def test_no_idle_pin(project, tests):
    lines = (ROOT/"constraints.txt").read_text(encoding="utf8").splitlines()
    pins = [x for x in lines if x.strip() and not x.startswith("#")]
    trees = [c.tree for p in NOTEBOOKS for c in code(read(p))]
    none(idle_pins(pins, extras_of(project), trees + tests), "pins in constraints.txt that nothing imports")
    assert len(required(pins)) == len(pins), "a pin stands twice"


@each_notebook
def test_imports_are_declared(path, project):
    found = undeclared(read(path), PACKAGE.name, required(project["dependencies"]), extras_of(project))
    none(found, "imports that nothing declares")


# The command line ----------------------------------------------------------------------------------------------------

def unexplained(parser) -> list:
    "Options without help, or whose help keeps their default to itself; of all commands."
    found = []
    for action in parser._actions:
        name = f"{parser.prog} {'/'.join(action.option_strings) or action.dest}"
        if isinstance(action, argparse._SubParsersAction):
            for command in {id(p): p for p in action.choices.values()}.values(): found += unexplained(command)
            continue
        text = action.help or ""
        if not text or text == argparse.SUPPRESS: found.append(f"{name}: no help")
        elif not states_default(action): found.append(f"{name}: its default {action.default!r} is not stated: {text}")
    return found


def states_default(action) -> bool:
    "A default is named as such, and with its value where that is a number or one word."
    value = action.default
    if value is None or isinstance(value, bool) or value in ("", argparse.SUPPRESS): return True # none to state
    if "%(default)s" in action.help: return True
    word = str(value)
    must_stand_there = value != 0 and re.fullmatch(r"[\w.-]+", word) # 0 often means "as many as there are"
    text = re.sub(r"(?<=\d)[,_](?=\d)", "", action.help)
    stands_there = re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text)
    return "default" in text and bool(stands_there or not must_stand_there)


def test_every_option_is_explained():
    from xlt_nb.cli import parser
    none(unexplained(parser()), "options")


# The rules can fail --------------------------------------------------------------------------------------------------

def made(folder, *sources, name="made.ipynb") -> tuple: # cells, read from a file as all others are
    "A notebook of code cells; a text that starts with `md:` is a Markdown cell."
    cells = [dict(id=f"c{n}", cell_type="markdown" if s.startswith("md:") else "code", source=s.splitlines(True))
             for n, s in enumerate(sources)]
    (folder/name).write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding="utf8")
    read.cache_clear()
    return read(folder/name)


@pytest.mark.parametrize("rule, kept, broken", [
    (wide_lines, "x = 1" + " "*115, "x = 1" + " "*116),
    (nested_comprehensions, "[a for b in c for a in b]", "x = [[a for a in b] for b in c]"),
    (nested_comprehensions, "rows = [f(b) for b in c]", "sum(max(a for a in b) for b in c)"),
    (semicolons, "plot(x);", "x = 1; y = 2"),
    (semicolons, "x = 'a; b' # c; d", "if x: y = 1; z = 2"),
    (hidden_effects, "[f(x) for x in xs]", "[f(x) for x in xs]\ny = 1"),
    (hidden_effects, "y = [f(x) for x in xs]", "#| export\n[f(x) for x in xs]"),
    (hidden_effects, "for x in xs: f(x)", "def g():\n    {f(x) for x in xs}"),
    (hidden_effects, "list(pool.map(f, xs))\ny = 1", "list(map(f, xs))\ny = 1"),
    (hidden_effects, "any(x for x in xs)", "any(f(x) for x in xs)\ny = 1"),
    (hidden_effects, "_, y = f(x)", "_ = [f(x) for x in xs]"),
    (hidden_effects, "y = [x for x in xs if x in seen]", "y = [x for x in xs if not seen.add(x)]"),
])
def test_rules_of_lines(rule, kept, broken, tmp_path):
    assert rule(made(tmp_path, kept)) == []
    found = rule(made(tmp_path, "md: prose", broken))
    assert len(found) == 1 and re.match(r"made cell c1 line \d: \S", found[0])


F = "#| export\ndef f(x): return x"


@pytest.mark.parametrize("demo", [
    "assert f(1) == 1",
    "y = f(1)\ny.sort()\nz = y + 1\nassert z",
    "try: f(1)\nexcept ValueError as e: assert 'x' in str(e)",
    "test_eq(f(1), 1)",
    "rows = []\nrows.append(f(1))\nassert rows",
    "f(1)\nassert file.exists()",
    "import made\nassert made.f(1)",
    "def g(): return f(1)\nassert g()",
])
def test_asserted_is_seen(demo, tmp_path):
    assert not_asserted(made(tmp_path, F, demo), {"f"}) == []
    apart = demo.split("\n") if "try" not in demo else [demo] # in cells of their own, where a value flows
    if "exists" not in demo: assert not_asserted(made(tmp_path, F, *apart), {"f"}) == []


@pytest.mark.parametrize("sources, why", [
    (["md: `f` is asserted", "assert True"], "no cell"),
    (["#| export\ny = f(1)\nassert y"], "no cell"),
    (["f(1)"], "nothing is asserted"),
    (["y = f(1)", "assert x"], "nothing is asserted"),
    (["def f(x): return x"], "no cell"),
])
def test_not_asserted_is_found(sources, why, tmp_path):
    found = not_asserted(made(tmp_path, F, *sources), {"f"})
    assert len(found) == 1 and found[0].startswith("made cell c0 line 2: def f") and why in found[0]
    assert not_asserted(made(tmp_path, F, *sources), set()) == []


def test_what_a_module_is(tmp_path):
    assert module_of(made(tmp_path, "md: text", "#| default_exp core")) == "core" and not module_of(made(tmp_path, "x"))
    assert all_of("__all__ = ['a', 'b']\na = b = 1") == {"a", "b"} and all_of("a = 1") == set()


def test_two_meanings_are_found():
    a, b = "__all__ = ['View', 'cells']\ncells = 1", "__all__ = ['view', 'rows']\nrows = 1"
    assert two_meanings({"a": a, "b": b}) == ["a.View and b.view"]
    assert two_meanings({"a": a, "b": "from .a import cells\n__all__ = ['cells']"}) == []
    assert two_meanings({"a": "__all__ = ['View', 'view']"}) == []
    assert two_meanings({"a": a, "b": f"from .a import View\n{b}"}) == []
    assert two_meanings({"a": a, "b": a}) == ["a.View and b.View", "a.cells and b.cells"]
    assert two_meanings({"a": "__all__ = ['MAIN']", "b": "__all__ = ['main']"}) == []


@pytest.mark.parametrize("source, test, dead", [
    ("def _f(): pass", "", True),
    ("def _f(): return _f()", "", True),
    ("_X = 1", "", True),
    ("class A:\n    def _f(self): pass", "", True),
    ("@cache\ndef _f(): pass", "", True),
    ("def _f(): pass", "def _f(): pass\n_f()", True),
    ("def _f(): pass\nx = _f", "", False),
    ("_X = 1\nx = _X", "", False),
    ("class A:\n    def _f(self): pass\n    def g(self): self._f()", "", False),
    ("@register('f')\ndef _f(): pass", "", False),
    ("def _f(): pass", "from xlt_nb.made import _f", False),
    ("def _f(): pass", "import made\nmade._f()", False),
    ("def _f(): pass", "patch('xlt_nb.made._f')", False),
    ("def __f__(): pass", "", False),
])
def test_dead_helpers_are_found(source, test, dead, tmp_path):
    found = dead_helpers([made(tmp_path, f"#| export\n{source}", "_f")], [ast.parse(test)])
    assert len(found) == dead and all(x.startswith("made cell c0 line ") for x in found)


def test_idle_pins_are_found():
    trees = [ast.parse("import yaml, numpy.linalg\nfrom sklearn import svm\ndistribution('lang2vec')")]
    pins = ["PyYAML==6", "numpy==2", "scikit-learn==1", "lang2vec==1", "papermill==2", "pyarrow==26", "left_pad==1"]
    assert idle_pins(pins, {"papermill"}, trees) == ["left-pad", "pyarrow"]
    assert idle_pins(["pyarrow==26"], set(), [ast.parse("table.to_parquet(p)")]) == []


def test_undeclared_imports_are_found(tmp_path):
    cells = made(tmp_path, "#| export\nimport os, yaml, torch\nfrom .core import x\nimport xlt_nb.core",
                 "#| export\ndef f():\n    import papermill, left_pad", "import right_pad")
    found = undeclared(cells, "xlt_nb", {"pyyaml"}, {"papermill", "torch"})
    assert [x.rpartition(" … ")[2].split(":")[0] for x in found] == ["torch", "left_pad"]
    assert found[1].startswith("made cell c1 line 3")


@pytest.mark.parametrize("options, fine", [
    (dict(), False), (dict(help="a number"), True), (dict(help="a number", default=3), False),
    (dict(help="a number (default: 3)", default=3), True), (dict(help="a number (default: 4)", default=3), False),
    (dict(help="how many (default: 10,000)", default=10_000), True), (dict(help="(default: 1,00)", default=10), False),
    (dict(help="a number (default: %(default)s)", default=3), True),
    (dict(help="jobs (default: one a core)", default=0), True), (dict(help="jobs", default=0), False),
    (dict(help="kinds (default: all)", default="a,b"), True), (dict(help="kinds", default="a,b"), False),
    (dict(help="quiet", action="store_true"), True), (dict(action="store_true"), False),
    (dict(help=argparse.SUPPRESS), False),
])
def test_unexplained_options_are_found(options, fine):
    p = argparse.ArgumentParser("made")
    c = p.add_subparsers().add_parser("command")
    c.add_argument("--option", **options)
    assert [x.split(":")[0] for x in unexplained(p)] == ([] if fine else ["made command --option"])


def test_large_and_dense_notebooks_are_found(tmp_path):
    long = "#| export\ndef g(x):\n" + f"    x = {'1 + '*25}1\n"*11
    made(tmp_path, F, "assert f(1)\nassert f(2)")
    assert too_large(tmp_path/"made.ipynb") == too_dense(tmp_path) == []
    made(tmp_path, long, "assert g(1)\n#" + " "*LARGEST)
    found = [*too_large(tmp_path/"made.ipynb"), *too_dense(tmp_path)]
    assert [x.split(":")[0] for x in found] == ["made", *LIMITS, "assertions_per_public"]


def test_the_measure(tmp_path):
    f = "#| export\n\ndef f(x):\n    'One.'\n\n    return [a for b in x for a in b]"
    demo = "assert f([])\ntest_eq(1, 1)\nassert_frame_equal(1, 1)"
    made(tmp_path, "#| export\nimport os", "md: why", f, "#| export\n_y = 1; z = 2", demo, "#| export\ndef g(): pass")
    table = style.measure(tmp_path)
    one = table.iloc[0]
    assert list(table.notebook) == ["made", "all"] and one.drop("notebook").equals(table.iloc[1].drop("notebook"))
    assert (one.cells, one.cell_median, one.cell_max, one.line_max) == (3, 1, 3, 36)
    assert (one.public, one.assertions, one.not_called) == (2, 3, 1) and one.prose_percent == pytest.approx(100/3)
    assert one.nested_per_100 == one.semicolons_per_100 == 20 and one.nodes_per_line == pytest.approx(16/5)


def test_the_table_keeps_both_measurements(tmp_path):
    made(tmp_path, F)
    for when in ("before", "after", "after"):
        style.main([str(tmp_path), "--append", when, "--table", str(tmp_path/"style.csv")])
    lines = (tmp_path/"style.csv").read_text().splitlines()
    assert [x.split(",")[0] for x in lines] == ["when", "before", "before", "after", "after"]
    with pytest.raises(SystemExit, match="no notebooks"): style.measure(tmp_path/"elsewhere")


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SyntaxError, match="made cell c0 line 2"): nested_comprehensions(made(tmp_path, "x = 1\ny = ("))
    for magic in ("%matplotlib inline\n!ls; pwd", "%%bash\nls; pwd"): assert semicolons(made(tmp_path, magic)) == []
