"The committed tables hold whole seeds of their studies, and their scores are those of their counts."
import pytest

from xlt_nb.core import micro_f1, read_table
from xlt_nb.training import complete, encoder_label
from xlt_nb.transfer import grid, load_study, main_metric, table_name

STUDIES = ("mini", "open", "extraction")
MATRICES = [pytest.param((name, m), id=f"{name}-{m.corpus}-{m.task}-{m.encoder}-{m.options.get('layers', '')}") for name in STUDIES for m in load_study(name).matrices]


def wanted(m) -> dict: # seed -> cells (sources, target)
    "What a study asks for."
    cells = {}
    for c in grid(m): cells.setdefault(c.seed, set()).update(("+".join(c.sources), target) for target in c.targets)
    return cells


@pytest.fixture
def table(request):
    "A matrix of a study with its rows; skips where nothing of it was run yet, which `mini` may not."
    study, m = request.param
    results, counts = read_table(table_name(m.corpus, m.task, m.setting))
    results = results[results.encoder == encoder_label(complete(grid(m)[0]))]
    if results.empty and study != "mini": pytest.skip(f"{m.task} on {m.corpus} with {m.encoder} was not run yet")
    assert len(results), "the default study was never run"
    return study, m, results[results.metric == main_metric(results)], counts[counts.run_id.isin(results.run_id)]


@pytest.mark.parametrize("table", MATRICES, indirect=True)
def test_seeds_are_whole(table):
    "Every source and target of a seed, or nothing of it; every seed that the default study names."
    study, m, results, _ = table
    asked = wanted(m)
    found = {seed: set(part[["sources", "target"]].itertuples(index=False, name=None)) for seed, part in results.groupby("seed")}
    half = {seed: (len(cells), len(asked.get(seed, ()))) for seed, cells in found.items() if seed in asked and cells != asked[seed]}
    assert not half, f"seeds of which a part was run: {half}"
    assert not results.duplicated(["sources", "seed", "target"]).any() and set(found) & set(asked)
    if study == "mini": assert set(asked) <= set(found)
    ours = results[results.seed.isin(list(asked))]
    assert ours.cost.nunique() == 1 and m.options.get("cost") in (None, ours.cost.iloc[0])


@pytest.mark.parametrize("table", MATRICES, indirect=True)
def test_scores_are_those_of_the_counts(table):
    _, _, results, counts = table
    sums = counts.astype({k: int for k in ("tp", "fp", "fn")}).groupby(["run_id", "target"])[["tp", "fp", "fn"]].sum()
    both = results.set_index(["run_id", "target"]).join(sums, validate="one_to_one")
    assert len(sums) == len(both) and (abs(micro_f1(both.tp, both.fp, both.fn) - both.value) < 1e-3).all()
    assert (both.tp + both.fn == both.n_gold).all()
    assert (results.groupby("target").n_gold.nunique() == 1).all(), "a target was tested on different texts"


@pytest.mark.parametrize("name", ["mini"])
def test_the_default_study_is_whole(name):
    for m in load_study(name).matrices:
        results, counts = read_table(table_name(m.corpus, m.task, m.setting))
        here = results[results.encoder == encoder_label(complete(grid(m)[0]))]
        cells = set(here[["seed", "sources", "target"]].itertuples(index=False, name=None))
        missing = {(seed, *cell) for seed, some in wanted(m).items() for cell in some} - cells
        assert not missing, f"{m.task}: {len(missing)} cells are missing"
