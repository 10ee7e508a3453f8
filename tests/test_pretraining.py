"""The recipe of the embedded encoder on a toy (a language of made-up words and its mirror, words spelt backwards), and the encoder that is shipped."""
import dataclasses, itertools, json, os, signal, subprocess, sys
from pathlib import Path

import numpy as np, papermill, pytest, torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

import xlt_nb.pretraining as P
from xlt_nb.core import XltError, data_dir
from xlt_nb.pretraining import (Bitext, PretrainConfig, PretrainData, assert_unseen, build_encoder, describe_text, draw_translations, encoder_card, info_nce, make_model, mask_subwords,
    pretrain, read_parallel, read_pud, read_text, refine_embeddings, retrieval, retrieval_report, save_encoder, train_tokenizer, wrap_tokenizer)

ROOT = Path(__file__).resolve().parent.parent
CONFIG = PretrainConfig(vocab_size=200, width=16, heads=2, ff=32, layers=1, refine=2, steps=6, tokens=256, max_length=32)


def toy(n, seed=0):
    rng, words = np.random.default_rng(seed), ["".join(x) for x in np.random.default_rng(0).choice(list("abcdefghij"), (60, 4))]
    a = [" ".join(rng.choice(words, 6)) for _ in range(n)]
    return {"en": dict(enumerate(a)), "es": {i: " ".join(w[::-1] for w in t.split()) for i, t in enumerate(a)}}


PAIRS = toy(200)
TEXTS = {lang: list(t.values()) for lang, t in PAIRS.items()}


def train(tokenizer, state=None, stop_after=None, **changes):
    torch.set_num_threads(1)
    model, data = make_model(dataclasses.replace(CONFIG, **changes), tokenizer, TEXTS, PAIRS)
    pretrain(model, data, state, every=1, stop_after=stop_after)
    return model


def same(a, b): return all(torch.equal(x, b.state_dict()[k]) for k, x in a.state_dict().items())


@pytest.fixture(scope="module")
def tokenizer(): return train_tokenizer(itertools.chain(*TEXTS.values()), 200)


@pytest.fixture(scope="module")
def whole(tokenizer): return train(tokenizer)


@pytest.fixture
def root(tmp_path):
    "A folder of text of the shape that the recipe reads."
    def write(name, lines):
        path = tmp_path/"text_of_two_languages"/name
        path.parent.mkdir(parents=True, exist_ok=True); path.write_text("".join(f"{x}\n" for x in lines), encoding="utf8")
    for k, corpus in enumerate(("ntrex", "flores", "text", "ud")):
        for lang, t in toy(100, seed=10 + k).items():
            if corpus == "ud": write(f"ud/{lang}_pud-ud-test.conllu", (f"# sent_id = n{i}\n# text = {x}\n" for i, x in t.items()))
            elif corpus == "text": write(f"text/{lang}.tsv", (f"made up\t{x}" for x in t.values()))
            else: write(f"{corpus}/{lang}.txt", t.values())
    return tmp_path/"text_of_two_languages"


def test_seed(tokenizer, whole):
    assert same(whole, train(tokenizer))
    assert not same(whole, train(tokenizer, seed=1))


@pytest.mark.parametrize("changes", [{}, {"embeddings": "trained", "dropout": 0.1}, {"embeddings": "regularised", "shares": (0.2, 0.4, 0.4)}], ids=str)
def test_stopped_and_resumed(changes, tokenizer, tmp_path):
    for stop_after in (1, 3, None): resumed = train(tokenizer, tmp_path/"state", stop_after, **changes)
    assert same(resumed, train(tokenizer, **changes))


def test_finished_state_is_not_trained_on(tokenizer, whole, tmp_path):
    train(tokenizer, tmp_path/"state")
    assert same(train(tokenizer, tmp_path/"state"), whole)


def test_state_of_another_configuration_is_refused(tokenizer, tmp_path):
    train(tokenizer, tmp_path/"state", stop_after=1)
    with pytest.raises(XltError, match="state.*seed=0.*expected.*seed=1"): train(tokenizer, tmp_path/"state", seed=1)


KILLED = """
import sys, time; sys.path.insert(0, sys.argv[1])
import test_pretraining as T
real = T.P.save_file
def slow(tensors, path, metadata): # for a while half a file is there
    open(path, "wb").write(b"half"); print("SAVING", flush=True); time.sleep(0.2)
    real(tensors, path, metadata=metadata)
T.P.save_file = slow
T.train(T.wrap_tokenizer(T.Tokenizer.from_file(sys.argv[2])), sys.argv[3])
"""


