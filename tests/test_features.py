"Kept states: the same bits whoever computes them, whatever kills it, however little room there is."
import hashlib, os, random, signal, subprocess, sys, time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import xlt_nb.features as F
from little import E5, RANDOM, little_encoder
from xlt_nb.core import XltError
from xlt_nb.encoders import encode_words, load_stack, load_tokenizer
from xlt_nb.readers import load_corpus


def texts():
    "In several languages, short and long, some of them twice."
    corpus = load_corpus("xlt17", ["es", "ja", "tr"])
    some = [e.words for lang in corpus.languages for e in corpus[lang, "dev"][:30]]
    return some + [some[0], some[1]*9, ("a",), some[40]]


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    "A small encoder: most of what is tested here is no matter of size."
    return little_encoder(tmp_path_factory.mktemp("encoder"), layers=3)


@pytest.fixture(scope="module")
def windows(name): return encode_words(load_tokenizer(name), texts())


@pytest.fixture(scope="module")
def true_states(name, windows): return F.compute_states(stack(name), windows)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "A cache of its own."
    monkeypatch.setenv("XLT_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"


def stack(name, frozen=1): return load_stack(name, 0, frozen, embeddings=True).to(F.compute_dtype("cpu")).eval()


def same(found, expected): return len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected))


def shards(cache): return sorted((cache/"states").rglob("*.safetensors"))

# ---------------------------------------------------------------- the same bits


def test_states_do_not_depend_on_company():
    "Alone, in any order, among any others: not a bit differs, and they are those of the layers. In the real shape."
    windows, layers = encode_words(load_tokenizer(RANDOM), texts()), stack(RANDOM, 2)
    true_states = F.compute_states(layers, windows)
    for i in (0, 5, 33, 91, 92): assert same(F.compute_states(layers, [windows[i]]), [true_states[i]])
    order = np.random.default_rng(0).permutation(len(windows))
    assert same(F.compute_states(layers, [windows[i] for i in order]), [true_states[i] for i in order])
    assert same(F.compute_states(layers, windows[20:37]), true_states[20:37])
    ids = torch.from_numpy(windows[3].input_ids[None].astype(np.int64))
    with torch.inference_mode(): plain = layers.float()(ids, torch.ones_like(ids))[0]
    assert torch.nn.functional.cosine_similarity(plain, true_states[3].float()).min() > 0.999


def test_kept_or_computed_they_are_the_same(name, cache, windows, true_states):
    first = F.Features(name, 1)
    assert same(first(windows[:50]), true_states[:50]) and len(shards(cache)) == 1
    assert same(first(windows), true_states), "some kept, some new"
    second = F.Features(name, 1)
    assert same(second(windows[::-1]), true_states[::-1]) and second.stack is None and len(shards(cache)) == 2


def test_twice_the_same_text_is_computed_once(name, cache, windows, true_states):
    "Within a call, and in a later one."
    assert same(F.Features(name, 1)([windows[0]]*5), [true_states[0]]*5)
    (path,) = shards(cache)
    assert load_file(path)["keys"].shape == (1, 16)
    F.Features(name, 1)([windows[0]])
    assert shards(cache) == [path]


def test_what_is_not_the_same_lies_apart(name, cache, windows):
    "Depth and the seed of an untrained encoder; the seed of a pretrained one is none of its states."
    untrained = "random:" + name
    made = [F.Features(x, frozen, seed)(windows[:3]) for x, frozen, seed in ((untrained, 1, 0), (untrained, 2, 0), (untrained, 1, 1), (name, 1, 0))]
    assert not any(same(made[i], made[j]) for i in range(4) for j in range(i))
    assert len(F.cache_table()) == 4
    assert F.Features(E5, 8, seed=3).folder == F.Features(E5, 8).folder != F.Features(RANDOM, 8).folder


def test_no_frozen_layer_is_embeddings_alone(name, cache, windows):
    (found,) = F.Features(name, 0)([windows[2]])
    ids = torch.from_numpy(windows[2].input_ids[None].astype(np.int64))
    with torch.inference_mode(): assert torch.equal(found, stack(name, 0)(ids, torch.ones_like(ids), F.compute_dtype("cpu"))[0].bfloat16())


def test_a_window_longer_than_any_shape(name, cache):
    "And one of special tokens only."
    tokenizer = load_tokenizer(name)
    long = encode_words(tokenizer, [("palabra",)*600], 510)
    assert [len(s) for s in F.Features(name, 1)(long)] == [len(w.input_ids) for w in long]
    assert F.Features(name, 1)([]) == []

