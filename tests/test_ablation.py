"""The encoder ablation, whole, on a toy: text of made-up words, two languages of made-up events, tiny shapes; and its committed tables."""
import dataclasses

import numpy as np, pandas as pd, pytest

import xlt_nb.ablation as A
from test_paper import write_minion
from test_pretraining import CONFIG, root # noqa: F401 (a fixture)
from xlt_nb.core import XltError, tables_dir

LANGUAGES = ("es", "pt", "pl")


@pytest.fixture
def small(root, outputs, monkeypatch): # noqa: F811
    for lang in LANGUAGES: write_minion(root, lang)
    monkeypatch.setattr(A, "BASE", dataclasses.replace(CONFIG, vocab_size=A.BASE.vocab_size))
    monkeypatch.setattr(A, "SOURCES", LANGUAGES); monkeypatch.setattr(A, "SEEDS", (0, 1))
    monkeypatch.setattr(A, "JUDGED_BY", A.JUDGED_BY | dict(cost=10, epochs=1))
    monkeypatch.setattr(A, "corpus_languages", lambda corpus: LANGUAGES)
    return root


def test_builds_judges_and_writes(small, outputs):
    table = A.run_ablation(["random", "width-96", "base-tuned"], 2, small, jobs=1).set_index("variant")
    assert list(table.index) == ["base", "random", "width-96", "base-tuned"], "base is always there, and the order is that of VARIANTS"
    assert list(table.pretrained_steps) == [2, 0, 2, 2] and list(table.fine_tuned) == ["frozen", "frozen", "frozen", "trained"]
    assert (table.runs == 6).all() and (table.subwords_per_s > 0).all() and table.retrieval.between(0, 1).all()
    assert table.gain["base"] == 0 and not {"base-tuned", "xlt-mini"} & {p.name for p in A.ablation_dir(2).iterdir()}, "no encoder of their own"
    runs = pd.read_csv(tables_dir()/"encoder_ablation_runs.csv")
    assert list(runs.columns) == A.RUN_COLUMNS and len(runs) == 4*3*2*3 and set(runs.steps) == {2}
    stamps = {p: p.stat().st_mtime_ns for folder in (outputs/"runs", A.ablation_dir(2)) for p in folder.rglob("*") if p.is_file()}
    again = A.run_ablation(["random", "width-96", "base-tuned"], 2, small, jobs=1).set_index("variant")
    speed = ["subwords_per_s", "sentences_per_s"]
    pd.testing.assert_frame_equal(again.drop(columns=speed), table.drop(columns=speed))
    assert all(p.stat().st_mtime_ns == t for p, t in stamps.items()), "nothing is made twice"


def test_every_variant_is_one_change():
    for name, v in A.VARIANTS.items():
        c = A.config_of(v, 400)
        assert v.encoder in ("", *A.VARIANTS) and (c.steps in (0, 400))
        if v.axis not in ("recipe", "shipped"): assert len(v.changes) + (v.embeddings == "trained") <= 1 + ("ff" in v.changes), name
    with pytest.raises(XltError, match="nearest: layers-4"): A.folder_of("layer-4", 400)


def test_gains_are_paired():
    rng, rows = np.random.default_rng(0), []
    for s in ("es", "tr", "ja"):
        for t in ("es", "tr", "ja", "en", "pl"):
            level = rng.normal(20, 8)
            rows += [dict(variant=v, steps=1, source=s, target=t, seed=k, micro_f1=level + up + rng.normal(0, 0.1), run_id=f"{v}{s}{k}") for v, up in (("base", 0), ("better", 2)) for k in (0, 1)]
    found = A.summarise(pd.DataFrame(rows)).loc["better"]
    off = [r["micro_f1"] for r in rows if r["variant"] == "better" and r["source"] != r["target"]]
    assert found.zero_shot == pytest.approx(np.mean(off)) and found.runs == 6
    assert 1.8 < found.gain_low <= found.gain <= found.gain_high < 2.2 and found.high - found.low > 2, "what pairs share is not in the difference"


def test_committed_tables_agree(outputs):
    table, runs = pd.read_csv(tables_dir()/"encoder_ablation.csv").set_index("variant"), pd.read_csv(tables_dir()/"encoder_ablation_runs.csv")
    fresh = A.summarise(runs)
    assert list(table.index) == [n for n in A.VARIANTS if n in table.index] and (table.runs == len(A.SOURCES)*len(A.SEEDS)).all()
    for column in ("zero_shot", "gain", "gain_low", "gain_high", "supervised"):
        assert np.allclose(table[column], fresh.loc[table.index, column].astype(float), atol=0.01), column
