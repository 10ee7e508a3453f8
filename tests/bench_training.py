"""How fast is training on frozen states? `python tests/bench_training.py` writes outputs/tables/bench_training*.csv.

All of it with the preset of the default encoder: its layers, frozen ones, rates, batches and weight of "none".
Part `training`: the trained layers and the head on states, for events (a label a word) and relations (all pairs of a
text from one reading of it), against the plain matrix products of the same batches' layers, forward and backward, in
turns in one process; then two such processes at the same time.
Part `profile`: which operators the time goes to, of frozen states and of one epoch of events
(bench_training_profile.csv).
Part `matrix`: the XLT-17 event matrix, 17 sources x 3 seeds, each tested on 17 languages. Ours: states of all languages
and a few sources' runs are made and timed in two processes of one thread, with an empty folder of states, and the runs
scaled to 51; states, start of the processes, corpus and test sets count once. Against it: transformers' `Trainer`
fine-tunes the *whole* encoder, embeddings too, on the same texts and labels with as many epochs and the same batch
size, tested on the same sets, in as many processes, scaled the same way. With all twelve layers and an unweighted loss
it learns nothing of events, so it gets our layers and our weight of "none"; besides learning rates of its own
(`--trainer-rates`), our windows, batches of similar lengths, autocast and a fused optimiser; its start and loading are
not counted at all.
Every run's seconds and F1 are in bench_training_runs.csv, their means in bench_training_f1.csv.
A script, not a test; needs the extra `bench` (accelerate).
"""
import os

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.update(ONE_THREAD)

import argparse, contextlib, importlib.util, itertools, sys, tempfile, time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from bench_features import FROZEN, LANGUAGES, LAYERS, alternate, frozen_stack, in_processes, layer_weights
from bench_features import product_inputs, rate_rows, row, sample_windows, say, write_rows
from xlt_nb.core import RunConfig, atomic_path, cache_dir, side_by_side, tables_dir
from xlt_nb.encoders import E5, compute_dtype, encoder_folder, load_tokenizer
from xlt_nb.features import compute_states
from xlt_nb.readers import load_corpus
from xlt_nb.tasks import make_task, none_weighted
from xlt_nb.training import (Recipe, batches, complete, fit, make_batch, new_model, peak_memory_mb, reading_of,
    run, training_examples)
from xlt_nb.transfer import corpus_languages

SEEDS, PROCESSES = 3, 2 # seeds of the whole matrix; processes that share it
OURS = {"preset": {}, "head alone": {"frozen": LAYERS}} # fields of `RunConfig`
TRAINER = "Trainer, whole encoder"
TARGETS = {"preset": 6, "head alone": 20} # times as fast as the Trainer


# Speed of training on states

def training_epoch(task: str, source: str, texts: int) -> tuple: # (function that trains, shapes of batches, subwords)
    "An epoch of a model of our own, on states that are there already."
    fields = dict(task=task, corpus="xlt17", sources=[source], targets=[source], encoder=E5)
    c = complete(RunConfig(epochs=1, **fields))
    corpus, reading = load_corpus("xlt17", [source]), reading_of(c, "cpu")
    stage = make_task(task, corpus).stages[0]
    instances, states = reading(stage, training_examples(c, corpus)[:texts])
    torch.manual_seed(0)
    recipe = Recipe(c.epochs, c.batch_size, c.lr_encoder, c.lr_head, none_weight=c.none_weight)
    model = new_model(c, stage)
    lengths, shapes = [len(i.window.input_ids) for i in instances], []
    for index in batches(lengths, recipe.batch_size, recipe.seed, 0):
        batch = make_batch(stage, [instances[i] for i in index], [states[i] for i in index], reading.pad_id)
        shapes.append(tuple(batch["states"].shape[:2]))
    return lambda: fit(model, stage, instances, states, recipe, reading.pad_id), shapes, sum(lengths)


@torch.inference_mode()
def products_both_ways(shapes, weights, inputs, gradients):
    "The linear layers of every batch forward, and the two products of each backward; nothing else."
    for rows, columns in shapes:
        for layer in weights:
            for w in layer:
                x = inputs[rows, columns, w.shape[1]].flatten(0, 1)
                gradient = gradients[rows, columns, w.shape[0]]
                F.linear(x, w)
                torch.mm(gradient, w)
                torch.mm(gradient.t(), x)


