"`xlt_nb.stats` and `xlt_nb.calibration` against independent references: plain loops, statsmodels, scipy, enumeration, cases worked by hand."
import itertools, zlib

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.api as sm
import statsmodels.formula.api as smf
from hypothesis import given, settings, strategies as st

from xlt_nb import calibration, stats
from xlt_nb.core import XltError
from xlt_nb.stats import (EFFECTS, additive_fit, adjust, align, bootstrap_f1, bootstrap_languages, cells, correlate, correlate_targets, dyadic_meat, enough_languages, label_permutations,
                          language_draws,
                          micro_f1, mixed_model, mrqap, noise_ceiling, paired_permutation, permutation_f1, qap, regress, sentence_draws, within)


def square(n, seed=0, missing=0, labels=None):
    "A random labelled matrix with some off-diagonal cells missing."
    rng = np.random.default_rng(seed)
    m = rng.normal(size=(n, n)) + rng.normal(size=n) + rng.normal(size=n)[:, None]
    off = np.argwhere(~np.eye(n, dtype=bool))
    for a, b in off[rng.permutation(len(off))[:missing]]: m[a, b] = np.nan
    labels = labels or [f"l{k}" for k in range(n)]
    return pd.DataFrame(m, labels, labels)


def ols_t(y, xs, effects):
    "t of the first predictor by statsmodels, with dummies, over the cells where all is observed; slope as well."
    n = len(y)
    rows = [(a, b) for a in range(n) for b in range(n) if a != b and np.isfinite(y[a, b]) and all(np.isfinite(x[a, b]) for x in xs)]
    design = [[x[a, b] for x in xs] for a, b in rows]
    table = pd.DataFrame(design)
    parts = [table, pd.Series(1.0, table.index)]
    if "source" in effects: parts.append(pd.get_dummies(pd.Series([a for a, _ in rows]), drop_first=True, dtype=float))
    if "target" in effects: parts.append(pd.get_dummies(pd.Series([b for _, b in rows]), drop_first=True, dtype=float))
    fit = sm.OLS([y[a, b] for a, b in rows], np.column_stack(parts)).fit()
    return fit.tvalues[0], fit.params[0], fit, rows


# ---- bootstrap over sentences

def counts_table(runs=("a", "b"), targets=("x", "y"), sentences=30, seed=0):
    rng, parts = np.random.default_rng(seed), []
    gold = {t: rng.poisson(1, sentences) for t in targets}
    for r, t in itertools.product(runs, targets):
        tp = rng.binomial(gold[t], 0.5)
        parts.append(pd.DataFrame({"run_id": r, "target": t, "sentence": range(sentences), "tp": tp, "fp": rng.poisson(0.5, sentences), "fn": gold[t] - tp}))
    return pd.concat(parts, ignore_index=True)


def test_bootstrap_draws_equal_a_loop_over_resampled_sentences():
    counts = counts_table()
    draws = sentence_draws(counts, n=20, seed=3)
    for t in ("x", "y"):
        weights = stats._sentence_weights(30, 20, [3, zlib.crc32(t.encode())]).astype(int)
        for d, r in itertools.product(range(21), ("a", "b")):
            part = counts[counts.run_id.eq(r) & counts.target.eq(t)]
            again = part.loc[part.index.repeat(weights[d])]
            tp, fp, fn = again.tp.sum(), again.fp.sum(), again.fn.sum()
            precision, recall = tp/max(tp + fp, 1), tp/max(tp + fn, 1)
            assert np.isclose(draws[r, t][d], 100*2*precision*recall/max(precision + recall, 1e-9))
            assert len(again) == 30


def test_bootstrap_interval_and_average_of_runs():
    counts = counts_table()
    draws, table = sentence_draws(counts, n=500), bootstrap_f1(counts, n=500, level=0.9).set_index(["run_id", "target"])
    assert np.allclose(table.low, draws.iloc[1:].quantile(0.05)) and np.allclose(table.high, draws.iloc[1:].quantile(0.95))
    mean = bootstrap_f1(counts, by=["target"], n=500, level=0.9).set_index("target")
    assert np.allclose(mean.low["x"], draws.iloc[1:].T.groupby("target").mean().T["x"].quantile(0.05)) and (mean.runs == 2).all()
    everything = bootstrap_f1(counts.assign(study="s"), by=["study"], n=50)
    assert np.isclose(everything.value.item(), draws.iloc[0].mean())


def test_bootstrap_does_not_depend_on_order_or_on_other_rows():
    counts = counts_table()
    alone = sentence_draws(counts[counts.run_id.eq("a") & counts.target.eq("x")], n=30)["a"]["x"]
    shuffled = sentence_draws(counts.sample(frac=1, random_state=0), n=30)["a"]["x"]
    assert np.allclose(alone, sentence_draws(counts, n=30)["a"]["x"]) and np.allclose(alone, shuffled)
    assert not np.allclose(alone, sentence_draws(counts, n=30, seed=1)["a"]["x"])


