"""The combined distance: planted weights, no leakage, slow second implementations, round trips, errors. On tables written here; no data but URIEL's."""
import dataclasses, itertools, json, math, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import papermill, pytest
import scipy.optimize
import statsmodels.api as sm

from xlt_nb import metric as M
from xlt_nb.core import XltError
from xlt_nb.distances import distance_matrix
from xlt_nb.languages import LANGUAGES
from xlt_nb.metric import (_PENALTIES, CANDIDATES, FITTED, PREDICTORS, SCORES, CombinedDistance, _bootstrap_weights,
                           _fit_weights, held_out_groups, _moments, _solve_weights, carry_weights, compare_predictors,
                           fit_combined, load_metric, predict_held_out, ranking_scores, scores_with_distances,
                           visible_cells)
from xlt_nb.stats import additive_fit, correlate, within

ROOT = Path(__file__).resolve().parent.parent
EIGHT = ("en", "es", "pt", "pl", "tr", "hi", "ko", "ja")


def scores(weights, languages=LANGUAGES, noise=0.5, slope=3.0, seed=0, seeds=2, targets=None, **key):
    "Scores that fall with a weighted sum of distances of unit spread within effects."
    rng, n = np.random.default_rng(seed), len(languages)
    d = sum((w*t/np.nanstd(within(t)) for k, w in weights.items() for t in [distance_matrix(k, languages)]), pd.DataFrame(0.0, languages, languages))
    y = 40 + 4*rng.normal(size=(n, 1)) + 6*rng.normal(size=n) - slope*d.to_numpy()
    rows = [(s, t, k, y[i, j] + noise*rng.normal()) for k in range(seeds) for i, s in enumerate(languages) for j, t in enumerate(languages) if targets is None or t in targets]
    return pd.DataFrame(rows, columns=["source", "target", "seed", "score"]).assign(**{"task": "t", "corpus": "c", "encoder": "e"} | key)


@pytest.fixture(scope="module")
def planted(): return scores_with_distances(scores({"syntactic": 0.6, "geographic": 0.4}))[0]


def spoil(m, language, value=1e5):
    "The same matrix with nonsense in a language's row and column."
    k, runs, rng = m.labels.index(language), m.runs.copy(), np.random.default_rng(1)
    for part in (np.s_[:, k, :], np.s_[:, :, k]): runs[part] = np.where(np.isnan(runs[part]), np.nan, value*rng.normal(size=runs[part].shape))
    return dataclasses.replace(m, runs=runs)


# ---- the fit

@pytest.mark.parametrize("weights", [{"syntactic": 1}, {"syntactic": 0.5, "inventory": 0.5}, {"phonological": 0.2, "genetic": 0.3, "geographic": 0.5}, dict.fromkeys(CANDIDATES, 0.2)])
def test_planted_weights_are_recovered(weights):
    fit = fit_combined(scores(weights, noise=0.2), draws=50)
    assert np.allclose(fit.table.weight, pd.Series(weights).reindex(CANDIDATES).fillna(0), atol=0.06)
    assert sum(fit.weights) == pytest.approx(1) and min(fit.weights) >= 0 and 2.5 < fit.data[0]["slope"] < 3.5
    assert (fit.table.low <= fit.table.weight + 0.05).all() and (fit.table.weight <= fit.table.high + 0.05).all()


def test_levels_equal_dummies_by_statsmodels():
    rng = np.random.default_rng(0)
    y, mask = rng.normal(size=(7, 7)), ~np.eye(7, dtype=bool)
    mask[1, 4] = mask[3, 0] = False
    a, b = additive_fit(y[None], mask)
    i, j = np.nonzero(mask)
    fit = sm.OLS(y[mask], np.hstack([np.eye(7)[i], np.eye(7)[j][:, 1:]])).fit()
    assert np.allclose(fit.fittedvalues, (a[0][:, None] + b[0])[mask]) and b[0].mean() == pytest.approx(0)


def test_stacked_fits_equal_single_ones(planted):
    v = visible_cells(planted)
    masks = np.stack([visible_cells(planted, (l,)).mask for l in planted.labels])
    together = _moments(v.t[None], masks)[0]
    for k, mask in enumerate(masks): assert np.allclose(together[k], _moments(v.t, mask)[0])


