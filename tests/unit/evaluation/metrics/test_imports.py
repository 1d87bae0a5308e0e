import subprocess
import sys

SCRIPT = """
import sys
from importlib import import_module
for name in {names}:
    import_module("services.evaluation.metrics." + name)
print(*sorted({{"sqlglot", "numpy", "torch", "sqlite3", "pydantic"}} & sys.modules.keys()))
"""
SCORES = ["spider.scoring", "spider.totals", "spider.files", "bird.files", "bird.execution", "bird.soft_f1"]
REPORTS = ["bird.efficiency", "compare", "aggregate", "taxonomy"]


def loaded(names: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(names=names)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_scores_load_nothing_heavy() -> None:
    assert loaded(SCORES) == ""


def test_reports_load_the_contracts_only() -> None:
    assert loaded([*SCORES, *REPORTS]) == "pydantic"