def test_bootstrap_parallel_targets_share_their_draws():
    counts = counts_table(targets=("x",))
    both = pd.concat([counts, counts.assign(target="y")])
    draws = sentence_draws(both, n=10, parallel=True)
    assert np.allclose(draws["a"]["x"], draws["a"]["y"])
    assert not np.allclose(*sentence_draws(both, n=10)["a"][["x", "y"]].to_numpy().T)
    with pytest.raises(XltError, match="sentences of y"): sentence_draws(both[~(both.target.eq("y") & both.sentence.eq(0))], n=5, parallel=True)


def test_bootstrap_columns_from_the_results_table():
    counts = counts_table()
    results = pd.DataFrame({"run_id": ["a", "b"], "sources": ["en", "en"], "task": "events", "corpus": "c", "seed": [0, 1], "target": "x"})
    table = bootstrap_f1(counts, by=["sources", "target"], results=results, n=20)
    assert list(table.columns) == ["sources", "target", "value", "low", "high", "runs"] and (table.runs == 2).all()
    with pytest.raises(XltError, match="no row for run 'b'"): bootstrap_f1(counts, by=["sources"], results=results.head(1))
    with pytest.raises(XltError, match="one value for each run"): bootstrap_f1(counts, by=["sources"], results=results.assign(run_id="a", sources=["en", "de"]))


def test_bootstrap_keeps_tasks_apart():
    a, b = counts_table(seed=0).assign(task="events"), counts_table(runs=("c",), seed=5).assign(task="relations")
    assert len(bootstrap_f1(pd.concat([a, b]), n=10)) == 6
    with pytest.raises(XltError, match="gold items in sentence"): bootstrap_f1(pd.concat([a, b]).drop(columns="task"), n=10)


def test_bootstrap_sentences_without_gold_may_be_left_out_and_empty_scores_are_zero():
    counts = counts_table(runs=("a", "b"), targets=("x",))
    nothing = counts.tp.eq(0) & counts.fp.eq(0) & counts.fn.eq(0) & counts.run_id.eq("a")
    assert nothing.any() and np.allclose(sentence_draws(counts, n=9), sentence_draws(counts[~nothing], n=9))
    assert micro_f1(np.array([0, 3]), np.array([0, 1]), np.array([0, 2])) == pytest.approx([0, 100*6/9])


def test_bootstrap_interval_covers():
    "90% intervals of 400 simulated runs hold the true F1 in about 90% of cases."
    rng, hits = np.random.default_rng(0), 0
    gold = rng.poisson(1.0, (400, 150)); tp = rng.binomial(gold, 0.6); fp = rng.poisson(0.4, gold.shape)
    counts = pd.DataFrame({"run_id": np.repeat(np.arange(400), 150), "target": np.repeat([f"t{k}" for k in range(400)], 150), "sentence": np.tile(np.arange(150), 400),
                           "tp": tp.ravel(), "fp": fp.ravel(), "fn": (gold - tp).ravel()})
    table = bootstrap_f1(counts, n=400, level=0.9)
    true = 100*2*0.6/(2*0.6 + 0.4 + 0.4)
    assert 0.85 < ((table.low <= true) & (true <= table.high)).mean() < 0.95


# ---- paired permutation

def test_permutation_f1_against_enumeration():
    counts = counts_table(runs=("a", "b"), targets=("x",), sentences=8, seed=2)
    a, b = (counts[counts.run_id.eq(r)].reset_index(drop=True) for r in "ab")
    def diff(swap):
        one, two = a.copy(), b.copy()
        one.loc[swap, ["tp", "fp", "fn"]], two.loc[swap, ["tp", "fp", "fn"]] = b.loc[swap, ["tp", "fp", "fn"]], a.loc[swap, ["tp", "fp", "fn"]]
        return micro_f1(*two[["tp", "fp", "fn"]].sum()) - micro_f1(*one[["tp", "fp", "fn"]].sum())
    every = [abs(diff([s for s in range(8) if k >> s & 1])) for k in range(256)]
    exact = np.mean(np.array(every) >= every[0] - 1e-9)
    test = permutation_f1(a, b, n=20_000)
    assert np.isclose(test.difference, diff([])) and abs(test.p - exact) < 0.012
    assert permutation_f1(b, a, n=2000).difference == -test.difference


def test_permutation_f1_needs_pairs_on_the_same_data():
    counts = counts_table(runs=("a", "b", "c"), targets=("x",))
    with pytest.raises(XltError, match="needs pairs"): permutation_f1(counts[counts.run_id.eq("a")], counts[counts.run_id.ne("a")])
    with pytest.raises(XltError, match="gold items"): permutation_f1(counts[counts.run_id.eq("a")], counts_table(runs=("b",), targets=("x",), seed=9))


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_paired_permutation_against_scipy(alternative):
    rng = np.random.default_rng(1)
    a, b = pd.Series(rng.normal(size=9)), pd.Series(rng.normal(0.5, size=9))
    ours = paired_permutation(a, b.sample(frac=1, random_state=0), alternative=alternative)
    scipys = scipy.stats.permutation_test((b, a), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf, alternative=alternative, vectorized=True)
    assert ours.exact and ours.permutations == 512 and np.isclose(ours.p, scipys.pvalue)


