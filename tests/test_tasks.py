"Tasks: labels, candidates, marks and counts against naive versions; what is learnt; stages resumed; bad input refused."
import dataclasses, itertools, random, shutil
from collections import Counter

import numpy as np
import pytest
import torch
from seqeval.metrics.sequence_labeling import get_entities

import xlt_nb.training as T
from xlt_nb.core import RunConfig, XltError
from xlt_nb.corpora import NO_RELATION, Corpus, Example, Relation, Span
from xlt_nb.encoders import load_encoder
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import TASKS, bio_ids, candidate_pairs, id_spans, make_task, mark_pair, mean_weights, span_means, tasks_of, triples

PEOPLE, PLACES = ("Ana", "Ben", "Eva", "Jon"), ("Rome", "Oslo", "Lima", "Cork")


def made_up(name="made-up", n=48, lists_pairs=False):
    "People born in, or moved to, places: words alone say who and where; `born`, `went` or `saw` says which relation."
    rng, examples = random.Random(0), {}
    for lang, split in itertools.product(("en", "es"), ("train", "dev", "test")):
        part = []
        for k in range(n):
            person, place, verb, last = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(("born", "went", "saw")), rng.choice(PEOPLE)
            label = {"born": "birth-place", "went": "goes-to"}.get(verb)
            relations = (Relation(0, 1, label),) if label else ((Relation(0, 1, NO_RELATION),) if lists_pairs else ())
            part.append(Example(f"{split}{k}", (person, verb, place, "and", last, "."), events=(Span(1, 2, verb),), entities=(Span(0, 1, "PER"), Span(2, 3, "LOC"), Span(4, 5, "PER")),
                relations=relations, tags=("PROPN", "VERB", "PROPN", "CCONJ", "PROPN", "PUNCT")))
        examples[lang, split] = part
    return Corpus(name, examples, {f"{name}/en": str(n), "pairs": str(lists_pairs)}, ("born", "went", "saw"), ("LOC", "PER"), ("birth-place", "goes-to"), tag_types=("CCONJ", "PROPN", "PUNCT", "VERB"))


def config(task, **changes):
    settings = dict(task=task, corpus="xlt17", sources=["en"], targets=["en", "es"], encoder="xlt-mini", epochs=8, batch_size=8, lr_encoder=1e-3, lr_head=1e-2, dropout=0.1)
    return RunConfig(**(settings | changes))


@pytest.fixture(scope="module")
def tokenizer(): return load_encoder("random:xlt-mini")[1]


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
    assert task.listed == listed
    instances = task.instances(tokenizer, corpus["en", "train"], 128)
    assert len(instances) == sum(len(task.pairs(e)) for e in corpus["en", "train"]) and task.labels == [NO_RELATION, "birth-place", "goes-to"]
    assert sum(map(task.units, corpus["en", "train"])) == sum(int(i.gold[0]) > 0 for i in instances)


def test_direction_of_unrelated_pairs_tells_nothing():
    corpus = load_corpus("xlt17", ["en"])
    forward = [h < t for e in corpus["en", "train"] for h, t, label in candidate_pairs(e) if label == NO_RELATION]
    assert 0.4 < np.mean(forward) < 0.6


def test_marks_stand_around_the_arguments():
    rng = random.Random(0)
    for _ in range(200):
        words = tuple(f"w{i}" for i in range(8))
        a, b, c, d = sorted(rng.sample(range(9), 4))
        head, tail = rng.sample([Span(a, b, "x"), Span(c, d, "x")], 2)
        marked, h, t = mark_pair(words, head, tail)
        assert marked[slice(*h)] == ("@", *words[head.start:head.end], "@") and marked[slice(*t)] == ("#", *words[tail.start:tail.end], "#")
        assert tuple(w for w in marked if w not in "@#") == words
    marked, h, t = mark_pair(words, Span(0, 4, "x"), Span(1, 2, "x")) # nested
    assert marked[slice(*h)] == ("@", "w0", "#", "w1", "#", "w2", "w3", "@") and marked[slice(*t)] == ("#", "w1", "#")


def test_argument_vectors_are_means(tokenizer):
    corpus = made_up()
    task = make_task("relations", corpus)
    instances = task.instances(tokenizer, corpus["en", "train"][:5], 128)
    batch = task.collate(instances, 0)
    hidden = torch.randn(*batch["input_ids"].shape, 6)
    means = torch.bmm(batch["weights"], hidden)
    for row, h, i in zip(means, hidden, instances):
        (a, b), (c, d) = i.at
        text = tokenizer.decode(i.window.input_ids[a:b]).split()
        assert text[0] == "@" and text[-1] == "@" and len(text) > 2
        assert torch.allclose(row[0], h[a:b].mean(0), atol=1e-6) and torch.allclose(row[1], h[c:d].mean(0), atol=1e-6)
        low, high = min(b, d), max(a, c)
        assert torch.allclose(row[2], h[low:high].mean(0) if low < high else torch.zeros(6), atol=1e-6)
    rows, start, end = torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3]), torch.tensor([3, 4, 3])
    naive = torch.stack([hidden[r, a:b].mean(0) if a < b else torch.zeros(6) for r, a, b in zip(rows, start, end)])
    assert torch.allclose(span_means(hidden, rows, start, end), naive, atol=1e-5)


