"""How fast are frozen states? `python tests/bench_features.py` writes outputs/tables/bench_features.csv. Not a test.

Part `states`: texts of XLT-17 in several languages through the layers that the default encoder's preset freezes
(`compute_states`), against two baselines that take turns with it in the same process: the plain matrix products of
the same batches (queries, keys and values; out of attention; up and down; nothing else), and transformers' `AutoModel`,
cut to the same layers, under autocast, in the same batches without their empty rows. Subwords are those of texts;
padding and empty rows, which both work through, count as none, and their share has a line of its own. One process with
one thread, then two such processes at the same time. A round's ratio compares times of that round; `best` compares the
best times.
Part `loading`, each in a process of its own: first use of the encoder (unpacked into an empty cache), later loads.
"""
import os

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.update(ONE_THREAD)

import argparse, concurrent.futures, multiprocessing, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import pandas as pd
import torch
from torch.nn import functional as F

from xlt_nb.core import atomic_path, tables_dir
from xlt_nb.encoders import (E5, compute_dtype, encode_words, encoder_config, encoder_folder, find_preset, load_stack,
    load_tokenizer, pad_windows)
from xlt_nb.features import _filled_batches, compute_states
from xlt_nb.readers import load_corpus
from xlt_nb.training import peak_memory_mb

LANGUAGES = ("en", "es", "tr", "ja", "ar", "hi")
FROZEN, LAYERS = find_preset(E5).frozen, find_preset(E5).layers
COLUMNS = ["part", "measure", "what", "baseline", "processes", "unit"]
COLUMNS += ["rounds", "best", "median", "low", "high", "target"]

LOAD = """
import sys, time
start = time.perf_counter()
from xlt_nb.encoders import E5, load_stack, load_tokenizer
imported = time.perf_counter()
load_tokenizer(E5)
load_stack(E5, int(sys.argv[1]), int(sys.argv[2]))
print(time.perf_counter() - imported, imported - start)
"""

LOAD_HUB = """
import sys, time
start = time.perf_counter()
from transformers import AutoModel, AutoTokenizer
imported = time.perf_counter()
AutoTokenizer.from_pretrained(sys.argv[1])
AutoModel.from_pretrained(sys.argv[1], add_pooling_layer=False)
print(time.perf_counter() - imported, imported - start)
"""


# What both benchmarks of this encoder use

def say(text): print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def keep_barrier(barrier):
    "Called in a new process: what `wait` waits at."
    global BARRIER
    BARRIER = barrier
    torch.set_num_threads(1)


def wait():
    "Go on when all processes of `in_processes` are here."
    BARRIER.wait(timeout=600)


def in_processes(work, n, *arguments) -> list: # one result a process
    "The same work in n fresh processes of one thread at the same time."
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(n)
    with concurrent.futures.ProcessPoolExecutor(n, context, keep_barrier, (barrier,)) as pool:
        futures = [pool.submit(work, *arguments) for _ in range(n)]
        return [f.result() for f in futures]


def alternate(works: dict, rounds: int) -> dict: # name -> seconds, one a round
    "Time every work once a round, in an order that turns; each once before, untimed."
    names, seconds = list(works), {name: [] for name in works}
    for name in names: works[name]()
    for r in range(rounds):
        first = r % len(names)
        for name in names[first:] + names[:first]:
            wait()
            start = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def row(part, measure, what, unit, values, best=max, baseline="", processes=1, target=None, at_best=None) -> dict:
    "A line of the table: values of the rounds in short."
    top = best(values) if at_best is None else at_best
    spread = (top, statistics.median(values), min(values), max(values))
    return dict(zip(COLUMNS, (part, measure, what, baseline, processes, unit, len(values), *spread, target)))