def test_killed_while_saving(tokenizer, whole, tmp_path):
    tokenizer.backend_tokenizer.save(str(tmp_path/"tokenizer.json"))
    p = subprocess.Popen([sys.executable, "-c", KILLED, str(ROOT/"tests"), str(tmp_path/"tokenizer.json"), str(tmp_path/"state")],
                         env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(3): assert p.stdout.readline() == "SAVING\n", p.stderr.read()
    os.kill(p.pid, signal.SIGKILL); p.communicate()
    assert list(tmp_path.glob(".state-*.partial")), "it was to die while saving"
    assert same(train(tokenizer, tmp_path/"state"), whole)


def test_all_candidates_are_the_full_softmax(tokenizer):
    model, data = make_model(CONFIG, tokenizer, TEXTS, PAIRS)
    gold = torch.randint(5, len(tokenizer), (4, 9)); asked = torch.rand(4, 9) < 0.5
    hidden = torch.randn(4, 9, 16)
    scores = F.linear(model.transform(hidden), F.normalize(model.words, dim=-1), model.bias) # of every position, for every subword
    full = torch.stack([-scores[i, j].log_softmax(-1)[gold[i, j]] for i in range(4) for j in range(9) if asked[i, j]]).mean()
    assert torch.allclose(model.filling_loss(hidden, asked, gold, torch.arange(len(tokenizer))), full, atol=1e-5)


def test_masked_shares():
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 1000, (300, 100)); ids[:, 0], ids[:, 50], ids[:, 90:] = 2, 3, 0
    masked, asked = mask_subwords(ids, 0.2, np.arange(2000, 3000), rng)
    hidden, kept, swapped = masked[asked] == 4, masked[asked] == ids[asked], masked[asked] >= 2000
    assert abs(asked.sum()/(ids >= 5).sum() - 0.2) < 0.01 and not asked[ids < 5].any() and (masked[~asked] == ids[~asked]).all()
    assert abs(hidden.mean() - 0.8) < 0.02 and abs(kept.mean() - 0.1) < 0.02 and (hidden | kept | swapped).all()
    assert mask_subwords(ids, 0.0, np.arange(5, 9), rng)[1].sum() == 1, "something is always asked"


def test_info_nce_against_a_plain_one():
    a, b = (F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=-1) for _ in "ab")
    loss = 0
    for x, y in ((a, b), (b, a)):
        for i in range(7):
            e = [np.exp((x[i] @ y[j]).item()/0.1) for j in range(7)]
            loss -= np.log(e[i]/sum(e))/14
    assert info_nce(a, b, 0.1).item() == pytest.approx(loss)


def found(vectors, pairs, tokenizer):
    "Share of sentences nearest to their translation, by the mean of subword vectors."
    a, b = (F.normalize(torch.stack([torch.from_numpy(vectors[x]).mean(0) for x in tokenizer(list(t.values()), add_special_tokens=False)["input_ids"]]), dim=-1) for t in pairs.values())
    return (a @ b.T).argmax(1).eq(torch.arange(len(a))).float().mean().item()


def test_refinement(tokenizer):
    n = len(tokenizer)
    start = np.random.default_rng(0).standard_normal((n + 5, 16)).astype(np.float32) # the last five rows occur nowhere
    bitext = Bitext(tokenizer, PAIRS)
    seen = np.unique(np.concatenate([x for t in bitext.subwords.values() for x in t.values()]))
    refined = refine_embeddings(start, bitext, 40, batch=64, lr=0.05)
    unseen = np.setdiff1d(np.arange(n + 5), seen)
    assert len(unseen) >= 5 and np.array_equal(refined[unseen], start[unseen]) and refined.dtype == np.float32
    fresh = toy(100, seed=1) # other sentences of the same words
    before, after = found(start, fresh, tokenizer), found(refined, fresh, tokenizer)
    assert after > before + 0.3, (before, after)
    assert np.array_equal(refined, refine_embeddings(start, bitext, 40, batch=64, lr=0.05))