def test_paired_permutation_of_many_units_and_other_units():
    rng = np.random.default_rng(1)
    a = pd.Series(rng.normal(size=40))
    assert paired_permutation(a, a + 1).p == 1/10_001 and not paired_permutation(a, a + 1).exact
    with pytest.raises(XltError, match="units differ"): paired_permutation(a, a.head(30))


# ---- cells and correlations

def test_cells_of_a_rectangular_matrix_with_holes():
    y = pd.DataFrame([[1., 2, np.nan], [3, 4, 5]], ["a", "b"], ["a", "b", "c"])
    c = cells(y, {"x": square(3, labels=["a", "b", "c"])})
    assert list(zip(c.source, c.target, c.value)) == [("a", "b", 2), ("b", "a", 3), ("b", "c", 5)] and list(c.pair) == ["a~b", "a~b", "b~c"]


def test_labels_are_matched_by_name_not_by_place():
    y, x = square(6), square(6, 1)
    turned = x.iloc[::-1, ::-1]
    assert np.allclose(correlate(y, x), correlate(y, turned)) and np.isclose(qap(y, x).p, qap(y, turned).p)
    with pytest.raises(XltError, match="no language 'l3'"): qap(y, x.drop(index="l3"))


@pytest.mark.parametrize("missing", [0, 5])
def test_correlations_against_scipy_and_dummies(missing):
    y, x = square(7, 0, missing), square(7, 1)
    row, c = correlate(y, {"x": x}).loc["x"], cells(y, {"x": x})
    assert row.cells == 42 - missing == len(c)
    assert np.isclose(row.pearson, scipy.stats.pearsonr(c.value, c.x)[0]) and np.isclose(row.spearman, scipy.stats.spearmanr(c.value, c.x)[0])
    per = [scipy.stats.pearsonr(g.value, g.x)[0] for _, g in c.groupby("target")]
    assert np.isclose(row.target_pearson, np.mean(per)) and np.allclose(correlate_targets(y, x).sort_index(), per)
    assert np.isclose(row.target_spearman, np.mean([scipy.stats.spearmanr(g.value, g.x)[0] for _, g in c.groupby("target")]))
    left = [smf.ols(f"{v} ~ C(source) + C(target)", c).fit().resid for v in ("value", "x")]
    assert np.isclose(row.within, np.corrcoef(*left)[0, 1])
    assert np.allclose(within(y).to_numpy()[[int(s[1:]) for s in c.source], [int(t[1:]) for t in c.target]], left[0])


def test_a_distance_that_only_says_which_target_is_hard_is_nan_within():
    y = square(6)
    x = pd.DataFrame(np.tile(np.arange(6.), (6, 1)), y.index, y.columns)
    row = correlate(y, x).loc["distance"]
    assert np.isnan(row.within) and np.isfinite(row.pearson) and np.isnan(qap(y, x, effects=EFFECTS).p) and np.isfinite(qap(y, x).p)


# ---- permutation tests

@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_exact_qap_against_brute_force(n, alternative):
    y, x = square(n), square(n, 1)
    off, a, b = ~np.eye(n, dtype=bool), y.to_numpy(), x.to_numpy()
    r = np.array([np.corrcoef(a[off], b[np.ix_(p, p)][off])[0, 1] for p in itertools.permutations(range(n))])
    tail = {"two-sided": np.abs, "less": np.negative, "greater": np.positive}[alternative](r)
    test = qap(y, x, alternative=alternative)
    assert test.exact and test.permutations == len(r) and np.isclose(test.r, r[0]) and np.isclose(test.p, np.mean(tail >= tail[0] - 1e-9))


def brute(y, xs, effects, perms, method):
    "t of the first predictor under every permutation, each a regression with dummies by statsmodels."
    y, (x, *others), out = y.copy(), xs, []
    np.fill_diagonal(y, np.nan)
    def residual(v):
        if others or effects: _, _, fit, rows = ols_t(v, others or [np.zeros_like(v)], effects)
        else: rows = np.argwhere(np.isfinite(v) & ~np.eye(len(v), dtype=bool))
        r = np.full_like(v, np.nan)
        for k, (a, b) in enumerate(rows): r[a, b] = fit.resid[k] if others or effects else v[a, b]
        return r
    for p in perms:
        ix = np.ix_(p, p)
        if method == "dsp": out.append(ols_t(y, [residual(x)[ix], *others], effects)[0])
        else: # permute the residual of y by the inverse, add the fit, regress on the predictors where they are
            e = residual(y)
            back = np.argsort(p)
            out.append(ols_t(e[np.ix_(back, back)], [x, *others], effects)[0])
    return np.array(out)