def output_gradients(shapes, weights) -> dict: # (rows, columns, size) -> (rows*columns, size) tensor
    "What the backward products of batches of such shapes read."
    out = {}
    for rows, columns in sorted(set(shapes)):
        for w in weights[0]: out[rows, columns, w.shape[0]] = torch.randn(rows*columns, w.shape[0]).to(w.dtype)
    return out


def training_worker(task, source, texts, rounds) -> tuple: # (subwords, name -> seconds)
    "Training and products in one process."
    train, shapes, subwords = training_epoch(task, source, texts)
    weights, inputs = layer_weights(LAYERS - FROZEN), product_inputs(shapes)
    gradients = output_gradients(shapes, weights)
    works = {f"training on states, {task}": train,
        f"plain products, {task}": lambda: products_both_ways(shapes, weights, inputs, gradients)}
    return subwords, alternate(works, rounds)


def training_rows(args) -> list:
    "Speed in one process and in two at a time."
    rows = []
    for task, n in itertools.product(("events", "relations"), (1, 2)):
        say(f"training: {task}, {n} process(es), {args.rounds} rounds of {args.texts} texts")
        found = in_processes(training_worker, n, task, args.sources[0], args.texts, args.rounds)
        rows += rate_rows("training", found, {f"plain products, {task}": 0.6})
    return rows


# Where the time goes

KINDS = {"attention": ("scaled_dot", "flash", "bmm", "softmax"), "matrix products": ("mm", "linear"),
    "optimiser": ("adam",), "norms": ("layer_norm", "vector_norm"), "gelu": ("gelu",),
    "copies and casts": ("copy", "_to_copy", "cat", "clone"), "dropout": ("random",)}


def kind_of(operator: str) -> str:
    "What an operator belongs to, by its name."
    return next((k for k, parts in KINDS.items() if any(x in operator for x in parts)), "other operators")