def test_pairs_are_translations(tokenizer):
    parallel = PAIRS | {"de": {i: t for i, t in PAIRS["en"].items() if i % 3 == 0}} # here, a language that says the same as en
    bitext, rng = Bitext(tokenizer, parallel), np.random.default_rng(0)
    text = lambda x: tokenizer.decode(x).replace(" ", "").replace("▁", " ").split()
    for sides in [bitext.draw(rng, 5) for _ in range(20)] + [draw_translations(rng, bitext, 100) for _ in range(20)]:
        assert len(sides[0]) == len(sides[1]) > 0
        for a, b in zip(*sides): assert len(text(a)) == 6 and text(b) in (text(a), [w[::-1] for w in text(a)])
    assert set(bitext.pairs) == set(itertools.permutations(("de", "en", "es"), 2))


def test_no_pairs_is_an_error(tokenizer):
    apart = {"en": {0: "abcd"}, "es": {1: "dcba"}}
    with pytest.raises(XltError, match="parallel"): Bitext(tokenizer, apart).draw(np.random.default_rng(0), 1)
    with pytest.raises(XltError, match="shares"): PretrainData(tokenizer, TEXTS, apart, CONFIG)


def test_held_out_text_in_training_text():
    held_out = {"en": {"n1": "Nobody saw this."}, "de": {"n1": "Das sah niemand."}}
    assert_unseen(held_out, {"en": ["Something else."]}, {"en": {0: "Das sah niemand."}})
    with pytest.raises(XltError, match="^de: 1 held-out"): assert_unseen(held_out, {"en": ["Something else."]}, {"de": {0: " Das sah niemand."}})


def test_text_files(root):
    parallel = read_parallel(root)
    assert parallel.keys() == {"en", "es"} and len(parallel["en"]) == 200 and parallel["es"]["ntrex:3"] == toy(100, seed=10)["es"][3]
    assert describe_text(root) == {"languages": ["en", "es"], "sources": {"made up": 200}} and read_text(root)["en"] == list(toy(100, seed=12)["en"].values())
    with open(root/"flores"/"es.txt", "a") as f: f.write("one line more\n")
    with pytest.raises(XltError, match="flores: files of different length.*'en': 100, 'es': 101"): read_parallel(root)
    (root/"bible_nt").mkdir(); (root/"bible_nt"/"en.tsv").write_text("JOH 1:1\tIn the beginning\nJOH 1:2 The same\n")
    with pytest.raises(XltError, match="en.tsv, line 2.*JOH 1:2"): read_parallel(root, ["bible_nt"])
    with pytest.raises(XltError, match="XLT_DATA_DIR"): read_parallel(root, ["bible_ot"])


@pytest.mark.parametrize("changes, name", [(dict(embeddings="frosen"), "nearest: frozen"), (dict(shares=(1, 0)), "shares"), (dict(shares=(0.5, 0.6, -0.1)), "shares"), (dict(width=30), "heads")])
def test_bad_configurations(changes, name):
    with pytest.raises(XltError, match=name): PretrainConfig(**changes)


def test_too_little_parallel_text(tokenizer):
    with pytest.raises(XltError, match="width: 16.*10 parallel"): make_model(CONFIG, tokenizer, TEXTS, toy(10))


@pytest.mark.parametrize("embeddings", ["frozen", "trained", "regularised"])
def test_embeddings_stay_or_move(embeddings, tokenizer):
    start = make_model(CONFIG, tokenizer, TEXTS, PAIRS)[0]
    model = train(tokenizer, embeddings=embeddings)
    assert torch.equal(model.words, start.words) == (embeddings == "frozen")
    assert not torch.equal(model.bert.encoder.layer[0].attention.self.query.weight, start.bert.encoder.layer[0].attention.self.query.weight)


def test_saved_encoder_needs_no_package(tokenizer, whole, tmp_path):
    record = {"config": dataclasses.asdict(CONFIG), "retrieval": retrieval_report(whole.bert.eval(), tokenizer, PAIRS), "device": "CPU"}
    for _ in range(2): save_encoder(tmp_path/"toy", whole.bert, tokenizer, record) # the second replaces the first
    assert [p.name for p in tmp_path.iterdir()] == ["toy"] and encoder_card(tmp_path/"toy") == (tmp_path/"toy"/"README.md").read_text("utf8")
    plain, plain_tokenizer = AutoModel.from_pretrained(tmp_path/"toy", dtype=torch.float32), AutoTokenizer.from_pretrained(tmp_path/"toy")
    x = plain_tokenizer(TEXTS["en"][:8], padding=True, return_tensors="pt")
    assert torch.equal(x["input_ids"], tokenizer(TEXTS["en"][:8], padding=True, return_tensors="pt")["input_ids"])
    with torch.inference_mode(): a, b = (m.eval()(input_ids=x["input_ids"], attention_mask=x["attention_mask"]).last_hidden_state for m in (plain, whole.bert))
    assert torch.allclose(a, b, atol=0.02) and {t.dtype for t in load_file(tmp_path/"toy"/"model.safetensors").values()} == {torch.float16}


