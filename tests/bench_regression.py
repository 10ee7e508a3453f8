"""The regression chapter on a large table, 65 sources x 105 targets: `python tests/bench_regression.py` writes `outputs/tables/bench_regression.csv`.

Seconds of each part (wall and processor), with the distances and draws that `xlt-nb explain` takes; the permutations of the mixed model are not among them.
"""
import time

import pandas as pd

from test_regression import big_languages, study
from xlt_nb.core import atomic_path, tables_dir
from xlt_nb.regression import explain, heldout, read_transfer, together, variance_components

SOURCES, TARGETS = 65, 105

if __name__ == "__main__":
    codes = big_languages(TARGETS)
    scores, rows = read_transfer(study(codes[:SOURCES], codes)), []
    for part, f in {"explain, 10,000 permutations": explain, "held-out languages and families": heldout, "variance components": variance_components, "three distances together": together}.items():
        wall, cpu = time.perf_counter(), time.process_time()
        f(scores)
        rows.append({"part": part, "sources": SOURCES, "targets": TARGETS, "seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - cpu})
    rows.append({"part": "all", "sources": SOURCES, "targets": TARGETS, **pd.DataFrame(rows)[["seconds", "processor_seconds"]].sum()})
    table = pd.DataFrame(rows).round(1)
    with atomic_path(tables_dir()/"bench_regression.csv") as p: table.to_csv(p, index=False)
    print(table.to_string(index=False))
