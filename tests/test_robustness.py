"`xlt_nb.robustness`: a planted confound and an innocent one, what is not known, variants of the main table, the committed overlap."
from pathlib import Path

import numpy as np
import pandas as pd
import papermill, pytest

from xlt_nb.robustness import (VARIANTS, beside_main, changes_in_words, confounds, confounds_in_words, plot_confounds,
                              sensitivity_rows, well_covered)
from xlt_nb.core import RESULT_COLUMNS
from xlt_nb.distances import distance_matrix, family_groups
from xlt_nb.languages import LANGUAGES, as_matrix
from xlt_nb.regression import add_covariates, explain, known_overlap, overlap_table, subword_overlap, write_overlap
from xlt_nb.scores import committed_tables, read_scores, read_transfer
from xlt_nb.stats import bootstrap_languages, mrqap

ROOT = Path(__file__).resolve().parent.parent
E5 = "multilingual-e5-small"


def confounded(seed=0, direct=0.0):
    "Scores that fall with a covariate; a distance that goes with it and, with `direct`, matters by itself."
    rng, n, codes = np.random.default_rng(seed), len(LANGUAGES), list(LANGUAGES)
    def symmetric(): return (a := rng.random((n, n))) + a.T
    cause, own = symmetric(), symmetric()
    distance = cause + 0.5*own
    y = 40 + rng.normal(0, 3, (n, 1)) + rng.normal(0, 5, n) - 10*cause - 10*direct*own + rng.normal(0, 1, (n, n))
    i, j = np.indices((n, n)).reshape(2, -1)
    pairs = {"source": np.array(codes)[i], "target": np.array(codes)[j], "score": y[i, j], "overlap": -cause[i, j]}
    return read_transfer(pd.DataFrame(pairs | {"mine": distance[i, j]}))


def test_what_a_covariate_explains_is_taken_from_the_distance():
    "Fails if the covariate is not used: alone the distance is strong."
    by = confounds(confounded(), ["mine"], permutations=499, draws=100).set_index("name")
    assert by.within["mine"] < -0.6 and by.p["mine"] < 0.01 and by.within["overlap"] > 0.9 and by.low["overlap"] > 0.5
    assert abs(by.given_overlap["mine"]) < 0.25 and by.p_given_overlap["mine"] > 0.01 and by.given_all["mine"] == by.given_overlap["mine"]
    assert "mine: in 1 of 1" in confounds_in_words(by.reset_index())
    both = confounds(confounded(direct=1.0), ["mine"], permutations=499, draws=100).set_index("name")
    assert both.given_overlap["mine"] < -0.6 and both.p_given_overlap["mine"] < 0.01
    assert "mine: in 0 of 1" in confounds_in_words(both.reset_index())


def test_numbers_are_those_of_mrqap_inside_families():
    s = confounded(direct=0.3).assign(prior=lambda t: np.random.default_rng(1).random(len(t)))
    row = confounds(s, ["mine"], permutations=499, draws=50).set_index("name").loc["mine"]
    y, given = as_matrix(s), {c: as_matrix(s, c) for c in ("prior", "overlap")}
    for name, some in {"prior": ["prior"], "overlap": ["overlap"], "all": ["prior", "overlap"]}.items():
        found = mrqap(y, {c: given[c] for c in some} | {"x": as_matrix(s, "mine")}, families=family_groups(y.index), n=499).loc["x"]
        assert np.isclose(row[f"given_{name}"], found.r) and np.isclose(row[f"p_given_{name}"], found.p)
    assert np.isclose(row.low, bootstrap_languages(y, as_matrix(s, "mine"), n=50).low)


def test_what_does_not_vary_or_is_not_known_takes_nothing():
    s = confounded().drop(columns="overlap").assign(prior=0.0, cost=lambda t: 10.0 + t.source.map(len) + t.source.map(list(LANGUAGES).index))
    table = confounds(add_covariates(s), ["mine"], permutations=99, draws=50).set_index("name")
    assert table.status.to_dict() == {"prior": "constant", "overlap": "unknown", "log_cost": "levels", "mine": "distance"}
    assert table.filter(like="given").isna().all(axis=None) and table.within.notna().to_dict() == {"prior": False, "overlap": False, "log_cost": False, "mine": True}
    text = confounds_in_words(table.reset_index())
    assert all(x in text for x in ("label priors: the same for all pairs", "subword overlap: not known", "gone with their effects")) and "→" not in text
    assert len(plot_confounds(table.reset_index()).axes) == 1


