"""The regression chapter on a large table, 65 sources x 105 targets.

    python tests/bench_regression.py    writes outputs/tables/bench_regression.csv

Seconds of each part (wall and processor), with the distances and draws that `xlt-nb explain` takes;
the permutations of the mixed model are not among them.
"""
import time

import pandas as pd

from test_regression import big_languages, study
from xlt_nb.core import atomic_path, tables_dir
from xlt_nb.regression import explain, heldout, together, variance_components
from xlt_nb.scores import read_transfer

SOURCES, TARGETS = 65, 105
PARTS = {"explain, 10,000 permutations": explain, "held-out languages and families": heldout,
         "variance components": variance_components, "three distances together": together}


def timed(part: str, f, scores) -> dict:
    "A row of the table."
    wall, cpu = time.perf_counter(), time.process_time()
    f(scores)
    return {"part": part, "sources": SOURCES, "targets": TARGETS,
            "seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - cpu}


if __name__ == "__main__":
    codes = big_languages(TARGETS)
    scores = read_transfer(study(codes[:SOURCES], codes))
    rows = [timed(part, f, scores) for part, f in PARTS.items()]
    whole = pd.DataFrame(rows)[["seconds", "processor_seconds"]].sum()
    table = pd.DataFrame([*rows, {"part": "all", "sources": SOURCES, "targets": TARGETS, **whole}]).round(1)
    with atomic_path(tables_dir()/"bench_regression.csv") as p: table.to_csv(p, index=False)
    print(table.to_string(index=False))