def profile_worker(what, source, texts) -> tuple: # (seconds of the work, list of (operator, calls, milliseconds))
    "A work under torch's profiler, after once without."
    if what == "training": work, _, _ = training_epoch("events", source, texts)
    else:
        stack, windows = frozen_stack(), sample_windows(LANGUAGES, max(1, texts//4))
        work = lambda: compute_states(stack, windows)
    work()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as p:
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
    return seconds, [(e.key, e.count, e.self_cpu_time_total/1000) for e in p.key_averages()]


def profile_table(seconds, operators, top: int = 15) -> pd.DataFrame: # columns kind, operator, calls, ms, percent
    "The operators that take longest, all others together, and what is outside of operators."
    table = pd.DataFrame(operators, columns=["operator", "calls", "ms"])
    table.insert(0, "kind", table.operator.map(kind_of))
    table = table.sort_values(["ms", "operator"], ascending=[False, True], ignore_index=True)
    rest = table[top:].groupby("kind", as_index=False)[["calls", "ms"]].sum().sort_values("ms", ascending=False)
    outside = pd.DataFrame([("Python", "(outside operators)", 0, 1000*seconds - table.ms.sum())], columns=table.columns)
    table = pd.concat([table[:top], rest.assign(operator="(all others)"), outside], ignore_index=True)
    return table.assign(percent=table.ms/(10*seconds))


def write_profile(args, path):
    "The table of operators, printed as well."
    parts = []
    for what in ("frozen states", "training"):
        say(f"profile: {what}")
        (seconds, operators), = in_processes(profile_worker, 1, what, args.sources[0], args.texts)
        part = profile_table(seconds, operators)
        part.insert(0, "work", what)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    with atomic_path(path) as p: table.to_csv(p, index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.2f}".format), flush=True)


# The matrix, ours

def matrix_config(source, seed, args, **fields) -> RunConfig:
    "A run of the matrix."
    if args.quick: fields |= {"epochs": 1, "cost": 20}
    languages = dict(sources=[source], targets=list(args.languages))
    return RunConfig(task="events", corpus="xlt17", encoder=E5, seed=seed, **languages, **fields)


def read_states(job) -> int: # windows
    "States of one language's training and test set, in a worker process."
    torch.set_num_threads(1)
    c, lang = job
    corpus, reading, windows = load_corpus("xlt17", [lang]), reading_of(complete(c), "cpu"), 0
    stage = make_task("events", corpus).stages[0]
    for split in ("train", "test"): windows += len(reading(stage, corpus[lang, split])[0])
    return windows


def run_rows(seconds, metrics: dict, source, seed, memory) -> list: # metrics: target -> F1
    "A run's rows in the table of runs, one a target."
    fixed = {"source": source, "seed": seed, "seconds": seconds, "memory_mb": memory}
    return [fixed | {"target": target, "f1": f1} for target, f1 in metrics.items()]


def our_runs(configs) -> tuple: # (seconds before the first run, rows)
    "The runs of a source in a worker process, which loads the corpus and reads the test sets once."
    torch.set_num_threads(1)
    start, rows = time.perf_counter(), []
    corpus = load_corpus("xlt17", dict.fromkeys((*configs[0].sources, *configs[0].targets)))
    stage, reading = make_task("events", corpus).stages[0], reading_of(complete(configs[0]), "cpu")
    for lang in configs[0].targets: reading.test(stage, corpus, lang, "test")
    started = time.perf_counter() - start
    for c in configs:
        start = time.perf_counter()
        results = run(c, corpus, device="cpu", threads=1, progress=False).results
        f1 = results[results.metric == "micro_f1"].set_index("target").value.to_dict()
        rows += run_rows(time.perf_counter() - start, f1, c.sources[0], c.seed, peak_memory_mb("cpu"))
    return started, rows


@contextlib.contextmanager
def fresh_folders():
    "Environment of workers: no states and no runs are there, the unpacked encoder is."
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)/"cache"
        cache.mkdir()
        (cache/"encoders").symlink_to(cache_dir()/"encoders")
        yield ONE_THREAD | {"XLT_CACHE": str(cache), "XLT_OUTPUTS": str(Path(folder)/"outputs")}


def time_ours(name, args) -> tuple: # (seconds that count once, rows of runs)
    "States of all languages and what workers need before their first run; then the runs of the sources."
    configs = {s: [matrix_config(s, seed, args, **OURS[name]) for seed in range(args.seeds)] for s in args.sources}
    first, rows = configs[args.sources[0]][0], []
    with fresh_folders() as environment:
        start = time.perf_counter()
        jobs = [(first, lang) for lang in args.languages]
        windows = sum(n for _, n in side_by_side(read_states, jobs, PROCESSES, environment))
        seconds = time.perf_counter() - start
        say(f"matrix: {name}: states of {windows} windows in {seconds:.1f} s, start of processes included")
        starts = []
        for _, (started, made) in side_by_side(our_runs, list(configs.values()), PROCESSES, environment):
            starts.append(started)
            rows += made
    return seconds + max(starts), rows


# The matrix, by transformers' Trainer

def first_subwords(window) -> np.ndarray: # bool
    "Which subwords begin a word."
    ids = window.word_ids
    return (ids >= 0) & (ids != np.r_[-1, ids[:-1]])


def as_features(instance) -> dict: # lists
    "What the Trainer reads: the labels stand at the first subword of each word."
    ids = instance.window.input_ids
    labels = np.full(len(ids), -100)
    labels[first_subwords(instance.window)] = instance.gold
    return {"input_ids": ids.tolist(), "attention_mask": [1]*len(ids), "labels": labels.tolist()}


def trainer_optimizer(model, weight_decay, rates: dict) -> torch.optim.Optimizer:
    "AdamW with a rate of its own for the head, no decay of biases, norms and embeddings."
    groups = {}
    for name, p in model.named_parameters():
        part = "head" if name.startswith("classifier.") else "encoder"
        groups.setdefault((part, p.ndim > 1 and "embedding" not in name), []).append(p)
    options = [{"params": ps, "lr": rates[part], "weight_decay": weight_decay*decays}
        for (part, decays), ps in groups.items()]
    return torch.optim.AdamW(options, fused=True)


def weighted_loss(none_weight: float):
    "The loss of our own head."
    def loss(outputs, gold, num_items_in_batch=None):
        return none_weighted(outputs.logits.float().flatten(0, 1), gold.flatten(), none_weight)
    return loss


def new_trainer(c: RunConfig, rates: dict, labels, tokenizer, data, folder):
    "A Trainer of the whole encoder with a layer of labels on it."
    from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification
    from transformers import PrinterCallback, Trainer, TrainingArguments
    from transformers.utils import logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(c.seed)
    shape = dict(num_labels=len(labels), num_hidden_layers=c.layers)
    model = AutoModelForTokenClassification.from_pretrained(encoder_folder(c.encoder), **shape)
    quiet = dict(report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True)
    fast = dict(bf16=compute_dtype("cpu") == torch.bfloat16, train_sampling_strategy="group_by_length")
    sizes = dict(per_device_train_batch_size=c.batch_size, per_device_eval_batch_size=48)
    recipe = dict(num_train_epochs=c.epochs, seed=c.seed, warmup_steps=c.warmup, max_grad_norm=c.clip)
    here = dict(use_cpu=True, remove_unused_columns=False, dataloader_pin_memory=False)
    options = TrainingArguments(folder, lr_scheduler_type="linear", **quiet, **fast, **sizes, **recipe, **here)
    collator = DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=8)
    optimizer = trainer_optimizer(model, c.weight_decay, rates)
    loss = weighted_loss(c.none_weight)
    trainer = Trainer(model, options, collator, data, optimizers=(optimizer, None), compute_loss_func=loss)
    trainer.remove_callback(PrinterCallback)
    return trainer


