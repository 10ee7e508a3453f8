"""Benchmark, not a test: seconds to load `xlt-mini` and encode 1,000 sentences on two threads, and its subwords per second against a random
transformer of the same shape in Hugging Face's feature-extraction pipeline.

    python tests/bench_encoder.py [ROUNDS [SENTENCES]]

Sentences of XLT-17 in all its languages, shuffled. Both use the same tokenizer, float32 and the last layer; they take turns, and each round gives a ratio.
Writes outputs/tables/bench_encoder.csv.
"""
import time
started = time.perf_counter() # imports count: a user waits for them too
import itertools, random, sys

import pandas as pd
import torch
from transformers import pipeline
from transformers.utils import logging as hf_logging

from xlt_nb.core import atomic_path, tables_dir
from xlt_nb.readers import load_corpus
from xlt_nb.encoders import load_encoder
from xlt_nb.languages import LANGUAGES
from xlt_nb.pretraining import encode_sentences

ROUNDS, SENTENCES = (int(x) for x in (sys.argv[1:] + ["5", "1000"][len(sys.argv) - 1:]))
BATCH = 128


def sentences(n):
    "Shuffled sentences of XLT-17, repeated if there are fewer."
    corpus = load_corpus("xlt17", LANGUAGES)
    texts = [" ".join(e.words) for lang in LANGUAGES for e in corpus[lang, "train"]]
    random.Random(0).shuffle(texts)
    return list(itertools.islice(itertools.cycle(texts), n))


def seconds(f):
    t = time.perf_counter(); f()
    return time.perf_counter() - t


def main():
    hf_logging.set_verbosity_error()
    torch.set_num_threads(2)
    import_s = time.perf_counter() - started
    texts = sentences(SENTENCES)
    t = time.perf_counter()
    model, tokenizer = load_encoder("xlt-mini")
    load_s = time.perf_counter() - t
    model.eval()
    first_s = seconds(lambda: encode_sentences(model, tokenizer, texts, layer=-1, batch=BATCH)) # nothing warm
    extract = pipeline("feature-extraction", model=load_encoder("random:xlt-mini")[0].eval(), tokenizer=tokenizer, tokenize_kwargs={"truncation": True, "max_length": 256}, device="cpu")
    systems = {"xlt-mini, encode_sentences": lambda: encode_sentences(model, tokenizer, texts, layer=-1, batch=BATCH),
               f"random:xlt-mini, feature-extraction pipeline, batch {BATCH}": lambda: extract(texts, batch_size=BATCH, return_tensors=True),
               "random:xlt-mini, feature-extraction pipeline, batch 1": lambda: extract(texts, return_tensors=True)}
    subwords = sum(len(x) for x in tokenizer(texts, truncation=True, max_length=256)["input_ids"])
    rows = [dict(system=name, round=k, encode_s=seconds(f)) for k in range(ROUNDS) for name, f in systems.items()]
    table = pd.DataFrame(rows)
    mine = table[table.system == next(iter(systems))].set_index("round").encode_s
    table["xlt-mini is faster by"] = table.encode_s/mine.loc[table["round"]].to_numpy()
    out = table.groupby("system", sort=False).encode_s.median().to_frame()
    out["subwords_per_s"] = subwords/out.encode_s
    out = out.join(table.groupby("system")["xlt-mini is faster by"].agg(["median", "min", "max"]).add_prefix("xlt-mini faster by, "))
    out = out.assign(sentences=SENTENCES, subwords=subwords, threads=torch.get_num_threads(), rounds=ROUNDS)
    out.loc[out.index[0], ["import_s", "load_s", "first_encode_s"]] = import_s, load_s, first_s
    with atomic_path(tables_dir()/"bench_encoder.csv") as p: out.to_csv(p, float_format="%.4g")
    print(out.T.to_string())
    print(f"load and encode {SENTENCES:,} sentences: {load_s + first_s:.2f} s, with imports {import_s + load_s + first_s:.2f} s")


if __name__ == "__main__": main()
