"""Sets with sizes: nothing held out is seen, made-up truths are found, intervals hold, bad input is named."""
import math

import numpy as np, pandas as pd, pytest

from xlt_nb.core import XltError
from xlt_nb.sets import (SET_FEATURES, SET_PREDICTORS, SetScores, conformal_width, cost_groups, coverage_of, fit_own,
                         fit_ridge, fit_set_model, fit_sets, judge_sets, predict_left_out, read_sets, set_features)

SOURCES = ("en", "es", "de", "tr", "ja", "hi")
TARGETS = ("en", "es", "tr", "ja", "pt", "ko", "ur", "sw")


def made_up(configurations=40, noise=0.3, seed=0):
    "Scores that rise by ten points with each factor of ten of the amount as seen from the target."
    rng = np.random.default_rng(seed)
    amounts = rng.choice([0, 100, 1000, 5000], (configurations, len(SOURCES)))
    amounts[amounts.sum(1) == 0, 0] = 100
    table = pd.DataFrame(amounts, [f"c{i}" for i in range(configurations)], list(SOURCES))
    truth = 30 + 10*set_features(table, TARGETS, ["near"])[:, :, 0]
    return SetScores(table, TARGETS, truth + rng.normal(0, noise, truth.shape))


@pytest.fixture(scope="module")
def data(): return made_up()


@pytest.mark.parametrize("name", SET_PREDICTORS)
def test_left_out_scores_are_not_seen(name, data):
    "Whatever the left-out target scored, the prediction for it is the same; its amounts as a source may count."
    place, changed = TARGETS.index("tr"), data.scores.copy()
    changed[:, place] = 99 - changed[:, place]
    a, b = (predict_left_out(name, SetScores(data.amounts, TARGETS, s))[:, place] for s in (data.scores, changed))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", SET_PREDICTORS)
def test_the_order_of_sources_and_rows_does_not_matter(name, data):
    train, test = data.at(range(30)), data.at(range(30, 40))
    predict = fit_sets(name, train)
    a = predict(test.amounts, test.targets)
    b = predict(test.amounts.iloc[::-1, ::-1], test.targets)[::-1]
    np.testing.assert_allclose(a, b, atol=1e-8)
    c = predict(test.amounts, test.targets[::-1])[:, ::-1]
    np.testing.assert_allclose(a, c, atol=1e-8)
    assert ((a >= 0) & (a <= 100)).all()


def test_ridge_finds_what_was_put_in(data):
    left = predict_left_out("ridge", data)
    assert np.abs(left - data.scores).mean() < 1.5 < data.scores.std()
    assert judge_sets(left, data.scores, data.amounts.sum(axis=1), 50)["rho"] > 0.9


def test_left_out_by_cross_products_is_a_refit(data):
    "Predictions without each target, by algebra, are those of a fit of the others with the same choices."
    fit = fit_ridge(data)
    x = set_features(data.amounts, TARGETS, fit.blocks, fit.tau)
    z = np.nan_to_num((x - fit.mean)/np.where(fit.sd > 1e-9, fit.sd, np.inf))
    rest = np.arange(len(TARGETS)) != 2
    flat, y = z[:, rest].reshape(-1, z.shape[-1]), data.scores[:, rest].ravel()
    coefs = np.linalg.solve(flat.T @ flat + fit.penalty*len(y)*np.eye(flat.shape[1]), flat.T @ (y - y.mean()))
    np.testing.assert_allclose(fit.left_out[:, 2], z[:, 2] @ coefs + y.mean(), atol=1e-8)


def test_own_ridge_knows_only_its_targets(data):
    found = fit_own(data)(data.amounts, ("tr", "fi"))
    assert np.isfinite(found[:, 0]).all() and np.isnan(found[:, 1]).all()


def test_features_of_any_language():
    amounts = pd.DataFrame({"en": [100], "yo": [10]})
    found = set_features(amounts, ["fo", "quz", "en"])
    assert found.shape[:2] == (1, 3) and np.isfinite(found[:, 2]).all()
    assert set_features(amounts.assign(sw=0), ["fo"], ["nearest", "size"]).tolist() == \
        set_features(amounts, ["fo"], ["nearest", "size"]).tolist(), "a language with no examples is not a member"
    assert [len(SET_FEATURES), set_features(amounts, ["fo"], ["size"]).shape[-1]] == [6, 2]


def test_interval_holds_for_new_languages():
    "Made-up languages with errors of very different sizes: at least 90% of new ones' scores, on average."
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        scale = rng.lognormal(0, 1, 20)
        errors = np.abs(rng.normal(0, 1, (30, 20)))*scale
        held.append((errors[:, 0] <= conformal_width(errors[:, 1:])).mean())
    assert np.mean(held) > 0.88
    assert conformal_width(np.full((3, 2), np.nan)) == math.inf


def test_coverage_leaves_holes_out():
    points, half, actual = np.zeros((2, 2)), np.ones((2, 2)), np.array([[0.5, np.nan], [3, np.nan]])
    assert coverage_of(points, half, actual, 50)["coverage"] == 0.5


def test_regret_is_among_equal_cost():
    "Prediction and truth agree but for cost, which is not compared."
    actual, predicted = np.array([[10.0], [20], [90], [80]]), np.array([[1.0], [2], [3], [4]])
    found = judge_sets(predicted, actual, [100, 101, 5000, 5001], 50)
    assert found["regret"] == 5 and found["random"] == 5 and found["saved"] == 0
    assert [g.tolist() for g in cost_groups([100, 5000, 101])] == [[0, 2]]
    assert np.isnan(judge_sets(predicted, actual, [1, 10, 100, 1000], 50)["regret"])


def test_model_answers_for_members_and_strangers(data):
    model = fit_set_model(data, "made up")
    known, new = (model.predict({"en": 1000, "tr": 100, "hi": 100}, code) for code in ("tr", "fi"))
    assert known.known and not new.known and known.inside and new.low <= new.points <= new.high
    assert not model.predict({"en": 1000, "fi": 100, "hi": 100}, "tr").inside, "Finnish is no source of the fit"
    assert not model.predict({"en": 10**7, "hi": 100}, "tr").inside
    rows, half = model.table(data.amounts, data.targets)
    assert rows.shape == half.shape == data.scores.shape


@pytest.mark.parametrize("sources, reason", [({}, "dict of amounts"), ({"en": -1}, "above 0"), ({"en": math.nan}, "above 0"),
    ({"en": 1, "eng": 2}, "twice"), ({"xx-nope": 1}, "xx-nope"), ("en", "dict of amounts")])
def test_bad_sets_are_named(sources, reason, data):
    with pytest.raises(XltError, match=reason): fit_set_model(data).predict(sources, "tr")


def test_parts_of_litmus_have_nothing_in_common():
    train, gold, new = (read_sets("nli", part) for part in ("train", "gold", "gold_surprise"))
    assert not set(train.amounts.index) & set(gold.amounts.index) and not set(train.targets) & set(new.targets)
    assert list(gold.amounts.index) == list(new.amounts.index) and not new.member.any()
