"""Unlabelled text: folders and their faults, samples that nothing else changes, similarities against brute force."""
import dataclasses, gzip

import numpy as np, pandas as pd, pytest, torch

from little import little_encoder
from xlt_nb.core import XltError
from xlt_nb.corpora import Corpus, Example
from xlt_nb.metric import scores_with_distances
from xlt_nb.strength import fits_without
from xlt_nb.unlabelled import (TEXT_SIMILARITIES, TextView, compare_texts, corpus_texts, judge_similarities,
                               judge_with_strength, nearest_cosines, part_of, read_texts, sample_texts,
                               text_similarity, text_states, text_windows, with_similarity)

WORDS = {"es": "Ana nació en Lima y murió en Madrid", "pt": "Ana ganó en Braga y Oporto", "it": "Mara nació murió",
         "tr": "Luis Luis en Lima", "ko": "Madrid Madrid Madrid"}


def made_up(code, n=30):
    "Sentences of some words in an order of their own; no two alike."
    words, rng = WORDS[code].split(), np.random.default_rng(sum(map(ord, code)))
    return [" ".join(rng.choice(words, 6)) + f" {k}" for k in range(n)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory): return str(little_encoder(tmp_path_factory.mktemp("encoder")/"little", "bert", layers=2))


@pytest.fixture(scope="module")
def texts(): return {code: made_up(code) for code in WORDS}


@pytest.fixture(scope="module")
def view(encoder, texts): return TextView(sample_texts(texts, 8), encoder, 2)


# Folders ---------------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    (tmp_path/"text").mkdir()
    (tmp_path/"text"/"swh.txt").write_text("Habari.\n \nAsante.\n", encoding="utf8")
    (tmp_path/"text"/"deu_Latn.txt.gz").write_bytes(gzip.compress("\ufeffGuten Tag.\r\nBis bald.".encode()))
    return tmp_path/"text"


def test_a_folder(folder):
    assert read_texts(folder) == {"de": ["Guten Tag.", "Bis bald."], "swh": ["Habari.", "Asante."]}
    assert read_texts(str(folder), ["Swahili"]) == {"sw": ["Habari.", "Asante."]}
    (folder/"._de.txt").write_bytes(b"\xff")
    (folder/"README.md").write_bytes(b"\xff")
    assert list(read_texts(folder, ["sw", "German"])) == ["sw", "de"]


BAD = [("hi.txt", b"a\nb\xff\n", r"hi\.txt:2: not UTF-8"), ("hi.txt", b"", r"hi\.txt: empty"),
       ("hi.txt", b"\n \r\n\t\n", r"hi\.txt: empty"), ("hi.txt", "a".encode("utf-16"), r"hi\.txt:1: not UTF-8"),
       ("hi.txt", "a".encode("utf-16-le"), r"hi\.txt:1: not UTF-8"), ("hi.txt.gz", b"plain", r"hi\.txt\.gz: cannot"),
       ("hi.txt.gz", gzip.compress(b"some words")[:-9], r"hi\.txt\.gz: cannot"), ("sw.txt", b"Tena.", "swh.txt and|and swh"),
       ("deu.txt", b"Tag.", "two files for one language"), ("notes.txt", b"a", r"notes\.txt: its name is no language"),
       ("swahilli.txt", b"a", "Swahili")]


@pytest.mark.parametrize("name, content, message", BAD)
def test_bad_files_are_named(name, content, message, folder):
    (folder/name).write_bytes(content)
    with pytest.raises(XltError, match=message): read_texts(folder)


def test_bad_folders_and_languages(folder, tmp_path):
    with pytest.raises(XltError, match="no folder .*tex .*nearest: text"): read_texts(tmp_path/"tex")
    with pytest.raises(XltError, match="no file like sw.txt"): read_texts(tmp_path)
    with pytest.raises(XltError, match="none of hi, ko"): read_texts(folder, ["hi", "de", "ko"])
    with pytest.raises(XltError, match="nearest: .*swh"): read_texts(folder, ["swb"])
    with pytest.raises(XltError, match="one language"): read_texts(folder, ["sw", "swh"])
    with pytest.raises(XltError, match="one string"): read_texts(folder, "sw")
    with pytest.raises(XltError, match="empty"): read_texts(folder, [])


