"""Running sentences about data and pairs, shared by the renderers."""

from services.evaluation.benchmark.document import DEPENDS
from services.evaluation.format import percent
from services.evaluation.model import DataStats, PairStats
from services.evaluation.report_data import BenchmarkScore

SHOWN_GOLDS = 10


def data_sentences(data: DataStats) -> list[str]:
    """Yield and domains."""
    asked = f"{data.accepted} of {data.requested} requested examples were accepted"
    lists = (("training", data.train_domains), ("selection", data.selection_domains), ("test", data.test_domains))
    domains = "; ".join(f"{len(names)} {name}" for name, names in lists)
    shared = sorted(set(data.test_domains) & {*data.train_domains, *data.selection_domains})
    unseen = f"shared between test and the others: {', '.join(shared)}" if shared else "no test domain is in the others"
    return [f"{asked}; {sum(data.rejected.values())} were rejected.", f"Domains: {domains}; {unseen}."]


def pair_sentences(pairs: PairStats) -> list[str]:
    """What was sampled and what became of it."""
    total = sum(pairs.verdicts.values())
    right = pairs.verdicts.get("correct", 0)
    share = f" ({percent(right / total)} of them correct)" if total else ""
    asked = (
        f"{pairs.questions} questions, {pairs.samples_per_question} samples each at temperature {pairs.temperature:g}"
    )
    built = f"{pairs.pairs} pairs were built" if pairs.pairs else "No pair could be built"
    return [
        f"{pairs.weak_model} was asked {asked}: {total} answers{share}.",
        f"{built}.",
    ]


def benchmark_sentences(one: BenchmarkScore) -> list[str]:
    """What a data set's score is a score of."""
    skipped = f" {one.skipped} questions were left out at the import, their databases missing." if one.skipped else ""
    lines = [
        f"Data set {one.dataset}, split {one.split}; licence: {one.licence}; "
        f"published version: {one.release or 'unknown'}.{skipped}",
        f"Policy {one.policy}, metric {one.metric_version}, prompt {one.prompt}"
        + (f", SQLite {one.sqlite}: another version may give other results." if one.sqlite else "."),
        f"Ceiling {one.ceiling * 100:.2f} %: {len(one.gold_failed)} golds did not run here; "
        f"{one.gold_empty} of {one.questions} give no row.",
    ]
    lines += [f"{count} of {one.questions} questions {DEPENDS[name]}." for name, count in one.depends.items()]
    lines += [f"Gold of {line}" for line in one.gold_failed[:SHOWN_GOLDS]]
    if len(one.gold_failed) > SHOWN_GOLDS:
        lines.append(f"… and {len(one.gold_failed) - SHOWN_GOLDS} more; the JSON report has all.")
    return lines