@pytest.mark.parametrize("method", ["dsp", "fl"])
@pytest.mark.parametrize("effects", [(), ("target",), EFFECTS])
@pytest.mark.parametrize("covariates", [0, 2])
@pytest.mark.parametrize("holes", ["none", "y", "x", "both"])
def test_mrqap_t_of_every_permutation_against_statsmodels(method, effects, covariates, holes):
    n = 6
    y, xs = square(n, 0, 3 if holes in ("y", "both") else 0).to_numpy(copy=True), [square(n, 1 + k).to_numpy(copy=True) for k in range(1 + covariates)]
    if holes in ("x", "both"): xs[0][0, 4] = xs[0][3, 2] = np.nan
    perms = label_permutations([0]*n)[0][[0, 1, 100, 333, 719]]
    for m in (y, *xs): np.fill_diagonal(m, np.nan)
    ours = stats.permutation_t(y, xs[0], xs[1:], effects, perms, method)
    assert np.allclose(ours, brute(y, xs, effects, perms, method), rtol=1e-5)


def test_mrqap_table_against_statsmodels_and_freedman_lane_with_added_fit():
    y, xs = square(6), {"a": square(6, 1), "b": square(6, 2)}
    table = mrqap(y, xs, method="fl")
    _, arrays, named = align(y, xs)
    for k, name in enumerate(xs):
        order = [named[name], *(v for m, v in named.items() if m != name)]
        t, slope, fit, rows = ols_t(arrays, order, EFFECTS)
        assert np.isclose(table.t[name], t) and np.isclose(table.slope[name], slope) and np.isclose(table.r[name], t/np.sqrt(t*t + fit.df_resid))
        # Freedman-Lane as usually written: y* = fit of the reduced model + permuted residual
        reduced = ols_t(arrays, order[1:], EFFECTS)[2]
        e, f = np.full((6, 6), np.nan), np.full((6, 6), np.nan)
        for c, (a, b) in enumerate(rows): e[a, b], f[a, b] = reduced.resid[c], reduced.fittedvalues[c]
        every = np.array([ols_t(f + e[np.ix_(p, p)], order, EFFECTS)[0] for p in itertools.islice(itertools.permutations(range(6)), 0, 720, 8)])
        ours = stats.permutation_t(arrays, order[0], order[1:], EFFECTS, np.array([np.argsort(p) for p in itertools.islice(itertools.permutations(range(6)), 0, 720, 8)]), "fl")
        assert np.allclose(every, ours)


def test_label_permutations():
    for groups, count in (("aaaa", 24), ("aabbb", 12), ("abcd", 1), ("abab", 4)):
        perms, exact = label_permutations(groups)
        assert exact and len(perms) == count == len({tuple(p) for p in perms}) and list(perms[0]) == list(range(len(groups)))
        assert all(groups[a] == groups[b] for p in perms for a, b in enumerate(p))
    perms, exact = label_permutations(["x"]*9 + ["y"]*3, n=500)
    assert not exact and perms.shape == (501, 12) and (np.sort(perms, 1) == np.arange(12)).all() and (perms[:, 9:] >= 9).all()
    assert (label_permutations([0]*12, 50, seed=1)[0] == label_permutations([0]*12, 50, seed=1)[0]).all()
    assert len(label_permutations([0]*8)[0]) == 40_320
    uniform = label_permutations([0]*9, 20_000)[0][1:, 0]
    assert scipy.stats.chisquare(np.bincount(uniform)).pvalue > 1e-4


def test_qap_inside_families_against_brute_force():
    y, x = square(6), square(6, 1)
    families = dict(zip(y.index, "aaabbc"))
    perms = [p for p in itertools.permutations(range(6)) if all("aaabbc"[a] == "aaabbc"[b] for a, b in enumerate(p))]
    off, a, b = ~np.eye(6, dtype=bool), y.to_numpy(), x.to_numpy()
    r = np.abs([np.corrcoef(a[off], b[np.ix_(p, p)][off])[0, 1] for p in perms])
    test = qap(y, x, families=families)
    assert test.permutations == 12 and np.isclose(test.p, np.mean(r >= r[0] - 1e-9))
    with pytest.raises(XltError, match="no family for language 'l5'"): qap(y, x, families={k: v for k, v in families.items() if k != "l5"})


def test_random_permutations_agree_with_the_exact_test(monkeypatch):
    y, x = square(7), square(7, 3)
    exact = qap(y, x, effects=EFFECTS)
    monkeypatch.setattr(stats, "_EXACT", 1)
    drawn = qap(y, x, effects=EFFECTS, n=20_000)
    assert exact.exact and not drawn.exact and drawn.permutations == 20_000 and abs(exact.p - drawn.p) < 0.015


def test_spearman_qap():
    y, x = square(5), square(5, 1)
    c = cells(y, {"x": x})
    assert np.isclose(qap(y, x, ranks=True).r, scipy.stats.spearmanr(c.value, c.x)[0])
    assert np.isclose(qap(y, np.exp(x), ranks=True).p, qap(y, x, ranks=True).p)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 6), st.sampled_from([(), ("source",), EFFECTS]))
