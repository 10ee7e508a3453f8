"Training: nothing of a target leaks into it, what is frozen stays, equal cost is equal, runs are found again."
import ast, dataclasses, importlib, json, re, shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import xlt_nb.training as T
from little import E5, RANDOM, little_config, little_encoder
from xlt_nb.core import RunConfig, XltError, load_run, read_table, run_id, write_table
from xlt_nb.corpora import Span, n_labelled
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import make_task
from xlt_nb.transfer import MatrixSpec, Study, constant_floor, grid, run_grid, run_matrix

SMALL = little_config(sources=["es"], targets=["es", "tr"], cost=60)


@pytest.fixture(scope="module")
def corpus(): return load_corpus("xlt17", ["es", "tr", "ja"])


def forget(outputs):
    "No run was ever made, and no text was ever read."
    shutil.rmtree(outputs/"runs")
    T._READINGS.clear()


def with_labels(corpus, keys, label="Life:Die"):
    "The corpus with the first word of every text of some splits made a trigger of one type."
    changed = dict(corpus.examples)
    for k in keys: changed[k] = [dataclasses.replace(e, events=(Span(0, 1, label),)) for e in changed[k]]
    return dataclasses.replace(corpus, examples=changed)

# ---------------------------------------------------------------- what a number depends on


@pytest.mark.parametrize("checkpoint", ["last", "dev"])
def test_no_target_label_touches_a_zero_shot_number(outputs, checkpoint, corpus):
    "Wrong labels in the target's train and dev sets change nothing; wrong labels in its test set change the score, not what is found."
    c = SMALL.replace(checkpoint=checkpoint, encoder=E5, frozen=2, layers=3, epochs=4, lr_head=1e-2)
    plain = T.run(c, corpus, progress=False)
    forget(outputs)
    spoilt = T.run(c, with_labels(corpus, [("tr", "train"), ("tr", "dev")]), progress=False)
    assert plain.results.equals(spoilt.results) and plain.counts.equals(spoilt.counts)
    forget(outputs)
    tested = T.run(c, with_labels(corpus, [("tr", "test")]), progress=False)
    found = [(r.counts.tp + r.counts.fp).tolist() for r in (plain, tested)]
    assert found[0] == found[1] and sum(found[0]) > 0 and tested.record["log"] == plain.record["log"]
    T._READINGS.clear()


def test_same_seed_same_bits_other_seed_other_bits(outputs):
    a = T.run(SMALL, progress=False)
    again = load_run(a.run_id)
    assert again.results.equals(a.results) and T.run(SMALL, progress=False).record == again.record
    forget(outputs)
    b, c = T.run(SMALL, progress=False), T.run(SMALL.replace(seed=1), progress=False)
    assert b.results.equals(a.results) and b.counts.equals(a.counts) and b.record["log"] == a.record["log"]
    assert c.record["log"] != a.record["log"] and c.run_id != a.run_id
    for key in ("device", "versions", "train_s", "test_s", "peak_memory_mb", "checksums", "config"): assert key in b.record
    assert b.record["config"]["seed"] == 0 and json.dumps(b.record)


def test_kept_states_change_no_number(outputs, monkeypatch, tmp_path):
    "Read from the cache, computed, or computed without room to keep them."
    first = T.run(SMALL, progress=False)
    forget(outputs)
    monkeypatch.setenv("XLT_CACHE_GB", "0")
    second = T.run(SMALL, progress=False)
    assert first.results.equals(second.results) and first.record["log"] == second.record["log"]


def test_cost_is_shared_between_sources(corpus):
    c = SMALL.replace(sources=("es", "tr", "ja"), setting="ZSCL-M", method="pooled", cost=100)
    train = T.training_examples(c, corpus)
    by_language = [sum(n_labelled(e) for e in train if e in corpus[x, "train"]) for x in c.sources]
    assert sum(by_language) == 100 and sorted(by_language) == [33, 33, 34]
    test_ids = {e.id for e in corpus["es", "test"]}
    assert not test_ids & {e.id for e in train}, "a translation of a test item is trained on"

# ---------------------------------------------------------------- what is trained

DEPTHS = [dict(layers=3, frozen=0, embeddings="trained"), dict(layers=3, frozen=0, embeddings="frozen"), dict(layers=3, frozen=2), dict(layers=2, frozen=2)]


