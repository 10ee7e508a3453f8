"Tasks: labels, pairs and counts against naive versions; what is learnt; stages resumed; bad input refused."
import dataclasses, itertools, random, shutil
from collections import Counter

import numpy as np
import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities

import xlt_nb.training as T
from little import E5, RANDOM, little_config, made_up
from xlt_nb.core import XltError
from xlt_nb.corpora import NO_RELATION, Corpus, Relation, Span
from xlt_nb.encoders import load_tokenizer, pad_windows
from xlt_nb.extraction import triples
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import (PAIR_COLUMNS, TASKS, PairScorer, batch_pairs, bio_ids, candidate_pairs, id_spans, make_task,
    span_means, tasks_of)

ALL = ("events", "entities", "pos", "relations", "joint", "pipeline", "herberta")


@pytest.fixture(scope="module")
def tokenizer(): return load_tokenizer(RANDOM)


def batch_of(stage, instances): return pad_windows([i.window for i in instances], 1) | stage.targets(instances)


def test_all_tasks_are_known(): assert set(ALL) <= set(TASKS)


def test_spans_of_broken_labels_are_those_of_seqeval():
    rng, names = random.Random(1), ["O", "B-a", "I-a", "B-b", "I-b"]
    for _ in range(500):
        ids = [rng.randrange(5) for _ in range(rng.randrange(15))]
        assert [("ab"[k], a, b - 1) for a, b, k in id_spans(ids)] == get_entities([names[i] for i in ids])
    spans = (Span(0, 2, "b"), Span(2, 3, "b"), Span(4, 5, "a"))
    assert [Span(a, b, "ab"[k]) for a, b, k in id_spans(bio_ids(6, spans, {"a": 0, "b": 1}))] == list(spans)


@pytest.mark.parametrize("listed", [False, True])
def test_which_pairs_are_asked_about(listed, tokenizer):
    corpus = made_up(lists_pairs=listed)
    task = make_task("relations", corpus)
    for e in corpus["en", "train"]:
        pairs = task.pairs(e)
        if listed: assert pairs == [tuple(r) for r in e.relations]
        else: assert {frozenset(p[:2]) for p in pairs} == {frozenset(p) for p in itertools.combinations(range(3), 2)} and len(pairs) == 3
        assert {p for p in pairs if p[2] != NO_RELATION} == {tuple(r) for r in e.relations if r.label != NO_RELATION}
        other = dataclasses.replace(e, words=e.words[::-1])
        assert candidate_pairs(other) == candidate_pairs(e), "a translation is asked about other pairs"
    assert task.listed == listed and task.labels == [NO_RELATION, "birth-place", "goes-to"]
    instances = task.instances(tokenizer, corpus["en", "train"], 128)
    assert len(instances) == sum(bool(task.pairs(e)) for e in corpus["en", "train"]), "a text is read once for all its pairs"
    assert sum(len(i.pairs) for i in instances) == sum(len(task.pairs(e)) for e in corpus["en", "train"])
    assert sum(map(task.units, corpus["en", "train"])) == sum(int((i.gold > 0).sum()) for i in instances)


def test_direction_of_unrelated_pairs_tells_nothing():
    corpus = load_corpus("xlt17", ["en"])
    forward = [h < t for e in corpus["en", "train"] for h, t, label in candidate_pairs(e) if label == NO_RELATION]
    assert 0.4 < np.mean(forward) < 0.6


def test_pairs_are_where_the_entities_are(tokenizer):
    "Places of head and tail in words of the window, the label, and which of the pairs asked about it is."
    corpus = load_corpus("xlt17", ["ja"])
    texts = corpus["ja", "dev"][:30]
    task, seen = make_task("relations", corpus), 0
    for i in task.instances(tokenizer, texts, 192):
        e = texts[i.window.example]
        asked = task.pairs(e)
        assert i.pairs.shape == (len(asked), len(PAIR_COLUMNS)) and i.window.n_words == len(e.words)
        for row, (h, t, label) in zip(i.pairs, asked):
            found = dict(zip(PAIR_COLUMNS, row.tolist()))
            assert (found["head"], found["head_end"]) == e.entities[h][:2] and (found["tail"], found["tail_end"]) == e.entities[t][:2]
            assert task.labels[found["label"]] == label and asked[found["which"]] == (h, t, label)
        assert (i.gold == i.pairs[:, 6]).all()
        seen += len(asked)
    assert seen == sum(len(task.pairs(e)) for e in texts) > 30