def test_exact_p_does_not_depend_on_names_order_or_units(seed, n, effects):
    y, x = square(n, seed), square(n, seed + 1)
    order = np.random.default_rng(seed).permutation(n)
    p = qap(y, x, effects=effects).p
    assert np.isclose(p, qap(y.iloc[order, order], x, effects=effects).p)
    assert np.isclose(p, qap(3*y + 7, -2*x + 1, effects=effects).p)
    assert np.isclose(p, qap(y.T, x.T, effects=[{"source": "target", "target": "source"}[e] for e in effects]).p)
    assert np.isclose(p, qap(x, y, effects=effects).p)


def test_options_are_checked():
    y, x = square(5), square(5, 1)
    with pytest.raises(XltError, match="effects: 'soruce'.*source"): qap(y, x, effects=["soruce"])
    with pytest.raises(XltError, match="method: 'dps'.*dsp"): qap(y, x, method="dps")
    with pytest.raises(XltError, match="alternative"): qap(y, x, alternative="lower")
    with pytest.raises(XltError, match="errors: 'dyad'.*dyadic"): regress(y, x, errors="dyad")
    with pytest.raises(XltError, match="cannot be told apart"): mrqap(y, {"a": x, "b": 2*x})


# ---- regression

@pytest.mark.parametrize("effects", [(), ("source",), EFFECTS])
@pytest.mark.parametrize("missing", [0, 4])
def test_regress_against_statsmodels(effects, missing):
    y, xs = square(8, 0, missing), {"a": square(8, 1), "b": square(8, 2)}
    c = cells(y, xs)
    formula = "value ~ a + b" + "".join(f" + C({e})" for e in effects)
    i, j = (pd.factorize(c[k])[0] for k in ("source", "target"))
    plain, model = regress(y, xs, effects, "naive"), smf.ols(formula, c)
    fit = model.fit()
    assert np.allclose(plain.slope, fit.params[["a", "b"]]) and np.allclose(plain.se, fit.bse[["a", "b"]]) and np.allclose(plain.p, fit.pvalues[["a", "b"]])
    assert np.allclose(plain[["low", "high"]], fit.conf_int().loc[["a", "b"]])
    one = model.fit(cov_type="cluster", cov_kwds={"groups": i}, use_t=True)
    assert np.allclose(regress(y, xs, effects, "source").se, one.bse[["a", "b"]]) and np.allclose(regress(y, xs, effects, "source").p, one.pvalues[["a", "b"]])
    two = model.fit(cov_type="cluster", cov_kwds={"groups": np.c_[i, j]})
    variance = np.diag(two.cov_params().loc[["a", "b"], ["a", "b"]])
    assert np.allclose(regress(y, xs, effects, "two-way").se, np.sqrt(np.where(variance > 0, variance, np.nan)), equal_nan=True)


@pytest.mark.parametrize("effects", [(), EFFECTS])
def test_dyadic_robust_against_the_double_sum(effects):
    y, xs = square(8, 0, 3), {"a": square(8, 1), "b": square(8, 2)}
    c = cells(y, xs)
    fit = smf.ols("value ~ a + b" + "".join(f" + C({e})" for e in effects), c).fit()
    x, e, langs = fit.model.exog, fit.resid.to_numpy(), list(zip(c.source, c.target))
    bread, meat = np.linalg.inv(x.T @ x), 0
    for k, l in itertools.product(range(len(c)), repeat=2):
        if set(langs[k]) & set(langs[l]): meat = meat + e[k]*e[l]*np.outer(x[k], x[l])
    at = [fit.model.exog_names.index(n) for n in ("a", "b")]
    variance = np.diag(bread @ meat @ bread)[at]
    assert np.allclose(regress(y, xs, effects, "dyadic").se, np.sqrt(np.where(variance > 0, variance, np.nan)), equal_nan=True)


def test_dyadic_meat_by_hand():
    "Three languages, cells ab, ba, bc: ab and ba share both, bc shares b with either."
    assert dyadic_meat(np.array([[1.], [10], [100]]), np.array([0, 1, 1]), np.array([1, 0, 2]))[0, 0] == 111**2
    "Four languages, ab and cd share nothing."
    assert dyadic_meat(np.array([[1.], [10]]), np.array([0, 2]), np.array([1, 3]))[0, 0] == 101


@pytest.mark.parametrize("effects", [(), EFFECTS])
def test_jackknife_against_refits(effects):
    y, xs = square(7, 0, 3), {"a": square(7, 1), "b": square(7, 2)}
    slopes = []
    for l in y.index:
        c = cells(y.drop(index=l, columns=l), xs)
        slopes.append(smf.ols("value ~ a + b" + "".join(f" + C({e})" for e in effects), c).fit().params[["a", "b"]])
    assert np.allclose(regress(y, xs, effects, "jackknife").se, np.sqrt(6/7*((np.array(slopes) - np.mean(slopes, 0))**2).sum(0)))


# ---- mixed models

def dense_reml(y, x, groups, sd):
    "Restricted log-likelihood with the N x N covariance written out."
    v = sum(s*s*(g[:, None] == g[None]) for s, g in zip(sd, groups)) + sd[-1]**2*np.eye(len(y))
    inverse = np.linalg.inv(v)
    gram = x.T @ inverse @ x
    beta = np.linalg.solve(gram, x.T @ inverse @ y)
    e = y - x @ beta
    return -0.5*(np.linalg.slogdet(v)[1] + np.linalg.slogdet(gram)[1] + e @ inverse @ e), beta, np.linalg.inv(gram)


