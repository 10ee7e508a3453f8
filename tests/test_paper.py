"""The study `paper`, all but its downloads: tiny encoders of the same kinds, and data files of the published form with a few sentences."""
import json

import pytest, yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from test_readers import smiler_row, write_smiler
from xlt_nb.cli import main
from xlt_nb.core import data_dir, read_table
from xlt_nb.corpora import NO_RELATION
from xlt_nb.transfer import grid, load_study

LANGUAGES = ("es", "pt") # in both corpora
SENTENCES = [f"{who} {did} en {where} ." for who in ("Ana", "Luis", "Mara") for did in ("nació", "murió", "ganó") for where in ("Lima", "Oporto", "Madrid", "Braga")]


def tiny(folder, kind):
    "An encoder of the hub's form: BERT with WordPiece (as MiniLM was first published), or XLM-R with a SentencePiece-like Unigram."
    xlmr = kind == "xlmr"
    names = dict(cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>") if xlmr else dict(pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    t = Tokenizer(models.Unigram() if xlmr else models.WordPiece(unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Metaspace() if xlmr else pre_tokenizers.BertPreTokenizer()
    special = dict(vocab_size=150, special_tokens=list(names.values()), show_progress=False)
    t.train_from_iterator(SENTENCES, trainers.UnigramTrainer(unk_token="<unk>", **special) if xlmr else trainers.WordPieceTrainer(**special))
    a, b = names["cls_token"], names["sep_token"]
    t.post_processor = processors.TemplateProcessing(single=f"{a} $A {b}", special_tokens=[(x, t.token_to_id(x)) for x in (a, b)])
    PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=128, **names).save_pretrained(folder)
    shape = dict(vocab_size=t.get_vocab_size() + 4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    (XLMRobertaModel(XLMRobertaConfig(pad_token_id=1, max_position_embeddings=200, **shape)) if xlmr else BertModel(BertConfig(**shape))).save_pretrained(folder)
    return str(folder)


def write_minion(root, lang):
    (root/"minion"/lang).mkdir(parents=True)
    for split, n in (("train", 30), ("dev", 6), ("test", 6)):
        rows = [dict(tokens=(t := f"{split} {s}".split()), labels=["B_Life:Be-Born" if w == "nació" else "B_Life:Die" if w == "murió" else "O" for w in t], url="", pageID=f"{split}{i}", title="")
                for i, s in enumerate(SENTENCES[:n])]
        (root/"minion"/lang/f"{split}.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")


def smiler_lines(lang, split):
    return [smiler_row(NO_RELATION if i % 5 == 0 else "birth-place" if "nació" in s else "is-where", f"{split} <e1>{s.split()[0]}</e1> {' '.join(s.split()[1:3])} <e2>{s.split()[3]}</e2> .", lang, str(i)) for i, s in enumerate(SENTENCES)]


@pytest.fixture
def stand_ins(tmp_path, outputs):
    "The shipped study with its encoders' names, languages and seeds replaced, and nothing else."
    spec = yaml.safe_load((data_dir()/"studies"/"paper.yaml").read_text())
    local = {name: tiny(tmp_path/f"encoder{i}", kind) for i, (name, kind) in enumerate({"nreimers/mMiniLMv2-L6-H384-distilled-from-XLMR-Large": "bert", "xlm-roberta-base": "xlmr", "xlm-roberta-large": "xlmr"}.items())}
    spec["matrices"] = [m | {"encoder": local[m["encoder"]], "languages": list(LANGUAGES), "seeds": m["seeds"][:1], "epochs": 1} for m in spec["matrices"]]
    (tmp_path/"paper-small.yaml").write_text(yaml.safe_dump(spec))
    for lang in LANGUAGES:
        write_minion(tmp_path, lang)
        write_smiler(tmp_path, lang, *(smiler_lines(lang, split) for split in ("train", "test")))
    return tmp_path


def test_paper_is_complete():
    s = load_study("paper")
    shape = [(m["task"], m["corpus"], len(grid(m)), {c.seed for c in grid(m)}) for m in s.matrices]
    assert shape == [("events", "minion", 40, set(range(5)))]*3 + [("relations", "smiler", 70, set(range(5)))]*3
    assert len({m["encoder"] for m in s.matrices}) == 3


def test_paper_runs_on_stand_ins(stand_ins):
    assert main(["transfer", "--study", str(stand_ins/"paper-small.yaml"), "--root", str(stand_ins), "--jobs", "1"]) == 0
    for name, task in (("transfer_minion", "events"), ("transfer_smiler_relations", "relations")):
        results, counts = read_table(name)
        made = results[results.encoder.str.startswith("encoder") & (results.metric == "micro_f1")]
        assert made.encoder.nunique() == 3 and made.task.unique() == [task] and len(made) == 3*len(LANGUAGES)**2 and made.value.between(0, 100).all()
        assert set(made.run_id) <= set(counts.run_id) and (made.n_gold > 0).all()