# ---------------------------------------------------------------- killed, and two at once

SCRIPT = """
import sys
from test_features import read_many
print("READY", flush=True)
print(read_many(sys.argv[1]), flush=True)
"""


def read_many(name):
    "Checksum of the states of many texts, kept in hundreds of files."
    torch.set_num_threads(1)
    F._CHUNK = 250
    corpus = load_corpus("xlt17")
    windows = encode_words(load_tokenizer(name), [e.words for lang in corpus.languages for e in corpus[lang, "train"]])
    states = F.Features(name, 1)(windows)
    return hashlib.sha256(torch.cat(states).view(torch.uint8).numpy().tobytes()).hexdigest()


def reading(name, cache):
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"XLT_CACHE": str(cache), "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    p = subprocess.Popen([sys.executable, "-c", SCRIPT, name], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "READY\n", p.stderr.read()
    return p


@pytest.fixture
def digest(name, cache, monkeypatch):
    "What an undisturbed process computes."
    monkeypatch.setattr(F, "_CHUNK", F._CHUNK)
    return read_many(name) + "\n"


def test_killed_while_computing_and_writing(name, tmp_path, digest):
    "SIGKILL at random moments: what is there then is read, what is not is computed, and nothing else is believed."
    rng, folder = random.Random(0), tmp_path/"killed"
    for _ in range(3):
        p, before = reading(name, folder), len(shards(folder))
        while len(shards(folder)) <= before:
            assert p.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(p.pid, signal.SIGKILL)
        p.communicate()
        for path in shards(folder): load_file(path)
    assert reading(name, folder).communicate()[0] == digest


def test_two_processes_want_the_same(name, tmp_path, digest):
    both = [reading(name, tmp_path/"two") for _ in range(2)]
    said = [p.communicate() for p in both]
    assert [out for out, _ in said] == [digest, digest], said
    assert not list((tmp_path/"two"/"states").rglob("*.partial"))


def test_what_killed_writers_left_is_cleared(name, cache, windows):
    F.Features(name, 1)(windows[:2])
    folder = shards(cache)[0].parent
    old, new = folder/".a-1.partial", folder/".b-2.partial"
    for p in (old, new): p.mkdir()
    (old/"x.safetensors").write_bytes(b"half")
    os.utime(old, (0, 0))
    F.Features(name, 1)(windows[5:7])
    assert not old.exists() and new.exists(), "another process may be writing the newer one"

# ---------------------------------------------------------------- room


def test_the_oldest_go_first(name, cache, windows, true_states, monkeypatch):
    parts = [windows[:20], windows[20:40], windows[40:60]]
    for part in parts: F.Features(name, 1)(part)
    for k, path in enumerate(sorted(shards(cache), key=lambda p: p.stat().st_mtime)): os.utime(path, (1e9 + k, 1e9 + k))
    oldest = min(shards(cache), key=lambda p: p.stat().st_mtime)
    F.Features(name, 1)(parts[0]) # reading looks at all shards, and all become new
    assert all(p.stat().st_mtime > 1.5e9 for p in shards(cache))
    os.utime(oldest, (1e9, 1e9))
    total = sum(p.stat().st_size for p in shards(cache))
    monkeypatch.setenv("XLT_CACHE_GB", f"{total/1e9}")
    kept = F.Features(name, 2)
    assert len(kept(windows[:3])) == 3
    assert oldest not in shards(cache) and len(shards(cache)) == 3 and sum(p.stat().st_size for p in shards(cache)) <= total + 2000
    assert same(F.Features(name, 1)(windows), true_states), "what was cleared is computed again"


def test_nothing_is_cleared_for_what_would_not_fit_anyway(name, cache, windows, true_states, monkeypatch):
    "A limit that holds the shards that are there, and not the one that is to come."
    few = F.Features(name, 1)
    few(windows[:2])
    (path,) = shards(cache)
    monkeypatch.setenv("XLT_CACHE_GB", f"{2*path.stat().st_size/1e9}")
    assert same(F.Features(name, 1)(windows), true_states) and shards(cache) == [path]
    monkeypatch.setenv("XLT_CACHE_GB", "0")
    assert same(F.Features(name, 1)(windows), true_states) and shards(cache) == [], "what is over the limit goes"


