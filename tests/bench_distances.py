"""How fast are the distances? A script, not a test: `python tests/bench_distances.py` writes outputs/tables/bench_distances.csv.

Compares `lang2vec.get_features` with `xlt_nb.distances.uriel_features` in one run: eight feature sets for the seventeen languages, one call a
feature set (its fairest use), equal output checked. lang2vec runs in a throw-away virtual environment with a setuptools it can import.
Then: the first load, later processes, and a full matrix of every kind over every language with data, each in a process of its own.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time, venv
from pathlib import Path

import numpy as np
import pandas as pd

from xlt_nb.core import tables_dir, atomic_path
from xlt_nb.distances import DISTANCES, load_uriel, uriel_features
from xlt_nb.languages import LANGUAGES, resolve

FEATURE_SETS = "syntax_knn phonology_knn inventory_knn syntax_average phonology_average inventory_average fam geo".split()

LANG2VEC = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
start = time.perf_counter()
import lang2vec.lang2vec as l2v
loaded = time.perf_counter() - start
requests, repeats = json.load(open(sys.argv[1])), int(sys.argv[2])
seconds, out = {s: [] for s in requests}, {}
for _ in range(repeats):
    for feature_set, codes in requests.items():
        start = time.perf_counter()
        out[feature_set] = l2v.get_features(codes, feature_set)
        seconds[feature_set].append(time.perf_counter() - start)
values = {s: [[-1.0 if v == "--" else float(v) for v in out[s][c]] for c in codes] for s, codes in requests.items()}
json.dump({"loaded": loaded, "seconds": seconds, "values": values}, open(sys.argv[3], "w"))
"""

LOAD = """
import time; start = time.perf_counter()
import xlt_nb.distances; imported = time.perf_counter() - start
xlt_nb.distances.load_uriel(); print(imported, time.perf_counter() - start)
"""

MATRIX = """
import resource, sys, time
from xlt_nb.distances import DISTANCES, distance_matrix, languages_with
kind, mode = sys.argv[1:]
start = time.perf_counter()
m = distance_matrix(kind, languages_with(kind), mode)
print(len(m), time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)
"""


def rows_for(feature_set):
    "The URIEL rows of the languages, as ISO 639-3 codes that both libraries read alike."
    field = {"fam": "genealogy", "geo": "geography"}.get(feature_set, "typology")
    return [getattr(l, field) for l in resolve(LANGUAGES)]


def run_lang2vec(folder, requests, repeats):
    "Time lang2vec in its own environment; returns its seconds and values."
    env = Path(folder)/"venv"
    venv.create(env, with_pip=True)
    python = env/("Scripts" if os.name == "nt" else "bin")/"python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "setuptools<82", "lang2vec==1.1.2", "numpy<3"], check=True)
    ask, answer = Path(folder)/"ask.json", Path(folder)/"answer.json"
    ask.write_text(json.dumps(requests))
    subprocess.run([python, "-c", LANG2VEC, ask, str(repeats), answer], check=True)
    return json.loads(answer.read_text())


def run_ours(requests, repeats):
    "Time our `uriel_features` once the arrays are loaded; calls are short, so there are more of them."
    load_uriel()
    seconds, out = {s: [] for s in requests}, {}
    for _ in range(20*repeats):
        for feature_set, codes in requests.items():
            start = time.perf_counter()
            out[feature_set] = uriel_features(feature_set, codes)
            seconds[feature_set].append(time.perf_counter() - start)
    return seconds, out


def compare(repeats):
    "One row a feature set: median seconds of both, ratio; outputs must be equal."
    requests = {s: rows_for(s) for s in FEATURE_SETS}
    with tempfile.TemporaryDirectory() as folder: theirs = run_lang2vec(folder, requests, repeats)
    seconds, out = run_ours(requests, repeats)
    for s in FEATURE_SETS:
        np.testing.assert_array_equal(np.float32(theirs["values"][s]), np.float32(out[s].fillna(-1)), err_msg=s)
    rows = [(s, statistics.median(theirs["seconds"][s]), statistics.median(seconds[s])) for s in FEATURE_SETS]
    rows.append(("all eight", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    return [{"measure": "features", "what": s, "lang2vec_s": a, "ours_s": b, "ratio": a/b} for s, a, b in rows]


def child(code, *arguments, **env):
    "Output of a fresh python, as numbers."
    p = subprocess.run([sys.executable, "-c", code, *arguments], env=os.environ | env, capture_output=True, text=True, check=True)
    return [float(x) for x in p.stdout.split()]


def loads(repeats):
    "First load (empty cache) and later processes, import included and apart."
    with tempfile.TemporaryDirectory() as cache:
        first = child(LOAD, XLT_CACHE=cache)
        later = [child(LOAD, XLT_CACHE=cache) for _ in range(max(repeats, 5))]
    imported, total = (statistics.median(x) for x in zip(*later))
    return [{"measure": "load", "what": what, "ours_s": s} for what, s in (
        ("first process: load", first[1] - first[0]), ("first process: import and load", first[1]),
        ("later process: load", total - imported), ("later process: import and load", total))]


def matrices():
    "Seconds and peak memory of the full matrix of every kind in each of its modes."
    rows = []
    for kind, d in DISTANCES.items():
        for mode in d.modes:
            n, seconds, peak = child(MATRIX, kind, mode)
            rows.append({"measure": "matrix", "what": f"{kind}, {mode}", "ours_s": seconds, "languages": int(n), "peak_MB": round(peak)})
            print(f"{kind:<24} {mode:<10} {int(n):>5} languages {seconds:6.2f} s {peak:6.0f} MB", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each call; the median counts")
    repeats = parser.parse_args().repeats
    table = pd.DataFrame(compare(repeats) + loads(repeats))
    print(table.to_string(index=False, float_format="{:.5g}".format))
    table = pd.concat([table, pd.DataFrame(matrices())], ignore_index=True)
    speed, full = table[table.measure == "features"], table[table.measure == "matrix"]
    print(f"features: {speed.ratio.iloc[-1]:.0f} times lang2vec's speed in all, {speed.ratio.min():.0f} at least; "
          f"full matrix: {full.ours_s.max():.1f} s and {full.peak_MB.max():.0f} MB at most")
    with atomic_path(tables_dir()/"bench_distances.csv") as p: table.to_csv(p, index=False, float_format="%.5g")


if __name__ == "__main__": main()