def test_variants_are_the_main_table_made_again():
    s = confounded()
    rows = sensitivity_rows(s, ["syntactic", "combined"], 199, 50)
    table = beside_main(rows).set_index(["variant", "distance"])
    main, y = explain(s, ["syntactic", "combined"], permutations=199, draws=50).set_index("distance"), as_matrix(s)
    assert np.allclose(table.loc["knn"].within, main.within) and np.allclose(table.loc["knn"].p_source, main.p_source)
    for mode in ("shared", "published"):
        found = bootstrap_languages(y, distance_matrix("syntactic", list(y), mode), n=50)
        assert np.allclose(table.loc[mode, "syntactic"][["within", "within_low", "within_high"]].astype(float), found[["value", "low", "high"]])
    some = well_covered(LANGUAGES)
    assert table.languages["covered", "syntactic"] == len(some) < len(LANGUAGES) == table.languages["shared", "syntactic"]
    assert table.cells["covered", "syntactic"] == len(some)*(len(some) - 1)
    few = s[s.source.isin(["it", "nl", "pl", "pt", "sv", "en"]) & s.target.isin(["it", "nl", "pl", "pt", "sv", "en"])]
    table = beside_main(sensitivity_rows(few, ["syntactic"], 99, 50))
    assert list(table.verdict[table.variant == "covered"]) == ["few"] and "1 matrices with fewer than five" in changes_in_words(table)
    assert list(table.variant) == ["knn", "shared", "published", "covered"] == ["knn", *VARIANTS]


def test_overlap_by_hand_and_by_name(tmp_path, monkeypatch):
    table = subword_overlap({"a": [1, 1, 2], "b": [3]}, {"a": [1, 2, 9, 9], "b": [3, 3]})
    assert table.to_numpy().tolist() == [[0.5, 0], [0, 1]]
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path))
    assert overlap_table().empty and known_overlap("xlt17", E5).empty
    (tmp_path/"tables").mkdir()
    rows = [f"c,{E5},{s},{t},{0.1*(k + 1):.1f}" for k, (s, t) in enumerate([("na", "en"), ("en", "na"), ("en", "en"), ("na", "na")])]
    (tmp_path/"tables"/"subword_overlap.csv").write_text("\n".join(["corpus,encoder,source,target,overlap", *rows]) + "\n")
    for name in (E5, f"random:{E5}", f"{E5}[2/4]"): assert known_overlap("c", name).loc["na", "en"] == 0.1
    assert known_overlap("d", E5).empty and known_overlap("c", "xlm-roberta-base").empty
    pairs = pd.DataFrame({"task": "made up", "corpus": "c", "encoder": E5, "source": ["na", "en"], "target": ["en", "na"]})
    assert add_covariates(pairs).overlap.tolist() == [0.1, 0.2]


def test_the_committed_overlap_is_that_of_the_texts(tmp_path, monkeypatch):
    "Of what is shipped: made again, without the data of others, whose rows are kept."
    committed = overlap_table()
    assert not committed.duplicated(["corpus", "encoder", "source", "target"]).any() and committed.overlap.between(0, 1).all()
    assert (committed[committed.source == committed.target].overlap > 0.6).all()
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path))
    (tmp_path/"tables").mkdir()
    committed[committed.corpus != "xlt17"].to_csv(tmp_path/"tables"/"subword_overlap.csv", index=False, float_format="%.4f")
    monkeypatch.setenv("XLT_DATA_DIR", str(tmp_path))
    write_overlap(root=tmp_path)
    keys = ["corpus", "encoder", "source", "target"]
    both = committed.merge(overlap_table(), on=keys)
    assert len(both) == len(committed) == len(overlap_table()) and np.allclose(both.overlap_x, both.overlap_y, atol=1e-4)


def test_overlap_of_every_committed_matrix_is_known():
    scores = add_covariates(read_scores())
    assert committed_tables() and scores.overlap[scores.encoder.str.contains(E5)].notna().all()
    assert (scores[scores.corpus == "xlt17"].prior.fillna(0) == 0).all() # one annotation for all languages


def test_chapter_on_tables_of_others(tmp_path, monkeypatch):
    "A results folder without overlap, priors or published tables."
    codes, folder = ["en", "es", "pt", "pl", "tr", "hi", "ko", "ja"], tmp_path/"tables"
    folder.mkdir()
    rng, common = np.random.default_rng(0), dict.fromkeys(RESULT_COLUMNS, "")
    rows = [common | dict(task="events", corpus="wide", setting="ZSCL-S", method="single", encoder="made-up", sources=s, target=t, seen=s == t, seed=0, cost=50,
                          metric="micro_f1", value=rng.uniform(20, 80), n_gold=10, run_id=f"{s}{t}") for s in codes for t in codes]
    pd.DataFrame(rows).to_csv(folder/"transfer_wide.csv", index=False)
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path))
    chapter = str(ROOT/"nbs"/"09b_robustness.ipynb")
    papermill.execute_notebook(chapter, str(tmp_path/"out.ipynb"), {"permutations": 199, "draws": 99}, kernel_name="python3", progress_bar=False)
    told, varied = (pd.read_csv(folder/f"regression_{name}.csv") for name in ("confounds", "sensitivity"))
    assert set(told.status) == {"unknown", "constant", "distance"} and set(varied.variant) == {"knn", *VARIANTS}
    with pytest.raises(papermill.PapermillExecutionError, match="nearest: smoke"): papermill.execute_notebook(chapter, str(tmp_path/"out.ipynb"), {"study": "smok"}, kernel_name="python3", progress_bar=False)