def test_criterion_is_the_correlation_within_effects(planted):
    "The combined distance of the plain fit has the most negative within-effects correlation, by an independent function and optimiser."
    fit = fit_combined([planted], penalty=0.0, draws=0)
    y = pd.DataFrame(planted.y, planted.labels, planted.labels)
    def r(w): return correlate(y, sum(x/s*d for x, s, d in zip(w, fit.scale, (pd.DataFrame(d, y.index, y.index) for d in planted.x.values())))).within.item()
    best = scipy.optimize.minimize(r, np.full(5, 0.2), bounds=[(0, 1)]*5, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"maxiter": 200, "ftol": 1e-10})
    assert r(np.array(fit.weights)) <= best.fun + 1e-4 and np.allclose(fit.weights, best.x, atol=0.02)
    assert fit.data[0]["within"] == pytest.approx(r(np.array(fit.weights)), abs=1e-5)


@pytest.mark.parametrize("penalty", [0.03, 0.3, 3.0])
def test_shrunk_fit_minimises_what_the_text_says(planted, penalty):
    v = visible_cells(planted)
    gram = _moments(v.t, v.mask)[0]
    s = np.sqrt(np.diag(gram))
    e = [(v.t[k] - a[:, None] - b)[v.mask]/s[k] for k, (a, b) in enumerate(zip(*additive_fit(np.where(v.mask, v.t, 0), v.mask)))]
    def loss(u): return np.mean((e[0] + sum(x*d for x, d in zip(u, e[1:])))**2) + penalty*((u - u.mean())**2).sum()
    ours = _solve_weights(gram, penalty)*s[1:]/s[0]
    best = scipy.optimize.minimize(loss, np.full(5, 0.1), bounds=[(0, None)]*5, options={"ftol": 1e-14})
    assert loss(ours) <= best.fun + 1e-7


def test_inner_error_equals_a_loop(planted):
    "The quadratic forms give the error of predicting left-out targets up to a constant."
    v, u = visible_cells(planted), np.array([1.0, 2, 3, 4, 5])
    grams, errors = M._inner_folds([v])
    for k, l in enumerate(planted.labels):
        inner = visible_cells(planted, (l,))
        g = -np.tensordot(u, inner.t[1:], 1)
        a, _ = additive_fit((inner.t[0] - g)[None], inner.mask)
        at = planted.labels.index(l)
        off = [v.t[0, s, at] - a[0, s] - g[s, at] for s in range(17) if s != at]
        scale = 1/_moments(inner.t, inner.mask)[0][0, 0] # F1 in units of its spread without the language
        unit = np.r_[1, u*np.sqrt(scale)]
        assert unit @ errors[k] @ unit == pytest.approx(np.var(off)*scale)


def test_transfer_that_grows_with_distance_gives_no_slope():
    fit = fit_combined(scores({"syntactic": 1}, slope=-3, noise=0.1), distances=["syntactic"], draws=20)
    assert fit.weights == (1.0,) and fit.data[0]["slope"] == 0


def test_a_distance_that_does_not_vary_gets_no_weight(planted):
    flat = pd.DataFrame(1.0, LANGUAGES, LANGUAGES)
    for p in _PENALTIES:
        fit = fit_combined(scores({"syntactic": 1}), {"flat": flat, "syntactic": distance_matrix("syntactic")}, penalty=p, draws=20)
        assert fit.weights == pytest.approx((0, 1)) and np.isfinite([*fit.low, *fit.high, *fit.scale]).all()


def test_penalty_reaches_equal_weights(planted):
    assert np.allclose(fit_combined([planted], penalty=math.inf, draws=0).weights, 0.2)
    assert np.allclose(fit_combined([planted], penalty=1e6, draws=0).weights, 0.2, atol=1e-3)


