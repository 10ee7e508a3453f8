"""Languages and distances: properties over many languages, a second implementation, errors, the cache. Quick; no data but the wheel's."""
import itertools, json, math, os, random, shutil, subprocess, sys, warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from xlt_nb import distances as D
from xlt_nb.core import XltError
from xlt_nb.distances import (DISTANCES, GROUPS, HALF_MERIDIAN, MEASURES, MIN_SHARED, MODES, PAPER_DISTANCES, ThinDataWarning, combined, coverage,
                              distance, distance_interval, distance_matrix, distance_table, explain_distance, family_groups, languages_with, load_uriel, paper_distances, register_distance, uriel_features)
from xlt_nb.languages import LANGUAGES, MACROLANGUAGES, MINION, SMILER, _letter_codes, as_matrix, language, resolve, uriel_codes, uriel_dir

KINDS_AND_MODES = [(k, m) for k, d in DISTANCES.items() for m in d.modes]
ANGULAR = {"syntactic": ("syntax",), "phonological": ("phonology",), "inventory": ("inventory",), "featural": tuple(GROUPS)}
SAMPLE = [*LANGUAGES, "zh", "sw", "eu", "ms", "et", "arb", "cmn", "und", *random.Random(0).sample(sorted(uriel_codes() - {"und", "arb", "cmn"}), 60)]
pytestmark = pytest.mark.filterwarnings("ignore::xlt_nb.distances.ThinDataWarning") # what is warned of has tests of its own
ANY_CODES = st.lists(st.sampled_from(sorted(uriel_codes())), min_size=2, max_size=8, unique=True)


# ---- languages

def test_every_code_of_uriel_resolves():
    for code in uriel_codes():
        l = language(code)
        assert l.iso3 == code or code in _letter_codes() # bibliographic codes lead elsewhere
        assert {l.typology, l.genealogy, l.geography} <= uriel_codes()
    for code, iso3 in _letter_codes().items(): assert language(code) == language(iso3) and language(code).iso3 == iso3


def test_language_is_stable_under_its_own_code():
    for code in [*LANGUAGES, *MACROLANGUAGES, *_letter_codes()]: assert language(language(code).code) == language(code)


def test_subsets():
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 17 and set(MINION) | set(SMILER) == set(LANGUAGES)
    assert set(MINION) == set("en es pt pl tr hi ko ja".split()) and set(SMILER) == set("ar de en es fa fr it ko nl pl pt ru sv uk".split())
    assert all(l.name and l.family and l.branch and l.script for l in resolve(LANGUAGES))


@pytest.mark.parametrize("bad", ["", "e", "xx", "zzzz", "en-", "-en", "en-Latin", "en fr", " en", "x-mine", "und-Latn", None, 7, ("en",), ["en"]])
def test_unknown_code(bad):
    with pytest.raises(XltError, match="language"): language(bad)


@pytest.mark.parametrize("given, iso3", [
    ("pt-BR", "por"), ("pt_br", "por"), ("zh-Hant", "zho"), ("zh-TW", "zho"), ("zh-yue", "yue"), ("en_US", "eng"), ("sr-Latn-RS", "srp"), # BCP 47
    ("iw", "heb"), ("in", "ind"), ("ji", "yid"), ("mo", "ron"), ("jw", "jav"), ("iw-IL", "heb"), # retired codes
    ("swh_Latn", "swh"), ("zho_Hans", "zho"), ("arb_Arab", "arb"), ("kmr_Latn", "kmr"), ("ben_Beng", "ben"), # FLORES
    ("prs", "prs"), ("prs-AF", "prs"), ("cmn", "cmn"), ("cmn-Hans-CN", "cmn"), ("tl", "tgl"), ("fil", "fil"), # a code is taken exactly
    ("English", "eng"), ("Swahili", "swa"), ("scottish gaelic", "gla"), ("Norwegian Bokmål", "nob"), ("Farsi", "fas"), ("Deutsch", "deu")]) # names
def test_every_way_to_name_a_language(given, iso3): assert language(given).iso3 == iso3


@pytest.mark.parametrize("wrong, hint", [
    ("Japanase", r"ja \(Japanese\)"), ("Spanich", r"es \(Spanish\)"), ("engl", r"en \(English\)"), ("francais", r"fr \(French\)"), # names
    ("jp", r"ja \(Japanese\), the main language of Japan"), ("cz", r"cs \(Czech\)"), ("dk", r"da \(Danish\)"), # countries
    ("nah", "Nahuatl.*no row"), ("Nahuatl", "Nahuatl.*no row"), ("stan1288", "Glottocode"), # known, but not here
    ("zzzz", "for example: en, nl"), ("qq", "for example: en, nl")]) # nothing is like it: no language is guessed