def test_a_pair_over_the_edge_of_a_window_is_asked_once(tokenizer):
    "In the window that holds its head; a tail elsewhere is an empty span at the edge."
    words = tuple(x for k in range(60) for x in (f"w{k}", "."))
    e = dataclasses.replace(made_up()["en", "train"][0], words=words, entities=(Span(0, 1, "PER"), Span(60, 61, "LOC"), Span(118, 119, "PER")),
        relations=(Relation(0, 2, "goes-to"), Relation(2, 0, "birth-place"), Relation(1, 0, "goes-to")))
    task = make_task("relations", made_up())
    instances = task.instances(tokenizer, [e], 48)
    assert len({i.window.first for i in instances}) == len(instances) > 1
    which = [int(k) for i in instances for k in i.pairs[:, 7]]
    assert sorted(which) == list(range(len(task.pairs(e))))
    for i in instances:
        assert ((i.pairs[:, [0, 1, 3, 4]] >= 0) & (i.pairs[:, [0, 1, 3, 4]] <= i.window.n_words)).all()
        assert (i.pairs[:, 1] > i.pairs[:, 0]).all(), "the head is inside"
    right = task.counts([e], instances, [i.gold for i in instances])
    assert tuple(right.iloc[0]) == (3, 0, 0)
    none = task.counts([e], instances, [0*i.gold for i in instances])
    assert tuple(none.iloc[0]) == (0, 0, 3)


def test_span_vectors_are_means():
    words = torch.randn(2, 7, 6)
    rows, start, end = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 2, 3, 6]), torch.tensor([3, 4, 3, 7])
    naive = torch.stack([words[r, a:b].mean(0) if a < b else torch.zeros(6) for r, a, b in zip(rows, start, end)])
    assert torch.allclose(span_means(words, rows, start, end), naive, atol=1e-5)


def test_the_score_of_a_pair_depends_on_its_words_alone():
    "Head, tail and what stands between them; other words, other pairs and other texts of the batch are no matter."
    torch.manual_seed(0)
    scorer, words = PairScorer(6, 3).eval(), torch.randn(2, 9, 6)
    pairs = torch.tensor([[0, 1, 2, 0, 4, 6, 0, 0, 0], [1, 5, 6, 0, 2, 3, 0, 0, 0], [0, 4, 6, 0, 1, 2, 0, 0, 0]])
    with torch.no_grad():
        scores = scorer(words, pairs)
        other = words.clone()
        other[0, 0], other[0, 6:], other[1] = 9, 9, 9
        assert torch.allclose(scorer(other, pairs[:1]), scores[:1], atol=1e-5)
        assert not torch.allclose(scores[0], scores[2]), "head and tail are not the same"
        for place in (1, 3, 4):
            moved = words.clone()
            moved[0, place] += 1
            assert not torch.allclose(scorer(moved, pairs[:1]), scores[:1]), place


@pytest.mark.parametrize("name", ["events", "entities", "relations", "joint"])
def test_the_weight_of_none_counts_where_there_is_a_none(name, tokenizer):
    corpus = load_corpus("xlt17", ["en"])
    stage = make_task(name, corpus)
    instances = stage.instances(tokenizer, corpus["en", "dev"][:8], 192)
    batch = batch_of(stage, instances)
    torch.manual_seed(0)
    out = stage.head(16, "first", 0.0)(torch.randn(*batch["input_ids"].shape, 16), batch)
    losses = [stage.loss(out, batch, w).item() for w in (1.0, 0.1, 1e-9)]
    assert stage.loss(out, batch).item() == losses[0] and len(set(losses)) == 3


def test_parts_of_speech_have_no_none():
    logits, batch = torch.randn(1, 3, 4), {"gold": torch.tensor([[0, 1, -100]])}
    stage = TASKS["pos"].__new__(TASKS["pos"])
    assert stage.loss(logits, batch, 0.1) == stage.loss(logits, batch)


def long_text():
    "A text of made-up words that no window holds."
    e = made_up()["en", "train"][0]
    words = (*e.words, *(["so", "."]*40))
    return dataclasses.replace(e, words=words, tags=(*e.tags, *(["VERB", "PUNCT"]*40)),
        relations=(Relation(0, 1, "goes-to"), Relation(0, 3, "goes-to")), entities=(*e.entities, Span(len(words) - 2, len(words) - 1, "LOC")))


@pytest.mark.parametrize("name", ALL)
def test_texts_longer_than_a_window(name, tokenizer):
    "Words of all windows are counted once; an instance fits the window."
    long = long_text()
    task = make_task(name, dataclasses.replace(made_up(), examples={("en", "train"): [long]}))
    for stage in task.stages:
        instances = stage.instances(tokenizer, [long], 32)
        assert instances and all(len(i.window.input_ids) <= 32 for i in instances)
        head, batch = stage.head(16, "first", 0.0), batch_of(stage, instances)
        loss = stage.loss(head(torch.randn(*batch["input_ids"].shape, 16), batch), batch)
        assert torch.isfinite(loss)
    if name in ("events", "entities", "pos"):
        table = task.counts([long], instances, [i.gold.tolist() for i in instances])
        assert len(instances) > 1 and (table.tp.sum(), table.fp.sum(), table.fn.sum()) == (task.units(long), 0, 0)