def test_vocabulary_is_the_same_each_time(tokenizer):
    text = TEXTS["en"] + TEXTS["es"] + ["æ ø å þ ð ß ł ż"] # rare characters get their scores in a random order from the trainer
    vocabularies = [train_tokenizer(t, 150).backend_tokenizer.to_str() for t in (text, text, text[::-1])]
    assert len(set(vocabularies)) == 1
    spec = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"]
    assert {tuple(x) for x in P.settle_vocabulary(spec)} == {tuple(x) for x in spec}


def test_build_in_sittings(root, tmp_path):
    torch.set_num_threads(1)
    for stop_after in (2, None): record = build_encoder(tmp_path/"enc", CONFIG, root, stop_after=stop_after)
    assert record["log"][-1]["step"] == 6 and record["sources"] == {"made up": 200} and not list(tmp_path.glob("*.partial"))
    build_encoder(tmp_path/"again", CONFIG, root, AutoTokenizer.from_pretrained(tmp_path/"enc"))
    a, b = (load_file(tmp_path/x/"model.safetensors") for x in ("enc", "again"))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_notebook_builds_from_any_folder(root, outputs, tmp_path):
    parameters = dict(recipe="build", root=str(root), out=str(tmp_path/"tiny"), vocab_size=300, width=16, layers=1, refine=5, steps=4)
    papermill.execute_notebook(str(ROOT/"nbs"/"04b_pretraining.ipynb"), str(tmp_path/"out.ipynb"), parameters, kernel_name="python3", progress_bar=False)
    record = json.loads((tmp_path/"tiny"/"training.json").read_text())
    assert record["config"]["width"] == 16 and record["log"][-1]["step"] == 4 and set(record["retrieval"]["embeddings"]) == {"es"}
    assert AutoModel.from_pretrained(tmp_path/"tiny").config.num_hidden_layers == 1 and not (outputs/"figures").exists()


MINI = data_dir()/"encoders"/"xlt-mini"


def test_shipped_encoder():
    files = {p.name: p.stat().st_size for p in MINI.iterdir()}
    assert sum(files.values()) <= 20*2**20 and {n for n in files if n.endswith((".bin", ".pt", ".pkl", ".h5"))} == set()
    assert {t.dtype for t in load_file(MINI/"model.safetensors").values()} == {torch.float16}
    record = json.loads((MINI/"training.json").read_text("utf8"))
    assert {"config", "log", "retrieval", "device", "languages", "sources"} <= record.keys() and record["config"].keys() == {f.name for f in dataclasses.fields(PretrainConfig)}
    assert record["log"][-1]["step"] == record["config"]["steps"] and all({"tokens_per_s", "step"} < x.keys() for x in record["log"])
    assert all(len(r) == 13 for r in record["retrieval"].values())


def test_shipped_card_is_made_from_its_record(): assert (MINI/"README.md").read_text("utf8") == encoder_card(MINI)


def test_shipped_encoder_retrieves(data_root):
    "What the record says of the embedding table is what it does, on sentences that are in no training text."
    held_out = read_pud(data_root)
    assert len(held_out) == 14 and set(map(len, held_out.values())) == {1000}
    assert_unseen(held_out, read_parallel(data_root, ("ntrex", "flores", "bible_nt")), read_text(data_root))
    record = json.loads((MINI/"training.json").read_text("utf8"))
    model, tokenizer = AutoModel.from_pretrained(MINI, dtype=torch.float32), AutoTokenizer.from_pretrained(MINI)
    share = retrieval(model.eval(), tokenizer, held_out)
    assert share.mean() > 0.75 and share.min() > 0.5 and share.to_dict() == pytest.approx(record["retrieval"]["embeddings"], abs=0.005)
    assert record["sources"] == describe_text(data_root)["sources"]
