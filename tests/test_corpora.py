"""The shape of a corpus: a new one is one registered function, samples cost what was asked, labels and spans agree."""
import itertools, json, re
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import event, given, settings, strategies as st

import xlt_nb.corpora
from xlt_nb.core import XltError
from xlt_nb.corpora import (CORPORA, SPLITS, UNITS, Corpus, Example, Span, bio_labels, bio_spans, corpus_table,
                            hash_share, label_types, n_labelled, quirk_table, register_corpus, split_imbalance,
                            stratified_splits, subsample, training_priors)
from xlt_nb.readers import (EVENT_TYPES, is_here, load_corpus, parse_item, read_lines, readers_table, split_words,
                            statistics_table, write_corpus_tables)
from xlt_nb.tasks import tasks_of
from xlt_nb.transfer import MatrixSpec, corpus_languages, grid

MARK = st.sampled_from([*"[]<>|:; ab\n", "PER", "LOC", "Life:Die", "is-where", "[x|PER:a]", "<y|Life:Die>", "é", "東", "\u200c"])


def births(sizes): # texts with so many triggers each
    return [Example(str(i), ("w",)*5, tuple(Span(k, k + 1, "Life:Die") for k in range(n))) for i, n in enumerate(sizes)]

# ---------------------------------------------------------------- registered once


def town_text(id, words):
    return Example(id, tuple(words), entities=tuple(Span(i, i + 1, "LOC") for i, w in enumerate(words) if w.istitle()))


@pytest.fixture
def scratch(tmp_path):
    "A corpus registered as a user would in a notebook: a reader of five lines, and nothing else."
    before = dict(CORPORA)

    @register_corpus("towns", ["es", "sw"], labels=["entities"], about="towns: words with a capital")
    def read_towns(languages=None, root=None):
        examples = {}
        for lang in languages or ("es", "sw"):
            texts = [town_text(str(n), line.split()) for n, line in read_lines(Path(root)/"towns"/f"{lang}.txt")]
            examples |= {(lang, split): texts[k::3] for k, split in enumerate(SPLITS)}
        return Corpus("towns", examples, {}, entity_types=("LOC",))

    (tmp_path/"towns").mkdir()
    for lang in ("es", "sw"): (tmp_path/"towns"/f"{lang}.txt").write_text("voy a Lima\nLima\nllueve en Cusco y Lima\n"*6)
    yield tmp_path
    CORPORA.clear()
    CORPORA.update(before)


def test_a_new_corpus_is_one_registered_function(scratch, outputs):
    assert CORPORA["towns"].languages == ("es", "sw") and not CORPORA["towns"].shipped and is_here("towns", scratch)
    corpus = load_corpus("towns", root=scratch)
    assert corpus.languages == ("es", "sw") and load_corpus("towns", ["sw"], scratch).languages == ("sw",)
    sample = subsample(corpus["es", "train"], 4, seed=1, unit="entities")
    assert sum(n_labelled(e, "entities") for e in sample) == 4
    assert statistics_table("towns", scratch).entities.sum() == 2*24 and label_types(corpus) == {"entities": ["LOC"]}
    assert training_priors(corpus_table(corpus), "entities").LOC.tolist() == [1, 1]
    assert "entities" in tasks_of(corpus) and "events" not in tasks_of(corpus)
    assert corpus_languages("towns") == ("es",), "in the order of figures, which shows the seventeen"
    assert len(grid(MatrixSpec(corpus="towns", task="entities", languages=["es", "sw"], encoder="x", seeds=[0, 1]))) == 4
    written = [p.name for p in write_corpus_tables(scratch)]
    assert written == ["corpus_towns.csv", "corpus_readers.csv"]
    assert statistics_table("towns", "/nonexistent").entities.sum() == 2*24, "now it can be read where the files are absent"
    assert set(quirk_table(corpus).language) == {"es", "sw"} and "towns" in set(readers_table("/nonexistent").corpus)
    with pytest.raises(XltError, match="corpus: 'town' is not valid .nearest: towns"): load_corpus("town", root=scratch)