def test_pooled_data_sets_have_the_same_say():
    "A data set counts the same whatever its scores are measured in and however often it is named."
    a, b = (scores_with_distances(scores(w, seed=k))[0] for k, w in enumerate(({"syntactic": 1}, {"geographic": 1})))
    both = fit_combined([a, b], penalty=0.0, draws=0)
    assert both.weights[0] == pytest.approx(both.weights[-1], abs=0.15)
    assert np.allclose(both.weights, fit_combined([a, dataclasses.replace(b, runs=100*b.runs)], penalty=0.0, draws=0).weights)
    assert [len(d["languages"]) for d in both.data] == [17, 17]


def test_bootstrap_covers_languages_and_runs(planted):
    drawn = _bootstrap_weights([planted], 0.0, 60, seed=1)
    assert drawn.shape == (60, 5) and np.allclose(drawn.sum(1), 1) and (drawn >= 0).all() and drawn.std(0).max() > 0.01
    assert np.array_equal(drawn, _bootstrap_weights([planted], 0.0, 60, seed=1)) and not np.array_equal(drawn, _bootstrap_weights([planted], 0.0, 60, seed=2))
    small = scores_with_distances(scores({"syntactic": 1}, EIGHT))[0]
    assert np.isfinite(_bootstrap_weights([planted, small], 0.0, 60)).all() # a draw may miss most of the small one


def test_drawn_cells_are_those_of_the_drawn_languages(planted):
    slots = np.array([[0, 3, 3, -1, 5]])
    t, mask = M._draw(dataclasses.replace(planted, runs=planted.runs[:1]), slots, np.random.default_rng(0))
    assert not mask[0, 1, 2] and not mask[0, 3].any() and not mask[0, :, 3].any() and not mask[0, 0, 0] and mask[0, 0, 1]
    assert t[0, 0, 0, 1] == planted.runs[0, 0, 3] and t[0, 1, 4, 2] == planted.x["syntactic"][5, 3]


# ---- nothing leaks

@pytest.mark.parametrize("language", ["ko", "es"])
def test_a_fold_does_not_see_its_language(planted, language):
    "Scores of the held-out language may be anything: weights, penalty, spread and every method's prediction stay the same."
    other = spoil(planted, language)
    for p in (None, 0.0):
        ours, theirs = (_fit_weights([visible_cells(m, (language,))], p) for m in (planted, other))
        assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1]) and ours[2] == theirs[2]
    small = [visible_cells(m, (language,)) for m in (planted, other)], [visible_cells(m, (language,), m.paper) for m in (planted, other)]
    for name, method in PREDICTORS.items(): assert np.array_equal(method.fit(small[0][0], small[1][0]), method.fit(small[0][1], small[1][1])), name


def test_a_family_fold_does_not_see_its_family(planted):
    other = spoil(spoil(planted, "es"), "it")
    a, b = (predict_held_out(m, "family", [FITTED, "syntactic"]) for m in (planted, other))
    out = held_out_groups(planted.labels, "family")
    romance = next(g for g in out.values() if "es" in g)
    assert {"es", "it", "pt", "fr"} == set(romance)
    inside = a.held.isin(romance) & ~a.source.isin(["es", "it"]) & ~a.target.isin(["es", "it"])
    assert inside.any() and np.array_equal(a.predicted[inside], b.predicted[inside])
    assert not (a.source.isin(romance) & a.target.isin(romance)).any() # cells inside the family are nobody's to judge


def test_carried_weights_do_not_see_the_language():
    a, b = (scores_with_distances(scores(w, EIGHT, seed=k, corpus=str(k)))[0] for k, w in enumerate(({"syntactic": 1}, {"geographic": 1})))
    ours, theirs = carry_weights([a, b]), carry_weights([spoil(a, "ko"), b])
    key = (a.name, b.name, "ko")
    assert np.array_equal(ours.loc[key], theirs.loc[key])
    assert not ours.loc[(a.name, b.name, "tr")].equals(theirs.loc[(a.name, b.name, "tr")])


def test_views_hide_what_is_left_out(planted):
    v = visible_cells(planted, ("ko",))
    k = planted.labels.index("ko")
    assert np.isnan(v.t[0, k]).all() and np.isnan(v.t[0, :, k]).all() and np.isfinite(v.t[1:]).all()


# ---- judging

