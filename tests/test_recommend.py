"`recommend`: the best set by its own measure, clear refusals, files that can be read again."
import itertools, json, math

import numpy as np
import pandas as pd
import pytest

from xlt_nb.cli import main
from xlt_nb.core import XltError
from xlt_nb.recommend import recommendation_text, load_calibration, recommend, save_recommendation
from xlt_nb.strength import expected_points, load_source_model

SOME = ["en", "de", "es", "tr", "ko", "hi", "id", "ru", "ar"]
TARGETS = ["sw", "gl", "uz", "ne"]


@pytest.mark.parametrize("objective", ["mean", "worst"])
@pytest.mark.parametrize("have", [{}, {"tr": 100}])
def test_no_set_is_expected_to_do_better(objective, have):
    found = recommend(TARGETS, 2, candidates=SOME, already=have, objective=objective)
    points = expected_points(load_source_model(), SOME, TARGETS)
    behind = points - points.max()
    def value(s):
        each = behind.loc[[*s, *have]].max()
        return each.mean() if objective == "mean" else each.min()
    every = {s: value(s) for s in itertools.combinations([c for c in SOME if c not in have], 2)}
    assert math.isclose(value(found.sets.sources[0]), max(every.values()), abs_tol=1e-9)
    top = sorted(every.values(), reverse=True)[:len(found.sets)]
    assert np.allclose(found.sets.behind, top) and set(found.targets.source) <= {*found.sets.sources[0], *have}


def test_weights_budget_and_parts():
    heavy = recommend(["ne", "gl"], 1, 301, candidates=SOME, weights={"ne": 1000})
    light = recommend(["ne", "gl"], 1, 301, candidates=SOME, weights={"ne": 0.001})
    assert heavy.sets.sources[0] == recommend(["ne"], 1, candidates=SOME).sets.sources[0] != light.sets.sources[0]
    assert heavy.sets.amounts[0] == {heavy.sets.sources[0][0]: 301}
    of = load_source_model().of(heavy.sources.source)
    assert np.allclose(heavy.sources.strength, of.strength*load_source_model().spread)


def test_languages_that_no_run_knows_are_said_to_be_guessed():
    found = recommend(["xmf"], 1, candidates=["lzz", "uum"])
    assert (found.sources.matrices == 0).all() and any("predicted from facts" in n for n in found.notes)


def test_more_than_can_be_tried_are_climbed():
    everyone = list(load_source_model().strength)
    found = recommend(TARGETS, 6, candidates=[c for c in everyone if c not in TARGETS])
    assert len(found.sets.sources[0]) == 6 and found.sets.behind.is_monotonic_decreasing


@pytest.mark.parametrize("given, message", [
    (dict(targets=[]), "targets: .*empty"), (dict(targets=["swahilli"]), "nearest"), (dict(k=0), "k: 0"), (dict(k=2.5), "k: 2.5"),
    (dict(budget=-1), "budget"), (dict(objective="best"), "objective"), (dict(weights={"en": 1}), "weights: 'en'"),
    (dict(weights={"sw": -1}), "above 0"), (dict(already={"en": "many"}), "already"), (dict(candidates="en"), "give a list"),
    (dict(candidates=["en"], already={"en": 3}), "annotated already"), (dict(task="event"), "nearest: events"),
    (dict(scores="no.csv"), "no.csv"), (dict(already={"en": 1, "eng": 2}), "twice")])
def test_refused(given, message):
    with pytest.raises(XltError, match=message): recommend(**dict(targets=["sw"], k=1) | given)


def test_own_scores_count(tmp_path):
    "A source that is strong in one's own table is chosen, though others think little of it."
    rng, rows = np.random.default_rng(0), []
    for s, (j, t) in itertools.product(SOME, enumerate([*SOME, "fr", "pl"])):
        if s != t: rows.append((s, t, 30 + 30*(s == "ko") + j + rng.normal()))
    table = pd.DataFrame(rows, columns=["source", "target", "score"])
    table.to_csv(tmp_path/"my.csv", index=False)
    assert recommend(["sw"], 1, candidates=SOME, scores=tmp_path/"my.csv").sets.sources[0] == ("ko",)
    assert recommend(["sw"], 1, candidates=SOME).sets.sources[0] != ("ko",)
    table.assign(score=30 + 30*(table.source == "ko")).to_csv(tmp_path/"my.csv", index=False)
    with pytest.raises(XltError, match="nothing but levels"): recommend(["sw"], 1, candidates=SOME, scores=tmp_path/"my.csv")


@pytest.mark.parametrize("ending", ["json", "csv", "png", "svg"])
def test_written(tmp_path, ending):
    found = recommend(["sw"], 1, 10)
    save_recommendation(found, tmp_path/f"r.{ending}")
    assert (tmp_path/f"r.{ending}").stat().st_size > 100 and len(list(tmp_path.iterdir())) == 1
    if ending == "json": assert json.loads((tmp_path/"r.json").read_text())["notes"] == list(found.notes)


def test_command(capsys, tmp_path):
    assert main(["recommend", "--targets", "sw,yo", "--k", "1", "--candidates", "en,de,id", "--weights", "sw=3"]) == 0
    assert recommendation_text(recommend(["sw", "yo"], 1, candidates=["en", "de", "id"], weights={"sw": 3.0})) in capsys.readouterr().out
    assert main(["recommend", "--targets", "sw", "--out", str(tmp_path/"no"/"r.csv")]) == 2
    assert main(["recommend", "--targets", "sw", "--weights", "sw"]) == 2
    assert "LANGUAGE=NUMBER" in capsys.readouterr().err


def test_a_damaged_calibration_is_named(tmp_path):
    (tmp_path/"w.json").write_text('{"level": 0.9, "widths": {"1": {"regret": 3}}}')
    with pytest.raises(XltError, match="w.json"): load_calibration(tmp_path/"w.json")


def test_text_in_the_place_of_distances(tmp_path):
    "A language whose text is the target's own is taken for it, whatever URIEL says; text that is missing is named."
    from xlt_nb.readers import load_corpus
    corpus = load_corpus("xlt17", ["en", "es", "tr", "ja"])
    def write(name, lang): (tmp_path/f"{name}.txt").write_text("\n".join(" ".join(e.words) for e in corpus[lang, "train"][:30]), encoding="utf8")
    for name, lang in (("sw", "tr"), ("tr", "tr"), ("ja", "ja"), ("en", "en")): write(name, lang)
    found = recommend(["sw"], 1, candidates=["ja", "tr", "en"], text=tmp_path)
    assert found.about["rule"] == "strength + text" and found.sets.sources[0] == ("tr",)
    assert set(recommend(["sw"], 1, text=tmp_path).sets.sources.map(lambda s: s[0])) == {"ja", "tr", "en"}
    with pytest.raises(XltError, match="there is none of ko"): recommend(["sw"], 1, candidates=["ko"], text=tmp_path)