def test_only_the_registry_names_corpora():
    "Whatever else a room knows, it knows by the record of a corpus."
    source = Path(xlt_nb.corpora.__file__).read_text(encoding="utf8")
    assert not re.findall(rf"""["']({'|'.join(CORPORA)})["']""", source)
    readers = (Path(xlt_nb.corpora.__file__).parent/"readers.py").read_text(encoding="utf8")
    for name, info in CORPORA.items():
        assert len(re.findall(rf"""register_corpus\("{name}"[,)]""", readers)) == 1
        assert not re.findall(rf"""(==|!=|\bin) *\(?["']{name}["']""", readers)


@pytest.mark.parametrize("name", CORPORA)
def test_records_are_whole(name):
    info = CORPORA[name]
    assert info.name == name and info.about and info.labels and set(info.labels) <= set(UNITS)
    assert len(set(info.languages)) == len(info.languages)


@pytest.mark.parametrize("name", ["xlt17", "minion", "multicrossre", "ud"])
def test_records_are_true(name, data_root):
    corpus, info = load_corpus(name, root=None if CORPORA[name].shipped else data_root), CORPORA[name]
    assert set(corpus.languages) == set(info.languages) and set(label_types(corpus)) == set(info.labels)
    assert corpus.parallel == info.parallel

# ---------------------------------------------------------------- equal cost


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_samples_cost_what_was_asked(sizes, seed, data):
    "Exactly, and the same again; an error is right about what there is, and no text would have filled the gap."
    examples, total = births(sizes), sum(sizes)
    cost = data.draw(st.integers(1, total + 2))
    try:
        sample = subsample(examples, cost, seed)
    except XltError as error:
        if cost > total:
            event("more than there is")
            assert str(error) == f"cost: {cost} labelled units wanted, but there are only {total}"
            return
        event("no exact sample")
        missed = int(re.fullmatch(rf"cost: no sample has exactly {cost} units \(best misses (\d+)\)", str(error))[1])
        taken = sum(n for n in sizes if n <= missed) # whatever would have fitted has been taken
        assert 1 <= missed and taken <= cost - missed and cost < total
    else:
        event("exact")
        assert cost <= total and sum(map(n_labelled, sample)) == cost
        assert sample == subsample(examples, cost, seed) and sample == sorted(sample, key=examples.index)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_every_cost_can_be_had_where_texts_hold_at_most_one(sizes, seed, data):
    cost = data.draw(st.integers(0, sum(sizes)))
    assert sum(map(n_labelled, subsample(births(sizes), cost, seed))) == cost


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 5))
@settings(deadline=None)
def test_the_whole_cost_takes_every_labelled_text(sizes, seed):
    examples = births(sizes)
    if not sum(sizes): return
    sample = subsample(examples, sum(sizes), seed)
    assert {e.id for e in sample} >= {e.id for e in examples if e.events}


def test_samples_keep_texts_without_triggers_at_their_rate():
    examples = births([0, 1]*500)
    without = [sum(not e.events for e in subsample(examples, 200, seed)) for seed in range(20)]
    assert 180 < np.mean(without) < 220
    chosen = [set(e.id for e in subsample(examples, 200, seed)) for seed in range(3)]
    assert all(a != b for a, b in itertools.combinations(chosen, 2))


@pytest.mark.parametrize("unit", UNITS)
def test_cost_counts_the_unit_that_is_named(unit):
    e = load_corpus("xlt17", ["es"])["es", "train"][0]
    assert n_labelled(e, unit) == {"events": len(e.events), "entities": len(e.entities), "relations": len(e.relations), "tags": 0}[unit]
    with pytest.raises(XltError, match="unit: 'pos' is not valid"): n_labelled(e, "pos")