@pytest.mark.parametrize("random", [("source", "target"), ("source", "target", "pair")])
def test_mixed_model_is_at_the_maximum_of_the_dense_likelihood(random):
    c = cells(100 + square(8, 0, 3), {"a": 1000 + square(8, 1), "b": square(8, 2)})
    fixed, components = mixed_model(c, ["a", "b"], random)
    groups, x = [c[r].to_numpy() for r in random], np.column_stack([np.ones(len(c)), c.a, c.b])
    best, beta, cov = dense_reml(c.value.to_numpy(), x, groups, components.sd.to_numpy())
    assert np.allclose(fixed.estimate, beta, rtol=1e-6) and np.allclose(fixed.se**2, np.diag(cov), rtol=1e-6) and np.isclose(components.share.sum(), 1)
    rng = np.random.default_rng(0)
    for _ in range(50): assert dense_reml(c.value.to_numpy(), x, groups, components.sd.to_numpy()*np.exp(0.1*rng.normal(size=len(components))))[0] <= best + 1e-6


def test_mixed_model_against_statsmodels():
    c = cells(square(9, 5), {"x": square(9, 6)})
    fixed, components = mixed_model(c, ["x"])
    fit = smf.mixedlm("value ~ x", c, groups=np.ones(len(c)), re_formula="0", vc_formula={"source": "0+C(source)", "target": "0+C(target)"}).fit()
    assert np.allclose(fixed.estimate, fit.fe_params, rtol=1e-3, atol=1e-4) and np.allclose(fixed.se, fit.bse_fe, rtol=0.05)
    assert np.allclose(components.sd[["source", "target"]]**2, fit.vcomp, rtol=0.02) and np.isclose(components.sd["residual"]**2, fit.scale, rtol=0.01)


def test_mixed_model_finds_the_components_and_checks_its_input():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 3, 40), rng.normal(0, 1, 60)
    c = pd.DataFrame([(s, t, seed, a[s] + b[t] + rng.normal(0, 2)) for s in range(40) for t in range(60) for seed in range(2)], columns=["source", "target", "seed", "value"])
    _, components = mixed_model(c)
    assert np.allclose(components.sd, [3, 1, 2], rtol=0.3)
    zero = mixed_model(c.assign(value=rng.normal(size=len(c))))[1]
    assert zero.share["residual"] > 0.99 and mixed_model(c, random=[("source", "seed")])[1].index[0] == "source*seed"
    with pytest.raises(XltError, match="no column 'sauce'"): mixed_model(c, random=["sauce"])
    with pytest.raises(XltError, match="linearly dependent"): mixed_model(c.assign(x=1.0), ["x"])


@pytest.mark.parametrize("sources, targets, missing", [(2, 4, 0), (3, 5, 0), (3, 5, 2), (5, 3, 1), (2, 6, 1)])
@pytest.mark.parametrize("effects", [(), ("source",), EFFECTS])
def test_small_rectangles_against_statsmodels(sources, targets, missing, effects):
    "A few sources and targets, some languages in one role only: correlations, slopes and every permutation are those of plain regressions."
    n = max(sources, targets) + 1
    x = square(n, 1)
    y = square(n, 0).iloc[:sources, n - targets:].copy()
    off = [(a, b) for a in y.index for b in y.columns if a != b]
    for a, b in np.random.default_rng(2).permutation(off)[:missing]: y.loc[a, b] = np.nan
    labels, arrays, named = align(y, x)
    c = cells(y, {"x": x})
    assert len(c) == len(off) - missing and set(labels) == {*c.source, *c.target}
    t, slope, fit, rows = ols_t(arrays, [named["distance"]], effects)
    assert fit.df_resid >= 1 # something is left to estimate; see below for what happens if not
    ours = regress(y, x, effects, "naive").loc["distance"]
    assert ours.cells == len(rows) and np.isclose(ours.slope, slope) and np.isclose(ours.t, t)
    perms = label_permutations([0]*len(labels))[0][::37]
    every = stats.permutation_t(arrays, named["distance"], [], effects, perms)
    if not effects: assert np.allclose(every, [ols_t(arrays, [named["distance"][np.ix_(p, p)]], effects)[0] for p in perms])
    assert np.isclose(every[0], t) and np.isfinite(qap(y, x, effects).p)
    left = [smf.ols("v ~ C(source) + C(target)", c.assign(v=c[k])).fit().resid for k in ("value", "x")]
    assert np.isclose(correlate(y, x).within["distance"], np.corrcoef(*left)[0, 1])


@pytest.mark.parametrize("sources, targets", [(1, 3), (1, 5), (2, 3)])
def test_rectangles_too_small_for_effects_are_undefined_not_wrong(sources, targets):
    y, x = square(6).iloc[:sources, :targets], square(6, 1)
    row = regress(y, x, EFFECTS, "naive").loc["distance"]
    assert np.isnan([row.slope, row.se, row.p]).all() and np.isnan(qap(y, x, EFFECTS).p)
    assert np.isfinite(correlate(y, x).pearson["distance"]) or len(cells(y)) < 3
    with pytest.raises(XltError, match="at least 3"): qap(y.iloc[:1, :2], x)


