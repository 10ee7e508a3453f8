"""Strength and nearness: choices scored over ties, strength predicted without the language, committed tables made again."""
import itertools, json

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from xlt_nb.core import XltError, data_dir, tables_dir
from xlt_nb.languages import LANGUAGES, language
from xlt_nb.scores import read_scores
from xlt_nb.metric import scores_with_distances
from xlt_nb.strength import (BOTH, CHOICE_SCORES, CHOOSERS, FACTS, choice_scores, choice_table, evidence_matrices, fit_sources,
    fit_strength, fits_without, group_of, judge_choices, language_facts, load_source_model, pool_fits, pretraining_gib,
    rank_sources, subwords_table)

SMALL = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=3, max_size=6)


@settings(max_examples=60, deadline=None)
@given(SMALL)
def test_ties_count_as_the_mean_over_all_orders(cells):
    "Regret and hits of a choice with equal numbers are those of a source drawn among the first."
    value, by = map(np.array, zip(*cells))
    first = np.flatnonzero(by == by.max())
    regret, hit, ndcg = choice_scores(value, by)
    assert np.isclose(regret, np.mean([value.max() - value[k] for k in first]))
    assert np.isclose(hit, np.mean([value[k] == value.max() for k in first]))
    assert 0 <= ndcg <= 100 + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_ndcg_over_ties_is_the_mean_over_orders(seed):
    rng = np.random.default_rng(seed)
    value, by = rng.permutation(5)*1.0, rng.integers(0, 2, 5)
    orders = [by + np.array(p)/100 for p in itertools.permutations(range(5))]
    assert np.isclose(choice_scores(value, by)[2], np.mean([choice_scores(value, o)[2] for o in orders]))


def test_a_strength_is_predicted_without_the_language():
    "What is said of a measured language does not move when its own strength does, at the same penalty."
    from xlt_nb.strength import _left_out
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(12, 3)), rng.normal(size=12)
    _, without = _left_out(z - z.mean(0), y, 1.0)
    for k in range(12):
        kept = np.arange(12) != k
        x, mean = (z - z.mean(0))[kept], y[kept].mean()
        centred = x - x.mean(0)
        coefs = np.linalg.solve(centred.T @ centred + np.eye(3), centred.T @ (y[kept] - mean))
        assert abs(((z - z.mean(0))[k] - x.mean(0)) @ coefs + mean - without[k]) < 1e-8


def test_facts_that_are_missing_say_nothing():
    facts = pd.DataFrame({"a": [1.0, 2, 3, np.nan], "b": [0.0, 0, 0, 0]})
    model, predicted = fit_strength(facts, [1.0, 2, 3, np.nan])
    assert np.isfinite(predicted).all() and np.isclose(predicted[3], 2) and model.coefs[1] == 0


def test_sizes_of_pretraining_text_are_of_known_languages_and_stand_once():
    table = pd.read_csv(data_dir()/"languages"/"cc100.csv", keep_default_na=False)
    codes = [language(code).code for code in table.code]
    assert len(set(codes)) == len(table) > 90 and (table.gib > 0).all()
    assert all(pretraining_gib(code) > 0 for code in LANGUAGES)
    assert {"en", "fr"} <= {language(c).code for c in subwords_table().language}


def test_facts_of_one_language_do_not_depend_on_the_others():
    every = language_facts(["en", "sw", "hsb", "quz"])
    for code in every.index: pd.testing.assert_series_equal(language_facts([code]).loc[code], every.loc[code])


def test_pooling_gives_a_group_one_vote_however_many_matrices_it_has():
    m = next(m for m in evidence_matrices(published=False) if m.key[1] == "xlt17")
    a, b = fit_sources(m), fit_sources(m, ["ko", "ja"])
    once, often = (pool_fits([a, *[b]*n], ["a", *["b"]*n], m.labels) for n in (1, 5))
    assert np.allclose(once.strength, often.strength, equal_nan=True) and np.allclose(once.cost, often.cost)


@pytest.mark.parametrize("task", ["events", "relations"])
def test_committed_choices_are_those_of_the_committed_scores(task):
    "The table of regrets belongs to the tables of transfer that stand beside it."
    table = pd.read_csv(tables_dir()/"choice.csv")
    scores = read_scores()
    part = scores[(scores.task == task) & (scores.corpus == "xlt17") & (scores.encoder == "multilingual-e5-small")]
    m = scores_with_distances(part)[0]
    fits = {m.name: fits_without(m, [(code,) for code in m.labels])}
    made = choice_table(judge_choices(m, "language", fits), 50).set_index("method")
    kept = table[(table.task == task) & (table.corpus == "xlt17") & (table.encoder == m.key[2]) & (table.by == "language")]
    kept = kept.set_index("method")
    assert set(kept.index) == set(CHOOSERS)
    assert np.allclose(kept[list(CHOICE_SCORES)], made.loc[kept.index, list(CHOICE_SCORES)], atol=2e-4)


def test_choices_cover_all_evidence():
    table = pd.read_csv(tables_dir()/"choice.csv")
    seen = set(zip(table.task, table.corpus, table.encoder))
    assert seen == {m.key for m in evidence_matrices()}
    groups = {group_of(key) for key in seen}
    assert {"wikiann", "ud", "massive", "xlt17"} <= groups
    both = table[table.method == BOTH]
    assert (both.low <= both.regret).all() and (both.regret <= both.high).all()


def test_the_carried_model_knows_where_it_comes_from():
    "Matrices, package and date; any language of URIEL as a candidate."
    record = json.loads((data_dir()/"source_model.json").read_text())
    assert record["package"] and record["date"]
    model = load_source_model()
    assert set(model.data) == {m.name for m in evidence_matrices()} and set(model.prior.names) == set(FACTS)
    ranked = rank_sources(model, "quz", ["es", "en", "ayr", "sw"])
    assert np.isfinite(ranked).all(axis=None) and ranked.expected.max() == 0


@pytest.mark.parametrize("change, said", [({"cost": [-1.0]}, "cost"), ({"spread": 0.0}, "spread"), ({"prior": {}}, "prior"), ({"kinds": []}, "lengths"), ({"extra": 1}, "extra")])
def test_a_spoilt_model_is_refused_with_its_field(tmp_path, change, said):
    record = json.loads((data_dir()/"source_model.json").read_text())
    record["presets"]["all"] |= change
    (tmp_path/"m.json").write_text(json.dumps(record))
    with pytest.raises(XltError, match=said): load_source_model(path=tmp_path/"m.json")
    (tmp_path/"m.json").write_text("{")
    with pytest.raises(XltError, match="JSON"): load_source_model(path=tmp_path/"m.json")