# ---------------------------------------------------------------- labels, words, splits


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(EVENT_TYPES), st.integers(0, 2)), max_size=6))
def test_bio_and_back(parts):
    spans, at = [], 0
    for length, label, gap in parts:
        spans.append(Span(at, at + length, label))
        at += length + gap
    assert bio_spans([x.replace("-", "_", 1) for x in bio_labels(at, spans)]) == tuple(spans)


@given(st.text(max_size=60), st.sampled_from(["en", "hi", "fa", "ja"]))
@settings(max_examples=200, deadline=None)
def test_words_cover_the_text(text, lang):
    spans = split_words(text, lang)
    assert all(a < b for a, b in spans) and all(b <= c for (_, b), (c, _) in zip(spans, spans[1:]))
    covered = "".join("".join(text[a:b].split()) for a, b in spans)
    assert covered == regex.sub(r"\s", "", text) or lang == "ja" or not text.isprintable()


@given(st.text(), st.text())
def test_shares_are_a_function_of_the_text(a, b):
    assert 0 <= hash_share(a) < 1 and (hash_share(a) == hash_share(b)) == (a == b)


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=3), min_size=10, max_size=10), st.integers(0, 3))
def test_stratified_splits_have_their_sizes(labels, seed):
    labels, sizes = dict(enumerate(labels)), {"train": 6, "test": 4}
    splits = stratified_splits(labels, sizes, seed)
    assert {s: list(splits.values()).count(s) for s in sizes} == sizes and list(splits) == list(labels)
    if any(labels.values()): assert split_imbalance(labels, splits, sizes) >= 0

# ---------------------------------------------------------------- readers that meet anything


@given(st.lists(MARK, max_size=30), st.sampled_from(["en", "ja", "fa"]))
@settings(max_examples=300, deadline=None)
def test_item_parser_raises_only_its_own_error(parts, lang):
    line = f"001 | {''.join(parts)}"
    try:
        e = parse_item("f.txt", 7, line, lang)
    except XltError as error:
        assert str(error).startswith("f.txt:7:")
    else:
        for s in (*e.events, *e.entities): assert 0 <= s.start < s.end <= len(e.words)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), max_leaves=12, extend=lambda x:
    st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(["tokens", "labels", "pageID", "x"]), x, max_size=4))


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_minion_reader_raises_only_its_own_error(tmp_path_factory, row):
    folder = tmp_path_factory.mktemp("m")
    (folder/"minion"/"es").mkdir(parents=True)
    for split in SPLITS: (folder/"minion"/"es"/f"{split}.json").write_text(json.dumps(row), encoding="utf8")
    try:
        corpus = load_corpus("minion", ["es"], folder)
    except XltError as error:
        assert ".json:1: " in str(error)
    else:
        assert set(row) >= {"tokens", "labels", "pageID"} and corpus["es", "test"][0].words == tuple(row["tokens"])


def test_missing_files_say_what_to_put_where(tmp_path):
    with pytest.raises(XltError, match="XLT_DATA_DIR"): load_corpus("minion", ["es"], tmp_path)
    (tmp_path/"minion"/"es").mkdir(parents=True)
    with pytest.raises(XltError, match="dev.json"): load_corpus("minion", ["es"], tmp_path)
    with pytest.raises(XltError, match="language: 'et' is not valid"): load_corpus("minion", ["et"], tmp_path)


def test_minion_as_published(data_root):
    "Sizes of the official splits, and what is odd about them."
    corpus = load_corpus("minion", root=data_root)
    def triggers(languages, split): return [sum(map(n_labelled, corpus[x, split])) for x in languages.split()]
    assert triggers("es tr pt hi ko ja", "train") == [4830, 6700, 1404, 1265, 1333, 1298]
    assert triggers("en es pl tr pt hi ko ja", "test") == [1763, 604, 1234, 814, 200, 151, 165, 170]
    assert triggers("en pl", "train") == [1688, 1167] and not corpus["en", "dev"] and not corpus["pl", "dev"]
    assert len([n for n in corpus.notes if "no training file" in n]) == 2 and len(corpus.notes) == 2