def test_what_else_is_in_the_folder_makes_no_difference(encoder, tmp_path):
    "Bit for bit: with other files beside it, and with other candidates where the similarity is one of pairs."
    for code in ("es", "pt", "tr"): (tmp_path/f"{code}.txt").write_text("\n".join(made_up(code)))
    ask = dict(candidates=["es", "tr"], targets=["pt", "tr"], encoder=encoder, layer=1, n=8)
    before = {name: text_similarity(name, read_texts(tmp_path), **ask) for name in TEXT_SIMILARITIES}
    for code in ("it", "ko"): (tmp_path/f"{code}.txt").write_text("\n".join(made_up(code)))
    after = {name: text_similarity(name, read_texts(tmp_path), **ask) for name in TEXT_SIMILARITIES}
    for name, table in before.items(): pd.testing.assert_frame_equal(table, after[name], check_exact=True)
    more = ask | {"candidates": ["it", "tr", "es"]}
    for name in TEXT_SIMILARITIES:
        if "nearest" in name: continue
        table = text_similarity(name, read_texts(tmp_path), **more)
        pd.testing.assert_frame_equal(table.loc[["es", "tr"]], before[name], check_exact=True)


# Samples and states ----------------------------------------------------------------------------------------------------

def test_samples(texts):
    sample = sample_texts(texts, 9, 3)
    assert all(len(set(s)) == 9 and set(s) <= set(texts[code]) for code, s in sample.items())
    assert sample_texts({"pt": texts["pt"][::-1]*2}, 9, 3)["pt"] == sample["pt"]
    assert sample_texts(texts, 4, 3)["pt"] == sample["pt"][:4] != sample_texts(texts, 4, 4)["pt"]
    for n in (0, -1, 2.0, "5", None):
        with pytest.raises(XltError, match="n: "): sample_texts(texts, n)


def test_corpora_give_words_without_labels():
    example = Example("1", ("Ana", "nació"), tags=("PROPN", "VERB"))
    corpus = Corpus("little", {("es", "train"): [example], ("es", "test"): [Example("2", ("Luis",))]}, {})
    assert corpus_texts(corpus) == corpus_texts(corpus, ["Spanish"]) == {"es": [("Ana", "nació")]}
    with pytest.raises(XltError, match="none of pt"): corpus_texts(corpus, ["pt"])


def test_states(encoder, texts):
    few = {code: texts[code][:4] for code in ("es", "pt", "ko")}
    states, windows = text_states(few, encoder, 2), text_windows(few, encoder)
    for code, x in states.items():
        assert x.dtype == np.float32 and len(x) == sum((w.word_ids >= 0).sum() for w in windows[code])
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=0.01)
        np.testing.assert_array_equal(x, text_states({code: few[code]}, encoder, 2)[code])
    split = {"es": [tuple(s.split()) for s in few["es"]]}
    np.testing.assert_array_equal(states["es"], text_states(split, encoder, 2)["es"])
    centred = text_states(few, encoder, 2, centre=True)
    assert not np.allclose(centred["es"], states["es"])
    with pytest.raises(XltError, match="layers: 0 to 3"): text_states(few, encoder, 3)
    with pytest.raises(XltError, match="layer: '2'"): text_states(few, encoder, "2")


# Similarities ----------------------------------------------------------------------------------------------------------

