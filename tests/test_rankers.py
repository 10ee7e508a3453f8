"""Learned rankers: what is left out is not seen, the same rows give the same ranker, what was put in is found, bad input is named."""
import builtins
from dataclasses import replace

import numpy as np, pandas as pd, pytest

from xlt_nb.core import XltError, tables_dir
from xlt_nb.languages import LANGUAGES, language, uriel_codes
from xlt_nb.metric import scores_with_distances
from xlt_nb.rankers import (PAIR_FEATURES, RANKERS, compare_choices, fit_ranker, judge_lesson, pair_features, ranked_pairs,
                            register_pair_feature, shared_vocabulary_table, take_lesson, vocabulary_table)
from xlt_nb.strength import BOTH, FACTS, choice_scores

FEW = ("en", "es", "de", "tr", "ja", "hi", "pt", "fi", "sw")


def made_up(languages=FEW, noise=0.2, seed=0, corpus="made up"):
    "A matrix in which syntactic distance and the source's text decide."
    rng, n = np.random.default_rng(seed), len(languages)
    d, text = (pair_features(languages, languages, [name])[..., 0] for name in ("syntactic", "own text, source"))
    y = 60 + 3*text - 25*d + rng.normal(0, 5, n) + rng.normal(0, noise, (n, n))
    return replace(scores_with_distances(pd.DataFrame(y, languages, languages))[0], key=("toy", corpus, "e"))


@pytest.fixture(scope="module")
def m(): return made_up()


def poisoned(m, codes):
    "The same with nonsense as the scores of some languages, as sources and as targets."
    gone = np.isin(m.labels, codes)
    runs = np.where(gone[:, None] | gone, -1e4, m.runs)
    return replace(m, runs=np.where(np.isfinite(m.runs), runs, np.nan))


@pytest.mark.parametrize("name", RANKERS)
def test_left_out_languages_never_enter(name, m):
    out, spoilt = ["tr", "ja"], poisoned(m, ["tr", "ja"])
    a, b = (fit_ranker(name, [x], out).table(FEW, out) for x in (m, spoilt))
    pd.testing.assert_frame_equal(a, b)
    assert not fit_ranker(name, [spoilt]).table(FEW, out).equals(a), "the poison would be seen"


def test_a_language_is_left_out_by_any_of_its_names(m):
    assert "tr" in set(ranked_pairs([m]).target)
    for name in ("tr", "tur", "Turkish"): assert "tr" not in set(ranked_pairs([m], [name]).target)
    both = made_up((*FEW, "no", "ar"))
    assert not {"no", "ar"} & set(ranked_pairs([both], ["nb", "arb"]).target), "the variety of a macrolanguage"


def test_no_way_to_choose_sees_what_a_lesson_leaves_out(m):
    out = ["tr", "ja"]
    a, b = (take_lesson([x], out) for x in (m, poisoned(m, out)))
    assert a.predicted.equals(b.predicted) and np.array_equal(a.fit.cost, b.fit.cost)
    assert np.array_equal(a.fit.strength, b.fit.strength, equal_nan=True)
    first, second = (judge_lesson(m, lesson, "x") for lesson in (a, b))
    pd.testing.assert_frame_equal(first, second)
    assert set(first.target) == set(out)


def test_strength_is_that_for_other_targets(m):
    "What a row's own target scored, in any matrix, does not enter its strength."
    from xlt_nb.rankers import _strength_elsewhere
    pair, k = [m, made_up(seed=1)], m.labels.index("tr")
    def without_target(x): return replace(x, runs=np.where((np.arange(len(FEW)) == k) & np.isfinite(x.runs), 7.0*x.runs, x.runs))
    rows, other = ranked_pairs(pair), ranked_pairs([without_target(x) for x in pair])
    scale = [np.sqrt(np.square(r.score[r.target != "tr"]).mean()) for r in (rows, other)]
    own = rows.target == "tr"
    a, b = (_strength_elsewhere(r)[0][own]/s for r, s in zip((rows, other), scale))
    assert own.any() and np.corrcoef(a, b)[0, 1] > 0.99
    assert _strength_elsewhere(rows)[1].index.tolist() == sorted(FEW)


