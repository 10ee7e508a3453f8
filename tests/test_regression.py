"`xlt_nb.regression`: tables of one's own, planted and absent effects, rectangles and holes, errors, the chapter and the command on a user's CSV."
import codecs, csv as csv_format, gzip, io, lzma, shutil, subprocess, sys, warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import papermill, pytest
from hypothesis import event, given, settings, strategies as st

from xlt_nb.cli import main
from xlt_nb.core import RESULT_COLUMNS, XltError
from xlt_nb.distances import DISTANCES, PAPER_DISTANCES, distance_matrix, family_groups, lineage, load_uriel
from xlt_nb.languages import LANGUAGES, MACROLANGUAGES, as_matrix, language
from xlt_nb.regression import (DEFAULT_KINDS, VERDICTS, _folds, _predictions, add_covariates, add_distances, answers, can_decide,
                               datasets, distance_tables, explain, heldout, task_agreement, together, variance_components)
from xlt_nb.scores import average_seeds, committed_tables, read_scores, read_transfer, too_small
from xlt_nb.stats import EFFECTS, additive_fit, bootstrap_languages, correlate, mixed_model, qap, regress, within

ROOT = Path(__file__).resolve().parent.parent
FIVE = ["de", "en", "es", "ko", "tr"]
MINION = ["en", "es", "pt", "pl", "tr", "hi", "ko", "ja"]


def study(languages=LANGUAGES, targets=None, slope=-20, kind="syntactic", seeds=1, noise=2, seed=0, missing=0, hard=0):
    "A made-up study: scores with source and target effects that fall with one distance; `hard`: targets far from all others are harder."
    rng, targets = np.random.default_rng(seed), list(targets or languages)
    d = distance_matrix(kind, list(dict.fromkeys([*languages, *targets]))).loc[list(languages), targets]
    y = 40 + rng.normal(0, 3, (len(languages), 1)) + rng.normal(0, 2 if hard else 5, len(targets)) + slope*d.to_numpy() + rng.normal(0, noise, d.shape) + hard*d.mean().to_numpy()
    long = [{"source": s, "target": t, "seed": k, "score": y[i, j] + rng.normal(0, 1)} for k in range(seeds) for i, s in enumerate(languages) for j, t in enumerate(targets)]
    table = pd.DataFrame(long)
    return table.drop(index=rng.choice(table.index, missing, replace=False)) if missing else table


def write(folder, text, name="my.csv"):
    path = folder/name
    path.write_text(text, encoding="utf8")
    return str(path)


def lines(languages=FIVE): return [f"{s},{t},{7*i + 3*j + (i*j) % 5}" for i, s in enumerate(languages) for j, t in enumerate(languages)]


def csv(rows, head="source,target,score"): return "\n".join([head, *rows]) + "\n"


# ---- reading

def test_own_table_is_read_by_line_and_code(tmp_path):
    long_codes = {"de": "deu", "ko": "KO ", "tr": " tur"}
    rows = [",".join([long_codes.get(s, s), long_codes.get(t, t), v]) for s, t, v in (r.split(",") for r in lines())]
    t = read_transfer(write(tmp_path, csv(rows)))
    assert list(t.columns[:10]) == ["task", "corpus", "encoder", "source", "target", "score", "sd", "seeds", "seen", "cost"]
    assert set(t.source) == set(FIVE) and len(t) == 25 and t.seen.sum() == 5 and t.corpus.unique() == ["my"] and t.sd.isna().all()
    assert t.query("source == 'en' and target == 'ko'").score.item() == 7 + 9 + 3


def test_byte_order_mark_blank_lines_and_na_as_a_code(tmp_path):
    five = ["na", "en", "es", "ko", "tr"] # na: Nauru
    t = read_transfer(write(tmp_path, "\ufeff" + csv([*lines(five)[:3], "", *lines(five)[3:]])))
    assert "na" in set(t.source) and len(t) == 25


def test_seeds_are_averaged_and_their_scatter_kept(tmp_path):
    rows = [f"{r},{k}" for r in lines() for k in (0, 1)]
    rows[2] = "de,en,13,0"; rows[3] = "de,en,17,1"
    t = read_transfer(write(tmp_path, csv(rows, "source,target,score,seed"))).set_index(["source", "target"])
    assert t.score["de", "en"] == 15 and np.isclose(t.sd["de", "en"], np.sqrt(8)) and (t.seeds == 2).all()


def test_several_data_sets_and_covariates_in_one_file(tmp_path):
    rows = [f"{r},{task},{10*k},{k + i % 3}" for k, task in enumerate(("ner", "re"), 1) for i, r in enumerate(lines())]
    t = read_transfer(write(tmp_path, csv(rows, "source,target,score,task,cost,prior")))
    assert list(datasets(t)) == [("ner", "my", ""), ("re", "my", "")] and set(t.cost) == {10, 20} and "prior" in t
    assert np.allclose(add_covariates(t).log_cost, np.log(t.cost)) and add_covariates(t).prior.equals(t.prior)


