"""Permutation tests against plain loops on the same work, in one run: `python tests/bench_stats.py` writes `outputs/tables/bench_stats.csv`.

Each line is the same test on the same 17 x 17 matrix with the same permutations; the loop is timed on fewer of them and scaled,
and the statistics of both are compared. scikit-bio's compiled `mantel`, which takes symmetric matrices only, is timed as well where it is installed (it is not a requirement).
"""
import os

for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ.setdefault(k, "1")

import sys, time

import numpy as np
import pandas as pd

from xlt_nb import stats
from xlt_nb.core import atomic_path, tables_dir

N, PERMUTATIONS = 17, 10_000


def best_time(f, repeat: int = 5):
    "Shortest wall time of `repeat` calls, and the last value."
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        value = f()
        times.append(time.perf_counter() - start)
    return min(times), value


def loop_mantel(y, x, perms):
    "Pearson correlation of the off-diagonal cells, one permutation after the other."
    off = ~np.eye(len(y), dtype=bool)
    return np.array([np.corrcoef(x[np.ix_(p, p)][off], y[off])[0, 1] for p in perms])


def loop_python(y, x, perms):
    "The same without numpy: sums over the cells."
    n, out = len(y), []
    y, x = y.tolist(), x.tolist()
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    for p in perms.tolist():
        a, b = [y[i][j] for i, j in pairs], [x[p[i]][p[j]] for i, j in pairs]
        ma, mb = sum(a)/len(a), sum(b)/len(b)
        out.append(sum((u - ma)*(v - mb) for u, v in zip(a, b)) / (sum((u - ma)**2 for u in a) * sum((v - mb)**2 for v in b))**0.5)
    return np.array(out)


def loop_mrqap(y, x, others, effects, perms):
    "t of the permuted residual of x (double semi-partialling), one least-squares fit after the other; y may have holes."
    n = len(y)
    a, b = np.nonzero(~np.eye(n, dtype=bool))
    def design(i, j):
        columns = [np.ones(len(i)), *(o[i, j] for o in others)]
        for effect, index in (("source", i), ("target", j)):
            if effect in effects: columns += [(index == l).astype(float) for l in range(1, n)]
        return np.stack(columns, 1)
    z = design(a, b)
    e = np.zeros((n, n))
    e[a, b] = x[a, b] - z @ np.linalg.lstsq(z, x[a, b])[0]
    i, j = np.nonzero(np.isfinite(y))
    z, out = design(i, j), []
    for p in perms:
        full = np.column_stack([z, e[np.ix_(p, p)][i, j]])
        slope, rss, *_ = np.linalg.lstsq(full, y[i, j])
        out.append(slope[-1] / np.sqrt(rss[0]/(len(i) - full.shape[1]) * np.linalg.inv(full.T @ full)[-1, -1]))
    return np.array(out)


def cases():
    "(name, the loop, permutations it is timed on, the package's function)"
    rng = np.random.default_rng(0)
    y, x, z = (np.where(np.eye(N, dtype=bool), np.nan, rng.normal(size=(N, N)) + rng.normal(size=N)) for _ in range(3))
    holed = y.copy(); holed[3, 5] = holed[8, 1] = np.nan
    perms, _ = stats.label_permutations([0]*N, PERMUTATIONS)
    def t_of_r(r): return r*np.sqrt((N*(N - 1) - 2)/(1 - r*r))
    def ours(y, others, effects): return lambda p: stats.permutation_t(y, x, others, effects, p)
    return perms, [
        ("QAP, Pearson, numpy loop", lambda p: t_of_r(loop_mantel(y, x, p)), 1000, ours(y, [], ())),
        ("QAP, Pearson, plain Python loop", lambda p: t_of_r(loop_python(y, x, p)), 300, ours(y, [], ())),
        ("MRQAP within source and target effects, numpy loop", lambda p: loop_mrqap(y, x, [], stats.EFFECTS, p), 200, ours(y, [], stats.EFFECTS)),
        ("MRQAP with a covariate, effects and missing cells, numpy loop", lambda p: loop_mrqap(holed, x, [z], stats.EFFECTS, p), 200, ours(holed, [z], stats.EFFECTS))]


def skbio_case():
    "scikit-bio's mantel on symmetric matrices, permutations drawn inside, as is `qap`'s whole call."
    try: from skbio.stats.distance import DistanceMatrix, mantel
    except ImportError: return []
    rng = np.random.default_rng(0)
    a, b = (np.abs(m + m.T)*~np.eye(N, dtype=bool) for m in rng.normal(size=(2, N, N)))
    names = [f"l{k}" for k in range(N)]
    slow, (r, p, _) = best_time(lambda: mantel(DistanceMatrix(a, names), DistanceMatrix(b, names), permutations=PERMUTATIONS), 3)
    tables = [pd.DataFrame(m, names, names) for m in (a, b)]
    fast, test = best_time(lambda: stats.qap(*tables, n=PERMUTATIONS))
    assert np.isclose(test.r, r) and abs(test.p - p) < 0.03
    return [("Mantel on a symmetric matrix, scikit-bio (compiled)", slow, fast)]


def main():
    perms, found = cases()
    rows = []
    for name, loop, few, ours in found:
        slow, reference = best_time(lambda: loop(perms[:few]), 3)
        fast, values = best_time(lambda: ours(perms))
        assert np.allclose(reference, values[:few]), name
        rows.append((name, slow*PERMUTATIONS/few, fast))
    slow_loops = len(rows)
    table = pd.DataFrame(rows + skbio_case(), columns=["work", "loop_seconds", "seconds"])
    table["ratio"] = table.loop_seconds / table.seconds
    y, x = (pd.DataFrame(m) for m in np.random.default_rng(1).normal(size=(2, N, N)))
    for name, call in (("qap, whole call", lambda: stats.qap(y, x)), ("qap within effects, whole call", lambda: stats.qap(y, x, effects=stats.EFFECTS)),
                       ("mrqap, 3 distances within effects, whole call", lambda: stats.mrqap(y, {"a": x, "b": x.T, "c": x @ x})),
                       ("mrqap, 3 distances, Freedman-Lane, whole call", lambda: stats.mrqap(y, {"a": x, "b": x.T, "c": x @ x}, method="fl"))):
        table.loc[len(table)] = [name, np.nan, best_time(call, 3)[0], np.nan]
    table.insert(1, "permutations", PERMUTATIONS)
    with atomic_path(tables_dir()/"bench_stats.csv") as p: table.to_csv(p, index=False, float_format="%.4g")
    print(table.to_string(index=False))
    return 0 if (table.ratio[:slow_loops] >= 50).all() and (table.seconds < 1).all() else 1


if __name__ == "__main__": sys.exit(main())