def brute_force(states, candidates, target, k):
    "Share of each candidate in the k nearest of the target's tokens, one by one, over all tokens at once."
    others = [c for c in candidates if c != target]
    owner = np.concatenate([[c]*len(states[c]) for c in others])
    every = np.concatenate([states[c] for c in others])
    found = dict.fromkeys(others, 0.0)
    for token in states[target]:
        cosines = every @ token
        for c in owner[np.argsort(-cosines)[:k]]: found[c] += 1/k/len(states[target])
    return found


@pytest.mark.parametrize("name, k", [("nearest tokens", 1), ("ten nearest tokens", 10)])
def test_nearest_tokens_are_those_of_brute_force(name, k):
    "On states without equals."
    rng = np.random.default_rng(0)
    view = TextView({})
    x = {code: rng.normal(size=(20 + i, 6)).astype(np.float32) for i, code in enumerate(WORDS)}
    unit = {code: torch.from_numpy(v/np.linalg.norm(v, axis=1, keepdims=True)) for code, v in x.items()}
    view.__dict__["states"] = {code: v.bfloat16().float().numpy() for code, v in unit.items()} # as states are
    table = compare_texts(name, view, WORDS, WORDS)
    for target in WORDS:
        expected = pd.Series(brute_force(view.states, WORDS, target, k))
        np.testing.assert_allclose(table[target].drop(target), expected[table.index.drop(target)], atol=0.011)
    np.testing.assert_allclose(table.sum(), 1)


def test_equals_share(view):
    "A token that two candidates have alike counts half for each."
    alike = dataclasses.replace(view, texts={})
    states = view.states
    alike.__dict__["states"] = {"es": states["es"], "pt": states["es"], "it": states["es"], "ko": states["ko"]}
    table = compare_texts("nearest tokens", alike, ["pt", "it", "ko"], ["es"])
    assert table.es["pt"] == table.es["it"] > 2*table.es["ko"] and table.es.sum() == pytest.approx(1)


def test_some_candidates_only(view):
    some = compare_texts("nearest tokens", view, ["tr", "es"], ["pt"])
    assert list(some.index) == ["tr", "es"] and np.isclose(some.pt.sum(), 1)


def test_long_texts_are_cut_without_a_difference(view, monkeypatch):
    codes = list(WORDS)
    whole = nearest_cosines(view.states, codes, codes, 3)
    monkeypatch.setattr("xlt_nb.unlabelled._ROWS", 7)
    cut = nearest_cosines(view.states, codes, codes, 3)
    for code in codes: np.testing.assert_allclose(whole[code], cut[code], atol=1e-6)


def test_others_by_their_definitions(view):
    x, pieces = view.states, view.pieces
    at = {name: compare_texts(name, view, ["es"], ["pt"]).iloc[0, 0] for name in TEXT_SIMILARITIES}
    a, b = x["es"].mean(0), x["pt"].mean(0)
    assert at["mean state"] == pytest.approx(a @ b/np.linalg.norm(a)/np.linalg.norm(b), abs=1e-5)
    moments = [sum(np.outer(row, row) for row in x[c])/len(x[c]) for c in ("es", "pt")]
    assert at["state distance"] == pytest.approx(-np.linalg.norm(moments[0] - moments[1]), abs=1e-5)
    assert at["subword overlap"] == pytest.approx(np.mean([p in set(pieces["es"]) for p in pieces["pt"]]))


@pytest.mark.parametrize("name", TEXT_SIMILARITIES)
def test_order_makes_no_difference(name, view):
    codes = list(WORDS)
    a, b = compare_texts(name, view, codes, codes), compare_texts(name, view, codes[::-1], codes[::-1])
    pd.testing.assert_frame_equal(a, b.loc[codes, codes], check_exact=False, atol=1e-9)
    assert np.isnan(np.diag(a)).all() and a.isna().to_numpy().sum() == len(codes)


def test_overlap_runs_no_encoder(texts, encoder, monkeypatch):
    def forbidden(*args, **kwargs): raise AssertionError("states were computed")
    monkeypatch.setattr("xlt_nb.unlabelled.Features", forbidden)
    assert text_similarity("subword overlap", texts, ["es"], ["pt"], encoder, n=5).notna().all(axis=None)
    with pytest.raises(AssertionError): text_similarity("mean state", texts, ["es"], ["pt"], encoder, 1, n=5)


