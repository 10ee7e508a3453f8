"The study `paper`, all but its downloads: tiny encoders of the same kinds, and data files of the published form with a few sentences."
import json

import pytest, yaml

from little import SENTENCES, little_encoder
from test_readers import smiler_row, write_smiler
from xlt_nb.cli import main
from xlt_nb.core import data_dir, read_table
from xlt_nb.corpora import NO_RELATION
from xlt_nb.transfer import grid, load_study

LANGUAGES = ("es", "pt") # in both corpora
LABELS = {"nació": "B_Life:Be-Born", "murió": "B_Life:Die"}
KINDS = {"nreimers/mMiniLMv2-L6-H384-distilled-from-XLMR-Large": "bert", "xlm-roberta-base": "xlmr", "xlm-roberta-large": "xlmr"}


def write_minion(root, lang):
    (root/"minion"/lang).mkdir(parents=True)
    for split, n in (("train", 30), ("dev", 6), ("test", 6)):
        texts = [f"{split} {s}".split() for s in SENTENCES[:n]]
        rows = [dict(tokens=t, labels=[LABELS.get(w, "O") for w in t], url="", pageID=f"{split}{i}", title="") for i, t in enumerate(texts)]
        (root/"minion"/lang/f"{split}.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")


def smiler_line(i, s, lang, split):
    label = NO_RELATION if i % 5 == 0 else "birth-place" if "nació" in s else "is-where"
    first, verb, at, second, _ = s.split()
    return smiler_row(label, f"{split} <e1>{first}</e1> {verb} {at} <e2>{second}</e2> .", lang, str(i))


def smiler_lines(lang, split): return [smiler_line(i, s, lang, split) for i, s in enumerate(SENTENCES)]


@pytest.fixture
def stand_ins(tmp_path, outputs):
    "The shipped study with its encoders' names, languages and seeds replaced, and nothing else."
    spec = yaml.safe_load((data_dir()/"studies"/"paper.yaml").read_text())
    local = {name: little_encoder(tmp_path/f"encoder{i}", kind, layers=1) for i, (name, kind) in enumerate(KINDS.items())}
    small = {"languages": list(LANGUAGES), "epochs": 1}
    spec["matrices"] = [m | small | {"encoder": local[m["encoder"]], "seeds": m["seeds"][:1]} for m in spec["matrices"]]
    (tmp_path/"paper-small.yaml").write_text(yaml.safe_dump(spec))
    for lang in LANGUAGES:
        write_minion(tmp_path, lang)
        write_smiler(tmp_path, lang, *(smiler_lines(lang, split) for split in ("train", "test")))
    return tmp_path


def test_paper_is_complete():
    s = load_study("paper")
    shape = [(m.task, m.corpus, len(grid(m)), {c.seed for c in grid(m)}) for m in s.matrices]
    assert shape == [("events", "minion", 40, set(range(5)))]*3 + [("relations", "smiler", 70, set(range(5)))]*3
    assert {m.encoder for m in s.matrices} == set(KINDS)


def test_paper_runs_on_stand_ins(stand_ins):
    assert main(["transfer", "--study", str(stand_ins/"paper-small.yaml"), "--root", str(stand_ins), "--jobs", "1"]) == 0
    for name, task in (("transfer_minion", "events"), ("transfer_smiler_relations", "relations")):
        results, counts = read_table(name)
        made = results[results.encoder.str.startswith("encoder") & (results.metric == "micro_f1")]
        assert made.encoder.nunique() == 3 and made.task.unique() == [task] and len(made) == 3*len(LANGUAGES)**2 and made.value.between(0, 100).all()
        assert set(made.run_id) <= set(counts.run_id) and (made.n_gold > 0).all()