def test_held_out_equals_dropping_the_language_by_hand(planted):
    "Prediction of one cell, by ordinary least squares with dummies on a table without the language."
    found = predict_held_out(planted, methods=["syntactic"]).set_index(["held", "source", "target"])
    keep = [l for l in planted.labels if l != "ko"]
    d, y = (pd.DataFrame(m, planted.labels, planted.labels) for m in (planted.x["syntactic"], planted.y))
    rows = [(s, t) for s, t in itertools.permutations(keep, 2)]
    X = pd.DataFrame({"d": [d.loc[r] for r in rows]} | {f"s{l}": [float(s == l) for s, _ in rows] for l in keep} | {f"t{l}": [float(t == l) for _, t in rows] for l in keep[1:]})
    b = sm.OLS([y.loc[r] for r in rows], X).fit().params
    mean_target, mean_source = np.mean([0, *(b[f"t{l}"] for l in keep[1:])]), np.mean([b[f"s{l}"] for l in keep])
    assert found.predicted["ko", "es", "ko"] == pytest.approx(b["ses"] + mean_target + b.d*d.loc["es", "ko"])
    assert found.predicted["ko", "ko", "es"] == pytest.approx(mean_source + b["tes"] + b.d*d.loc["ko", "es"])


def test_each_method_finds_a_clear_truth():
    m = scores_with_distances(scores({"syntactic": 1}, noise=0.2))[0]
    mean = ranking_scores(predict_held_out(m))[["near_rank", "choice_error", "near_regret"]].groupby("method").mean()
    assert mean.choice_error["syntactic"] < 0.5 < 1.5 < mean.choice_error["levels only"]
    for name in (FITTED, "fitted, not shrunk", "ridge", M.SINGLE): assert mean.choice_error[name] < 0.7, name
    assert mean.near_rank["levels only"] == 0 and mean.near_rank[M.SINGLE] == mean.near_rank["syntactic"] > mean.near_rank["phonological"]


def test_comparison_by_hand():
    languages = list("abcdef")
    table = pd.concat([pd.DataFrame({s: v + 0.1*np.arange(6) for s in SCORES} | {"method": m, "language": languages}) for m, v in ((FITTED, 0.5), (M.SINGLE, 0.3), (M.PUBLISHED_COMBINATION, 0.5))]).set_index(["method", "language"])
    found = compare_predictors(table, draws=500).set_index(["score", "method"])
    row = found.loc[("near_rank", FITTED)]
    assert row.value == pytest.approx(0.75) and row[["gain_single", "low_single", "high_single"]].tolist() == pytest.approx([0.2]*3) and row.p_single == pytest.approx(2/2**6)
    assert row.gain_published == 0 and row.p_published == 1 and found.gain_single["regret", FITTED] == pytest.approx(-0.2)


def test_missing_cells_and_other_targets():
    table = scores({"syntactic": 0.7, "genetic": 0.3}, targets=LANGUAGES[::2])
    m = scores_with_distances(table.drop(table.index[::7]))[0]
    fit = fit_combined([m], draws=30)
    assert abs(fit.table.weight["syntactic"] - 0.7) < 0.15 and set(predict_held_out(m, methods=[FITTED]).query("target == held").target) <= set(LANGUAGES[::2])


def test_many_languages_take_seconds():
    codes = [c for c in distance_matrix("syntactic", ["swe", "dan", "nor", "isl", "deu", "nld", "eng", "fra", "ita", "spa", "por", "ron", "cat", "pol", "ces", "rus", "ukr", "bul", "hin", "ben", "tam", "tel", "kan", "mal", "tur", "fin", "est", "hun", "kor", "jpn"]).index]
    fit = fit_combined(scores({"syntactic": 0.7, "genetic": 0.3}, codes), draws=50)
    assert abs(fit.table.weight["syntactic"] - 0.7) < 0.15


def test_published_parts_that_are_not_known_are_left_out():
    codes = ["sv", "da", "et", "de", "nl", "en", "fi"] # the paper's inventories of Danish and Estonian are not known
    with pytest.warns(UserWarning, match="published"): found = predict_held_out(scores_with_distances(scores({"syntactic": 1}, codes))[0])
    assert not {M.PUBLISHED_COMBINATION, "published parts, refitted"} & set(found.method) and FITTED in set(found.method)
    assert "gain_published" not in compare_predictors(ranking_scores(found), draws=50)


