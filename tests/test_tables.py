"""The committed tables hold the whole of their studies, and their scores are those of their counts."""
import pytest

from xlt_nb.core import micro_f1, read_table
from xlt_nb.transfer import grid, load_study, main_metric, setting_of, table_name

MATRICES = [pytest.param(m, id=f"{name}-{m['corpus']}-{m['task']}") for name in ("open",) for m in load_study(name).matrices]


@pytest.fixture
def table(request):
    m = request.param
    results, counts = read_table(table_name(m["corpus"], m["task"], setting_of(m)))
    results = results[results.encoder == m["encoder"]]
    return m, results[results.metric == main_metric(results)], counts[counts.run_id.isin(results.run_id)]


@pytest.mark.parametrize("table", MATRICES, indirect=True)
def test_every_run_of_the_study_is_there(table):
    m, results, counts = table
    wanted = {("+".join(c.sources), c.seed, target) for c in grid(m) for target in c.targets}
    assert set(results[["sources", "seed", "target"]].itertuples(index=False, name=None)) == wanted and len(results) == len(wanted)
    assert results.cost.nunique() == 1 and m.get("cost") in (None, results.cost.iloc[0]) and results.seed.nunique() >= 3


@pytest.mark.parametrize("table", MATRICES, indirect=True)
def test_scores_are_those_of_the_counts(table):
    m, results, counts = table
    sums = counts.astype({k: int for k in ("tp", "fp", "fn")}).groupby(["run_id", "target"])[["tp", "fp", "fn"]].sum()
    both = results.set_index(["run_id", "target"]).join(sums, validate="one_to_one")
    assert len(sums) == len(both) and (abs(micro_f1(both.tp, both.fp, both.fn) - both.value) < 1e-3).all()
    assert (both.tp + both.fn == both.n_gold).all()
