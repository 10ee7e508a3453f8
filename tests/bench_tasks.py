"""Benchmark, not a test: training throughput of every task on the same sentences, same encoder and batch size, in one run.

    python tests/bench_tasks.py [ROUNDS [SENTENCES]]

The first training sentences of XLT-17 Spanish with `xlt-mini`; the tags of the control task are made up, since speed does not depend on them. Processor time of one
thread, so that other work on the machine counts less; tasks take turns, and each round gives a ratio to `events` of the same round.
Writes outputs/tables/bench_tasks.csv.
"""
import dataclasses, sys, time

import numpy as np
import pandas as pd
import torch

import xlt_nb.training as T
from xlt_nb.core import RunConfig, atomic_path, tables_dir
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import make_task

ROUNDS, SENTENCES = (int(x) for x in (sys.argv[1:] + ["5", "200"][len(sys.argv) - 1:]))
TASKS = ("events", "entities", "relations", "pos", "joint", "pipeline", "herberta")
PARTS = ("collate", "forward", "loss", "backward", "optimiser", "other")


def tagged(corpus, tags=("A", "B", "C")):
    "The corpus with a tag for each word, by its length."
    return dataclasses.replace(corpus, tag_types=tags, examples={k: [dataclasses.replace(e, tags=tuple(tags[len(w) % 3] for w in e.words)) for e in part] for k, part in corpus.examples.items()})


class Clock:
    "Processor time spent in some functions."
    def __init__(self): self.spent = dict.fromkeys(PARTS, 0.0)

    def around(self, part, f):
        def timed(*args, **kwargs):
            started = time.process_time()
            try: return f(*args, **kwargs)
            finally: self.spent[part] += time.process_time() - started
        return timed


def one_epoch(stages, c, pad_id, clock):
    "Processor seconds of an epoch of every stage, and what they were spent on."
    started = time.process_time()
    held = torch.Tensor.backward, torch.optim.AdamW.step, T.nn.utils.clip_grad_norm_
    torch.Tensor.backward, torch.optim.AdamW.step, T.nn.utils.clip_grad_norm_ = (clock.around(p, f) for p, f in zip(("backward", "optimiser", "optimiser"), held))
    try:
        for stage, model, train in stages:
            collate, loss, forward = stage.collate, stage.loss, model.forward
            stage.collate, stage.loss, model.forward = clock.around("collate", collate), clock.around("loss", loss), clock.around("forward", forward)
            T.fit(model, stage, train, c, pad_id, progress=False)
            stage.collate, stage.loss, model.forward = collate, loss, forward
    finally: torch.Tensor.backward, torch.optim.AdamW.step, T.nn.utils.clip_grad_norm_ = held
    return time.process_time() - started


def main():
    torch.set_num_threads(1)
    corpus = tagged(load_corpus("xlt17", ["es"]))
    corpus.examples["es", "train"] = corpus["es", "train"][:SENTENCES]
    work, rows = {}, []
    for name in TASKS:
        c = RunConfig(task=name, corpus="xlt17", sources=["es"], targets=["es"], encoder="xlt-mini", epochs=1, batch_size=8, lr_encoder=1e-3, lr_head=1e-2)
        task = make_task(name, corpus)
        models, tokenizer = T.new_models(c, task)
        started = time.process_time()
        train = [stage.instances(tokenizer, corpus["es", "train"], c.max_length) for stage in task.stages]
        work[name] = c, task, models, train, tokenizer, time.process_time() - started
    for k in range(-1, ROUNDS): # the first round warms up
        for name, (c, task, models, train, tokenizer, tokenising) in work.items():
            clock = Clock()
            seconds = one_epoch(list(zip(task.stages, models, train)), c, tokenizer.pad_token_id, clock)
            clock.spent["other"] = seconds - sum(clock.spent.values())
            started = time.process_time()
            if len(models) == 1: T.evaluate(models, task, tokenizer, c, corpus, ["es"], "dev") # an untrained first stage asks too much of the second
            testing = time.process_time() - started if len(models) == 1 else np.nan
            subwords, sentences = sum(len(i.window.input_ids) for part in train for i in part), len(corpus["es", "train"])
            if k >= 0: rows.append(dict(task=name, round=k, instances=sum(map(len, train)), subwords=subwords, subwords_per_s=subwords/seconds, sentences_per_s=sentences/seconds,
                tested_sentences_per_s=len(corpus["es", "dev"])/testing, tokenise_s=tokenising, **{f"{p}_s": s for p, s in clock.spent.items()}))
    table = pd.DataFrame(rows)
    base = table[table.task == "events"].set_index("round")
    for x in ("subwords_per_s", "sentences_per_s"): table[f"{x}, ratio to events"] = table[x].to_numpy()/base[x].loc[table["round"]].to_numpy()
    summary = table.drop(columns="round").groupby("task", sort=False).median()
    spread = table.groupby("task")["subwords_per_s, ratio to events"].agg(["min", "max"]).add_prefix("ratio ")
    summary = summary.join(spread).assign(rounds=ROUNDS)
    with atomic_path(tables_dir()/"bench_tasks.csv") as p: summary.to_csv(p, float_format="%.4g")
    print(summary[["instances", "subwords", "subwords_per_s", "sentences_per_s", "tested_sentences_per_s", "subwords_per_s, ratio to events", "ratio min", "ratio max"]].round(2).to_string())
    print(summary.filter(like="_s").filter(regex="^[a-z]+_s$").round(3).to_string())


if __name__ == "__main__": main()