def test_additive_fit_is_least_squares_also_with_holes_and_unseen_languages():
    y = square(7, 3, 6)
    mask = np.isfinite(y.to_numpy()) & ~np.eye(7, dtype=bool)
    mask[2] = mask[:, 5] = False # never a source; never a target
    a, b = additive_fit(y.to_numpy()[None], mask)
    i, j = np.nonzero(mask)
    table = pd.DataFrame({"v": y.to_numpy()[mask], "i": i, "j": j})
    fit = smf.ols("v ~ C(i) + C(j)", table).fit()
    assert np.allclose((a[0][:, None] + b[0])[mask], fit.fittedvalues, atol=1e-7)
    others = np.arange(7) != 2
    assert np.isclose(a[0, 2], a[0, others].mean()) and b[0, 5] == 0 and np.isclose(b[0].sum(), 0)
    stack, masks = np.stack([y.to_numpy(), y.to_numpy().T])[:, None], np.stack([mask, mask.T])
    for k, (one, two) in enumerate(zip(*additive_fit(stack, masks))):
        alone = additive_fit(stack[k], masks[k])
        assert np.allclose(one, alone[0]) and np.allclose(two, alone[1])


def test_language_draws_in_sittings_and_which_can_be_used():
    rng = np.random.default_rng(3)
    assert np.array_equal(language_draws(9, 100, 3), np.vstack([language_draws(9, k, rng) for k in (64, 36)]))
    draws = np.where(language_draws(9, 300, 1) < 6, language_draws(9, 300, 1), -1) # six of nine are in this data set
    assert list(enough_languages(draws, 6)) == [len(set(d.tolist()) - {-1}) >= 4 for d in draws]
    assert list(enough_languages(draws, 3)) == [len(set(d.tolist()) - {-1}) >= 3 for d in draws]


def test_a_large_rectangular_matrix():
    "65 sources, 105 targets, three distances, every test but the exact ones."
    names, rng = [f"l{k}" for k in range(105)], np.random.default_rng(0)
    y = pd.DataFrame(rng.normal(size=(65, 105)), names[:65], names)
    xs = {k: pd.DataFrame(rng.normal(size=(105, 105)), names, names) for k in "abc"}
    assert (correlate(y, xs).cells == 65*104).all()
    assert regress(y, xs, EFFECTS).se.notna().all() and mixed_model(cells(y, xs), list("abc"))[1].shape == (3, 2)
    assert mrqap(y, xs, n=99).p.between(0.01, 1).all() and qap(y, xs["a"], n=999).permutations == 999


# ---- bootstrap over languages, multiplicity, noise ceiling

@pytest.mark.parametrize("statistic", ["mean", "pearson", "within"])
def test_language_bootstrap_against_a_loop(statistic):
    y, x, n = square(7, 0, 2), square(7, 1), 60
    _, a, named = align(y, {"x": x})
    draws = np.random.default_rng(0).integers(0, 7, (n, 7))
    values = []
    for d in draws:
        if len(set(d)) < 4: continue
        rows = [(p, q, a[d[p], d[q]], named["x"][d[p], d[q]]) for p in range(7) for q in range(7) if d[p] != d[q] and np.isfinite(a[d[p], d[q]])]
        c = pd.DataFrame(rows, columns=["source", "target", "value", "x"])
        if statistic == "mean": values.append(c.value.mean())
        elif statistic == "pearson": values.append(np.corrcoef(c.value, c.x)[0, 1])
        else: values.append(np.corrcoef(*[smf.ols(f"{v} ~ C(source) + C(target)", c).fit().resid for v in ("value", "x")])[0, 1])
    ours = bootstrap_languages(y, x, statistic, n=n, level=0.8)
    assert np.allclose([ours.low, ours.high], np.nanquantile(values, [0.1, 0.9]), atol=1e-6)
    with pytest.raises(XltError, match="needed"): bootstrap_languages(y, statistic="within")


def test_adjust_by_hand():
    p = pd.Series([0.001, 0.02, 0.03, np.nan, 0.5], list("abcde"))
    assert np.allclose(adjust(p), [0.004, 0.06, 0.06, np.nan, 0.5], equal_nan=True)
    assert np.allclose(adjust(p, "bh"), [0.004, 0.04, 0.04, np.nan, 0.5], equal_nan=True) and list(adjust(p).index) == list("abcde")
    assert adjust(pd.Series([np.nan])).isna().all()