def rate_rows(part, found: list, targets: dict) -> list: # found: (subwords, name -> seconds) of every process
    "Rate of each work, summed over processes; the first one's as a multiple of each other's."
    names, n = list(found[0][1]), len(found)
    rates = {}
    for name in names:
        by_process = [[subwords/s for s in seconds[name]] for subwords, seconds in found]
        rates[name] = [sum(one_round) for one_round in zip(*by_process)]
    rows = [row(part, "rate", name, "subwords/s", rates[name], processes=n) for name in names]
    ours = names[0]
    for other in names[1:]:
        ratios = [a/b for a, b in zip(rates[ours], rates[other])]
        at_best = max(rates[ours])/max(rates[other])
        rows.append(row(part, "ratio", ours, "times", ratios, max, other, n, targets.get(other), at_best))
    return rows


def write_rows(path: Path, rows: list, part: str):
    "Put the rows of a part into the table, in place of those it had."
    old = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=COLUMNS)
    kept = old[old.part != part]
    new = pd.DataFrame(rows, columns=COLUMNS)
    table = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    with atomic_path(path) as p: table.to_csv(p, index=False, float_format="%.4g")
    print(new.drop(columns="part").to_string(index=False, float_format="{:.4g}".format, na_rep=""), flush=True)


# States

def sample_windows(languages, texts) -> list:
    "Windows of the first training texts of some languages."
    corpus, words = load_corpus("xlt17", languages), []
    for lang in languages: words += [e.words for e in corpus[lang, "train"][:texts]]
    return encode_words(load_tokenizer(E5), words)


def frozen_stack():
    "The lower layers, ready to compute states."
    return load_stack(E5, 0, FROZEN, embeddings=True).to("cpu", compute_dtype("cpu")).eval()


def hub_model():
    "The same layers as transformers has them."
    from transformers import AutoModel
    from transformers.utils import logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(encoder_folder(E5), add_pooling_layer=False).eval()
    model.encoder.layer = model.encoder.layer[:FROZEN]
    return model


@torch.inference_mode()
def hub_states(model, windows) -> list: # of (subwords, width) tensors
    "States of windows by `AutoModel` under autocast, in batches of the same lengths without empty rows."
    dtype, out = compute_dtype("cpu"), [None]*len(windows)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        for members, _, columns in _filled_batches(windows):
            batch = pad_windows([windows[i] for i in members], 0, columns)
            states = model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
            for i, states_of_one in zip(members, states): out[i] = states_of_one[:len(windows[i].input_ids)]
    return out


def layer_weights(n: int) -> list: # n lists of (out, in) matrices in the precision of products
    "The shapes of the products of n layers, with weights of their own."
    c, dtype = encoder_config(E5), compute_dtype("cpu")
    width, inner = c.hidden_size, c.intermediate_size
    shapes = ((3*width, width), (width, width), (inner, width), (width, inner))
    return [[torch.randn(shape).mul(0.02).to(dtype) for shape in shapes] for _ in range(n)]


def product_inputs(shapes) -> dict: # (rows, columns, size) -> tensor
    "What the products of batches of such shapes read."
    c, out = encoder_config(E5), {}
    for rows, columns in sorted(set(shapes)):
        for size in (c.hidden_size, c.intermediate_size):
            out[rows, columns, size] = torch.randn(rows, columns, size).to(compute_dtype("cpu"))
    return out


@torch.inference_mode()
def plain_products(shapes, weights, inputs):
    "The linear layers of every batch and nothing else."
    for rows, columns in shapes:
        for layer in weights:
            for w in layer: F.linear(inputs[rows, columns, w.shape[1]], w)


def check_equal(ours, theirs):
    "Both compute the same states, up to the precision of products."
    similar = F.cosine_similarity(torch.cat(ours).float(), torch.cat(theirs).float(), dim=1)
    mean, least = similar.mean().item(), similar.min().item()
    assert mean > 0.999 and least > 0.9, f"states differ: mean cosine {mean:.4f}, least {least:.4f}"


def states_worker(languages, texts, rounds) -> tuple: # (subwords, name -> seconds)
    "All three in one process."
    windows, stack, model = sample_windows(languages, texts), frozen_stack(), hub_model()
    shapes = [(rows, columns) for _, rows, columns in _filled_batches(windows)]
    weights, inputs = layer_weights(FROZEN), product_inputs(shapes)
    check_equal(compute_states(stack, windows), hub_states(model, windows))
    works = {"frozen states": lambda: compute_states(stack, windows),
        "plain products": lambda: plain_products(shapes, weights, inputs),
        "AutoModel, autocast": lambda: hub_states(model, windows)}
    return sum(len(w.input_ids) for w in windows), alternate(works, rounds)


