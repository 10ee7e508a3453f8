"""XLT-17: the same items, annotated the same way, in every language, in its script; names and trigger words do not give the test away."""
import collections, unicodedata

import pytest
import regex

from xlt_nb.core import data_dir
from xlt_nb.corpora import SPLITS
from xlt_nb.languages import LANGUAGES
from xlt_nb.readers import EVENT_TYPES, XLT17_RELATIONS, load_corpus, parse_markup, read_lines

SCRIPTS = {"ru": "Cyrillic", "uk": "Cyrillic", "ar": "Arabic", "fa": "Arabic", "hi": "Devanagari", "ko": "Hangul"}
SHARED_NAMES = 0.05 # at most this share of the test set's names occurs in the training set
ONE_TYPE = 0.75 # at most this share of the test triggers has a form that training shows, and only with that type


@pytest.fixture(scope="module")
def corpus(): return load_corpus("xlt17")


def texts(lang): # id -> plain text
    lines = [t for _, t in read_lines(data_dir()/"xlt17"/f"{lang}.txt") if t[:3].isdigit()]
    return {t[:3]: parse_markup(t[6:t.rindex("|")].strip())[0] for t in lines}


def items(corpus, lang): return {e.id: e for s in SPLITS for e in corpus[lang, s]}


def test_all_languages_have_all_items(corpus):
    assert set(corpus.languages) == set(LANGUAGES)
    for lang in LANGUAGES: assert [len(corpus[lang, s]) for s in SPLITS] == [200, 40, 120]
    assert corpus.notes == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_same_annotation_as_english(corpus, lang):
    english, here = items(corpus, "en"), items(corpus, lang)
    assert set(english) == set(here)
    for id, e in english.items():
        h = here[id]
        assert sorted(s.label for s in h.events) == sorted(s.label for s in e.events), id
        assert [s.label for s in h.entities] == [s.label for s in e.entities], id # in the order of their keys
        assert sorted(h.relations) == sorted(e.relations), id


def test_enough_of_everything(corpus):
    english = items(corpus, "en").values()
    with_type = collections.Counter(t for e in english for t in {s.label for s in e.events})
    with_relation = collections.Counter(t for e in english for t in {r.label for r in e.relations})
    assert set(with_type) == set(EVENT_TYPES) and min(with_type.values()) >= 18
    assert set(with_relation) == set(XLT17_RELATIONS) and min(with_relation.values()) >= 15
    assert 0.13 <= sum(not e.events for e in english)/360 <= 0.17 and sum(len(e.events) > 1 for e in english) >= 40
    for t in EVENT_TYPES: assert len({e.words[s.start].lower() for e in english for s in e.events if s.label == t}) >= 5, t


@pytest.mark.parametrize("lang", LANGUAGES)
def test_script_and_length(corpus, lang):
    own, english = texts(lang), texts("en")
    assert len(set(own.values())) == 360, "two items are the same"
    for id, t in own.items():
        assert unicodedata.is_normalized("NFC", t) and t == t.strip() and "  " not in t
        letters = regex.findall(r"\p{L}", t)
        script = SCRIPTS.get(lang, "Latin")
        pattern = r"[\p{Han}\p{Hiragana}\p{Katakana}ー]" if lang == "ja" else rf"\p{{{script}}}"
        assert sum(bool(regex.match(pattern, x)) for x in letters) >= 0.9*len(letters), (id, t)
        assert (0.2 if lang in ("ja", "ko") else 0.5) <= len(t)/len(english[id]) <= 2.0, (id, t)
    words = sorted(len(e.words) for e in items(corpus, lang).values())
    assert 10 <= words[180] <= 40 and words[-1] <= 60


@pytest.mark.parametrize("lang", LANGUAGES)
def test_names_do_not_cross_the_split(corpus, lang):
    names = {s: {" ".join(e.words[x.start:x.end]) for e in corpus[lang, s] for x in e.entities if x.label not in ("TIME", "LOC")} for s in ("train", "test")}
    assert len(names["train"] & names["test"]) <= SHARED_NAMES*len(names["test"])


@pytest.mark.parametrize("lang", LANGUAGES)
def test_triggers_are_not_a_word_list(corpus, lang):
    "Looking triggers up in the training set must not be enough."
    seen = collections.defaultdict(set)
    for e in corpus[lang, "train"]:
        for s in e.events: seen[" ".join(e.words[s.start:s.end]).lower()].add(s.label)
    test = [(" ".join(e.words[s.start:s.end]).lower(), s.label) for e in corpus[lang, "test"] for s in e.events]
    assert sum(seen.get(form) == {label} for form, label in test) <= ONE_TYPE*len(test)