@pytest.mark.parametrize("name", RANKERS)
def test_the_same_rows_give_the_same_ranker(name, m):
    a, b = (fit_ranker(name, [m, made_up(seed=1)]).table(FEW, ["fa"]) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.parametrize("name", RANKERS)
def test_the_order_that_was_put_in_is_found(name):
    "Two languages that the ranker has not seen."
    out, m = ["pt", "ko"], made_up(LANGUAGES)
    kept = [code for code in LANGUAGES if code not in out]
    found, truth = fit_ranker(name, [m], out).table(kept, out), pd.DataFrame(m.y, m.labels, m.labels).loc[kept, out]
    assert (found.corrwith(truth, method="spearman") > 0.7).all()
    assert all(choice_scores(truth[code], found[code])[0] < 3 for code in out)


@pytest.mark.parametrize("name", RANKERS)
def test_languages_of_which_little_is_known(name, m):
    "No text, no words, no examples: still a score; only the language itself has none."
    table = fit_ranker(name, [m]).table(["hsb", "quz", "en"], ["en", "quz"])
    assert table.isna().to_numpy().tolist() == [[False, False], [False, True], [True, False]]
    assert np.isfinite(fit_ranker(name, [m], features=["word overlap", "examples"]).table(["hsb"], ["en"])).all(axis=None)


def test_ridge_takes_the_mean_for_what_is_not_known(m):
    ranker = fit_ranker("ridge", [m], features=["syntactic", "word overlap"])
    x = pair_features(["es"], ["pt"], ranker.features)[0]
    rows = ranked_pairs([m], features=ranker.features)
    missing, mean = x.copy(), x.copy()
    missing[:, 1], mean[:, 1] = np.nan, np.nanmean(rows.x[:, 1], dtype=float)
    assert np.allclose(ranker.fit.score(missing, ["es"]), ranker.fit.score(mean, ["es"]), atol=1e-5)


def test_sizes_where_they_are_known(m):
    sizes = {code: 100*(k + 1) for k, code in enumerate(FEW)}
    ranker = fit_ranker("ridge", [m], features=["examples", "syntactic"], sizes={m.name: sizes})
    a, b = (ranker.table(["es", "de"], ["fr"], {"es": n})["fr"] for n in (10, 10_000))
    assert a["es"] != b["es"] and a["de"] == b["de"]


def test_relevance_is_that_of_ndcg(m):
    "The ten best sources of a target are worth 10 to 1; equal scores are worth the same."
    wide = made_up(LANGUAGES)
    rows = ranked_pairs([wide])
    for k in (0, 5):
        score, relevance = (v[rows.group == k] for v in (rows.score, rows.relevance))
        assert relevance[np.argsort(-score)].tolist() == [*range(10, 0, -1), *[0]*6]
    flat = replace(m, runs=np.where(np.isfinite(m.runs), 50.0, np.nan))
    assert set(ranked_pairs([flat]).relevance) == {10}


def test_what_comes_in_parts_is_what_comes_at_once(m):
    ranker = fit_ranker("ridge", [m])
    many = sorted(uriel_codes())[:300]
    whole = ranker.table(many, ["en", "sw"])
    for part in (many[:2], many[254:258], many[-2:]):
        np.testing.assert_allclose(ranker.table(part, ["sw"]), whole.loc[[language(c).code for c in part], ["sw"]], atol=1e-6)


def test_every_fact_is_a_feature_of_both_sides():
    for name in FACTS: assert {f"{name}, source", f"{name}, target"} <= set(PAIR_FEATURES)
    x = pair_features(FEW, ["pt", "ko"])
    alone = [name.endswith(", target") for name in PAIR_FEATURES]
    assert np.array_equal(x[:1, :, alone].repeat(len(FEW), 0), x[..., alone], equal_nan=True)


def test_a_feature_registered_again_is_used(m):
    "Nothing of the old one is kept."
    register_pair_feature("mine", "first")(lambda v: np.zeros((len(v.sources), 1)))
    before = ranked_pairs([m], features=["mine"]).x
    register_pair_feature("mine", "second")(lambda v: np.ones((len(v.sources), 1)))
    assert (before == 0).all() and (ranked_pairs([m], features=["mine"]).x == 1).all()
    del PAIR_FEATURES["mine"]


@pytest.mark.parametrize("call, said", [
    (lambda m: fit_ranker("Lambdarank", [m]), "nearest: LambdaRank"), (lambda m: fit_ranker("ridge", []), "nothing to learn"),
    (lambda m: fit_ranker("ridge", [m], "tr"), "without: 'tr' is one string"), (lambda m: fit_ranker("ridge", [m], ["zzzz"]), "zzzz"),
    (lambda m: fit_ranker("ridge", [m], FEW), "without 9 languages"), (lambda m: fit_ranker("ridge", [m], features=["sintactic"]), "nearest: syntactic"),
    (lambda m: fit_ranker("ridge", [m], features=[]), "empty"), (lambda m: fit_ranker("ridge", [m], sizes={"toi": {}}), "sizes: 'toi'"),
    (lambda m: fit_ranker("ridge", [m], sizes={m.name: {"en": -1}}), "not a number above 0"),
    (lambda m: fit_ranker("ridge", [m]).table("es", ["pt"]), "one string"), (lambda m: fit_ranker("ridge", [m]).table([], ["pt"]), "empty"),
    (lambda m: fit_ranker("ridge", [m]).table(["es", "es"], ["pt"]), "twice"), (lambda m: fit_ranker("ridge", [m]).table(["es"], ["gallician"]), "Galician"),
    (lambda m: take_lesson([m], ["tr"], rankers=["rigde"]), "nearest: ridge")])
def test_bad_input_is_named(call, said, m):
    with pytest.raises(XltError, match=said): call(m)


def test_without_lightgbm_one_sentence_says_what_brings_it(m, monkeypatch):
    real = builtins.__import__
    def no_lightgbm(name, *args, **kwargs):
        if name == "lightgbm": raise ImportError("No module named 'lightgbm'")
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, "__import__", no_lightgbm)
    with pytest.raises(XltError, match="pip install lightgbm==") as e: fit_ranker("LambdaRank", [m])
    assert "\n" not in str(e.value)
    assert fit_ranker("ridge", [m]).name == "ridge"


