"""A run killed with SIGKILL at any moment and started again ends with the same metrics, bit for bit."""
import os, random, signal, subprocess, sys, time

import pandas as pd

SCRIPT = """
import sys
from xlt_nb.core import RunConfig
from xlt_nb.training import run
c = RunConfig(task="events", corpus="xlt17", sources=["es"], targets=["es", "ko"], encoder="random:xlt-mini", cost=100, epochs=6, seed=3, dropout=0.2, checkpoint="dev", lr_encoder=1e-3)
print("READY", flush=True)
r = run(c, progress=False, save_every=0.0)
r.results.to_csv(sys.stdout, index=False)
"""


def start(outputs):
    env = os.environ | {"XLT_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"}
    p = subprocess.Popen([sys.executable, "-c", SCRIPT], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "READY\n", p.stderr.read()
    return p


def test_killed_and_resumed(tmp_path):
    whole, err = start(tmp_path/"whole").communicate()
    assert whole, err
    saved = lambda: sorted((p.stat().st_mtime_ns, p.name) for p in (tmp_path/"killed").glob("runs/*.state.partial"))
    rng = random.Random(0)
    for kill in range(3): # each time after a newly saved state, at a random moment
        p, before = start(tmp_path/"killed"), saved()
        while saved() == before: assert p.poll() is None, f"the run ended before its {kill + 1}. interruption"
        time.sleep(rng.uniform(0, 0.1))
        os.kill(p.pid, signal.SIGKILL); p.communicate()
    assert saved(), "nothing to resume from"
    pieces, err = start(tmp_path/"killed").communicate()
    assert pieces == whole, err
    counts = [pd.read_parquet(next((tmp_path/x).glob("runs/*/counts.parquet"))) for x in ("whole", "killed")]
    assert counts[0].equals(counts[1])
    assert not list((tmp_path/"killed").glob("runs/*.partial")), "the saved state was left behind"