@pytest.mark.parametrize("kind", ["xlmr", "bytes"])
@pytest.mark.parametrize("depth", DEPTHS, ids=["all trained", "embeddings frozen", "two frozen", "a head alone"])
def test_frozen_layers_stay_and_the_rest_learns(depth, kind, corpus, tmp_path):
    "Frozen layers and embeddings are no part of the model at all: only their states are."
    c = T.complete(SMALL.replace(encoder=little_encoder(tmp_path, kind, layers=4), epochs=2, batch_size=4, lr_encoder=1e-3, **depth))
    task, reading = make_task("events", corpus), T.Reading(c)
    torch.manual_seed(0)
    model = T.new_model(c, task)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = {k.split(".")[2] for k in before if k.startswith("stack.layers")}
    assert len(names) == c.layers - c.frozen and any(k.startswith("stack.embeddings") for k in before) == (c.embeddings == "trained")
    instances, states = reading(task, T.training_examples(c, corpus), keep=False)
    assert (states is None) == (c.embeddings == "trained")
    kept = None if states is None else [s.clone() for s in states]
    log = T.fit(model, task, instances, states, T._recipe(c), reading.pad_id)
    still = {k for k, v in model.state_dict().items() if torch.equal(v, before[k])}
    assert not {k for k in still if "position" not in k and "kind" not in k and "norm" not in k}, still
    assert log["losses"][-1] < log["losses"][0] and log["steps"] == 2*-(-len(instances)//4)
    if kept: assert all(torch.equal(a, b) for a, b in zip(kept, states))


def test_learning_rates_and_decay_by_group(corpus):
    c = T.complete(SMALL.replace(layers=2, frozen=1))
    model = T.new_model(c, make_task("events", corpus))
    recipe = T.Recipe(epochs=1, batch_size=8, lr_encoder=1e-4, lr_head=1e-2, weight_decay=0.3)
    groups = T._Training(model, recipe, 10, None).opt.param_groups
    by_parameter = {id(p): g for g in groups for p in g["params"]}
    assert len(by_parameter) == len(list(model.parameters()))
    for name, p in model.named_parameters():
        group = by_parameter[id(p)]
        assert group["initial_lr"] == (1e-2 if name.startswith("head.") else 1e-4)
        assert group["weight_decay"] == (0.3 if p.ndim > 1 else 0.0)


def test_batches_hold_everything_once():
    lengths = np.random.default_rng(0).integers(3, 90, 777)
    for epoch in (0, 1):
        found = T.batches(lengths, 8, 3, epoch)
        assert sorted(np.concatenate(found).tolist()) == list(range(777)) and max(map(len, found)) == 8
    again, other = T.batches(lengths, 8, 3, 0), T.batches(lengths, 8, 4, 0)
    first = T.batches(lengths, 8, 3, 0)
    assert all((a == b).all() for a, b in zip(first, again)) and [a.tolist() for a in first] != [a.tolist() for a in other]
    spread = np.mean([np.ptp(lengths[b]) for b in first])
    assert spread < 0.3*np.ptp(lengths), "long and short texts stand side by side"

# ---------------------------------------------------------------- configurations


def test_what_is_not_said_comes_from_the_preset(tmp_path):
    plain = RunConfig(task="events", corpus="xlt17", sources=["es"], targets=["tr"], encoder=E5)
    c = T.complete(plain)
    assert None not in {k: v for k, v in c.model_dump().items() if k != "cost"}.values()
    assert (c.layers, c.frozen, c.embeddings, c.batch_size, c.pooling) == (10, 8, "frozen", 8, "first")
    assert T.complete(c) == c and T.complete(plain.replace(epochs=3)).epochs == 3
    for layers, frozen in ((4, 2), (8, 6), (12, 10), (2, 0)): assert T.complete(plain.replace(layers=layers)).frozen == frozen
    assert T.complete(plain.replace(frozen=0)).embeddings == "frozen"
    other = T.complete(plain.replace(encoder=little_encoder(tmp_path, "bert", layers=3)))
    assert (other.layers, other.frozen, other.embeddings) == (3, 0, "trained")
    with pytest.raises(XltError, match="layers: 13 of 'multilingual-e5-small', which has 12"): T.complete(plain.replace(layers=13))


def test_two_ways_to_say_the_same_are_one_run(corpus):
    said, unsaid = SMALL.replace(encoder=E5, layers=10, frozen=8, pooling="first"), SMALL.replace(encoder=E5, layers=None, frozen=None)
    ids = {run_id(c, T.checksums(c, corpus)) for c in map(T.complete, (said, unsaid))}
    assert len(ids) == 1
    for change in (dict(layers=11), dict(frozen=9), dict(lr_head=0.5), dict(pooling="mean"), dict(none_weight=0.5), dict(encoder=RANDOM)):
        other = T.complete(unsaid.replace(**change))
        assert run_id(other, T.checksums(other, corpus)) not in ids, change


def test_how_tables_name_an_encoder(tmp_path):
    path = little_encoder(tmp_path/"mine", "bert", layers=3)
    def label(encoder, **changes): return T.encoder_label(T.complete(SMALL.replace(encoder=encoder, layers=None, frozen=None).replace(**changes)))
    assert label(E5) == E5 and label(RANDOM) == RANDOM and label(E5, layers=10, frozen=8) == E5
    assert label(E5, layers=4, frozen=2) == label(E5, layers=4) == f"{E5}[2/4]"
    assert label(RANDOM, layers=2, frozen=1) == f"{RANDOM}[1/2]"
    assert label(E5, layers=12, frozen=0, embeddings="trained") == f"{E5}[all trained/12]"
    assert label(path) == "mine" and label(f"random:{path}") == "random:mine" and label(path, frozen=2) == "mine[2/3]"


def test_a_folder_counts_by_content_not_by_place(tmp_path, corpus):
    a = little_encoder(tmp_path/"a"/"mine")
    shutil.copytree(tmp_path/"a"/"mine", tmp_path/"b"/"mine")
    configs = [T.complete(SMALL.replace(encoder=str(tmp_path/x/"mine"))) for x in "ab"]
    assert len({run_id(c, T.checksums(c, corpus)) for c in configs}) == 1
    untrained = T.complete(SMALL.replace(encoder=f"random:{a}"))
    assert run_id(untrained, T.checksums(untrained, corpus)) != run_id(configs[0], T.checksums(configs[0], corpus))


def no_labels(corpus):
    "The corpus with nothing annotated in Spanish training texts."
    blank = [dataclasses.replace(e, events=(), entities=(), relations=()) for e in corpus["es", "train"]]
    return dataclasses.replace(corpus, examples=corpus.examples | {("es", "train"): blank})


def test_a_training_set_without_labels_is_refused(outputs, corpus):
    "With any cost, and with none."
    for cost in (10, None):
        with pytest.raises(XltError, match="labelled|nothing to train on"): T.run(SMALL.replace(cost=cost), no_labels(corpus), progress=False)
    empty = dataclasses.replace(corpus, examples=corpus.examples | {("es", "train"): []})
    with pytest.raises(XltError, match="xlt17 has nothing to train on for es"): T.run(SMALL.replace(cost=None), empty, progress=False)
    assert not (outputs/"runs").exists()


BAD = [(dict(encoder="multilingual-e5-smal"), "nearest: multilingual-e5-small"), (dict(sources=["xq"]), "xq"), (dict(cost=10**6), "labelled units"),
    (dict(task="event"), "events"), (dict(max_length=600), "max_length: 600 is more than the 510 subwords"), (dict(layers=13), "which has 12"),
    (dict(corpus="minion", sources=["en"], targets=["es"], checkpoint="dev"), "development set|not found")]


@pytest.mark.parametrize("change, hint", BAD)
def test_errors_before_work(change, hint, outputs):
    with pytest.raises(XltError, match=hint): T.run(SMALL.replace(**change), progress=False)
    assert not (outputs/"runs").exists()


WRONG = [(dict(setting="ZSCL-R"), "setting.*ZSCL"), (dict(method="grda"), "method: 'grda' is not valid"), (dict(method="pooled"), "method"), (dict(poling="mean"), "poling: no such field .nearest: pooling"),
    (dict(pooling="frist"), "pooling: 'frist' is not valid .nearest: first"), (dict(epochs=0), "epochs"), (dict(none_weight=0.0), "none_weight"), (dict(epochs=2.5), "epochs"), (dict(seed=-1), "seed"), (dict(lr_head=2), "lr_head"),
    (dict(lr_encoder=float("nan")), "lr_encoder"), (dict(frozen=3, layers=2), "frozen: 3 of 2 layers"), (dict(frozen=1, embeddings="trained"), "embeddings: trained under 1 frozen"),
    (dict(sources=[]), "sources"), (dict(sources=["es", "tr"]), "ZSCL-S takes one source"), (dict(dropout=1.0), "dropout"), (dict(clip=0), "clip"), (dict(checkpoint="best"), "checkpoint")]


@pytest.mark.parametrize("change, hint", WRONG)
def test_a_wrong_configuration_is_refused_when_it_is_made(change, hint):
    with pytest.raises(XltError, match=hint): SMALL.replace(**change)


@pytest.mark.parametrize("room", ["encoders", "features", "tasks", "extraction"])
def test_no_room_below_training_takes_a_whole_configuration(room):
    "Nor knows that there is one: its parts are passed by name."
    path = Path(importlib.import_module(f"xlt_nb.{room}").__file__)
    assert "RunConfig" not in {x.id for x in ast.walk(ast.parse(path.read_text(encoding="utf8"))) if isinstance(x, ast.Name)}
    assert not re.search(r"import[^\n]*RunConfig", path.read_text(encoding="utf8"))


def test_a_replaced_configuration_is_checked_and_the_old_one_stays():
    assert SMALL.replace(seed=3).seed == 3 and SMALL.seed == 0 and SMALL.replace() == SMALL
    with pytest.raises(Exception): SMALL.seed = 1

# ---------------------------------------------------------------- matrices and tables

@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "Two runs of seconds."
    encoder = little_encoder(tmp_path_factory.mktemp("encoder"))
    options = dict(layers=2, frozen=1, cost=40, epochs=1)
    return MatrixSpec(task="events", corpus="xlt17", encoder=encoder, languages=["es", "tr"], seeds=[0], options=options)


def study(matrix, **changes): return Study(**(dict(name="s", matrices=[matrix]) | changes))


def test_rows_of_the_committed_table_stand_for_runs(outputs, tiny):
    first, counts = run_matrix(study(tiny, reuse=False), tiny, jobs=1)
    shutil.rmtree(outputs/"runs")
    second, again = run_matrix(study(tiny), tiny, jobs=1)
    assert not (outputs/"runs").exists() or not list((outputs/"runs").iterdir()), "it was run again"
    key = ["sources", "target", "metric"]
    assert second.set_index(key).value.round(4).to_dict() == first.set_index(key).value.round(4).to_dict() and len(again) == len(counts)


def test_side_by_side_gives_the_same(outputs, tiny):
    "Two worker processes, one process: the same runs with the same bits."
    both = run_grid(grid(tiny), jobs=2)
    forget(outputs)
    one = run_grid(grid(tiny), jobs=1)
    assert both.keys() == one.keys() and all(both[k].results.equals(one[k].results) and both[k].counts.equals(one[k].counts) for k in one)


def test_an_interrupted_table_is_not_half_written(outputs, monkeypatch, tiny):
    run_matrix(study(tiny, reuse=False), tiny, jobs=1)
    before, _ = read_table("transfer_xlt17")
    run = T.run(SMALL, progress=False)
    def full(*args, **kwargs): raise OSError("disk full")
    with monkeypatch.context() as m:
        m.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(OSError): write_table("transfer_xlt17", [run])
    assert read_table("transfer_xlt17")[0].equals(before) and len(before)
    assert len(write_table("transfer_xlt17", [run])) > len(before)

# ---------------------------------------------------------------- what is learnt


def readme_example() -> list: # of statements
    "The Python code of the README."
    text = (Path(__file__).resolve().parent.parent/"README.md").read_text(encoding="utf8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return ast.parse(block).body


def test_the_readme_clears_its_floor(outputs):
    "Its example as it stands, with defaults: the whole block runs, and what its last line returns is above the floors of both targets."
    *before, last = readme_example()
    names = {}
    exec(compile(ast.Module(before, []), "README", "exec"), names)
    results = eval(compile(ast.Expression(last.value), "README", "eval"), names)
    score, corpus = results[results.metric == "micro_f1"].set_index("target").value, load_corpus("xlt17", ["pt", "ko"])
    for target, least in (("pt", 60), ("ko", 40)):
        floor = constant_floor(make_task("events", corpus), corpus[target, "test"])
        assert score[target] > max(least, 10*floor), (target, score[target], floor)
    assert results.encoder.unique() == [E5] and results.cost.unique() == [sum(map(n_labelled, load_corpus("xlt17", ["es"])["es", "train"]))]


def test_an_untrained_encoder_does_not_learn_the_same(outputs):
    "The floor of the test before: a network of the same shape without pretraining."
    c = RunConfig(task="relations", corpus="xlt17", sources=["es"], targets=["pt"], encoder=E5, epochs=2, layers=4, frozen=2)
    trained, random = (T.run(c.replace(encoder=x), progress=False).results.set_index("metric").value["micro_f1"] for x in (E5, RANDOM))
    assert trained > random + 5