@pytest.mark.parametrize("name", ["events", "entities", "pos", "relations", "joint", "pipeline", "herberta"])
def test_texts_longer_than_a_window(name, tokenizer):
    "Words of all windows are counted once; an instance fits the window."
    e = made_up()["en", "train"][0]
    words = (*e.words, *(["so", "."]*40))
    long = dataclasses.replace(e, words=words, tags=(*e.tags, *(["VERB", "PUNCT"]*40)), relations=(Relation(0, 1, "goes-to"), Relation(0, 3, "goes-to")), entities=(*e.entities, Span(len(words) - 2, len(words) - 1, "LOC")))
    corpus = dataclasses.replace(made_up(), examples={("en", "train"): [long]})
    task = make_task(name, corpus)
    for stage in task.stages:
        instances = stage.instances(tokenizer, [long], 32)
        assert instances and all(len(i.window.input_ids) <= 32 and i.window.example == 0 for i in instances if name != "herberta")
        head = stage.head(16, "first", 0.0)
        batch = stage.collate(instances, 0)
        assert torch.isfinite(stage.loss(head(torch.randn(*batch["input_ids"].shape, 16), batch), batch))
    if name in ("events", "entities", "pos"):
        table = task.counts([long], instances, [i.gold.tolist() for i in instances])
        assert len(instances) > 1 and (table.tp.sum(), table.fp.sum(), table.fn.sum()) == (task.units(long), 0, 0)


@pytest.mark.parametrize("name, least", [("events", 90), ("entities", 90), ("pos", 95), ("relations", 80), ("joint", 50), ("pipeline", 50), ("herberta", 50)])
def test_every_task_learns(name, least, outputs, monkeypatch):
    "On texts where words say all, every task is learnt, through the same `run`."
    corpus = made_up()
    r = T.run(config(name, epochs=12 if name in ("joint", "herberta") else 6, targets=["es"], checkpoint="dev" if name in ("pos", "pipeline") else "last"), corpus, progress=False)
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
    corpus = made_up()
    e = dataclasses.replace(corpus["en", "train"][0], relations=(Relation(0, 1, "goes-to"), Relation(2, 1, NO_RELATION)))
    task, (head, tail, label) = make_task("joint", corpus), next(iter(triples(e)))
    assert len(triples(e)) == task.units(e) == 1
    count = lambda *found: tuple(task.count_found([e], [(e.entities, found)])[["tp", "fp", "fn"]].iloc[0])
    assert count((head, tail, label)) == (1, 0, 0) and count() == (0, 0, 1)
    for wrong in ((tail, head, label), (head, tail, "birth-place"), (head._replace(label="LOC"), tail, label), (head, tail._replace(end=tail.end + 1), label)):
        assert count(wrong) == (0, 1, 1)
    assert count((head, tail, label), (head, tail, "birth-place")) == (1, 1, 0)


@pytest.mark.parametrize("name", ["joint", "pipeline", "herberta"])
def test_perfect_answers_score_100_and_none_score_0(name, tokenizer):
    corpus = load_corpus("xlt17", ["es"])
    task, texts = make_task(name, corpus), corpus["es", "dev"]
    stages = task.stages
    def answers(right):
        if name == "joint":
            instances = task.instances(tokenizer, texts, 128)
            return task.counts(texts, instances, [(i.gold.tolist(), [tuple(p) for p in i.at.tolist() if p[6]]) if right else ([0]*len(i.gold), []) for i in instances], texts)
        first = stages[0].instances(tokenizer, texts, 128)
        said = [np.flatnonzero(i.gold).tolist() if name == "herberta" else i.gold.tolist() for i in first]
        given = stages[0].given(texts, first, said if right else [[] if name == "herberta" else [0]*len(p) for p in said])
        second = stages[1].instances(tokenizer, texts if right else given, 128)
        assert right or not second, "asked about nothing"
        if right and name == "pipeline": assert [e.entities for e in map(sort_entities, given)] == [e.entities for e in map(sort_entities, texts)]
        return task.counts(texts, second, [[max(x, 0) for x in i.gold.tolist()] if name == "herberta" else int(i.gold[0]) for i in second], texts if right else given)
    assert task.score(answers(True))["micro_f1"] == 100 and task.score(answers(False))["micro_f1"] == 0