def test_a_folder_that_is_only_to_be_read_serves(name, cache, windows, true_states, monkeypatch):
    "Kept states of somebody else, which cannot be marked as used."
    F.Features(name, 1)(windows)
    def not_mine(*args): raise PermissionError(1, "not yours")
    monkeypatch.setattr(F.os, "utime", not_mine)
    reader = F.Features(name, 1)
    assert same(reader(windows), true_states) and len(reader.known) and reader.stack is None and len(shards(cache)) == 1


def test_without_room_they_are_computed_on_the_fly(name, cache, windows, true_states, monkeypatch):
    monkeypatch.setenv("XLT_CACHE_GB", "0")
    assert same(F.Features(name, 1)(windows), true_states) and shards(cache) == []
    monkeypatch.setenv("XLT_CACHE_GB", "1")
    monkeypatch.setattr(F.shutil, "disk_usage", lambda p: SimpleNamespace(free=0))
    assert same(F.Features(name, 1)(windows), true_states) and shards(cache) == []


def test_a_full_disk_is_no_error(name, cache, windows, true_states, monkeypatch):
    def full(*args, **kwargs): raise OSError(28, "No space left on device")
    monkeypatch.setattr(F, "save_file", full)
    assert same(F.Features(name, 1)(windows), true_states)
    assert shards(cache) == [] and not list((cache/"states").rglob("*.partial"))


@pytest.mark.parametrize("text", ["lots", "-1", "inf", "nan", ""])
def test_a_limit_that_is_no_number_is_named(text, monkeypatch):
    monkeypatch.setenv("XLT_CACHE_GB", text)
    with pytest.raises(XltError, match="XLT_CACHE_GB"): F.cache_limit()


def test_texts_of_one_run_are_not_kept(name, cache, windows, true_states):
    features = F.Features(name, 1)
    assert same(features(windows, keep=False), true_states) and shards(cache) == []
    assert same(F.Features(name, 1, keep=False)(windows), true_states) and shards(cache) == []

# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("harm", ["truncated", "empty", "rubbish", "another file", "gone", "no permission"])
def test_a_damaged_shard_is_computed_again(name, harm, cache, windows, true_states):
    F.Features(name, 1)(windows)
    (path,) = shards(cache)
    whole = path.read_bytes()
    if harm == "gone": path.unlink()
    elif harm == "another file": save_file({"x": torch.zeros(3)}, path)
    elif harm == "no permission": path.chmod(0)
    else: path.write_bytes({"truncated": whole[:len(whole)//2], "empty": b"", "rubbish": os.urandom(1000)}[harm])
    try: assert same(F.Features(name, 1)(windows), true_states)
    finally:
        if path.exists(): path.chmod(0o600)


def test_a_shard_cleared_while_it_is_used(name, cache, windows, true_states):
    "What is mapped stays readable; the command that clears the cache harms no run."
    F.Features(name, 1)(windows)
    reader = F.Features(name, 1)
    some = reader(windows[:10])
    assert F.clear_cache() > 0 and shards(cache) == []
    assert same(some, true_states[:10]) and same(reader(windows), true_states)


def test_states_are_read_lazily(name, cache, windows, monkeypatch):
    "A view into the file, not a copy: opening 40 MB of states does not bring them into memory."
    features = F.Features(name, 1)
    keys = [bytes([k % 256, k//256])*8 for k in range(2000)]
    F._write_shard(features.folder, keys, [torch.zeros(60, 384, dtype=torch.bfloat16)]*2000)
    (path,) = shards(cache)
    pid = os.getpid()
    def resident(): return int(open(f"/proc/{pid}/statm").read().split()[1])*os.sysconf("SC_PAGE_SIZE")
    if not os.path.exists("/proc/self/statm"): pytest.skip("memory of a process is read from /proc, which is not here")
    before = resident()
    found = F._read_shard(path)
    assert path.stat().st_size > 90e6 and resident() - before < 20e6
    states, a, b = found[keys[7]]
    assert states[a:b].untyped_storage().data_ptr() == states.untyped_storage().data_ptr() and (a, b) == (420, 480)


def test_the_table_of_the_cache(name, cache, windows):
    assert F.cache_table().empty and F.clear_cache() == 0
    F.Features(name, 1)(windows[:4])
    (row,) = F.cache_table().to_dict("records")
    assert (row["frozen"], row["shards"]) == (1, 1) and row["device"].startswith("cpu") and row["megabytes"] > 0
    assert F.clear_cache() == pytest.approx(1e6*row["megabytes"]) and F.cache_table().empty