def padding(languages, texts) -> float: # percent
    "Share of the batches' places that no subword of a text fills."
    windows = sample_windows(languages, texts)
    places = sum(rows*columns for _, rows, columns in _filled_batches(windows))
    return 100*(1 - sum(len(w.input_ids) for w in windows)/places)


def memory_worker(languages, texts, hub: bool) -> float: # MB
    "Peak memory of a process that reads states, by us or by `AutoModel`."
    windows = sample_windows(languages, texts)
    if hub: hub_states(hub_model(), windows)
    else: compute_states(frozen_stack(), windows)
    return peak_memory_mb("cpu")


def states_rows(args) -> list:
    "Speed in one process and in two at a time; peak memory of one."
    rows = [row("states", "padding", "frozen states", "%", [padding(args.languages, args.texts)], min)]
    for n in (1, 2):
        say(f"states: {n} process(es), {args.rounds} round(s), {args.texts} texts of {len(args.languages)} languages")
        found = in_processes(states_worker, n, args.languages, args.texts, args.rounds)
        rows += rate_rows("states", found, {"plain products": 0.6})
    say("states: peak memory")
    for what, hub in (("frozen states", False), ("AutoModel, autocast", True)):
        memory = in_processes(memory_worker, 1, args.languages, args.texts, hub)
        rows.append(row("states", "peak memory", what, "MB", memory, min, target=None if hub else 2000))
    return rows


# Loading

def child(code, *arguments, **env) -> list: # of numbers
    "What a fresh python prints."
    command = [sys.executable, "-c", code, *map(str, arguments)]
    p = subprocess.run(command, env=os.environ | ONE_THREAD | env, capture_output=True, text=True)
    if p.returncode: sys.exit(p.stderr)
    return [float(x) for x in p.stdout.split()]


def load_rows(rounds) -> list:
    "First use in an empty cache, later loads, and what transformers needs for the same folder."
    folder = encoder_folder(E5)
    found = {"first use": [], "later load of the upper layers": [], "import of xlt_nb.encoders": []}
    found |= {"AutoTokenizer and AutoModel": [], "import of transformers": []}
    for r in range(rounds):
        say(f"loading: round {r + 1} of {rounds}")
        with tempfile.TemporaryDirectory() as cache:
            found["first use"].append(child(LOAD, 0, FROZEN, XLT_CACHE=cache)[0])
        load, imported = child(LOAD, FROZEN, LAYERS)
        hub, hub_imported = child(LOAD_HUB, folder)
        for name, seconds in zip(list(found)[1:], (load, imported, hub, hub_imported)): found[name].append(seconds)
    targets = {"first use": 15, "later load of the upper layers": 2}
    rows = [row("loading", "time", k, "s", v, min, target=targets.get(k)) for k, v in found.items()]
    baseline = "AutoTokenizer and AutoModel"
    for name in targets:
        ratios = [a/b for a, b in zip(found[name], found[baseline])]
        at_best = min(found[name])/min(found[baseline])
        rows.append(row("loading", "ratio", name, "times", ratios, min, baseline, at_best=at_best))
    return rows


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each comparison")
    parser.add_argument("--texts", type=int, default=100, help="texts a language")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--parts", nargs="+", default=["loading", "states"], choices=["loading", "states"])
    parser.add_argument("--out", type=Path, default=tables_dir()/"bench_features.csv")
    parser.add_argument("--quick", action="store_true", help="one round of few texts: does it work?")
    args = parser.parse_args()
    if args.quick: args.rounds, args.texts, args.languages = 1, 8, LANGUAGES[:2]
    return args


def main():
    args = options()
    encoder_folder(E5) # unpacked now if it was not yet
    if "loading" in args.parts: write_rows(args.out, load_rows(args.rounds), "loading")
    if "states" in args.parts: write_rows(args.out, states_rows(args), "states")
    say(f"written: {args.out}")


if __name__ == "__main__": main()