def test_bad_questions(texts, encoder):
    ask = dict(encoder=encoder, layer=1, n=5)
    with pytest.raises(XltError, match="nearest: nearest tokens"): text_similarity("nearst tokens", texts, ["es"], ["pt"], **ask)
    with pytest.raises(XltError, match="none of de"): text_similarity("mean state", texts, ["es", "de"], ["pt"], **ask)
    with pytest.raises(XltError, match="has 30"): text_similarity("mean state", texts, ["es"], ["pt"], encoder, 1, n=31)
    with pytest.raises(XltError, match="named twice"): text_similarity("mean state", texts, ["es", "spa"], ["pt"], **ask)
    with pytest.raises(XltError, match="one language"): text_similarity("mean state", texts, ["ara"], ["arb"], **ask)
    assert text_similarity("mean state", texts, ["spa"], ["por", "es"], **ask).columns.tolist() == ["pt", "es"]


# Judging ---------------------------------------------------------------------------------------------------------------

def test_the_judge():
    "A similarity that is the matrix chooses the best; one that is its opposite, the worst; a tie, the mean."
    codes = ["es", "pt", "it", "tr", "ko"]
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.uniform(20, 80, (5, 5)), codes, codes)
    m = scores_with_distances(scores)[0]
    found = judge_similarities(m, {"best": scores, "worst": -scores, "any": 0*scores})
    mean = found.groupby("method")[["regret", "hit", "ndcg"]].mean()
    assert mean.loc["best"].tolist() == pytest.approx([0, 1, 100]) and mean.hit["worst"] == 0 and mean.hit["any"] == pytest.approx(0.25)
    off = scores.where(~np.eye(5, dtype=bool))
    assert mean.regret["any"] == pytest.approx((off.max() - off.mean()).mean())
    part = part_of(m, ["pt", "ko", "tr", "es"])
    assert set(part.labels) == {"es", "pt", "tr", "ko"} and [c for c in m.labels if c in part.labels] == list(part.labels)
    expected = scores.loc[list(part.labels), list(part.labels)].to_numpy()
    np.testing.assert_allclose(part.y, np.where(np.eye(4, dtype=bool), np.nan, expected))
    assert list(part.x) == list(m.x) and part.x["genetic"].shape == (4, 4)
    table = scores.loc[list(m.labels), list(m.labels)].where(~np.eye(5, dtype=bool))
    far = with_similarity(m, "mine", table).x["mine"]
    assert (np.diag(far) == 0).all() and np.ptp((far + table).to_numpy()[~np.eye(5, dtype=bool)]) < 1e-9


def test_what_is_fitted_has_not_seen_the_target():
    "Other scores of a target, as source and as target, choose the same source for it by strength and text."
    codes = ["es", "pt", "it", "tr", "ko", "de"]
    rng = np.random.default_rng(1)
    scores = pd.DataFrame(rng.uniform(20, 80, (6, 6)), codes, codes)
    near = pd.DataFrame(rng.uniform(0, 1, (6, 6)), codes, codes)
    other = scores.copy()
    other.loc["tr"], other["tr"] = scores.loc["tr"].sample(frac=1, random_state=0).to_numpy(), 100 - scores["tr"]
    chosen = []
    for table in (scores, other):
        m = with_similarity(scores_with_distances(table)[0], "near", near)
        fit = fits_without(m, [("tr",)])[frozenset(["tr"])]
        chosen.append(np.nan_to_num(fit.strength) - fit.cost[0]*m.x["near"][:, m.labels.index("tr")])
    np.testing.assert_allclose(*chosen)
    found = judge_with_strength(m, "strength + near")
    assert set(found.method) == {"strength + near"} and set(found.target) == set(codes)