BAD = {
    "misspelt column": (csv(lines(), "scource,target,score"), "no column 'source'.*is it 'scource'"),
    "no score": (csv(lines(), "source,target,f1"), "no column 'score'.*found source, target, f1"),
    "other separator": (csv([r.replace(",", "|") for r in lines()], "source|target|score"), "one column 'source.target.score'; columns are separated by commas, semicolons or tabs"),
    "column twice": (csv([f"{r},1" for r in lines()], "source,target,score,Score"), "names the column 'score' twice"),
    "unknown language": (csv([*lines()[:8], "xq9,en,3"]), "my.csv:10: source: language: 'xq9' is not"),
    "unknown, first as a target": (csv(["de,xq9,1", *lines(), "xq9,en,3"]), "my.csv:2: target: language: 'xq9' is not.*also line 28"),
    "name of a language": (csv([*lines()[:8], "es,Koreen,3"]), r"my.csv:10: target: .*ko \(Korean\)"),
    "not a number": (csv([*lines()[:4], "en,de,high"]), "my.csv:6: score 'high' is not a number"),
    "empty score": (csv([*lines()[:4], "en,de,"]), "my.csv:6: score '' is not a number.*leave out"),
    "infinite": (csv([*lines()[:4], "en,de,inf"]), "my.csv:6: score 'inf'"),
    "a cell twice": (csv([*lines(), "de,en,3"]), "my.csv:27: the cell de→en stands in line 3 already; .*'seed'"),
    "a cell twice under another code": (csv([*lines(), "deu,eng,3"]), "my.csv:27: the cell de→en stands in line 3"),
    "four languages": (csv(lines(FIVE[:4])), "4 languages.*at least 5"),
    "too few cells": (csv([r for r in lines() if r[:2] in ("de", "en")]), "8 cells off the diagonal for 2 sources and 5 targets; at least 12"),
    "no rows": ("source,target,score\n", "no rows"),
    "empty file": ("", "not a table in CSV"),
    "only blanks": (" \n\t\n", "not a table in CSV .the file is empty"),
    "only separators": (",,\n;;\n", "one column ';;'"),
    "ragged": (csv([*lines(), "de,en,3,4,5,6"]), "my.csv:27: 6 values, but the first line names 3 columns .decimal commas need"),
    "open quote": (csv([*lines()[:4], '"en,de,3', *lines()[5:]]), "my.csv:6: not a table in CSV .unexpected end of data"),
    "null": (csv([*lines(), "\0"]), "null characters, as in UTF-16"),
    "percent signs at some": (csv([*[f"{r}%" for r in lines()[:-1]], lines()[-1]]), "my.csv:26: score '41' is not written like the other numbers .decimal mark '.'; percent signs at all or none.$"),
    "two decimal marks": (csv([*[f"{r},5".replace(",", ";", 2) for r in lines()[:-1]], "tr;tr;4.5"], "source;target;score"), "my.csv:26: score '4.5' is not written like the other numbers .decimal mark ','"),
    "thousands": (csv([r.replace(",", ";") + ";1,200" for r in lines()], "source;target;score;cost"), r"my.csv:2: cost '1,200' is not written like the other numbers .decimal mark '\.'; percent signs at all or none. .also lines 3, 4, 5, 6, 7 and 19 more"),
    "a slip": (csv([*lines(), "en_,de,3"]), "my.csv:27: source: language: 'en_' is not .*; nearest in the table: en$"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_say_where_and_what(name, tmp_path):
    text, message = BAD[name]
    with pytest.raises(XltError, match=message): read_transfer(write(tmp_path, text))


def read_noting(*args, **kwargs):
    "What is read, and the warnings."
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        table = read_scores(*args, **kwargs)
    return table, [str(w.message) for w in found]


FAULTY = [*lines(), "xq9,en,1", "en,xq9,2", "xq9,xq9,3", "Koreen,de,4", "de,en,5", "de,en,6", "fr,de,nan", "fr,en,", "fr,es,high", "fr,ko,1,2,3", "fr,tr,1e999"]


def test_all_faults_are_said_at_once(tmp_path):
    with pytest.raises(XltError) as e: read_scores(write(tmp_path, csv(FAULTY)))
    said = str(e.value).replace(f"{tmp_path}/", "").split("\n")
    assert said[0].startswith("my.csv: 11 of 36 rows cannot be used; mend them, or leave them out")
    assert [x for x in said[1:] if x[0] != " "] == ["1 with more fields than columns:", "4 with an unknown language:", "4 without a number where one is needed:", "2 with a cell that stands there already:"]
    places = [x.split(": ")[0].strip() for x in said if x[0] == " "]
    assert places == [f"my.csv:{n}" for n in (36, 27, 30, 33, 34, 35, 37, 31)]
    assert "'xq9'" in said[4] and said[4].endswith("(also lines 28, 29)") and "ko (Korean)" in said[5]
    assert "stands in line 3 already" in said[-1] and said[-1].endswith("(also line 32)")


def test_many_faults_are_counted(tmp_path):
    rows = [f"x{a}{b},en,1" for a in "qvw" for b in range(10, 20)]
    with pytest.raises(XltError) as e: read_scores(write(tmp_path, csv([*lines(), *rows])))
    said = str(e.value).split("\n")
    assert "30 of 55 rows" in said[0] and len([x for x in said if "my.csv:" in x[1:] and x[0] == " "]) == 20 and said[-1] == "  … and 10 more"
    with pytest.raises(XltError) as e: read_scores(write(tmp_path, csv([*lines(), *rows, *[f"sv,{t},x{k}" for k, t in enumerate(FIVE*3)]])))
    assert str(e.value).count("  … and ") == 2 and "… and 20 more" in str(e.value) and "… and 5 more" in str(e.value)


def test_faulty_rows_are_left_out_and_counted(tmp_path):
    table, notes = read_noting(write(tmp_path, csv(FAULTY)), skip=True)
    assert table.equals(read_scores(write(tmp_path, csv(lines()))))
    assert [n.replace(f"{tmp_path}/", "") for n in notes] == ["my.csv: 11 of 36 rows left out: 1 with more fields than columns, 4 with an unknown language, 4 without a number where one is needed, 2 with a cell that stands there already"]
    both, notes = read_noting([write(tmp_path, csv(FAULTY)), write(tmp_path, csv(lines()), "fine.csv")], skip=True)
    assert len(both) == 50 and len(notes) == 1
    frame = pd.DataFrame([r.split(",")[:3] for r in FAULTY], columns=["source", "target", "score"])
    table, notes = read_noting(frame, skip=True)
    assert len(table) == 26 and "table: 10 of 36 rows" in notes[0] # the values beyond the third were never there


def test_nothing_to_skip_nothing_to_say(tmp_path):
    assert read_noting(write(tmp_path, csv(lines())), skip=True)[1] == []
    with pytest.raises(XltError, match="no rows"), pytest.warns(UserWarning, match="2 of 2 rows left out"): read_scores(write(tmp_path, csv(["xq9,en,1", "en,de,x"])), skip=True)
    with pytest.raises(XltError, match="at least 12"), pytest.warns(UserWarning, match="18 of 25 rows left out"): read_scores(write(tmp_path, csv([*lines()[:7], *[f"{r}x" for r in lines()[7:]]])), skip=True)


def test_a_row_that_cannot_be_used_makes_no_other_one_a_repetition(tmp_path):
    "The good row stays, whichever comes first."
    table, _ = read_noting(write(tmp_path, csv(["de,en,nan", *lines()])), skip=True)
    assert table.equals(read_scores(write(tmp_path, csv(lines()))))


def test_two_codes_of_one_language(tmp_path):
    def renamed(a, b): return [r.replace("ko,", a + ",", 1) if r.startswith("ko,") else r.replace(",ko,", f",{b},") for r in lines()]
    for a, b, kept in [("zh", "cmn", "zh"), ("cmn", "zh", "zh"), ("arb", "ar", "ar"), ("kor", "ko", "ko"), ("nb", "no", "no"), ("pt-BR", "pt_PT", "pt"), ("Korean", "kor", "ko")]:
        table, notes = read_noting(write(tmp_path, csv([r for r in renamed(a, b) if not r.startswith(f"{a},ko,")])))
        assert len(notes) == 1 and f"'{a}' and '{b}' are read as '{kept}'" in notes[0] and {*table.source} == {"de", "en", "es", "tr", kept}, (a, b, notes)
    assert read_noting(write(tmp_path, csv(renamed("KO", " ko ").copy())))[1] == [] # one code
    assert "cmn" in set(read_noting(write(tmp_path, csv([r.replace("ko", "cmn") for r in lines()])))[0].source) # one code, kept
    both = [r.replace("ko,", "zh,") for r in lines()] + ["cmn,de,5"]
    with pytest.raises(XltError, match="my.csv:27: the cell zh→de stands in line 17 already"), pytest.warns(UserWarning, match="'zh' and 'cmn' are read as 'zh'"): read_scores(write(tmp_path, csv(both)))


def test_fractions_are_read_as_they_stand(tmp_path):
    table, notes = read_noting(write(tmp_path, csv([f"{s},{t},{int(v)/100}" for s, t, v in (r.split(",") for r in lines())])))
    assert len(notes) == 1 and "all scores lie between 0 and 1; they are read as they stand" in notes[0] and table.score.max() == 0.41
    assert read_noting(write(tmp_path, csv([*lines()[:-1], "tr,tr,1.01"])))[1] == []


def test_a_covariate_with_a_hole_is_not_dropped_in_silence(tmp_path):
    rows = [f"{r},{k},about {k},x" for k, r in enumerate(lines())]
    table, notes = read_noting(write(tmp_path, csv([*rows[:-1], f"{lines()[-1]},n/a,about,x"], "source,target,score,mine,remark,seed")))
    assert "mine" not in table and len(notes) == 1 and notes[0].endswith("my.csv:26: mine 'n/a' is not a number (leave out the row of a missing cell)")
    assert "remark" not in table


# ---- the same table as many programs write it

DIALECTS = dict(separator=st.sampled_from(",;\t"), mark=st.sampled_from(".,"), sign=st.sampled_from(["", "%", " %", "\xa0%"]), end=st.sampled_from(["\n", "\r\n", "\r"]), every=st.booleans(), blank=st.booleans(), index=st.booleans(),
                encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]), case=st.sampled_from([str.lower, str.upper, str.title, " {} ".format]), order=st.permutations(range(5)), packed=st.sampled_from(["", ".gz", ".xz"]))


