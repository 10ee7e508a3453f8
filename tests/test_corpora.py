"""Readers on broken and on real files."""
import json

import pytest
import regex
from hypothesis import given, settings, strategies as st

from xlt_nb.core import XltError
from xlt_nb.corpora import EVENT_TYPES, SPLITS, Example, Span, bio_labels, bio_spans, load_corpus, n_labelled, parse_item, split_words, subsample

MARK = st.sampled_from(list("[]<>|:; ab\n") + ["PER", "LOC", "Life:Die", "is-where", "[x|PER:a]", "<y|Life:Die>", "é", "東", "\u200c"])


@given(st.lists(MARK, max_size=30), st.sampled_from(["en", "ja", "fa"]))
@settings(max_examples=300, deadline=None)
def test_item_parser_raises_only_its_own_error(parts, lang):
    line = "001 | " + "".join(parts)
    try: e = parse_item("f.txt", 7, line, lang)
    except XltError as error: assert str(error).startswith("f.txt:7:")
    else:
        for s in (*e.events, *e.entities): assert 0 <= s.start < s.end <= len(e.words)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=4) | st.dictionaries(st.sampled_from(["tokens", "labels", "pageID", "x"]), x, max_size=4), max_leaves=12))
@settings(max_examples=200, deadline=None)
def test_minion_reader_raises_only_its_own_error(tmp_path_factory, row):
    folder = tmp_path_factory.mktemp("m")
    (folder/"minion"/"es").mkdir(parents=True)
    for s in SPLITS: (folder/"minion"/"es"/f"{s}.json").write_text(json.dumps(row), encoding="utf8")
    try: load_corpus("minion", ["es"], folder)
    except XltError as error: assert ".json:1: " in str(error)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(EVENT_TYPES), st.integers(0, 2)), max_size=6))
def test_bio_and_back(parts):
    spans, at = [], 0
    for length, label, gap in parts:
        spans.append(Span(at, at + length, label)); at += length + gap
    assert bio_spans([x.replace("-", "_", 1) for x in bio_labels(at, spans)]) == tuple(spans)


@given(st.text(max_size=60), st.sampled_from(["en", "hi", "fa", "ja"]))
@settings(max_examples=200, deadline=None)
def test_words_cover_the_text(text, lang):
    spans = split_words(text, lang)
    assert all(a < b for a, b in spans) and all(b <= c for (_, b), (c, _) in zip(spans, spans[1:]))
    assert "".join("".join(text[a:b].split()) for a, b in spans) == regex.sub(r"\s", "", text) or lang == "ja" or not text.isprintable()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_samples_cost_what_was_asked(sizes, seed, data):
    examples = [Example(str(i), ("w",)*5, tuple(Span(k, k + 1, "Life:Die") for k in range(n))) for i, n in enumerate(sizes)]
    cost = data.draw(st.integers(1, max(1, sum(sizes))))
    try: sample = subsample(examples, cost, seed)
    except XltError: return
    assert sum(map(n_labelled, sample)) == cost and sample == subsample(examples, cost, seed)


def test_missing_files_say_what_to_put_where(tmp_path):
    with pytest.raises(XltError, match="XLT_DATA_DIR"): load_corpus("minion", ["es"], tmp_path)
    (tmp_path/"minion"/"es").mkdir(parents=True)
    with pytest.raises(XltError, match="dev.json"): load_corpus("minion", ["es"], tmp_path)
    with pytest.raises(XltError, match="language: 'et' is not valid"): load_corpus("minion", ["et"], tmp_path)


def test_minion_as_published(data_root):
    "Sizes of the official splits, and what is odd about them."
    corpus = load_corpus("minion", root=data_root)
    triggers = lambda lang, split: sum(map(n_labelled, corpus[lang, split]))
    assert [triggers(x, "train") for x in ("es", "tr", "pt", "hi", "ko", "ja")] == [4830, 6700, 1404, 1265, 1333, 1298]
    assert [triggers(x, "test") for x in ("en", "es", "pl", "tr", "pt", "hi", "ko", "ja")] == [1763, 604, 1234, 814, 200, 151, 165, 170]
    assert [triggers(x, "train") for x in ("en", "pl")] == [1688, 1167] and not corpus["en", "dev"] and not corpus["pl", "dev"]
    assert len([n for n in corpus.notes if "no training file" in n]) == 2 and len(corpus.notes) == 2