# ---- the object

def test_round_trip(planted, tmp_path):
    fit = fit_combined([planted], draws=30)
    fit.save(tmp_path/"m.json")
    back = load_metric(tmp_path/"m.json")
    assert dataclasses.asdict(back) == dataclasses.asdict(fit) and back.matrix(["sw", "yo", "en"]).equals(fit.matrix(["sw", "yo", "en"]))
    assert not [p for p in tmp_path.iterdir() if p.name != "m.json"]
    record = json.loads((tmp_path/"m.json").read_text())
    assert record["version"] == 2 and record["date"] and record["data"][0]["encoder"] == "e" and record["data"][0]["seeds"] == [0, 1] and set(record["data"][0]["languages"]) == set(LANGUAGES)
    equal = fit_combined([planted], penalty=math.inf, draws=0)
    equal.save(tmp_path/"m.json")
    assert math.isinf(load_metric(tmp_path/"m.json").penalty)


def test_distance_is_the_weighted_sum(planted):
    fit = fit_combined([planted], draws=0)
    by_hand = sum(w/s*distance_matrix(k, ["sw", "yo"]).iloc[0, 1] for k, w, s in zip(fit.kinds, fit.weights, fit.scale))
    assert fit.distance("sw", "yo") == pytest.approx(by_hand) == fit.explain("sw", "yo").part.sum() and fit.distance("sw", "swa") == 0
    assert 0 < fit.coverage(["sw", "yo"]).loc["sw", "yo"] <= 1


def test_warnings_where_uriel_knows_little(planted):
    fit = fit_combined([planted], draws=0)
    with pytest.warns(UserWarning, match="quz .*syntactic"): fit.distance("es", "quz")
    with pytest.warns(UserWarning, match="und"): assert np.isnan(fit.distance("es", "und"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit.distance("sw", "yo")


@pytest.mark.parametrize("pair, near", [(("sw", "yorubba"), "nearest"), (("swahilly", "yo"), "nearest"), (("sw", None), "language")])
def test_unknown_language(planted, pair, near):
    with pytest.raises(XltError, match=near): fit_combined([planted], draws=0).distance(*pair)


@pytest.mark.parametrize("change, message", [({"format": "x"}, "'format'"), ({"version": 1}, "'version'"), ({"mode": "kn"}, "nearest: knn"), ({"penalty": -1}, "'penalty'"), ({"penalty": None}, "'penalty'"),
    ({"kinds": {}}, "'kinds'"), ({"kinds": []}, "'kinds'"), ({"kinds": {"syntactic": {"weight": 1, "low": 0, "high": 1}}}, "'scale'"), ({"kinds": {"syntactic": {"weight": 0.5, "low": 0, "high": 1, "scale": 1}}}, "'weight'.*sum"),
    ({"kinds": {"syntactic": {"weight": "1", "low": 0, "high": 1, "scale": 1}}}, "syntactic: field 'weight'"), ({"kinds": {"syntactic": 1}}, "syntactic"), ({"kinds": {"sintactic": {"weight": 1, "low": 0, "high": 1, "scale": 1}}}, "nearest: syntactic"),
    ({"data": {}}, "'data'"), ({"draws": "many"}, "'draws'"), ({"level": 95}, "'level'"), ({"package": 1}, "'package'")])
def test_wrong_file_names_its_field(planted, tmp_path, change, message):
    path = tmp_path/"m.json"
    fit_combined([planted], draws=0).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(XltError, match=message): load_metric(path)


@pytest.mark.parametrize("field", ["format", "version", "date", "mode", "penalty", "level", "draws", "kinds", "data", "package"])
def test_missing_field_is_named(planted, tmp_path, field):
    path = tmp_path/"m.json"
    fit_combined([planted], draws=0).save(path)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != field}))
    with pytest.raises(XltError, match=f"{field!r} is missing"): load_metric(path)