def spread(scores, separator, mark, sign, end, every, blank, index, encoding, case, order, packed) -> bytes:
    "A table as some program writes it."
    columns = ["source", "target", "score", "seed", "Überschrift"]
    rows = [[s, t, f"{v:.2f}".replace(".", mark) + sign, str(k), f"{k/8}".replace(".", mark)] for s, t, v, k in scores]
    out = io.StringIO()
    w = csv_format.writer(out, delimiter=separator, lineterminator=end, quoting=csv_format.QUOTE_ALL if every else csv_format.QUOTE_MINIMAL)
    if blank: w.writerow([])
    for k, row in enumerate([[case(c) if c != columns[4] else c for c in columns], *rows]):
        w.writerow(([str(k)] if index and k else [""] if index else []) + [row[i] for i in order] + ([""]*2 if blank else []))
    raw = out.getvalue().encode(encoding)
    if encoding[-2:] in ("le", "be"): raw = (codecs.BOM_UTF16_LE if encoding.endswith("le") else codecs.BOM_UTF16_BE) + raw
    return {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packed](raw)


@given(**DIALECTS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_every_dialect_is_the_same_table(tmp_path_factory, data, **dialect):
    cells = [(s, t) for s in FIVE for t in FIVE]
    values = data.draw(st.lists(st.integers(0, 10_000), min_size=25, max_size=25).filter(lambda v: max(v) > 100))
    scores = [(s, t, v/100, k) for k, ((s, t), v) in enumerate(zip(cells, values))]
    path = tmp_path_factory.getbasetemp()/f"dialect.csv{dialect['packed']}"
    path.write_bytes(spread(scores, **dialect))
    table, notes = read_noting(path)
    assert list(zip(table.source, table.target, table.score, table.seed)) == [(s, t, v, str(k)) for s, t, v, k in scores]
    assert list(table["Überschrift"]) == [k/8 for k in range(25)] and notes == []


def is_right(table) -> bool:
    "Is this a table that the chapter can use?"
    known = {c for c in (*table.source, *table.target)}
    return bool(np.isfinite(table.score).all() and not table.duplicated([c for c in ("task", "corpus", "encoder", "source", "target", "seed") if c in table]).any()
                and all(isinstance(c, str) and len(c) in (2, 3) for c in known) and too_small(table) == "")


def read_or_refuse(path, raw: bytes, skip: bool):
    "The table, or None where it is refused; any other end is an error of the reader."
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: return read_scores(path, skip)
        except XltError as e:
            assert str(path) in str(e) and len(str(e)) < 20_000
            return None


@given(raw=st.one_of(st.binary(max_size=400), st.binary(max_size=200).map(lambda b: b"source,target,score\n" + b), st.text(max_size=200).map(lambda x: ("source;target;score\n" + x).encode("utf-8", "replace"))), skip=st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused(tmp_path_factory, raw, skip):
    assert read_or_refuse(tmp_path_factory.getbasetemp()/"bytes.csv", raw, skip) is None


@given(**DIALECTS, skip=st.booleans(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_tables_are_refused_or_right(tmp_path_factory, skip, data, **dialect):
    "Bytes are changed, left out, put in or moved."
    raw = bytearray(spread([(s, t, (7*i + 3*j) % 50 + 0.25, 0) for i, s in enumerate(FIVE) for j, t in enumerate(FIVE)], **dialect | {"packed": ""}))
    for kind, where, byte in data.draw(st.lists(st.tuples(st.sampled_from("change drop insert swap".split()), st.floats(0, 1), st.sampled_from([*b',;\t"\n\r%.- 0xe', 0, 200, 255])), min_size=1, max_size=3)):
        k = min(int(where*len(raw)), len(raw) - 1)
        if kind == "change": raw[k] = byte
        elif kind == "drop": del raw[k:k + 1 + byte % 4]
        elif kind == "insert": raw.insert(k, byte)
        else: raw[k:k + 2] = raw[k:k + 2][::-1]
    table = read_or_refuse(tmp_path_factory.getbasetemp()/"damaged.csv", bytes(raw), skip)
    event("refused" if table is None else "read")
    assert table is None or is_right(table)


def test_a_damaged_archive_and_a_workbook_are_named(tmp_path):
    for name, raw, hint in [("a.csv.gz", gzip.compress(csv(lines()).encode())[:40], "not a table in CSV"), ("b.csv.xz", b"nothing", "not a table in CSV"), ("c.csv.gz", b"", "the file is empty"), ("d.csv", b"PK\3\4rest", "a workbook or a zip archive"),
                            ("e.csv", csv(lines()).encode("utf-16-le"), "UTF-16 without a byte order mark"), ("f.csv", csv([*lines(), "fr,de,\xe9"]).encode("latin-1"), "f.csv:27: not a table in CSV .invalid .* in utf-8; save it as UTF-8")]:
        (tmp_path/name).write_bytes(raw)
        with pytest.raises(XltError, match=hint): read_scores(tmp_path/name)


def test_results_tables_in_other_dialects(tables, tmp_path):
    "A study's own table is known when another program has saved it; broken numbers are named."
    usual = pd.read_csv(tables/"transfer_events.csv", dtype=str, keep_default_na=False)
    usual.to_csv(tmp_path/"other.csv", sep=";", index=False, encoding="utf-16")
    assert read_scores(tmp_path/"other.csv").equals(read_scores(tables/"transfer_events.csv"))
    usual.assign(value=usual.value.where(usual.index > 0, "high")).to_csv(tmp_path/"other.csv", index=False)
    with pytest.raises(XltError, match="other.csv: not all of column 'value' is numbers"): read_scores(tmp_path/"other.csv")


@pytest.mark.parametrize("change, message", [
    (dict(setting="ZSCL-M"), "no run of a trained encoder"), (dict(metric="lenient_f1"), "no run of .*micro_f1 or accuracy"), (dict(encoder="random:bert"), "no run of"),
    (dict(value="high"), "not all of column 'value'"), (dict(value=np.nan), "lacks the score"), (dict(target="xq9"), "target: language: 'xq9'")])
def test_a_results_table_of_nothing_is_refused(change, message, tables):
    table = pd.read_csv(tables/"transfer_events.csv", keep_default_na=False)
    assert read_scores(table.assign(task="", corpus=None)).score.equals(read_scores(table).score)
    with pytest.raises(XltError, match=message): read_scores(table.assign(**change))


@pytest.mark.parametrize("given", [None, 5, [], pd.Series([1.0])])
def test_what_is_no_table_is_refused(given):
    with pytest.raises(XltError, match="neither a file's name nor a table"): read_scores(given)


def test_a_column_may_be_called_by_a_number():
    table = pd.DataFrame([r.split(",") for r in lines()], columns=["source", "target", "score"]).assign(x=1).rename(columns={"x": 0})
    assert read_scores(table)["0"].eq(1).all()


def test_a_file_that_is_not_there(tables, tmp_path):
    write(tmp_path, "x", "results.csv")
    with pytest.raises(XltError, match="neither a file nor a committed table .*results.csv"): read_transfer(tmp_path/"result.csv")
    with pytest.raises(XltError, match="nearest: .*transfer_events"): read_transfer("transfer_evnts")


def test_without_any_table_the_way_to_one_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XLT_OUTPUTS", str(tmp_path))
    with pytest.raises(XltError, match="no table transfer_.*run a study .*source, target, score"): read_scores()


def results_table(task, corpus, languages, metric, slope=-20, seeds=2):
    "A long results table as a study writes it."
    s = study(languages, slope=slope, seeds=seeds, seed=len(task))
    t = pd.DataFrame({"task": task, "corpus": corpus, "setting": "ZSCL-S", "method": "single", "encoder": "made-up", "sources": s.source, "target": s.target, "seen": s.source == s.target,
                      "seed": s.seed, "cost": 100, "metric": metric, "value": s.score, "n_gold": 9, "run_id": "x"})
    other = t.assign(metric="precision", value=1.0)
    many = t.assign(setting="ZSCL-M", sources="en+es", value=99.0)
    return pd.concat([t, other, many])[RESULT_COLUMNS]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    "An outputs folder with two made-up results tables that are large enough, and one that is not; and the power study."
    folder = tmp_path/"own_outputs"/"tables"
    folder.mkdir(parents=True)
    for name in ("power", "calibration"): shutil.copy(ROOT/"outputs"/"tables"/f"{name}.csv", folder)
    results_table("events", "wide", MINION, "micro_f1").to_csv(folder/"transfer_events.csv", index=False)
    results_table("pos", "trees", ["en", "de", "fr", "es", "pt", "pl", "hi"], "accuracy").to_csv(folder/"transfer_trees_pos.csv", index=False)
    results_table("events", "tiny", ["en", "de", "ja"], "micro_f1").to_csv(folder/"transfer_tiny.csv", index=False)
    (folder/"transfer_events_distance.csv").write_text("source,target,syntactic\n")
    monkeypatch.setenv("XLT_OUTPUTS", str(folder.parent))
    return folder


def test_committed_tables_are_taken_by_their_columns(tables):
    assert [p.stem for p in committed_tables()] == ["transfer_events", "transfer_tiny", "transfer_trees_pos"]
    found = datasets(read_transfer())
    assert list(found) == [("events", "wide", "made-up"), ("pos", "trees", "made-up")]
    pos = found["pos", "trees", "made-up"]
    assert len(pos) == 49 and (pos.seeds == 2).all() and pos.score.max() < 90 # no precision, no run with several sources
    assert read_transfer("trees_pos").equals(read_transfer(tables/"transfer_trees_pos.csv"))
    with pytest.raises(XltError, match="no data set is large enough; events / tiny.*3 languages"): datasets(read_transfer("tiny"))


def test_what_the_study_has_committed_can_be_read():
    "Whatever tables are there: every one with enough languages is a data set with scores in points."
    for key, part in datasets(read_transfer()).items():
        assert part.score.between(0, 100).all() and not part.duplicated(["source", "target"]).any(), key


def test_label_priors_of_a_task_are_found(tables):
    head, rows = "corpus,language,split,texts,relations,relations:a,relations:b,entities:x,entities:y", []
    for k, l in enumerate(FIVE): rows += [f"two,{l},train,9,9,{0.1*k:.1f},{1 - 0.1*k:.1f},0.5,0.5", f"two,{l},test,9,9,,,,"]
    (tables/"corpus_two.csv").write_text(csv(rows, head))
    pairs = pd.concat([study(FIVE).assign(task=t, corpus="two", encoder="") for t in ("relations", "entities")])
    p = add_covariates(average_seeds(pairs)).set_index(["task", "source", "target"]).prior
    assert p["relations", "de", "en"] > 0.1 and p["relations", "de", "en"] < p["relations", "de", "tr"] and (p["entities"] == 0).all()


# ---- distances as columns

def test_distances_are_those_of_the_distance_chapter():
    pairs = read_transfer(study(FIVE))
    for mode in ("knn", "published"):
        t = add_distances(pairs, [*DISTANCES, "combined"], mode)
        for k in DISTANCES:
            d = distance_matrix(k, FIVE, mode if mode in DISTANCES[k].modes else DISTANCES[k].modes[0])
            assert np.allclose(t[k], [d.loc[a, b] for a, b in zip(t.source, t.target)], equal_nan=True), k
    assert set(PAPER_DISTANCES) <= set(add_distances(pairs, "paper"))
    with pytest.raises(XltError, match="nearest: syntactic"): add_distances(pairs, ["sintactic"])
    with pytest.raises(XltError, match="mode"): add_distances(pairs, mode="kn")
    with pytest.raises(XltError, match="empty"): add_distances(pairs, "")


def test_a_rectangle_of_pairs_is_fast():
    codes = big_languages()
    wide = pd.DataFrame([(s, t) for s in codes[:65] for t in codes], columns=["source", "target"])
    t = add_distances(wide)
    assert len(t) == 65*105 and not t[list(DEFAULT_KINDS[:6])].isna().any(axis=None)
    d = distance_matrix("genetic", codes)
    assert np.allclose(t.genetic, d.to_numpy()[:65].ravel())


def big_languages(n=105):
    "The languages that URIEL knows best, each once: a macrolanguage has a row beside that of its variety."
    u = load_uriel()
    codes = list(u.codes[np.argsort(-(u.union >= 0).sum(1), kind="stable")][:2*n])
    variety = {c: MACROLANGUAGES.get(language(c).iso3, (language(c).iso3,))[0] for c in codes}
    return list({v: c for c, v in reversed(variety.items())}.values())[::-1][:n]


def test_families_of_any_language():
    assert lineage("en") == ("Indo-European", "Germanic") and lineage("sw")[0] == "Atlantic-Congo" and lineage("eu") == ("eus", "eus")
    assert family_groups(MINION)["en"] == family_groups(MINION)["hi"] == "Indo-European" # branches would leave 2 permutations
    assert family_groups(LANGUAGES)["en"] != family_groups(LANGUAGES)["hi"] and family_groups(MINION, "branch")["es"] == "Italic"


# ---- planted and absent effects

def test_a_planted_distance_is_found_and_its_slope_covered():
    e = explain(read_scores(study(slope=-20, seeds=2)), ("syntactic", "phonological"), permutations=999, draws=200).set_index("distance")
    r = e.loc["syntactic"]
    assert r.verdict == "source" and r.p_source < 0.01 and r.p_family < 0.01 and r.slope_low < -20 < r.slope_high and r.slope_within_low < -20 < r.slope_within_high
    assert r.within_low <= r.within <= r.within_high and r.within < -0.5 and np.isclose(r.share_within, r.within**2) and 0.5 < r.ceiling < 1
    assert r.share_explainable > r.share_within and r.languages == 17 and r.cells == 272


def test_the_numbers_are_those_of_the_statistics_chapter():
    scores = study(MINION, seed=3)
    y, d = as_matrix(read_transfer(scores)), distance_matrix("syntactic", MINION)
    r = explain(read_transfer(scores), ("syntactic",), draws=300).iloc[0]
    c = correlate(y, {"d": d}).loc["d"]
    assert np.allclose([r.pearson, r.spearman, r.within], [c.pearson, c.spearman, c.within])
    assert np.isclose(r.p_pooled, qap(y, d).p) and np.isclose(r.p_within, qap(y, d, EFFECTS).p) and r.permutations_within == 40320
    assert np.isclose(r.p_family, qap(y, d, EFFECTS, families=family_groups(MINION)).p) and r.permutations_family == 120
    assert np.isclose(r.within_low, bootstrap_languages(y, d, "within", n=300).low) and np.isclose(r.slope_within, regress(y, d, EFFECTS).slope["distance"])
    assert np.isclose(r.within_spearman, correlate(as_matrix(read_transfer(scores[scores.source != scores.target].assign(score=lambda t: t.score.rank()))), {"d": as_matrix(
        pd.DataFrame([(a, b, d.loc[a, b]) for a in MINION for b in MINION if a != b], columns=["source", "target", "score"]).assign(score=lambda t: t.score.rank()))}).within["d"])


def test_a_distance_that_only_marks_hard_targets_is_named_so():
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 5, len(LANGUAGES))
    y = study(slope=0, seed=5)
    y["score"] -= 6*np.tile(hard, len(LANGUAGES))/5
    d = pd.DataFrame(np.abs(rng.normal(0, 0.3, (17, 17))) + hard, LANGUAGES, LANGUAGES)
    r = explain(read_transfer(y), {"remote": d}, permutations=999, draws=100).iloc[0]
    assert r.verdict == "hard" and r.hard_target < -0.5 and r.pearson < -0.4 and r.p_within > 0.05 and abs(r.within) < 0.2
    assert "Marks hard languages only: remote" in answers(explain(read_transfer(y), {"remote": d}, permutations=999, draws=100))


def test_more_matrices_cost_more_and_a_floor_is_said_to_be_one():
    one = explain(read_transfer(study(MINION, slope=-200, noise=0.5)), ("syntactic", "geographic"), permutations=999, draws=20)
    two = pd.concat([study(MINION, slope=-200, noise=0.5).assign(task=t) for t in ("a", "b")])
    both = explain(read_transfer(two), ("syntactic", "geographic"), permutations=999, draws=20)
    assert np.allclose(one.p_floor, 2/120) and np.allclose(both.p_floor, 4/120)
    assert np.allclose(both.p_source[:2], (2*one.p_source).clip(upper=1)) and np.allclose(both.p_hard[:2], (2*one.p_hard).clip(upper=1))
    lowest = one[one.p_source <= one.p_floor*1.001]
    assert len(lowest) and "the smallest possible" in answers(one)


def test_what_is_farther_and_better_is_said_to_be():
    r = explain(read_transfer(study(slope=25)), ("syntactic",), permutations=999, draws=100)
    assert r.verdict.item() == "reverse" and "Goes the other way" in answers(r)


@pytest.mark.parametrize("languages", [MINION[:7], LANGUAGES[:12]], ids=["7 languages", "12 languages"])
def test_no_effect_is_rarely_found(languages):
    "Eight studies without an effect, three distances each: the rule lets at most one through."
    found = [explain(read_transfer(study(languages, slope=0, seed=100 + s)), ("syntactic", "geographic", "phonological"), permutations=199, draws=20) for s in range(8)]
    p = pd.concat(found)
    claimed = np.mean([(t.verdict != "open").any() for t in found])
    assert claimed <= 0.2 and (p.p_within < 0.05).mean() < 0.15 and set(p.verdict) <= set(VERDICTS)


def test_families_alone_are_not_taken_for_a_distance():
    "Pairs of one branch score higher, nothing else matters: a distance that tells branches apart must not be said to choose sources."
    branch = family_groups(LANGUAGES, "branch")
    found = []
    for seed in range(8):
        s = study(slope=0, seed=200 + seed)
        same = branch.reindex(s.source).to_numpy() == branch.reindex(s.target).to_numpy()
        found.append(explain(read_transfer(s.assign(score=s.score + 6*same)), ("syntactic", "genetic", "geographic"), permutations=199, draws=20))
    assert np.mean(["source" in set(t.verdict) for t in found]) <= 0.25
    assert np.mean([t.p_within.min() < 0.05 for t in found]) >= 0.75 # free permutations would have claimed it


def test_five_languages_can_decide_nothing_and_that_is_said():
    e = explain(read_transfer(study(FIVE, noise=0.1)), permutations=999, draws=50)
    assert (e.permutations_within == 120).all() and not can_decide(e).any() and (e.verdict == "open").all()
    assert "nothing could have been decided" in answers(e)


def test_holes_and_other_modes():
    table = read_transfer(study(missing=30))
    for mode in ("knn", "shared", "published"):
        e = explain(table, ("syntactic", "phonological", "genetic"), mode="knn" if mode == "shared" else mode, permutations=199, draws=50)
        assert e.within.notna().all() and e.p_within.notna().all() and (e.cells < 272).all()
    e = explain(table, ("syntactic", "phonological"), mode="shared", permutations=199, draws=50).set_index("distance")
    assert e.cells["phonological"] < e.cells["syntactic"] and e.p_within["phonological"] > 0 # pairs without any common feature are left out
    assert np.isfinite(heldout(table, ("syntactic", "phonological"), "shared", draws=50)[["rmse", "gain"]]).all(axis=None)


def test_covariates_are_taken_out():
    s = read_transfer(study(slope=0, seed=2))
    rng = np.random.default_rng(0)
    s["prior"] = rng.random(len(s))
    d = as_matrix(s, "prior") + 0.05*rng.random((17, 17)) # a distance that is nearly the covariate
    s["score"] -= 15*s.prior
    s["log_cost"] = s.source.map(dict(zip(LANGUAGES, range(17)))).astype(float)
    r = explain(s, {"look-alike": d}, ("prior", "log_cost"), permutations=499, draws=50).iloc[0]
    assert r.within < -0.6 and abs(r.within_given) < 0.25 and r.p_given > 0.01 and r.covariates == "prior log_cost" and r.slope_low < 0 < r.slope_high


def test_own_distances_as_tables_or_columns_are_the_same():
    s = read_transfer(study(MINION)).assign(mine=lambda t: np.random.default_rng(0).random(len(t)))
    a, b = explain(s, ("mine",), draws=50), explain(s, {"mine": as_matrix(s, "mine")}, draws=50)
    pd.testing.assert_frame_equal(a, b)
    with pytest.raises(XltError, match="nearest: mine"): explain(s, ("mime",))


# ---- together, components, held-out, agreement

def test_the_distance_that_matters_stays_when_all_are_there():
    t = together(read_transfer(study(slope=-25)), permutations=999).set_index("distance")
    assert t.p_holm["syntactic"] < 0.01 and t.p_free["syntactic"] < 0.01 and (t.p[["geographic", "genetic"]] > 0.01).all() and -35 < t.slope["syntactic"] < -15
    assert len(together(read_transfer(study(FIVE)).query("source != 'de'"), permutations=99)) == 3


def test_variance_components_add_up_and_find_what_was_planted():
    rng, n = np.random.default_rng(3), len(LANGUAGES)
    pair = np.triu(rng.normal(0, 4, (n, n)), 1)
    y = 40 + rng.normal(0, 3, (n, 1)) + rng.normal(0, 6, n) + pair + pair.T + rng.normal(0, 1, (n, n))
    s = pd.DataFrame([(a, b, k, y[i, j] + rng.normal(0, 2)) for i, a in enumerate(LANGUAGES) for j, b in enumerate(LANGUAGES) for k in range(3)], columns=["source", "target", "seed", "score"])
    c = variance_components(read_scores(s)).set_index("component")
    assert np.allclose(c.sd[["pair", "direction", "seed"]], [4, 1, 2], rtol=0.25) and np.allclose(c.sd[["source", "target"]], [3, 6], rtol=0.6) and np.isclose(c.share.sum(), 1)
    off = read_transfer(s).query("not seen").assign(pair=lambda t: ["~".join(sorted(p)) for p in zip(t.source, t.target)])
    fixed, parts = mixed_model(off, (), ("source", "target", "pair"), y="score")
    assert np.allclose(c.sd[["source", "target", "pair"]], parts.sd[["source", "target", "pair"]], rtol=0.01) and np.isclose(c.variance["seed"], s[s.source != s.target].groupby(["source", "target"]).score.var().mean())
    assert np.isclose(c.variance["direction"], parts.sd["residual"]**2 - c.variance["seed"]/3, rtol=0.01)
    one = variance_components(read_scores(s[s.seed == 0])).set_index("component").variance
    assert np.isnan(one["seed"]) and one["direction"] > c.variance["direction"]


def test_heldout_against_a_plain_loop():
    s = read_transfer(study(MINION, missing=5, seed=4))
    y = as_matrix(s).reindex(index=[l for l in LANGUAGES if l in MINION], columns=[l for l in LANGUAGES if l in MINION])
    d = distance_matrix("syntactic", list(y.index)).to_numpy()
    v, n, base, line = y.to_numpy().copy(), len(y), 0, 0
    np.fill_diagonal(v, np.nan)
    for l in range(n):
        fit = [(a, b) for a in range(n) for b in range(n) if np.isfinite(v[a, b]) and l not in (a, b)]
        test = [(a, b) for a in range(n) for b in range(n) if np.isfinite(v[a, b]) and l in (a, b)]
        slope, cut = np.polyfit([d[c] for c in fit], [v[c] for c in fit], 1)
        low, high = min(d[c] for c in fit), max(d[c] for c in fit)
        base += sum((v[c] - np.mean([v[f] for f in fit]))**2 for c in test)
        line += sum((v[c] - cut - slope*min(max(d[c], low), high))**2 for c in test)
    h = heldout(s, ("syntactic",), draws=100).query("left == 'language' and baseline == 'mean'").iloc[0]
    assert np.isclose(h.gain, 1 - line/base) and np.isclose(h.rmse_baseline, np.sqrt(base/h.held_out_cells)) and h.folds == 8


def test_additive_fit_is_least_squares_and_says_average_for_the_unseen():
    "The levels behind the held-out baselines, against dummies without any penalty."
    rng = np.random.default_rng(0)
    v, mask = rng.normal(size=(1, 6, 6)), ~np.eye(6, dtype=bool)
    mask[2] = mask[:, 2] = False
    mask[0, 4] = False
    (a,), (b,) = additive_fit(v, mask)
    i, j = np.nonzero(mask)
    dummies = np.hstack([np.eye(6)[i], np.eye(6)[j]])
    fitted = dummies @ np.linalg.lstsq(dummies, v[0][mask])[0]
    seen = [0, 1, 3, 4, 5]
    assert np.allclose((a[:, None] + b)[mask], fitted, rtol=0, atol=1e-9)
    assert np.isclose(a[2], a[seen].mean()) and b[2] == 0 and np.isclose(b[seen].mean(), 0)
    predicted = _predictions(v[0], v, mask)["effects", False]
    assert np.allclose(predicted, a[:, None] + b, rtol=0, atol=1e-12)


def test_held_out_gain_follows_what_was_planted():
    planted, absent = (heldout(read_transfer(study(slope=v)), ("syntactic", "phonological"), draws=200).query("baseline == 'ranking'").set_index(["left", "distance"]) for v in (-20, 0))
    assert planted.low["language", "syntactic"] > 0.2 and planted.gain["family", "syntactic"] > 0.2 and planted.gain["language", "phonological"] < 0.1
    assert (absent.gain < 0.03).all()


def test_no_cell_of_a_left_out_language_is_fitted_on():
    s = read_transfer(study(MINION))
    spoilt = s.assign(score=s.score.where((s.source != "ko") & (s.target != "ko"), 1e6))
    a, b = (as_matrix(t).reindex(index=MINION, columns=MINION).to_numpy(float) for t in (s, spoilt))
    x = distance_matrix("syntactic", MINION).to_numpy()[None]
    (g, fit, test), = [f for f in _folds(a, np.array(MINION, object)) if f[0] == "ko"]
    assert not fit[6].any() and not fit[:, 6].any() and test.sum() == 14
    for k, v in _predictions(a, x, fit).items(): assert np.allclose(v, _predictions(b, x, fit)[k])


def test_agreement_of_tasks():
    base = read_transfer(study(MINION, slope=-30)).assign(task="a")
    rng = np.random.default_rng(0)
    same = base.assign(task="b", score=base.score*0.5 + 20 + rng.normal(0, 0.5, len(base)))
    other = read_transfer(study([*MINION[:6], "fr", "de"], slope=0, seed=31)).assign(task="c")
    t = task_agreement(pd.concat([base, same, other]), 999).set_index(["first", "second"])
    assert len(t) == 3 and t.within["a / table", "b / table"] > 0.7 and t.p_holm["a / table", "b / table"] < 0.01
    assert t.languages["a / table", "c / table"] == 6 and t.cells["a / table", "c / table"] == 30 and t.p_within["a / table", "c / table"] > 0.05
    y, z = (as_matrix(p) for p in (base, same))
    u, v = within(y), within(z)
    assert np.isclose(t.within["a / table", "b / table"], u.stack().rank().corr(v.stack().rank()))
    assert len(task_agreement(base)) == 0


@pytest.mark.parametrize("sources, targets, joint, folds", [
    (["en", "es", "ko"], MINION, 3, 5), (MINION, ["en", "es", "ko"], 3, 5), (["en", "es"], list(LANGUAGES), 3, 0),
    (FIVE, ["fr", "it", "pl", "ru", "hi"], 3, 10)], ids=["3 × 8", "8 × 3", "2 × 17", "nothing shared"])
def test_small_rectangles(sources, targets, joint, folds):
    "joint: rows of `together`; folds: languages whose absence leaves a matrix of three sources and targets."
    s = read_transfer(study(sources, targets))
    e, h, v = explain(s, ("syntactic", "geographic"), permutations=199, draws=50), heldout(s, draws=50), variance_components(s)
    assert e.within.notna().all() and len(together(s, permutations=99)) == joint
    assert e.cells.iloc[0] == sum(a != b for a in sources for b in targets)
    left = h[h.left == "language"]
    assert set(left.folds) == ({folds} if folds else set()) and len(left) == (24 if folds else 0)
    text = answers(e, h, v)
    assert "Undecided" in text and "Variance of a score" in text and ("Held-out prediction" in text) == (len(h) > 0)


# ---- more than thirty languages, where the cheaper forms are taken (65 x 105 is timed by bench_regression.py)

def test_a_large_rectangle():
    codes = big_languages(34)
    s = read_transfer(study(codes[:21], codes))
    e, gains, parts, more = explain(s, ("syntactic", "geographic"), permutations=999, draws=50), heldout(s, ("syntactic", "geographic"), draws=50), variance_components(s), together(s, permutations=199)
    r = e.set_index("distance").loc["syntactic"]
    assert r.verdict == "source" and r.languages == 34 and r.cells == 21*34 - 21 and abs(r.slope + 20) < 4
    assert gains.query("left == 'language' and baseline == 'ranking' and distance == 'syntactic'").gain.item() > 0 and parts.share.sum() == pytest.approx(1) and len(more) == 3


# ---- the chapter and the command on a user's CSV

@pytest.fixture
def mine(tmp_path):
    "A user's CSV: seventeen languages, 272 cells, an effect of syntax."
    s = study(slope=-60, noise=1)
    s.loc[s.source != s.target, ["source", "target", "score"]].round(3).to_csv(tmp_path/"mine.csv", index=False)
    return tmp_path/"mine.csv"


def run(*args):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err): status = main(["explain", *map(str, args)])
    return status, out.getvalue(), err.getvalue()


def test_command_explains_a_csv(mine, tables, tmp_path):
    status, out, err = run(mine, "--kinds", "syntactic,geographic", "--out", tmp_path/"table.csv")
    assert status == 0 and not err and "Helps to choose a source: syntactic" in out and "**" not in out and "p_source" in out and "Held-out prediction" in out
    t = pd.read_csv(tmp_path/"table.csv")
    assert list(t.distance) == ["syntactic", "geographic"] and t.verdict[0] == "source" and t.cells[0] == 272
    assert not list(tables.glob("regression*"))


def test_command_refuses_or_skips_faulty_rows(mine, tables, tmp_path):
    faulty = write(tmp_path, mine.read_text() + "xq9,en,3\nen,xq9,3\nes,pt,high\nhin,hi,3\n", "faulty.csv")
    how = ("--kinds", "syntactic", "--permutations", "199", "--out", tmp_path/"table.csv")
    status, out, err = run(faulty, *how)
    assert status == 2 and not out and all(f"faulty.csv:{n}: " in err for n in (274, 276)) and "also line 275" in err and not (tmp_path/"table.csv").exists()
    assert err.startswith("xlt-nb: note: ") and "'hi' and 'hin' are read as 'hi'" in err.splitlines()[0]
    status, out, err = run(faulty, "--skip", *how)
    assert status == 0 and err.count("\n") == 2 and "3 of 276 rows left out: 2 with an unknown language, 1 without a number" in err
    assert pd.read_csv(tmp_path/"table.csv").cells[0] == 272


def test_commands_say_once_in_a_line_of_which_languages_little_is_known(tmp_path):
    rows = lines(["yrl", "pt", "en", "de", "ko"])
    status, _, err = run(write(tmp_path, csv(rows)), "--kinds", "syntactic,hamming_syntax", "--permutations", "99")
    said = [x for x in err.splitlines() if "URIEL knows" in x]
    assert status == 0 and len(said) == 2 and all(x.startswith("xlt-nb: note: ") and "yrl (0)" in x for x in said)
    for bad, words in ((["--kinds", ","], "kinds: none"), (["--out", str(tmp_path)], "is a folder; give the name of a file")):
        with redirect_stderr(io.StringIO()) as err: assert main(["distances", *bad]) == 2 and words in err.getvalue()


def test_command_takes_the_same_numbers_with_any_number_of_threads(mine, tables, tmp_path):
    from threadpoolctl import threadpool_limits
    made = []
    for n in (1, 2):
        with threadpool_limits(n): run(mine, "--kinds", "syntactic", "--permutations", "199", "--out", tmp_path/"table.csv")
        made.append((tmp_path/"table.csv").read_bytes())
    assert made[0] == made[1]


def test_a_bar_for_those_who_ask(mine, tables):
    for progress, shown in ((False, False), (True, True)):
        with redirect_stderr(io.StringIO()) as err: explain(read_transfer(mine), ("syntactic", "genetic"), permutations=99, draws=20, progress=progress)
        assert ("mine" in err.getvalue() and "0/2" in err.getvalue()) == shown


def test_command_line_errors(mine, tables, tmp_path):
    for args, hint in [((tmp_path/"mime.csv",), "mine.csv"), ((mine, "--kinds", "sintactic"), "syntactic"), ((mine, "--mode", "imputed"), "mode: 'imputed'"), ((mine, "--permutations", "5"), "permutations"),
                       ((mine, "--out", tmp_path/"no"/"x.csv"), "no folder"), ((write(tmp_path, csv(lines(), "src,target,score"), "b.csv"),), "no column 'source'")]:
        status, out, err = run(*args)
        assert status == 2 and hint in err and err.count("\n") == 1 and not out, args


def test_command_lists_and_takes_committed_tables(tables):
    status, out, _ = run("--list")
    assert status == 0 and "table transfer_events" in out and "kind anderberg_syntax" in out
    status, out, _ = run("events", "--kinds", "syntactic", "--permutations", "199")
    assert status == 0 and "events / wide / made-up" in out
    r = subprocess.run([Path(sys.executable).parent/"xlt-nb", "explain", "--help"], capture_output=True, text=True, check=True)
    assert "source, target, score" in r.stdout and "--permutations" in r.stdout


def execute(out, **parameters): papermill.execute_notebook(str(ROOT/"nbs"/"09_regression.ipynb"), str(out), parameters, kernel_name="python3", progress_bar=False)


def contents(folder): return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_chapter_on_a_csv(mine, tables, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = contents(tables)
    execute(tmp_path/"out.ipynb", transfer="mine.csv", permutations=499, draws=100)
    made = {p.name for p in contents(tables.parent)} - {p.name for p in before}
    names = ("regression", "regression_components", "regression_heldout", "regression_together")
    assert made == {f"{name}_mine.csv" for name in names} | {"regression_forest_mine.png", "regression_forest_mine.svg"}
    assert all(len(pd.read_csv(tables/f"{name}_mine.csv")) for name in names)
    t = pd.read_csv(tables/"regression_mine.csv").query("family == 'declared'").set_index("distance")
    assert t.verdict["syntactic"] == "source" and set(DEFAULT_KINDS) == set(t.index)
    assert {p: contents(tables)[p] for p in before} == before, "committed tables were changed"


def test_chapter_on_tables_of_other_studies(tables, tmp_path):
    "No name of an encoder or corpus is built in: all committed tables may be others."
    execute(tmp_path/"out.ipynb", permutations=199, draws=99)
    found = pd.read_csv(tables/"regression.csv")
    assert set(found.corpus) == {"wide", "trees"} and len(pd.read_csv(tables/"task_agreement.csv")) == 1


@pytest.mark.parametrize("parameters, hint", [({"transffer": "x.csv"}, "nearest: transfer"), ({"study": "smok"}, "nearest: smoke"), ({"mode": "kn"}, "knn"), ({"permutations": 3}, "permutations"), ({"kinds": "sintactic"}, "syntactic"), ({"transfer": "nowhere.csv"}, "nowhere.csv")])
def test_chapter_checks_its_parameters(parameters, hint, tables, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="XltError") as e: execute(tmp_path/"out.ipynb", **parameters)
    assert hint in str(e.value)