LEARNT = [("events", 90), ("entities", 90), ("pos", 95), ("relations", 80), ("joint", 50), ("pipeline", 50), ("herberta", 50)]


@pytest.mark.parametrize("name, least", LEARNT)
def test_every_task_learns(name, least, outputs):
    "On texts where words say all, every task is learnt, through the same `run`, with its encoder's own settings."
    corpus = made_up()
    checkpoint = "dev" if name in ("pos", "pipeline") else "last"
    c = little_config(name, encoder=E5, layers=3, frozen=2, epochs=12 if name in ("joint", "herberta") else 6, targets=["es"], checkpoint=checkpoint)
    r = T.run(c, corpus, progress=False)
    value = r.results.set_index("metric").value
    main = TASKS[name].metrics[0]
    assert set(value.index) == set(TASKS[name].metrics) and value[main] >= least, value.to_dict()
    assert r.results.n_gold.iloc[0] == sum(map(make_task(name, corpus).units, corpus["es", "test"]))
    counts = r.counts[["tp", "fp", "fn"]].sum()
    assert abs(200*counts.tp/(2*counts.tp + counts.fp + counts.fn) - value[main]) < 1e-3


def test_accuracy_is_micro_f1_of_its_counts(tokenizer):
    corpus, rng = made_up(), np.random.default_rng(0)
    task, texts = make_task("pos", corpus), corpus["en", "test"]
    instances = task.instances(tokenizer, texts, 128)
    said = [rng.integers(0, 4, len(i.gold)).tolist() for i in instances]
    gold = [t for e in texts for t in e.tags]
    flat = [task.labels[k] for p in said for k in p]
    assert task.score(task.counts(texts, instances, said)) == {"accuracy": pytest.approx(100*np.mean(np.array(gold) == flat))}


def test_triples_are_counted_strictly():
    e = dataclasses.replace(made_up()["en", "train"][0], relations=(Relation(0, 1, "goes-to"), Relation(2, 1, NO_RELATION)))
    task, (head, tail, label) = make_task("joint", made_up()), next(iter(triples(e)))
    assert len(triples(e)) == task.units(e) == 1
    def count(*found): return tuple(task.count_found([e], [(e.entities, found)])[["tp", "fp", "fn"]].iloc[0])
    assert count((head, tail, label)) == (1, 0, 0) and count() == (0, 0, 1)
    wrong = ((tail, head, label), (head, tail, "birth-place"), (head._replace(label="LOC"), tail, label), (head, tail._replace(end=tail.end + 1), label))
    for found in wrong: assert count(found) == (0, 1, 1)
    assert count((head, tail, label), (head, tail, "birth-place")) == (1, 1, 0)


def joint_answers(task, tokenizer, texts, right):
    instances, said = task.instances(tokenizer, texts, 192), []
    for i in instances:
        pairs = [tuple(p[:7]) for p in i.pairs.tolist() if p[6]]
        said.append((i.gold.tolist(), pairs) if right else ([0]*len(i.gold), []))
    return task.counts(texts, instances, said, texts)


def staged_answers(name, task, tokenizer, texts, right):
    first, second = task.stages
    instances = first.instances(tokenizer, texts, 192)
    if name == "herberta": said = [np.flatnonzero(i.gold).tolist() if right else [] for i in instances]
    else: said = [i.gold.tolist() if right else [0]*len(i.gold) for i in instances]
    given = first.given(texts, instances, said)
    if right and name == "pipeline": assert [set(e.entities) for e in given] == [set(e.entities) for e in texts]
    if not right: assert not second.instances(tokenizer, given, 192), "asked about nothing"
    texts_asked = texts if right else given
    asked = second.instances(tokenizer, texts_asked, 192)
    if name == "herberta": answers = [[max(x, 0) for x in i.gold.tolist()] for i in asked]
    else: answers = [i.gold for i in asked]
    return task.counts(texts, asked, answers, texts_asked)


@pytest.mark.parametrize("name", ["joint", "pipeline", "herberta"])
def test_perfect_answers_score_100_and_none_score_0(name, tokenizer):
    corpus = load_corpus("xlt17", ["es"])
    task, texts = make_task(name, corpus), corpus["es", "dev"]
    for right, score in ((True, 100), (False, 0)):
        table = joint_answers(task, tokenizer, texts, right) if name == "joint" else staged_answers(name, task, tokenizer, texts, right)
        assert task.score(table)["micro_f1"] == score