def sort_entities(e): return dataclasses.replace(e, entities=tuple(sorted(e.entities)), relations=())


def test_an_untrained_network_may_find_nothing_or_everything(tokenizer):
    "Joint extraction is bounded where every word looks like an entity, and has a loss where no text has a pair."
    corpus = load_corpus("xlt17", ["es"])
    task = make_task("joint", corpus)
    head = task.head(8, "first", 0.0)
    texts = [dataclasses.replace(e, entities=(), relations=()) for e in corpus["es", "dev"][:4]]
    batch = task.collate(task.instances(tokenizer, texts, 128), 0)
    hidden = torch.randn(*batch["input_ids"].shape, 8)
    loss = task.loss(head(hidden, batch), batch)
    loss.backward()
    assert torch.isfinite(loss) and not len(batch["labels"])
    head.eval()
    with torch.no_grad():
        head.tags.weight.zero_()
        head.tags.bias.copy_(torch.nn.functional.one_hot(torch.tensor(1), len(head.tags.bias)).float()); out = head(hidden, batch)
        assert 0 < len(out["pairs"]) <= 4*30*29
        head.tags.bias.copy_(torch.nn.functional.one_hot(torch.tensor(0), len(head.tags.bias)).float()); out = head(hidden, batch)
        assert out["pairs"].shape == (0, 7) and task.decode(out, task.instances(tokenizer, texts, 128))[0][1] == []


@pytest.mark.parametrize("name", ["relations", "joint"])
def test_predictions_do_not_depend_on_the_batch(name, monkeypatch, tokenizer):
    corpus = load_corpus("xlt17", ["es"])
    task, (encoder, _) = make_task(name, corpus), load_encoder("random:xlt-mini", 0.0)
    model = T.Model(encoder, task.head(encoder.config.hidden_size, "mean", 0.0))
    instances = task.instances(tokenizer, corpus["es", "dev"][:12], 128)
    monkeypatch.setattr(T, "has_bf16", lambda device: False)
    one, many = (T.predict(model, task, instances, tokenizer.pad_token_id, batch_size=b) for b in (1, 64))
    assert one == many


@pytest.mark.parametrize("name", ["relations", "joint", "pipeline", "herberta"])
def test_stopped_in_any_stage_and_resumed(name, outputs, monkeypatch):
    "An interruption in each stage changes no bit of the record."
    corpus, c = made_up(n=12), config(name, encoder="random:xlt-mini", epochs=3, targets=["es"])
    whole = T.run(c, corpus, progress=False)
    shutil.rmtree(outputs/"runs")
    saves, real = Counter(), T.save_state
    def stop(path, *args):
        real(path, *args); saves[path.name] += 1
        if saves[path.name] == 2: raise KeyboardInterrupt
    monkeypatch.setattr(T, "save_state", stop)
    stopped = 0
    for _ in range(5):
        try: pieces = T.run(c, corpus, progress=False, save_every=-1)
        except KeyboardInterrupt: stopped += 1
        else: break
    assert stopped == len(make_task(name, corpus).stages) and pieces.results.equals(whole.results) and pieces.counts.equals(whole.counts) and pieces.record["log"] == whole.record["log"]
    assert not list((outputs/"runs").glob("*.partial")), "a saved state was left behind"


def test_no_stage_sees_a_target_label(outputs):
    "What a later stage is given comes from the earlier one: wrong labels in the target's train and dev sets change nothing, and test labels nothing but the score."
    corpus, c = made_up(n=12), config("pipeline", encoder="random:xlt-mini", epochs=1, targets=["es"])
    plain = T.run(c, corpus, progress=False)
    shutil.rmtree(outputs/"runs")
    blank = {k: [dataclasses.replace(e, entities=(), relations=()) for e in part] if k[0] == "es" else part for k, part in corpus.examples.items()}
    T._instances.cache_clear()
    blind = T.run(c, dataclasses.replace(corpus, examples=blank), progress=False)
    T._instances.cache_clear()
    found = lambda r: (r.counts.tp + r.counts.fp).tolist()
    assert found(plain) == found(blind) and blind.counts.fn.sum() == 0


@pytest.mark.parametrize("name, corpus, hint", [("pos", "xlt17", "pos.*tags.*xlt17.*events"), ("event", "xlt17", "nearest: events"), ("relations", "events-only", "relations.*entities and relations.*events-only.*for: events"), ("join", "xlt17", "nearest: joint")])
def test_bad_input_names_corpus_and_choice(name, corpus, hint):
    data = load_corpus("xlt17", ["es"]) if corpus == "xlt17" else Corpus(corpus, {}, {}, event_types=("a",))
    with pytest.raises(XltError, match=hint): make_task(name, data)


def test_tasks_of_real_corpora(data_root):
    assert tasks_of(load_corpus("minion", ["es"], data_root)) == ["events"]