def trainer_scores(trainer, task, corpus, tests: dict) -> dict: # target -> F1
    "Scores on the test sets, given as instances by language."
    scores = {}
    for lang, instances in tests.items():
        found = trainer.predict([as_features(i) for i in instances]).predictions.argmax(-1)
        predicted = []
        for ids, i in zip(found, instances):
            places = np.flatnonzero(first_subwords(i.window))
            predicted.append(ids[places].tolist())
        scores[lang] = task.score(task.counts(corpus[lang, "test"], instances, predicted))["micro_f1"]
    return scores


def trainer_run(job) -> list: # of rows
    "A run by the Trainer, in a worker process."
    torch.set_num_threads(1)
    c, rates = job
    c, corpus = complete(c), load_corpus("xlt17", dict.fromkeys((*c.sources, *c.targets)))
    task, tokenizer = make_task(c.task, corpus), load_tokenizer(c.encoder)
    tests = {lang: task.instances(tokenizer, corpus[lang, "test"], c.max_length) for lang in c.targets}
    start = time.perf_counter()
    data = [as_features(i) for i in task.instances(tokenizer, training_examples(c, corpus), c.max_length)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(c, rates, task.labels, tokenizer, data, folder)
        trainer.train()
        scores = trainer_scores(trainer, task, corpus, tests)
    return run_rows(time.perf_counter() - start, scores, c.sources[0], c.seed, peak_memory_mb("cpu"))


def time_trainer(seed, args) -> tuple: # (0, rows of runs)
    "One run of each source; nothing is counted once."
    rates = dict(zip(("encoder", "head"), args.trainer_rates))
    rows, jobs = [], [(matrix_config(s, seed, args), rates) for s in args.sources]
    for _, made in side_by_side(trainer_run, jobs, PROCESSES, ONE_THREAD): rows += made
    return 0.0, rows


# The matrix, compared

def matrix_rounds(args) -> tuple: # (name -> seconds that count once, one a round; table of runs)
    "All configurations in turns."
    works = {name: lambda r, name=name: time_ours(name, args) for name in OURS}
    works[TRAINER] = lambda r: time_trainer(r, args)
    once, runs = {name: [] for name in works}, []
    for r in range(args.matrix_rounds):
        names = list(works)[r % len(works):] + list(works)[:r % len(works)]
        for name in names:
            say(f"matrix: round {r + 1} of {args.matrix_rounds}: {name}")
            seconds, rows = works[name](r)
            once[name].append(seconds)
            runs += [{"configuration": name, "round": r, **x} for x in rows]
            say(f"matrix: {name}: {mean_seconds(pd.DataFrame(rows)):.1f} s a run")
    return once, pd.DataFrame(runs)


def mean_seconds(runs: pd.DataFrame) -> float:
    "Mean seconds of a run, from rows by target."
    return runs.drop_duplicates(["source", "seed"]).seconds.mean()


def matrix_rows(once: dict, runs: pd.DataFrame, n_runs: int) -> list:
    "Wall time of the whole matrix, scaled, and how many times as fast as the Trainer."
    rows, whole, fixed = [], {}, dict(best=min, processes=PROCESSES)
    for name in once:
        by_round = [part for _, part in runs[runs.configuration == name].groupby("round")]
        a_run, memory = [mean_seconds(part) for part in by_round], [part.memory_mb.max() for part in by_round]
        whole[name] = [s + x*n_runs/PROCESSES for s, x in zip(once[name], a_run)]
        rows.append(row("matrix", "time of a run", name, "s", a_run, **fixed))
        if name in OURS: rows.append(row("matrix", "time of states and start", name, "s", once[name], **fixed))
        rows.append(row("matrix", "time of all runs, scaled", name, "s", whole[name], **fixed))
        limit = 2000 if name in OURS else None
        rows.append(row("matrix", "peak memory of a process", name, "MB", memory, target=limit, **fixed))
    for name, target in TARGETS.items():
        ratios = [a/b for a, b in zip(whole[TRAINER], whole[name])]
        at_best = min(whole[TRAINER])/min(whole[name])
        compared = dict(baseline=TRAINER, processes=PROCESSES, target=target, at_best=at_best)
        rows.append(row("matrix", "ratio", name, "times as fast", ratios, **compared))
    return rows


def language_interval(by_target: pd.Series, draws: int = 10_000) -> tuple: # (low, high)
    "Percentile interval of a mean over target languages; seeds and sources are those that were run."
    values = by_target.to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    return tuple(np.quantile(values[drawn].mean(1), [0.025, 0.975]))


def f1_table(runs: pd.DataFrame) -> pd.DataFrame:
    "F1 of every configuration on the source and zero-shot, and what is between it and the Trainer's zero-shot."
    runs = runs.drop_duplicates(["configuration", "source", "seed", "target"])
    seen = runs[runs.source == runs.target].groupby("configuration").f1.mean()
    zero_shot = runs[runs.source != runs.target].pivot_table(index="configuration", columns="target", values="f1")
    n_runs = runs.drop_duplicates(["configuration", "source", "seed"]).groupby("configuration").size()
    rows = []
    for name in [*OURS, TRAINER]:
        f1, gap = zero_shot.loc[name], zero_shot.loc[name] - zero_shot.loc[TRAINER]
        intervals = (*language_interval(f1), gap.mean(), *language_interval(gap))
        rows.append((name, n_runs[name], len(f1), seen[name], f1.mean(), *intervals))
    columns = ["configuration", "runs", "languages", "seen", "unseen", "unseen_low", "unseen_high"]
    return pd.DataFrame(rows, columns=[*columns, "minus_trainer", "minus_low", "minus_high"])


def write_matrix(args):
    "Time the matrix; write runs, scores and summary."
    once, runs = matrix_rounds(args)
    scores = f1_table(runs)
    for kind, table in (("runs", runs), ("f1", scores)):
        with atomic_path(beside(args.out, kind)) as p: table.to_csv(p, index=False, float_format="%.4g")
    print(scores.to_string(index=False, float_format="{:.1f}".format), flush=True)
    write_rows(args.out, matrix_rows(once, runs, len(corpus_languages("xlt17"))*SEEDS), "matrix")


def beside(path: Path, kind: str) -> Path:
    "Another table of this benchmark."
    return path.with_name(f"{path.stem}_{kind}.csv")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["training", "profile", "matrix"]
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of training and products")
    parser.add_argument("--matrix-rounds", type=int, default=2, help="rounds of the matrix: seeds of the Trainer")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of our runs in each round of the matrix")
    parser.add_argument("--trainer-rates", type=float, nargs=2, default=(1e-4, 3e-3), help="of encoder and head")
    parser.add_argument("--sources", nargs="+", default=["es", "tr"], help="sources of the runs that are made")
    parser.add_argument("--texts", type=int, default=200, help="training texts of an epoch")
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--out", type=Path, default=tables_dir()/"bench_training.csv")
    parser.add_argument("--quick", action="store_true", help="few texts, languages and rounds: does it work?")
    args = parser.parse_args()
    args.languages = corpus_languages("xlt17")
    if args.quick:
        args.rounds = args.matrix_rounds = args.seeds = 1
        args.texts, args.languages = 16, (*args.sources, "en")
    return args


def main():
    args = options()
    if "matrix" in args.parts and importlib.util.find_spec("accelerate") is None:
        sys.exit("accelerate: not installed; the Trainer needs it: pip install '.[bench]'")
    encoder_folder(E5) # unpacked now if it was not yet: that is no part of any time here
    if "training" in args.parts: write_rows(args.out, training_rows(args), "training")
    if "profile" in args.parts: write_profile(args, beside(args.out, "profile"))
    if "matrix" in args.parts: write_matrix(args)
    say(f"written: {args.out}")


if __name__ == "__main__": main()