@pytest.mark.parametrize("text", ["", "[1", "[]", "3", "null", "\x00"])
def test_not_a_metric(tmp_path, text):
    (tmp_path/"m.json").write_text(text)
    with pytest.raises(XltError, match="m.json"): load_metric(tmp_path/"m.json")


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path/"metric.json").write_text("{}")
    with pytest.raises(XltError, match="nearest: metric.json"): load_metric(tmp_path/"metrik.json")


# ---- what a user may give

def test_square_table_csv_and_long_table_agree(tmp_path):
    table = scores({"syntactic": 1}, EIGHT, seeds=1)
    table[["source", "target", "score"]].to_csv(tmp_path/"my.csv", index=False)
    given = (table, table.pivot(index="source", columns="target", values="score"), str(tmp_path/"my.csv"), scores_with_distances(table))
    fits = [fit_combined(g, draws=0).weights for g in given]
    for f in fits: assert np.allclose(f, fits[0], atol=1e-6)


def test_bad_input():
    table = scores({"syntactic": 1}, EIGHT)
    with pytest.raises(XltError, match="nearest: syntactic"): fit_combined(table, ["sintactic"])
    with pytest.raises(XltError, match="no language 'pt'"): fit_combined(table, {"mine": distance_matrix("syntactic", ["en", "es"])})
    gaps = distance_matrix("syntactic", EIGHT); gaps.loc["ko"] = gaps["ko"] = np.nan
    with pytest.raises(XltError, match="not known for ko"): fit_combined(table, {"mine": gaps})
    with pytest.raises(XltError, match="by"): predict_held_out(scores_with_distances(table)[0], "languages")
    with pytest.raises(XltError, match="nearest: ridge"): predict_held_out(scores_with_distances(table)[0], methods=["rigde"])
    with pytest.warns(UserWarning, match="left out"), pytest.raises(XltError, match="large enough"): scores_with_distances(scores({"syntactic": 1}, EIGHT[:4]))
    mine = fit_combined(table, {"mine": distance_matrix("syntactic", EIGHT)}, draws=0)
    with pytest.raises(XltError, match="not a registered distance"): mine.distance("sw", "yo")


def test_committed_metric_is_of_this_version_and_applies_anywhere():
    path = ROOT/"data"/"metric.json"
    assert np.isfinite(load_metric(path).matrix(["sw", "yo", "zu", "en"])).all(axis=None)


# ---- the chapter

def execute(out, **parameters): papermill.execute_notebook(str(ROOT/"nbs"/"10_metric.ipynb"), str(out), parameters, kernel_name="python3", progress_bar=False)


@pytest.fixture
def own(tmp_path, monkeypatch):
    "A CSV with two data sets, and an outputs folder with nothing in it."
    parts = [scores({"syntactic": 1}, EIGHT, seeds=1, corpus=c, seed=k) for k, c in enumerate(("one", "two"))]
    pd.concat(parts).drop(columns="seed").to_csv(tmp_path/"mine.csv", index=False)
    (tmp_path/"outputs"/"tables").mkdir(parents=True)
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path/"outputs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_chapter_on_scores_of_ones_own(own):
    "Neither encoder nor corpus is built in; what is written bears the name of the file."
    execute(own/"out.ipynb", transfer="mine.csv", draws=20)
    made = {p.name for p in (own/"outputs").rglob("*") if p.is_file()}
    tables = {"metric_mine.json", "metric_weights_mine.csv", "metric_heldout_mine.csv", "metric_transfer_mine.csv"}
    assert made == tables | {f"{name}_mine.{ext}" for name in ("metric_weights", "metric_heldout") for ext in ("png", "svg")}
    assert set(load_metric(own/"outputs"/"tables"/"metric_mine.json").kinds) == set(CANDIDATES)


@pytest.mark.parametrize("parameters, hint", [({"drws": 9}, "nearest: draws"), ({"draws": 3}, "from 20"), ({"kinds": "sintactic"}, "nearest: syntactic"), ({"transfer": "mime.csv"}, "mine.csv")])
def test_chapter_checks_its_parameters(own, parameters, hint):
    with pytest.raises(papermill.PapermillExecutionError, match="XltError") as e: execute(own/"out.ipynb", **{"transfer": "mine.csv"} | parameters)
    assert hint in str(e.value)