def test_an_untrained_network_may_find_nothing_or_everything(tokenizer):
    "Joint extraction is bounded where every word looks like an entity, and has a loss where no text has a pair."
    corpus = load_corpus("xlt17", ["es"])
    task = make_task("joint", corpus)
    head = task.head(8, "first", 0.0)
    texts = [dataclasses.replace(e, entities=(), relations=()) for e in corpus["es", "dev"][:4]]
    instances = task.instances(tokenizer, texts, 128)
    batch = batch_of(task, instances)
    hidden = torch.randn(*batch["input_ids"].shape, 8)
    loss = task.loss(head(hidden, batch), batch)
    loss.backward()
    assert torch.isfinite(loss) and not len(batch["labels"])
    head.eval()
    with torch.no_grad():
        head.tags.weight.zero_()
        for label in (1, 0):
            head.tags.bias.copy_(torch.nn.functional.one_hot(torch.tensor(label), len(head.tags.bias)).float())
            out = head(hidden, batch)
            if label: assert 0 < len(out["pairs"]) <= 4*30*29
        assert out["pairs"].shape == (0, 7) and task.decode(out, instances)[0][1] == []


@pytest.mark.parametrize("name", ["events", "relations", "joint"])
def test_predictions_do_not_depend_on_the_batch(name, tokenizer, monkeypatch):
    monkeypatch.setattr(T, "compute_dtype", lambda device: torch.float32)
    corpus = load_corpus("xlt17", ["es"])
    task, c = make_task(name, corpus), T.complete(little_config(name, pooling="mean"))
    torch.manual_seed(0)
    model, reading = T.new_model(c, task), T.Reading(c)
    instances, states = reading(task, corpus["es", "dev"][:12], keep=False)
    one, many = (T.predict(model, task, instances, states, reading.pad_id, batch_size=b) for b in (1, 64))
    assert all(np.array_equal(a, b) if name == "relations" else a == b for a, b in zip(one, many, strict=True))


def without_seconds(r): return r.results, r.counts, {k: r.record[k] for k in ("log", "config", "checksums")}


@pytest.mark.parametrize("name", ["relations", "joint", "pipeline", "herberta"])
def test_stopped_in_any_stage_and_resumed(name, outputs, monkeypatch):
    "An interruption in each stage changes no bit of the record."
    corpus, c = made_up(n=12), little_config(name, epochs=3, targets=["es"])
    whole = without_seconds(T.run(c, corpus, progress=False))
    shutil.rmtree(outputs/"runs")
    saves, real = Counter(), T.save_state
    def stop(path, *args):
        real(path, *args)
        saves[path.name] += 1
        if saves[path.name] == 2: raise KeyboardInterrupt
    monkeypatch.setattr(T, "save_state", stop)
    stopped = 0
    for _ in range(5):
        try: pieces = without_seconds(T.run(c, corpus, progress=False, save_every=-1))
        except KeyboardInterrupt: stopped += 1
        else: break
    assert stopped == len(make_task(name, corpus).stages)
    assert pieces[0].equals(whole[0]) and pieces[1].equals(whole[1]) and pieces[2] == whole[2]
    assert not list((outputs/"runs").glob("*.partial")), "a saved state was left behind"


def test_no_stage_sees_a_target_label(outputs):
    "What a later stage is given comes from the earlier one: without any label in the target, it finds the same."
    corpus, c = made_up(n=12), little_config("pipeline", encoder=E5, epochs=6, targets=["es"])
    plain = T.run(c, corpus, progress=False)
    shutil.rmtree(outputs/"runs")
    blank = {k: [dataclasses.replace(e, entities=(), relations=()) for e in part] if k[0] == "es" else part for k, part in corpus.examples.items()}
    T._READINGS.clear() # test texts are kept by the checksums of the files, which are the same here
    blind = T.run(c, dataclasses.replace(corpus, examples=blank), progress=False)
    T._READINGS.clear()
    found = [(r.counts.tp + r.counts.fp).tolist() for r in (plain, blind)]
    assert found[0] == found[1] and sum(found[0]) > 0 and blind.counts.fn.sum() == 0


@pytest.mark.parametrize("name, corpus, hint", [("pos", "xlt17", "pos.*tags.*xlt17.*events"), ("event", "xlt17", "nearest: events"),
    ("relations", "events-only", "relations.*entities and relations.*events-only.*for: events"), ("join", "xlt17", "nearest: joint")])
def test_bad_input_names_corpus_and_choice(name, corpus, hint):
    data = load_corpus("xlt17", ["es"]) if corpus == "xlt17" else Corpus(corpus, {}, {}, event_types=("a",))
    with pytest.raises(XltError, match=hint): make_task(name, data)


def test_tasks_of_real_corpora(data_root):
    assert tasks_of(load_corpus("minion", ["es"], data_root)) == ["events"]
