"""Counters of forked workers reach Prometheus."""

import os
import subprocess
import sys
import urllib.request

from tests.support.s3_server import free_ports

PROGRAM = """
import os, sys
from shared.metrics import LEASES_EXPIRED, SHARDS, expose_metrics
for _ in range(3):
    if (child := os.fork()) == 0:
        SHARDS.labels(task="sandbox.verify_examples", end="done").inc(2)
        os._exit(0)
    os.waitpid(child, 0)
LEASES_EXPIRED.inc()
expose_metrics()
print(os.environ["PROMETHEUS_MULTIPROC_DIR"], flush=True)
sys.stdin.read()
"""


def test_forks_are_summed_and_the_folder_goes_with_the_process() -> None:
    port = free_ports(1)[0]
    env = {**os.environ, "SENSE_METRICS_PORT": str(port)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        process.communicate("")
    assert 'sense_shards_total{end="done",task="sandbox.verify_examples"} 6.0' in text
    assert "sense_leases_expired_total 1.0" in text
    assert folder and not os.path.exists(folder)  # noqa: PTH110


def test_without_a_port_nothing_is_shared() -> None:
    program = "import os, shared.metrics as m; m.expose_metrics(); print('PROMETHEUS_MULTIPROC_DIR' in os.environ)"
    env = {name: value for name, value in os.environ.items() if name != "SENSE_METRICS_PORT"}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
