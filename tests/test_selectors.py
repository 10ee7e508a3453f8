"Selectors of sources: any question gets an answer of the right form, and no answer rests on what it may not know."
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xlt_nb.core import XltError
from xlt_nb.languages import LANGUAGES, SEVENTEEN
from xlt_nb.selection import add_greedily, facility_location
from xlt_nb.selectors import (SELECTORS, applicable, ask, best_member, judge_selectors, register_selector, select, share_out,
    target_groups)
from xlt_nb.strength import load_source_model

MODEL = load_source_model()
FIXED = {"English only": 1, "all candidates": None} # whatever k is
codes = st.lists(st.sampled_from([*LANGUAGES, "sw", "yo", "th", "eu", "qu", "zu"]), min_size=1, max_size=8, unique=True)


def knowledge(candidates, targets, seed) -> dict:
    rng = np.random.default_rng(seed)
    runs = pd.DataFrame(rng.random((len(candidates), len(targets))), list(candidates), list(targets))
    numbers = dict(zip(candidates, rng.random(len(candidates)) + 1))
    return dict(model=MODEL, sizes=numbers, elsewhere=numbers, observed=runs, cheap=runs,
                sets=lambda s: runs.loc[list(s)].max().mean())


@settings(max_examples=25, deadline=None)
@given(codes, codes, st.integers(0, 3), st.data())
def test_any_question_is_answered(candidates, targets, seed, data):
    "k different candidates, and a servant among them for every target."
    k = data.draw(st.integers(1, len(candidates)))
    question = ask(candidates, targets, k, seed, **knowledge(candidates, targets, seed))
    for name in applicable(question):
        chosen = select(name, question)
        assert len(set(chosen.sources)) == len(chosen.sources) == (FIXED.get(name, k) or len(candidates)), name
        assert set(chosen.sources) <= set(candidates), name
        assert list(chosen.reasons.target) == list(targets), name
        served = set(itertools.chain.from_iterable(x.split(", ") for x in chosen.reasons.source))
        assert served <= set(chosen.sources), name
        again = select(name, question)
        assert again.sources == chosen.sources and again.reasons.equals(chosen.reasons), name


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 99), st.data())
def test_facility_location_is_exact(n, m, seed, data):
    costs = pd.DataFrame(np.random.default_rng(seed).integers(0, 5, (n, m)), [f"c{i}" for i in range(n)]).astype(float)
    k = data.draw(st.integers(1, n))
    chosen, cost, bound = facility_location(costs, k)
    best = min(costs.loc[list(s)].min().sum() for s in itertools.combinations(costs.index, k))
    assert cost == best == bound == costs.loc[list(chosen)].min().sum()
    greedy = add_greedily(costs, k)
    assert len(set(greedy)) == k and costs.loc[list(greedy)].min().sum() >= cost


def test_oracle_is_never_beaten():
    question = ask(LANGUAGES[:7], LANGUAGES[9:], 3, **knowledge(LANGUAGES[:7], LANGUAGES[9:], 1))
    value = question.known["sets"]
    best = value(select("oracle", question).sources)
    assert all(value(select(n, question).sources) <= best + 1e-12 for n in applicable(question) if n not in FIXED)


@pytest.mark.parametrize("given, message", [
    (dict(candidates="en"), "give a list"), (dict(candidates=["en", "eng"]), "twice"), (dict(k=3), "from 1 to 2"),
    (dict(k=True), "from 1 to 2"), (dict(targets=["Frensh"]), "nearest"), (dict(model=None, sizes={"en": 1}), "no number for 'de'"),
    (dict(observed=pd.DataFrame({"fr": [1.0]}, ["en"])), "no row 'de'"), (dict(observed=[1]), "a table is needed")])
def test_bad_questions(given, message):
    with pytest.raises(XltError, match=message): ask(**dict(candidates=["en", "de"], targets=["fr"]) | given)


def test_a_selector_of_ones_own():
    @register_selector("last", "the last ones", needs=["sizes"])
    def last(q): return q.candidates[-q.k:], None
    try:
        question = ask(["en", "de"], ["fr"], sizes={"en": 1, "de": 1})
        assert select("last", question).sources == ("de",) and "last" in applicable(question)
        assert "last" not in applicable(ask(["en"], ["fr"]))
    finally: del SELECTORS["last"]
    with pytest.raises(XltError, match="nearest: sizes"): register_selector("x", "y", needs=["size"])


class Toy: # a matrix
    labels = tuple(LANGUAGES)
    mask = ~np.eye(17, dtype=bool)


def test_targets_are_no_candidates_and_each_is_asked_once():
    groups = target_groups(Toy, 4, seed=3)
    asked = list(itertools.chain.from_iterable(t for _, t in groups))
    assert len(asked) == len(set(asked)) == 16 and all(len(t) == 4 for _, t in groups)
    assert all(set(c) == set(SEVENTEEN) - set(t) for c, t in groups)


def test_judged_by_the_best_member():
    scores = pd.DataFrame({"a": [1.0, 5, 3], "b": [9.0, 2, 4]}, ["en", "de", "fr"])
    told = judge_selectors(ask(["en", "de", "fr"], ["es", "pt"], 2, observed=scores.set_axis(["es", "pt"], axis=1)),
                           scores.set_axis(["es", "pt"], axis=1)).set_index("selector")
    assert told.best.eq(7).all() and told.value["observed transfer"] == 7 and told.value["English only"] == 5
    assert best_member(scores, ["fr"]).tolist() == [3, 4]


@given(st.integers(1, 500), st.lists(st.integers(0, 90), min_size=1, max_size=6))
def test_budgets_are_spent_as_far_as_there_is_something(budget, most):
    sizes = dict(zip(LANGUAGES, most))
    shares = share_out(budget, list(sizes), sizes)
    assert sum(shares.values()) == min(budget, sum(most)) and all(0 <= shares[c] <= sizes[c] for c in sizes)
    free = max((shares[c] for c in sizes), default=0)
    assert all(shares[c] == sizes[c] or free - shares[c] <= 1 for c in sizes)