def test_noise_ceiling_recovers_the_reliability():
    rng = np.random.default_rng(0)
    n, k = 40, 3
    a, b, pair = rng.normal(0, 3, n), rng.normal(0, 3, n), rng.normal(0, 1, (n, n))
    true = a[:, None] + b + pair
    rows = [(i, j, s, true[i, j] + rng.normal(0, 2)) for i in range(n) for j in range(n) if i != j for s in range(k)]
    table = noise_ceiling(pd.DataFrame(rows, columns=["source", "target", "seed", "value"]))
    assert np.isclose(table.reliability["within"], 1/(1 + 4/k), atol=0.05) and np.allclose(table.seed_sd, 2, rtol=0.05)
    assert np.isclose(table.reliability["pooled"], true.var()/(true.var() + 4/k), atol=0.02) and np.allclose(table.ceiling**2, table.reliability)
    observed = np.corrcoef([[v.value.mean(), true[i, j]] for (i, j), v in pd.DataFrame(rows, columns=["i", "j", "seed", "value"]).groupby(["i", "j"])], rowvar=False)[0, 1]
    assert np.isclose(observed, table.ceiling["pooled"], atol=0.01)


def test_noise_ceiling_without_repetitions():
    with pytest.raises(XltError, match="2 seeds"): noise_ceiling(cells(square(4)).assign(seed=0))


# ---- simulation

def test_simulated_effect_has_the_size_asked_for():
    r = []
    for seed in range(60):
        y, x = calibration.simulate(calibration.LANGUAGE_SETS[17], {"source": 1, "target": 2, "pair": 1}, -0.4, seed)
        c = [within(pd.DataFrame(m)).stack().dropna() for m in (y, x)]
        r.append(np.corrcoef(*c)[0, 1])
    assert abs(np.mean(r) + 0.4) < 0.03


def test_qap_keeps_its_level_and_least_squares_does_not():
    table = calibration.rejections(12, "source and target effects", tests=("Pearson, least squares", "QAP", "MRQAP"), draws=200).set_index("test").reject_05
    assert table["QAP"] <= 20 and table["MRQAP"] <= 20 and table["Pearson, least squares"] >= 40


def test_no_effect_under_family_structure():
    "Pairs of families share something that has nothing to do with distance: only tests that know the families keep their level within effects."
    tests = ("fixed effects, least squares", "MRQAP", "MRQAP inside families", "fixed effects, jackknife over languages")
    table = calibration.rejections(17, "… and families", tests=tests, block=77, draws=200).set_index("test").reject_05
    assert table["MRQAP inside families"] <= 20 and table["fixed effects, jackknife over languages"] <= 20
    assert table["MRQAP"] >= 16 and table["fixed effects, least squares"] >= 24
    pooled = calibration.rejections(12, "… and families", tests=("QAP inside families", "Pearson, least squares"), block=77, draws=200).set_index("test").reject_05
    assert pooled["QAP inside families"] <= 20 and pooled["Pearson, least squares"] >= 40


def test_families_of_one_language_leave_nothing_to_permute():
    y, x = square(5), square(5, 1)
    alone = qap(y, x, families={l: l for l in y.index})
    assert alone.p == 1 and alone.permutations == 1
    trial = calibration.TESTS["QAP inside families"].p(y.to_numpy(), x.to_numpy(), list("abcde"), 0)
    assert np.isnan(trial) # not counted as a test that never rejects


def test_calibration_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_BLOCK", 3)
    options = dict(languages=(8,), scenarios=("independent cells",), tests=("Spearman", "Pearson, least squares"), draws=9)
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path/"a")); whole = calibration.calibrate("c", **options)
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path/"b"))
    assert calibration.calibrate("c", **options, seconds=-1).empty
    part = calibration.calibrate("c", **options | {"draws": 3})
    again = calibration.calibrate("c", **options)
    assert (part.draws == 3).all() and (again.draws == 9).all()
    pd.testing.assert_frame_equal(whole, again)
    assert (tmp_path/"a/tables/c.csv").read_bytes() == (tmp_path/"b/tables/c.csv").read_bytes()


@pytest.mark.parametrize("seed", range(6))
def test_what_is_kept_of_distances_gives_the_statistics_of_every_table(seed):
    "Rectangles, holes, several tables of scores; and both questions come out as one by one."
    rng, n = np.random.default_rng(seed), 9
    seen = (rng.random((n, n)) < 0.9) & ~np.eye(n, dtype=bool)
    if seed % 2: seen[6:] = False # languages that are no source
    xs = [rng.random((n, n)) for _ in range(3)]
    perms = stats.label_permutations(list("aaaabbbbb"), 99, seed)[0][:60]
    kept = stats.PermutedDistances(seen, xs, perms)
    for _ in range(2):
        y = np.where(seen, rng.normal(size=(n, n)), np.nan)
        assert np.allclose(kept(y), stats.distance_statistics(y, xs, perms))


def test_a_relation_between_families_alone_does_not_hide_one_inside_them():
    "A statistic that is as large under every permutation inside families must not set the mark for the others."
    rng = np.random.default_rng(0)
    inside = np.r_[9.0, rng.normal(size=499)]
    between = 40 + rng.normal(size=500)
    p = stats.adjust_together(np.stack([inside, between]))
    assert p[0] <= 2/500 and p[1] > 0.05
    assert np.allclose(stats.adjust_together(np.stack([-inside, between])), p)
