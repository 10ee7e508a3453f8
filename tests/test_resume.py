"A run killed with SIGKILL at any moment and started again ends with the same metrics, bit for bit; in every stage of a task."
import os, random, signal, subprocess, sys, time

import pandas as pd
import pytest

from little import little_encoder

SCRIPT = """
import sys
from xlt_nb.core import RunConfig
from xlt_nb.training import run
c = RunConfig(task=sys.argv[1], corpus="xlt17", sources=["es"], targets=["es", "ko"], encoder=sys.argv[2],
    layers=2, frozen=1, cost=60, epochs=12, seed=3, dropout=0.2, checkpoint="dev", lr_encoder=1e-3, lr_head=1e-2)
print("READY", flush=True)
r = run(c, progress=False, save_every=0.0)
r.results.to_csv(sys.stdout, index=False)
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory): return little_encoder(tmp_path_factory.mktemp("encoder")) # the vocabulary of a large one takes seconds to load


def start(task, encoder, outputs):
    env = os.environ | {"XLT_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"}
    p = subprocess.Popen([sys.executable, "-c", SCRIPT, task, encoder], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "READY\n", p.stderr.read()
    return p


def saved(outputs, stage): return sorted((p.stat().st_mtime_ns, p.name) for p in outputs.glob("runs/*.state.partial") if (".1.state" in p.name) == bool(stage))


@pytest.mark.parametrize("task, stages", [("events", [0, 0, 0]), ("pipeline", [0, 1, 1])])
def test_killed_and_resumed(task, stages, encoder, tmp_path):
    whole, err = start(task, encoder, tmp_path/"whole").communicate()
    assert whole, err
    rng = random.Random(0)
    for stage in stages: # each time after a newly saved state of this stage, at a random moment
        p, before = start(task, encoder, tmp_path/"killed"), saved(tmp_path/"killed", stage)
        while saved(tmp_path/"killed", stage) == before:
            assert p.poll() is None, "the run ended before its interruption"
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(p.pid, signal.SIGKILL)
        p.communicate()
    assert saved(tmp_path/"killed", stages[-1]), "nothing to resume from"
    pieces, err = start(task, encoder, tmp_path/"killed").communicate()
    assert pieces == whole, err
    counts = [pd.read_parquet(next((tmp_path/x).glob("runs/*/counts.parquet"))) for x in ("whole", "killed")]
    assert counts[0].equals(counts[1])
    assert not list((tmp_path/"killed").glob("runs/*.partial")), "the saved state was left behind"
