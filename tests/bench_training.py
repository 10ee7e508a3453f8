"""Benchmark, not a test: training throughput against Hugging Face `Trainer`, same model, data, optimiser steps and threads, in one run.

    pip install -e '.[bench]' && python tests/bench_training.py [THREADS]

Event detection on MINION Spanish (XLT_DATA_DIR), else on XLT-17. Writes outputs/tables/bench_training.csv.
"""
import dataclasses, os, sys, tempfile, time

import numpy as np
import pandas as pd
import torch
import transformers
from transformers import DataCollatorForTokenClassification, Trainer, TrainingArguments, default_data_collator

import xlt_nb.training as T
from xlt_nb.core import RunConfig, XltError, atomic_path, tables_dir
from xlt_nb.readers import load_corpus
from xlt_nb.encoders import load_encoder
from xlt_nb.tasks import Tagger, make_task, score

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count()
EPOCHS = 6


class ForTrainer(torch.nn.Module):
    "The same encoder and head behind `Trainer`'s interface: labels sit on each word's first subword."
    def __init__(self, model, n_labels):
        super().__init__()
        self.model, self.n = model, n_labels

    def forward(self, input_ids, attention_mask, labels=None):
        h = self.model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.model.head.out(self.model.head.drop(h))
        return {"loss": torch.nn.functional.cross_entropy(logits.view(-1, self.n), labels.view(-1), ignore_index=-100), "logits": logits}


def rows(instances, length=None):
    "Instances as `Trainer` reads them; padded to `length` for the default collator, which cannot pad."
    out = []
    for i in instances:
        w = i.window
        first = (w.word_ids >= 0) & (w.word_ids != np.r_[-1, w.word_ids[:-1]])
        labels = np.full(len(w.input_ids), -100); labels[first] = i.gold
        pad = (length or len(w.input_ids)) - len(w.input_ids)
        out.append({"input_ids": [*w.input_ids.tolist(), *[0]*pad], "attention_mask": [1]*len(w.input_ids) + [0]*pad, "labels": [*labels.tolist(), *[-100]*pad]})
    return out


def main():
    torch.set_num_threads(THREADS); transformers.logging.set_verbosity_error()
    try: corpus, cost = load_corpus("minion", ["es"]), 600
    except XltError: corpus, cost = load_corpus("xlt17", ["es"]), None
    c = RunConfig(task="events", corpus=corpus.name, sources=["es"], targets=["es"], encoder="xlt-mini", cost=cost, epochs=EPOCHS, lr_encoder=1e-3, lr_head=1e-2, dropout=0.1)
    task = make_task("events", corpus)

    def new_model():
        torch.manual_seed(0)
        encoder, tokenizer = load_encoder(c.encoder, c.dropout)
        return T.Model(encoder, Tagger(encoder.config.hidden_size, len(task.labels), "first", c.dropout), "frozen"), tokenizer

    model, tokenizer = new_model()
    train = task.instances(tokenizer, T.training_examples(c, corpus), c.max_length)
    tokens = EPOCHS*sum(len(i.window.input_ids) for i in train)

    def ours(bf16):
        model, _ = new_model()
        held, T.has_bf16 = T.has_bf16, (lambda d: bf16)
        started = time.perf_counter(); T.fit(model, task, train, c, tokenizer.pad_token_id, progress=False); seconds = time.perf_counter() - started
        f1 = score(T.evaluate(model, task, tokenizer, c, corpus, ["es"])[1])["micro_f1"]
        T.has_bf16 = held
        return seconds, f1

    def trainer(collator, data, bf16):
        model, _ = new_model()
        with tempfile.TemporaryDirectory() as d:
            args = TrainingArguments(d, num_train_epochs=EPOCHS, per_device_train_batch_size=c.batch_size, warmup_steps=c.warmup, max_grad_norm=c.clip,
                use_cpu=True, bf16=bf16, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0)
            optimizer = torch.optim.AdamW(T.parameter_groups(model, c), fused=True)
            t = Trainer(ForTrainer(model, len(task.labels)), args, train_dataset=data, data_collator=collator, optimizers=(optimizer, None))
            started = time.perf_counter(); t.train(); seconds = time.perf_counter() - started
        return seconds, score(T.evaluate(model, task, tokenizer, c, corpus, ["es"])[1])["micro_f1"]

    ways = {"Trainer, default collator, float32": lambda: trainer(default_data_collator, rows(train, c.max_length), False),
            "Trainer, dynamic padding, float32": lambda: trainer(DataCollatorForTokenClassification(tokenizer), rows(train), False),
            "xlt-nb, float32": lambda: ours(False)}
    if T.has_bf16("cpu"):
        ways |= {"Trainer, default collator, bf16": lambda: trainer(default_data_collator, rows(train, c.max_length), True),
                 "Trainer, dynamic padding, bf16": lambda: trainer(DataCollatorForTokenClassification(tokenizer), rows(train), True), "xlt-nb, bf16": lambda: ours(True)}
    table = []
    for name, f in ways.items():
        seconds, f1 = f()
        table.append(dict(way=name, corpus=corpus.name, threads=THREADS, subwords=tokens, seconds=seconds, subwords_per_s=tokens/seconds, micro_f1=f1))
        print(f"{name:36} {tokens/seconds:8.0f} subwords/s  F1 {f1:.1f}", flush=True)
    table = pd.DataFrame(table)
    for base in ("default collator", "dynamic padding"):
        speed = {p: table[table.way == f"Trainer, {base}, {p}"].subwords_per_s.mean() for p in ("float32", "bf16")}
        table[f"ratio to Trainer, {base}"] = [r.subwords_per_s/speed[r.way.rsplit(', ', 1)[1]] for r in table.itertuples()]
    with atomic_path(tables_dir()/"bench_training.csv") as p: table.to_csv(p, index=False, float_format="%.2f")
    print(table.set_index("way").filter(like="ratio").round(2).to_string())


if __name__ == "__main__": main()