def test_a_wrong_code_is_met_with_what_was_meant(wrong, hint):
    with pytest.raises(XltError, match=hint): language(wrong)


def test_langcodes_stays_away_from_plain_codes():
    code = "import sys; from xlt_nb.languages import *; resolve(LANGUAGES), language('ger'); sys.exit('langcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- matrices

def test_matrix_has_the_order_of_figures_and_may_be_rectangular():
    rows = [(s, t, 10*i + j) for i, s in enumerate(["sw", "ja", "en"]) for j, t in enumerate(["yo", "am", "de", "en"])]
    long = pd.DataFrame(rows, columns=["source", "target", "score"]).sample(frac=1, random_state=0)
    m = as_matrix(long)
    assert list(m.index) == ["en", "ja", "sw"] and list(m.columns) == ["en", "de", "am", "yo"]
    assert all(m.loc[s, t] == v for s, t, v in rows) and (m.index.name, m.columns.name) == ("source", "target")
    assert as_matrix(long[long.score != 22]).isna().to_numpy().sum() == 1


def test_matrix_refuses_what_is_not_one_row_a_pair():
    long = pd.DataFrame([("en", "de", 1, 0), ("en", "de", 2, 1)], columns=["source", "target", "score", "seed"])
    with pytest.raises(XltError, match="'en' -> 'de'.*more than once"): as_matrix(long)
    assert as_matrix(long[long.seed.eq(1)]).loc["en", "de"] == 2
    with pytest.raises(XltError, match="column.*'scores'.*score"): as_matrix(long, "scores")
    with pytest.raises(XltError, match="column.*'sources'.*source"): as_matrix(long, source="sources")


# ---- properties

@pytest.mark.parametrize("kind, mode", KINDS_AND_MODES)
def test_properties(kind, mode):
    m, c = distance_matrix(kind, SAMPLE, mode), coverage(kind, SAMPLE, mode)
    values, share = m.to_numpy(), c.to_numpy()
    assert list(m.index) == list(m.columns) == list(c.index) == list(c.columns) == SAMPLE
    assert (np.diag(values) == 0).all()
    if (kind, mode) != ("genetic", "published"): assert np.array_equal(values, values.T, equal_nan=True)
    known = np.isfinite(values)
    assert (values[known] >= 0).all() and (kind.startswith("euclidean") or (values[known] <= 1).all())
    assert ((share >= 0) & (share <= 1)).all() and np.array_equal(share, share.T)
    assert (share[~known] == 0).all() or mode == "shared" # no value is missing where there is data, if there is enough
    if mode == "published" or (mode == "knn" and kind != "geographic"): assert known.all() or kind.split("_")[0] in MEASURES
    if mode == "shared" and kind not in ("genetic", "geographic"): assert (~known | np.eye(len(m), dtype=bool) | (share > 0)).all()


@pytest.mark.parametrize("kind, mode", KINDS_AND_MODES)
def test_what_rests_on_too_little_is_missing_in_mode_shared_alone(kind, mode):
    whole, kept, share = distance_matrix(kind, SAMPLE, mode, 0), distance_matrix(kind, SAMPLE, mode), coverage(kind, SAMPLE, mode)
    counted = kind in ANGULAR or kind.split("_")[0] in MEASURES
    if mode != "shared" or not counted: return pd.testing.assert_frame_equal(whole, kept)
    group = ANGULAR[kind][0] if kind in ANGULAR else kind.split("_")[1]
    least, size = MIN_SHARED["featural" if kind == "featural" else group], sum(len(uriel_features(f"{g}_union", ["en"]).columns) for g in ANGULAR.get(kind, (group,)))
    few = np.rint(share.to_numpy()*size) < least
    iso3 = np.array([l.iso3 for l in resolve(SAMPLE)])
    few &= iso3[:, None] != iso3
    assert few.any() and np.array_equal(kept.isna(), few | whole.isna())
    assert np.array_equal(whole.to_numpy()[~few], kept.to_numpy()[~few], equal_nan=True)
    stricter = distance_matrix(kind, SAMPLE, mode, least + 5)
    assert kept.isna().to_numpy().sum() <= stricter.isna().to_numpy().sum() and (stricter.isna() >= kept.isna()).all(axis=None)