def test_comparison_counts_groups_and_draws_languages_once():
    "Two matrices of one test set have one vote; a way to choose saves nothing against itself."
    rows = []
    for corpus, encoder, regret in (("a", "e", 1.0), ("b", "e", 4.0), ("b", "f", 2.0)):
        for target in "en", "es", "de":
            for method, value in (("mine", regret), (BOTH, 5.0), ("random", 10.0)):
                rows.append(("toy", corpus, encoder, "x", target, method, value, 100 - value))
    judged = pd.DataFrame(rows, columns="task corpus encoder by target method regret ndcg".split())
    for name in ("predicted strength + nearness", "strength", "nearness"):
        judged = pd.concat([judged, judged[judged.method == BOTH].assign(method=name)])
    found = compare_choices(judged, 50).set_index("method")
    assert found.left["mine"] == 20 and found.saved_both["mine"] == 30 and found.saved_both[BOTH] == 0
    assert found.low_both["mine"] == found.high_both["mine"] == 30 and found.targets["mine"] == 3
    assert found.ndcg["mine"] == 98 and found.ndcg_both["mine"] == found.low_ndcg_both["mine"] == 3


def test_words_of_the_committed_tables():
    words, shared = vocabulary_table(), shared_vocabulary_table()
    assert (words.types <= words.words).all() and not {"th", "zh", "my"} & set(words.language)
    assert (shared.a < shared.b).all() and not shared.duplicated(["a", "b"]).any()
    assert shared[["words", "subwords"]].stack().dropna().between(0, 0.5).all()
    for code in {*words.language, *shared.a}: assert language(code).code == code


def test_the_committed_comparison_covers_all_questions():
    compared, choice = (pd.read_csv(tables_dir()/f"rankers_{name}.csv") for name in ("compared", "choice"))
    assert set(compared.by) == set(choice.by) == {"matrix", "language", "task", "own"}
    for by, part in compared.groupby("by"):
        assert set(RANKERS) | {BOTH, "English", "random"} <= set(part.method)
        assert (part.low <= part.left).all() and (part.left <= part.high).all()
    assert set(pd.read_csv(tables_dir()/"rankers_features.csv").feature) == {*PAIR_FEATURES, "measured strength"}


def test_a_lesson_leaves_out_a_language_by_any_of_its_names():
    "Strength and distances are fitted without it too, not the rankers alone."
    from xlt_nb.rankers import take_lesson
    from xlt_nb.strength import evidence_matrices
    some = evidence_matrices(own=False)[-1:]
    named, coded = (take_lesson(some, [x], rankers=["ridge"]) for x in ("Turkish", "tr"))
    whole = take_lesson(some, [], rankers=["ridge"])
    assert named.without == coded.without == {"tr"} and np.array_equal(named.fit.cost, coded.fit.cost)
    assert not np.array_equal(named.fit.cost, whole.fit.cost)
