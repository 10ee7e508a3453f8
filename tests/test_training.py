"""Training: nothing of a target leaks into it, what is frozen stays, equal cost is equal, runs are found again."""
import dataclasses, json

import pytest
import torch

import xlt_nb.training as T
from xlt_nb.core import RunConfig, XltError, load_run, read_table, run_id, write_table
from xlt_nb.corpora import Span, n_labelled
from xlt_nb.encoders import load_encoder
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import make_task
from xlt_nb.transfer import Study, run_matrix

SMALL = RunConfig(task="events", corpus="xlt17", sources=["es"], targets=["es", "tr"], encoder="random:xlt-mini", cost=60, epochs=2, lr_encoder=1e-3)


def with_labels(corpus, keys, label="Life:Die"):
    "The corpus with the first word of every text of some splits made a trigger of one type."
    changed = {k: [dataclasses.replace(e, events=(Span(0, 1, label),)) for e in part] if k in keys else part for k, part in corpus.examples.items()}
    return dataclasses.replace(corpus, examples=changed)


@pytest.mark.parametrize("checkpoint", ["last", "dev"])
def test_no_target_label_touches_a_zero_shot_number(outputs, checkpoint):
    "Wrong labels in the target's train and dev sets change nothing; wrong labels in its test set change the score, not the predictions."
    c, corpus = dataclasses.replace(SMALL, checkpoint=checkpoint), load_corpus("xlt17", ["es", "tr"])
    plain = T.run(c, corpus, progress=False).results
    for p in (outputs/"runs").iterdir(): __import__("shutil").rmtree(p)
    spoilt = T.run(c, with_labels(corpus, {("tr", "train"), ("tr", "dev")}), progress=False).results
    assert plain.equals(spoilt)


def test_frozen_embeddings_stay_and_the_rest_learns():
    corpus = load_corpus("xlt17", ["es"])
    for embeddings in ("frozen", "trained"):
        c = dataclasses.replace(SMALL, embeddings=embeddings)
        task, (encoder, tokenizer) = make_task("events", corpus), load_encoder(c.encoder, c.dropout)
        model = T.Model(encoder, task.head(encoder.config.hidden_size, "first", 0.1), c.embeddings)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        log = T.fit(model, task, task.instances(tokenizer, T.training_examples(c, corpus), 128), c, tokenizer.pad_token_id, progress=False)
        moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
        assert ("encoder.embeddings.word_embeddings.weight" in moved) == (embeddings == "trained")
        assert "encoder.encoder.layer.0.attention.self.query.weight" in moved and "head.out.weight" in moved
        assert log["losses"][-1] < log["losses"][0]


def test_cost_is_shared_between_sources():
    corpus = load_corpus("xlt17", ["es", "tr", "ja"])
    c = dataclasses.replace(SMALL, sources=("es", "tr", "ja"), setting="ZSCL-M", cost=100)
    train = T.training_examples(c, corpus)
    by_language = [sum(n_labelled(e) for e in train if e in corpus[x, "train"]) for x in c.sources]
    assert sum(by_language) == 100 and sorted(by_language) == [33, 33, 34]
    test_ids = {e.id for e in corpus["es", "test"]}
    assert not test_ids & {e.id for e in train}, "a translation of a test item is trained on"


def test_same_seed_same_bits_other_seed_other_bits(outputs):
    a = T.run(SMALL, progress=False)
    again = load_run(a.run_id)
    assert again.results.equals(a.results) and T.run(SMALL, progress=False).record == again.record
    for p in (outputs/"runs").iterdir(): __import__("shutil").rmtree(p)
    b, c = T.run(SMALL, progress=False), T.run(dataclasses.replace(SMALL, seed=1), progress=False)
    assert b.results.equals(a.results) and b.record["log"] == a.record["log"] and c.record["log"] != a.record["log"] and c.run_id != a.run_id
    for key in ("device", "versions", "train_s", "peak_memory_mb", "checksums", "config"): assert key in b.record
    assert b.record["config"]["seed"] == 0 and json.dumps(b.record)


def test_predictions_do_not_depend_on_the_batch():
    corpus = load_corpus("xlt17", ["ja"])
    task, (encoder, tokenizer) = make_task("events", corpus), load_encoder("random:xlt-mini", 0.0)
    model = T.Model(encoder, task.head(encoder.config.hidden_size, "mean", 0.0))
    instances = task.instances(tokenizer, corpus["ja", "dev"], 128)
    T.has_bf16, held = (lambda d: False), T.has_bf16
    try: one, many = (T.predict(model, task, instances, tokenizer.pad_token_id, batch_size=b) for b in (1, 64))
    finally: T.has_bf16 = held
    assert one == many


def test_rows_of_the_committed_table_stand_for_runs(outputs):
    matrix = dict(task="events", corpus="xlt17", encoder="random:xlt-mini", languages=["es", "tr"], seeds=[0], cost=40, epochs=1)
    first, counts = run_matrix(Study("s", "", False, True, (matrix,)), matrix, jobs=1)
    for p in (outputs/"runs").iterdir(): __import__("shutil").rmtree(p)
    second, again = run_matrix(Study("s", "", True, True, (matrix,)), matrix, jobs=1)
    assert not list((outputs/"runs").iterdir()), "it was run again"
    key = ["sources", "target", "metric"]
    assert second.set_index(key).value.round(4).to_dict() == first.set_index(key).value.round(4).to_dict() and len(again) == len(counts)


def test_relations_learn(outputs):
    "The relation task goes through the same door."
    r = T.run(RunConfig(task="relations", corpus="xlt17", sources=["es"], targets=["es"], encoder="xlt-mini", epochs=6, lr_encoder=1e-3, lr_head=3e-3, dropout=0.1), progress=False)
    losses = r.record["log"]["losses"]
    assert losses[-1] < 0.8*losses[0] and r.results.set_index("metric").value["micro_f1"] > 0
    assert r.results.n_gold.iloc[0] == sum(len(e.relations) for e in load_corpus("xlt17", ["es"])["es", "test"])


def test_an_interrupted_table_is_not_half_written(outputs, monkeypatch):
    before, counts = read_table("transfer_xlt17")
    run = T.run(SMALL, progress=False)
    import pandas as pd
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError): write_table("transfer_xlt17", [run])
    monkeypatch.undo()
    monkeypatch.setenv("XLT_OUTPUTS", str(outputs))
    assert read_table("transfer_xlt17")[0].equals(before)


@pytest.mark.parametrize("change, hint", [(dict(encoder="xlt-mimi"), "xlt-mini"), (dict(sources=["xq"]), "xq"), (dict(cost=10**6), "labelled units"), (dict(task="event"), "events"), (dict(corpus="minion", sources=["en"], targets=["es"], checkpoint="dev"), "development set|not found")])
def test_errors_before_work(change, hint, outputs):
    with pytest.raises(XltError, match=hint): T.run(dataclasses.replace(SMALL, **change), progress=False)