@pytest.mark.parametrize("kind, mode", KINDS_AND_MODES)
def test_the_seventeen_keep_every_value_in_silence(kind, mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for codes in (LANGUAGES, MINION, SMILER): pd.testing.assert_frame_equal(distance_matrix(kind, codes, mode), distance_matrix(kind, codes, mode, 0))


@pytest.mark.parametrize("kind, mode", KINDS_AND_MODES)
def test_one_row_is_at_distance_zero(kind, mode):
    assert distance(kind, "es", "spa", mode) == 0
    m = distance_matrix(kind, ["es", "spa", "ja"], mode)
    assert m.loc["es", "spa"] == m.loc["spa", "es"] == 0 and m.loc["es", "ja"] == m.loc["spa", "ja"]


@settings(max_examples=25, deadline=None)
@given(codes=ANY_CODES, pick=st.sampled_from(KINDS_AND_MODES), seed=st.integers(0, 99))
def test_a_pair_does_not_depend_on_its_company(codes, pick, seed):
    kind, mode = pick
    m, shuffled = distance_matrix(kind, codes, mode), random.Random(seed).sample(codes, len(codes))
    assert np.allclose(m.loc[shuffled, shuffled], distance_matrix(kind, shuffled, mode), atol=1e-7, equal_nan=True)
    a, b = codes[:2]
    assert np.isclose(distance(kind, a, b, mode), m.loc[a, b], atol=1e-7, equal_nan=True)


def test_long_table_holds_the_matrices():
    t = distance_table(LANGUAGES, ["syntactic", "genetic"], "published")
    assert list(t.columns) == ["source", "target", "kind", "distance", "coverage"] and len(t) == 2*17*16
    for kind, rows in t.groupby("kind"):
        square = rows.pivot(index="source", columns="target", values="distance").loc[list(LANGUAGES), list(LANGUAGES)].fillna(0)
        assert np.array_equal(square, distance_matrix(kind, LANGUAGES, "published"))


# ---- against a second, slow implementation, and against published values

def slow_vectors(code, groups):
    with np.load(uriel_dir()/"features.npz") as z: langs, feats = z["langs"].tolist(), z["feats"].tolist()
    row = slow_vectors.data[langs.index(language(code).typology)].max(axis=1)
    return [v for f, v in zip(feats, row) if f.startswith(tuple(GROUPS[g] for g in groups))]


@pytest.fixture(scope="module")
def raw():
    with np.load(uriel_dir()/"features.npz") as z: slow_vectors.data = z["data"]


def slow_angle(u, v):
    pairs = [(x, y) for x, y in zip(u, v) if x >= 0 and y >= 0]
    dot, p, q = sum(x*y for x, y in pairs), sum(x*x for x, _ in pairs), sum(y*y for _, y in pairs)
    return 2/math.pi*math.acos(min(1, dot/math.sqrt(p*q)))


def slow_binary(measure, u, v):
    n = [sum((x, y) == s for x, y in zip(u, v)) for s in ((1, 1), (0, 1), (1, 0), (0, 0))]
    a, b, c, d = n
    s1, s2 = max(a, b) + max(c, d) + max(a, c) + max(b, d), max(a + c, b + d) + max(a + b, c + d)
    return {"hamming": (b + c)/sum(n), "jaccard": 1 - a/(a + b + c), "inner": 1 - (a + d)/sum(n), "anderberg": 1 - (s1 - s2)/(2*sum(n))}[measure]


@pytest.mark.parametrize("a, b", [("en", "fr"), ("ja", "ar"), ("fa", "hi"), ("eu", "zh")])
def test_slow_implementation_agrees(raw, a, b):
    for kind, groups in ANGULAR.items():
        assert distance(kind, a, b, "shared") == pytest.approx(slow_angle(slow_vectors(a, groups), slow_vectors(b, groups)), abs=1e-7)
    for measure, group in itertools.product(MEASURES, GROUPS):
        assert distance(f"{measure}_{group}", a, b, "shared") == pytest.approx(slow_binary(measure, slow_vectors(a, [group]), slow_vectors(b, [group])), abs=1e-7)


@pytest.mark.parametrize("kind, a, b, value", [
    ("syntactic", "eng", "fra", 0.4569), ("syntactic", "frr", "dan", 0.6629), ("syntactic", "frr", "deu", 0.5788), ("syntactic", "dan", "deu", 0.4852),
    ("inventory", "frr", "dan", 0.6196), ("geographic", "frr", "dan", 0.0028), ("geographic", "frr", "deu", 0.0359), ("geographic", "dan", "deu", 0.0361)])
def test_published_values(kind, a, b, value): assert round(distance(kind, a, b, "published"), 4) == value


def test_published_artefacts():
    for macro in ("ar", "fa", "zh", "sw", "ms"):
        assert distance("geographic", macro, "en", "published") == distance("genetic", macro, "en", "published") == 1
        assert coverage("featural", [macro, "en"], "published").loc[macro, "en"] == 0
    assert (distance_matrix("featural", ["ar", "fa", "zh", "sw", "ms"], "published") == 0).all(axis=None)
    assert (distance_matrix("phonological", ["it", "pt", "nl", "sv", "uk"], "published") == 0).all(axis=None)
    directed = distance_matrix("genetic", ["es", "ru"], "published") # the line of Spanish is the longer one
    assert directed.loc["ru", "es"] > directed.loc["es", "ru"]


def test_default_has_no_artefacts():
    others = [c for c in LANGUAGES if c != "ar"]
    for kind in ("syntactic", "inventory", "geographic"): # imputed phonologies may coincide
        m = distance_matrix(kind).to_numpy()
        assert (m[~np.eye(17, dtype=bool)] > 0).all()
    assert distance_matrix("geographic").loc["ar", others].max() < 0.6


def test_features_are_those_of_the_wheel(raw):
    with np.load(uriel_dir()/"geocoord_features.npz") as z:
        assert np.array_equal(uriel_features("geo", ["ja"]).to_numpy(np.float32)[0], z["data"][z["langs"].tolist().index("jpn"), :, 0])
    assert np.array_equal(uriel_features("phonology_union", ["ja"]).fillna(-1).to_numpy()[0], slow_vectors("ja", ["phonology"]))
    assert set(uriel_features("fam", ["ja"]).loc["ja"].pipe(lambda r: r.index[r == 1])) >= {"F_Japonic"}


# ---- what is warned of

def heard(f, *args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        f(*args, **options)
    assert all(w.category is ThinDataWarning and w.filename == __file__ for w in caught) # the line that asked
    return [str(w.message) for w in caught]


def test_a_pair_is_warned_of_a_language_at_a_time():
    assert heard(distance, "syntactic", "en", "pt") == heard(distance, "syntactic", "yrl", "yrl") == heard(distance, "syntactic", "yrl", "pt", min_shared=0) == []
    one, = heard(distance, "syntactic", "yrl", "pt")
    assert one == heard(distance, "syntactic", "en", "yrl")[0] == heard(distance, "syntactic", "yrl", "pap")[0] # one text, whatever the partner
    assert "syntactic distance: URIEL knows 0 of 103 features of yrl (Nheengatu), fewer than 40;" in one and "imputed" in one and ";" in one
    assert [("yrl" in t, "pap" in t) for t in heard(distance, "syntactic", "yrl", "pap")] == [(True, False), (False, True)]
    assert "no distance" in heard(distance, "syntactic", "yrl", "pt", "shared")[0] and "as published" in heard(distance, "syntactic", "sw", "pt", "published")[0]
    assert "has no data for und" in heard(distance, "genetic", "und", "pt")[0] and heard(distance, "genetic", "yrl", "pt") == []
    assert "0 of 28" in heard(distance, "phonological", "it", "en")[0] # asked for by name, one of the seventeen is no exception


def test_a_pair_known_by_different_features():
    u = load_uriel()
    known = u.union[:, np.char.startswith(u.features, "S_")] >= 0
    rows = np.flatnonzero(known.sum(1) >= MIN_SHARED["syntax"])
    shared = known[rows].astype(int) @ known[rows].T
    i, j = rows[np.array(np.unravel_index(shared.argmin(), shared.shape))]
    assert shared.min() < MIN_SHARED["syntax"]
    a, b = str(u.codes[i]), str(u.codes[j])
    for kind, mode in (("syntactic", "shared"), ("hamming_syntax", "shared"), ("jaccard_syntax", "published")):
        text, = heard(distance, kind, a, b, mode)
        assert f"knows {shared.min()} of 103 features of both" in text and np.isnan(distance(kind, a, b, mode)) == (mode == "shared" or shared.min() == 0)
        assert "both languages of 1 pairs" in heard(distance_matrix, kind, [a, b], mode)[0]
    assert heard(distance, "syntactic", a, b) == heard(distance_matrix, "syntactic", [a, b]) == [] # each has its own vector


def test_a_matrix_is_warned_of_once_and_names_the_least_known():
    text, = heard(distance_matrix, "syntactic", ["en", "pap", "yrl", "pt"])
    assert "yrl (0), pap (2)" in text and "en" not in text.split("of ")[-1].split(";")[0].split(", ")
    text, = heard(distance_matrix, "syntactic", languages_with("syntactic"))
    assert " more" in text and len(text) < 400
    assert len(heard(distance_table, ["en", "yrl"], ["syntactic", "phonological", "genetic"])) == 2 # one a kind
    assert heard(distance_table, ["en", "yrl"], ["syntactic"], min_shared=0) == heard(coverage, "syntactic", ["en", "yrl"]) == []


def test_a_process_says_it_once_and_filters_are_obeyed():
    ask = "import warnings; import xlt_nb.distances as d; from xlt_nb.distances import *\n{before}\nfor k in ('syntactic', 'syntactic', 'phonological'):\n  distance(k, 'yrl', 'en')\ndistance('syntactic', 'pt', 'yrl')"
    def said(before, *flags):
        p = subprocess.run([sys.executable, *flags, "-c", ask.format(before=before)], capture_output=True, text=True)
        return p.returncode, p.stderr.count("ThinDataWarning:")
    assert said("") == (0, 2) # a kind once
    assert said("warnings.simplefilter('ignore', d.ThinDataWarning)") == (0, 0) == said("", "-W", "ignore")
    assert said("", "-W", "error") == (1, 1)


# ---- intervals

PAIRS = [("en", "fr"), ("ja", "ar"), ("fa", "hi"), ("eu", "fi"), ("tr", "ko"), ("en", "ja")]
COUNTED = [(k, m) for k, m in KINDS_AND_MODES if k in ANGULAR or k.split("_")[0] in MEASURES]


@pytest.mark.parametrize("kind, mode", COUNTED)
def test_interval_properties(kind, mode):
    for a, b in PAIRS:
        i = distance_interval(kind, a, b, mode, 99)
        assert i == distance_interval(kind, a, b, mode, 99, seed=0) and i.low <= i.value <= i.high and 0 <= i.low and i.high <= 1
        assert i.value == pytest.approx(distance(kind, a, b, mode)) and i.coverage == pytest.approx(coverage(kind, [a, b], mode).iloc[0, 1])
        assert i.n_features > 0 and (i.low < i.high or i.value in (0, 1))
        narrow = distance_interval(kind, a, b, mode, 99, level=0.5)
        assert i.low <= narrow.low and narrow.high <= i.high
    assert distance_interval(kind, "en", "eng", mode, 99)[:3] == (0, 0, 0)
    if mode == "shared": assert np.isnan(distance_interval(kind, "en", "und", mode, 99)[:3]).all()


@pytest.mark.parametrize("kind", [k for k in ANGULAR] + [f"{m}_syntax" for m in MEASURES])
def test_interval_shrinks_with_the_root_of_the_number_of_features(kind):
    c = D._COMPARISONS[kind]
    v, use = D._compared(kind, resolve(["en", "ja"]), "shared")
    x, y = v.values[:, use].astype(float)
    once, often = (np.std(D._resampled(c, np.tile(x, k), np.tile(y, k), 2000, 1)) for k in (1, 9))
    if kind.startswith("anderberg"): assert 1.7 < once/often < 3 # takes maxima: not smooth
    else: assert once/often == pytest.approx(3, rel=0.15)


def test_interval_covers_what_other_features_say():
    "Databases drawn from that of the inventory: the 90% interval of each must hold the distance over all about that often."
    rng, held = np.random.default_rng(0), []
    c = D._COMPARISONS["inventory"]
    v, use = D._compared("inventory", resolve(LANGUAGES), "knn")
    for _ in range(150):
        x, y = v.values[rng.choice(17, 2, replace=False)].astype(float)
        some = rng.choice(len(x), len(x), replace=True) # another database of the same size
        low, high = np.quantile(D._resampled(c, x[some], y[some], 300, int(rng.integers(1000))), [0.05, 0.95])
        held.append(low <= c.value(*c.terms(x, y).sum(1)) <= high)
    assert 0.8 <= np.mean(held) <= 0.97


def test_interval_depends_on_its_seed_alone():
    a, b = (distance_interval("syntactic", "en", "ja", seed=s) for s in (0, 1))
    assert a.value == b.value and a != b and abs(a.low - b.low) < 0.05


# ---- explanations

SUMS = [("es", "ru"), ("ru", "es"), ("ar", "en"), ("tr", "ja"), ("sw", "eu"), ("zh", "cmn"), ("yrl", "pt"), ("und", "en"), ("und", "yrl"), ("es", "spa"), ("arb", "ar")]


@pytest.mark.parametrize("kind, mode", KINDS_AND_MODES)
def test_contributions_add_up(kind, mode):
    for a, b in SUMS:
        t, value = explain_distance(kind, a, b, mode, 0), distance(kind, a, b, mode, 0)
        assert list(t.columns)[:6] == "feature value_a value_b source_a source_b contribution".split() and t.feature.is_unique
        if np.isnan(value): assert t.contribution.isna().all()
        else: assert t.contribution.sum() == pytest.approx(value, abs=2e-6) and (t.contribution >= 0).all() and t.contribution.is_monotonic_decreasing


def test_where_values_come_from(raw):
    t = explain_distance("syntactic", "en", "it").set_index("feature")
    with np.load(uriel_dir()/"features.npz") as z: names, langs, feats = z["sources"], z["langs"].tolist(), z["feats"].tolist()
    for feature in t.index[:20]:
        has = slow_vectors.data[langs.index("ita"), feats.index(feature)] >= 0
        assert t.source_b[feature] == (", ".join(names[has]) or "imputed")
    assert set(t.source_a) & {"imputed", "unknown"} == set() and len(t) == 103
    assert "unknown" in set(explain_distance("syntactic", "en", "it", "published").source_b) and set(explain_distance("phonological", "en", "it").source_b) == {"imputed"}
    shared = explain_distance("syntactic", "en", "it", "shared")
    assert len(shared) == 77 and not shared[["source_a", "source_b"]].isin(["unknown", "imputed"]).any(axis=None)
    assert explain_distance("syntactic", "yrl", "en", "shared").empty and explain_distance("syntactic", "pap", "en", "shared").contribution.isna().all()


def test_ancestors_and_places():
    t = explain_distance("genetic", "es", "pt").set_index("feature")
    assert {"F_Indo-European", "F_Romance"} <= set(t.index[(t.value_a == 1) & (t.value_b == 1)]) and t.contribution["F_Romance"] == 0
    assert (t.value_a["spa"], t.value_b["spa"], t.value_a["por"]) == (1, 0, 0)
    assert explain_distance("genetic", "es", "und").source_b.eq("no data").all()
    to, back = (explain_distance("genetic", *pair, "published").set_index("feature") for pair in (("es", "ru"), ("ru", "es")))
    assert to.contribution[to.value_a.eq(1)].sum() == back.contribution[back.value_a.eq(1)].sum() == 0 # the second line counts
    place = explain_distance("geographic", "frr", "deu").iloc[0]
    assert place.kilometres == pytest.approx(HALF_MERIDIAN*distance("geographic", "frr", "deu")) and 700 < place.kilometres < 730
    assert place.value_a[0] > place.value_b[0] > 45 and np.isnan(explain_distance("geographic", "und", "en").kilometres.item())


def test_a_distance_known_in_part_is_known():
    "Coverage that counts no features is a share of anything; only where it is 0 is nothing known."
    def half(languages, mode): return np.zeros((len(languages),)*2), np.array([[0.3*(x.code != "yrl" != y.code) for x in languages] for y in languages])
    register_distance("in_part", "made up", modes=("knn",))(half)
    try:
        assert heard(distance, "in_part", "en", "pt") == [] and "no data for yrl" in heard(distance, "in_part", "en", "yrl")[0]
        assert "yrl (0);" in heard(distance_matrix, "in_part", ["en", "yrl", "pt", "eu"])[0]
    finally: del DISTANCES["in_part"]


def test_a_users_distance_has_no_table():
    register_distance("same_name", "made up", modes=("knn",))(lambda languages, mode: (np.zeros((len(languages),)*2), np.ones((len(languages),)*2)))
    try:
        assert distance("same_name", "en", "yrl") == 0 and heard(distance, "same_name", "en", "yrl") == []
        with pytest.raises(XltError, match="taken apart.*genetic"): explain_distance("same_name", "en", "fr")
        with pytest.raises(XltError, match="over features.*syntactic"): distance_interval("same_name", "en", "fr")
    finally: del DISTANCES["same_name"]


# ---- the paper

def test_paper_distances():
    tables = paper_distances(MINION)
    assert tuple(tables) == PAPER_DISTANCES and len(tables) == 14
    parts = 0.4*tables["anderberg_syntax"] + 0.2*tables["inner_phonology"] + 0.4*tables["anderberg_inventory"]
    assert np.allclose(parts, combined(MINION))


def test_paper_medoids():
    d = combined(MINION)
    best = min(itertools.combinations(MINION, 2), key=lambda m: d[list(m)].min(axis=1).sum())
    cluster = d[list(best)].idxmin(axis=1)
    assert set(best) == {"tr", "pt"} and set(cluster.index[cluster == "tr"]) == {"tr", "ko", "hi", "ja"}


# ---- errors, registry, imports

@pytest.mark.parametrize("call, words", [
    (lambda: distance("syntax", "en", "fr"), "kind.*syntactic"),
    (lambda: distance("syntactic", "en", "fr", mode="KNN"), "mode.*knn"),
    (lambda: distance("euclidean_genetic", "en", "fr"), "no sense.*published"),
    (lambda: distance("syntactic", "en", "xx"), "language.*'xx'"),
    (lambda: distance_matrix("syntactic", "en fr"), "give a list"),
    (lambda: distance_matrix("syntactic", ["en", "en"]), "named twice"),
    (lambda: distance_matrix("syntactic", []), "empty"),
    (lambda: coverage("syntactic", ["en"], "full"), "mode"),
    (lambda: distance_table(["en", "fr"], ["syntactical"]), "kind.*syntactic"),
    (lambda: uriel_features("syntax_nn", ["en"]), "feature_set.*syntax_knn"),
    (lambda: languages_with("genes"), "kind.*genetic"),
    (lambda: combined(["en", "fr"], {"anderberg": 1}), "kind.*anderberg"),
    (lambda: combined(["en", "fr"], {}), "weights"),
    (lambda: combined(["en", "fr"], {"syntactic": "much"}), "weights: 'much' of syntactic"),
    (lambda: combined(["en", "fr"], ["syntactic"]), "weights: .*not a dictionary"),
    (lambda: distance_table(["en", "fr"], "syntactic"), "kinds: 'syntactic' is one string; give a list"),
    (lambda: distance_table(["en", "fr"], []), "kinds: none; .*valid: syntactic"),
    (lambda: family_groups("en"), "languages: 'en' is one string"),
    (lambda: distance_interval("syntactic", "en", "fr", level="most"), "level: 'most'"),
    (lambda: distance("syntactic", "en", "fr", min_shared=-1), "min_shared: -1"),
    (lambda: distance_matrix("syntactic", ["en", "fr"], min_shared=2.5), "min_shared: 2.5"),
    (lambda: distance_table(["en", "fr"], min_shared=True), "min_shared: True"),
    (lambda: distance_interval("syntax", "en", "fr"), "kind.*syntactic"),
    (lambda: distance_interval("genetic", "en", "fr"), "over features.*syntactic"),
    (lambda: distance_interval("syntactic", "en", "xx"), "language.*'xx'"),
    (lambda: distance_interval("syntactic", "en", "fr", draws=98), "draws: 98"),
    (lambda: distance_interval("syntactic", "en", "fr", level=95), "level: 95"),
    (lambda: distance_interval("syntactic", "en", "fr", seed=-1), "seed: -1"),
    (lambda: explain_distance("genetics", "en", "fr"), "kind.*genetic"),
    (lambda: explain_distance("euclidean_genetic", "en", "fr"), "no sense.*published"),
])
def test_errors_name_the_fault_and_the_nearest_choice(call, words):
    with pytest.raises(XltError, match=words): call()


def test_a_new_distance_is_one_function():
    @register_distance("same_script", "0 where two languages share a script", modes=("knn",))
    def same_script(languages, mode):
        scripts = np.array([l.script for l in languages])
        return (scripts[:, None] != scripts).astype(int), np.ones((len(scripts), len(scripts)))
    try:
        assert distance("same_script", "en", "pl") == 0 and distance("same_script", "en", "ru") == 1
        assert len(distance_table(MINION, ["same_script"])) == 56 and len(languages_with("same_script")) == len(uriel_codes())
        with pytest.raises(XltError, match="no sense"): distance("same_script", "en", "pl", "shared")
    finally: del DISTANCES["same_script"]


def test_import_is_light():
    code = "import sys, json; import xlt_nb.distances as d; d.distance_matrix('syntactic'); print(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout))
    assert not modules & {"torch", "transformers", "sklearn", "scipy", "matplotlib", "seaborn", "lang2vec", "pkg_resources", "fastcore", "nbdev"}


# ---- the cache

@pytest.fixture
def wheel(tmp_path, monkeypatch):
    "A copy of the wheel's files, an empty cache, and a count of the times the wheel is read (quickly)."
    folder = tmp_path/"site-packages"/"lang2vec"/"data"
    folder.mkdir(parents=True)
    for p in uriel_dir().glob("*_features.npz"): shutil.copy2(p, folder)
    original, reads = load_uriel(), []
    monkeypatch.setenv("XLT_CACHE", str(tmp_path/"cache"))
    monkeypatch.setattr(D, "uriel_dir", lambda: folder)
    monkeypatch.setattr(D, "_read_wheel", lambda f: reads.append(f) or original)
    load_uriel.cache_clear()
    def load():
        load_uriel.cache_clear()
        u = load_uriel()
        for name in vars(original):
            if name != "index": assert np.array_equal(getattr(u, name), getattr(original, name), equal_nan=name == "place"), name
        return len(reads)
    yield folder, tmp_path/"cache", load
    load_uriel.cache_clear()


def test_cache_is_used_and_follows_the_wheel(wheel):
    folder, cache, load = wheel
    assert [load(), load(), load()] == [1, 1, 1]
    some = folder/"family_features.npz"
    os.utime(some, ns=(1, 1))
    assert [load(), load()] == [2, 2] # another time
    with open(some, "ab") as f: f.write(b"x")
    os.utime(some, ns=(1, 1))
    assert [load(), load()] == [3, 3] # another size
    (folder.parent.parent/"lang2vec-9.9.9.dist-info").mkdir()
    assert [load(), load()] == [4, 4] # another version
    assert not list(cache.glob("*.partial")) and len(list(cache.glob("uriel-*.npz"))) == 4


def test_damaged_cache_is_made_again(wheel):
    folder, cache, load = wheel
    assert load() == 1
    path, = cache.glob("uriel-*.npz")
    good, rng = path.read_bytes(), random.Random(0)
    damaged = [good[:n] for n in (0, 1, 100, len(good)//2, len(good) - 1)] + [b"not an archive"]
    for at in [30, 60, 140, len(good) - 30, *(rng.randrange(len(good)) for _ in range(12))]:
        damaged.append(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1:])
    for content in damaged:
        path.write_bytes(content)
        load() # compares every array with the original
        path.write_bytes(good)
    reads = load()
    assert reads >= 1 + 6 + 12 and load() == reads


def test_no_place_for_a_cache(wheel, monkeypatch):
    folder, cache, load = wheel
    cache.write_text("a file where the folder should be")
    assert [load(), load()] == [1, 2]


def test_broken_wheel_is_named(tmp_path, monkeypatch):
    (tmp_path/"features.npz").write_bytes(b"PK broken")
    with pytest.raises(XltError, match="features.npz.*reinstall"): D._read_wheel(tmp_path)
    monkeypatch.setattr(D, "uriel_dir", lambda: tmp_path)
    D._knowing_sources.cache_clear()
    with pytest.raises(XltError, match="features.npz.*reinstall"): explain_distance("syntactic", "en", "fr")


def test_rows_follow_each_files_own_order():
    u = load_uriel()
    with np.load(uriel_dir()/"family_features.npz") as z: langs, feats = z["langs"], z["feats"]
    assert not np.array_equal(langs, u.codes) # the files differ, or this test is idle
    assert np.array_equal(feats, u.families)
    for code, family in {"eng": "F_Germanic", "tur": "F_Turkic", "kor": "F_Koreanic", "fin": "F_Uralic"}.items():
        line = u.family[u.index[code]]
        assert family in u.families[line[line >= 0]]
    lat = np.degrees(np.arcsin(u.place[u.rows(["eng", "fra", "jpn"]), 2]))
    assert np.allclose(lat, [53, 48, 35], atol=0.05)
