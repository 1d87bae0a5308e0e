import subprocess
import sys

SCRIPT = """
import sys
from importlib import import_module
for name in {names}:
    import_module("services." + name)
print(*sorted({{"sqlglot", "numpy", "torch", "sqlite3", "pydantic"}} & sys.modules.keys()))
"""
SCORES = ["evaluation.metrics.exact_match", "evaluation.metrics.bird", "benchmarks.prediction_files"]
REPORTS = ["benchmarks.compare", "evaluation.metrics.aggregate", "evaluation.metrics.failures"]


def loaded(names: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(names=names)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_scores_load_nothing_heavy() -> None:
    assert loaded(SCORES) == ""


def test_reports_load_the_contracts_only() -> None:
    assert loaded([*SCORES, *REPORTS]) == "pydantic"
