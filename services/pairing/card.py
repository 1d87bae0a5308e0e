"""The pair card: what the set holds, what was refused and why, what the weak model gets wrong, in Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.pairing.collect import SelectedPairs, draw_key, measure_shape
from services.pairing.error_profile import ErrorTally
from services.pairing.style_probe import StyleProbe
from shared.contracts.pairing import CollectPairs, ErrorProfile, HistogramBin, PairShape, ProfileLine
from shared.contracts.records import Example, Pair, SuspectGold
from shared.sql.prompt import prompt_version

SAMPLES = 5
BAR = 24  # characters of the longest bar
SHOWN_SUSPECTS = 20  # all of them are in suspect_golds.jsonl
REASONS = {
    "pair": "gave pairs",
    "all_correct": "no wrong answer",
    "none_correct": "no right answer",
    "gold_failed": "the gold does not run",
    "gold_timeout": "the gold runs too long",
    "both_empty": "gold and an answer are both empty",
    "suspect_gold": "the gold is suspect: half of the samples agree on another result",
    "filtered": "every pairing was refused",
}
FILTERS = {
    "same_text": "both sides are one text in plain style",
    "same_program": "SQLite compiles both sides into one program",
    "length_ratio": "one side is many times longer",
}


@dataclass(frozen=True)
class PairCardData:
    """Everything that the cards show is read from this."""

    command: CollectPairs
    selected: SelectedPairs
    tally: ErrorTally
    probe: StyleProbe
    suspects: Sequence[SuspectGold]
    examples: Mapping[str, Example]


def render_markdown(made: PairCardData) -> str:
    """Equal inputs give equal text."""
    parts = [
        "# Pair card",
        head(made),
        f"## Questions\n\n{bars('question', labelled(made.tally.named('reason'), REASONS))}",
        f"## Answers by verdict\n\n{bars('verdict', made.tally.verdicts())}",
        f"## Refused pairs\n\n{refused(made)}",
        f"## What the weak model gets wrong\n\n{error_profile(made.tally.profile())}",
        f"## Pairs\n\n{of_pairs(made.selected.pairs)}",
        shape_tables(measure_shape(made.selected.pairs)),
        f"## Style probe\n\n{probe_sentence(made.probe)}",
        samples(made),
        suspects(made.suspects),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(made: PairCardData) -> str:
    pairs = made.selected.pairs
    models = ", ".join(sorted({pair.model for pair in pairs})) or "no model"
    policies = ", ".join(sorted({pair.policy for pair in pairs})) or "none"
    judges = sorted({policy.value for pair in pairs for policy in pair.judged_by}) or ["strict"]
    return (
        f"{len(pairs)} pairs on {len({pair.example_id for pair in pairs})} questions, from answers of {models}. "
        f"Pair policy: {policies}. A chosen side is right under every policy asked ({', '.join(judges)}) and on every "
        "test-suite database that counts; a rejected one is wrong under every policy. Both are written in one style. "
        f"Prompts: {prompt_version(made.command.sample_rows, made.command.style)}. Seed: {made.command.seed}."
    )


def labelled(counts: Mapping[str, int], labels: Mapping[str, str]) -> dict[str, int]:
    return {labels.get(name, name): count for name, count in counts.items()}


def bars(title: str, counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "None."
    lines = [f"| {title} | count | share | |", "|---|---:|---:|---|"]
    for name, count in counts.items():
        # At least one block for anything that was counted.
        bar = "█" * max(1, round(BAR * count / total)) if count else ""
        lines.append(f"| {name} | {count} | {100 * count / total:.1f} % | {bar} |")
    return "\n".join(lines)


def refusals(made: PairCardData) -> dict[str, int]:
    """Every filter by name, also those that refused nothing."""
    one = made.selected
    pairings = {said: made.tally.named("filter").get(name, 0) for name, said in FILTERS.items()}
    length = made.command.max_length
    trainer = (
        f"prompt and answer above the trainer's {length} tokens (estimated)" if length else "trainer's length unknown"
    )
    return {
        **{f"pairing: {said}": count for said, count in pairings.items()},
        "pair: its question is not in the collected set": one.outside,
        "pair: repeated": one.duplicates,
        f"pair: {trainer}": one.too_long,
        f"pair: syntax errors above {100 * made.command.syntax_share:g} % of the rejected": one.syntax_capped,
        "pair: above the limit of the spec": one.over_limit,
    }


def refused(made: PairCardData) -> str:
    rows = refusals(made)
    return "\n".join(["| refused | count |", "|---|---:|", *(f"| {name} | {count} |" for name, count in rows.items())])


def error_profile(profile: ErrorProfile) -> str:
    parts = []
    for title, lines in (("outcome of the answer", profile.outcomes), ("the gold uses", profile.features)):
        if lines:
            head = f"| {title} | answers | wrong result | error | timeout | no SQL | not right | |"
            parts.append("\n".join([head, "|---|---:|---:|---:|---:|---:|---:|---|", *map(profile_line, lines)]))
    parts.append("Only answers whose gold could tell are counted; an answer counts under every feature of its gold.")
    return "\n\n".join(parts)


def profile_line(line: ProfileLine) -> str:
    share = line.failed
    bar = "█" * round(BAR * share)
    failed = f"{line.wrong} | {line.error} | {line.timeout} | {line.unextractable}"
    return f"| {line.name} | {line.answers} | {failed} | {100 * share:.1f} % | {bar} |"


def of_pairs(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return "None."
    outcomes = Counter(pair.rejected_outcome.value for pair in pairs)
    ordered = dict(sorted(outcomes.items(), key=lambda item: (-item[1], item[0])))
    distances = sorted(pair.distance for pair in pairs)
    # Least, the three quartiles, most.
    quarters = [distances[(len(distances) - 1) * part // 4] for part in range(5)]
    golds = sum(pair.gold_chosen for pair in pairs)
    looked = sum(pair.chosen_suite_databases > 0 for pair in pairs)
    return (
        f"{bars('outcome of the rejected', ordered)}\n\n"
        f"Token distance (least, quartiles, most): {', '.join(map(str, quarters))}. "
        f"In {looked} pairs the chosen side was right on test-suite databases too; in {golds} it is the gold itself."
    )


def shape_tables(shape: PairShape) -> str:
    distances = {bin_name(one): one.count for one in shape.distances}
    parts = [f"### Distance in tokens\n\n{bars('tokens', distances)}" if distances else ""]
    if shape.chosen:
        most = max(one.count for one in (*shape.chosen, *shape.rejected)) or 1
        rows = [
            f"| {bin_name(right)} | {right.count} | {text_bar(right.count, most)} | {wrong.count} | "
            f"{text_bar(wrong.count, most)} |"
            for right, wrong in zip(shape.chosen, shape.rejected, strict=True)
        ]
        head = ["| characters | chosen | | rejected | |", "|---|---:|---|---:|---|"]
        parts.append("\n".join(["### Length of the sides\n", *head, *rows]))
    return "\n\n".join(part for part in parts if part)


def bin_name(one: HistogramBin) -> str:
    # `high` is the first value of the next bin.
    return str(one.low) if one.high == one.low + 1 else f"{one.low} to {one.high - 1}"


def text_bar(count: int, most: int) -> str:
    # Half as wide as the others: two of these stand in a row.
    return "█" * max(1, round(BAR / 2 * count / most)) if count else ""


def probe_sentence(probe: StyleProbe) -> str:
    if probe.auc is None:
        return f"{probe.pairs} pairs are too few to say whether length and case tell chosen from rejected."
    return (
        f"A logistic regression on length and case tells chosen from rejected with AUC {probe.auc:.3f} "
        f"({probe.pairs} pairs, fitted on half of the questions and scored on the other half). 0.5: style says nothing."
    )


def samples(made: PairCardData) -> str:
    drawn = sorted(made.selected.pairs, key=lambda pair: draw_key(made.command.seed, pair))[:SAMPLES]
    return (
        "\n\n".join(["## Samples", *(sample(pair, made.examples[pair.example_id]) for pair in drawn)]) if drawn else ""
    )


def sample(pair: Pair, example: Example) -> str:
    why = pair.rejected_message or pair.rejected_verdict.value
    return (
        f"**{one_line(example.question)}**\n\n"
        f"- chosen: {code(pair.chosen)}\n- rejected: {code(pair.rejected)} ({one_line(why)}; distance {pair.distance})"
    )


def suspects(found: Sequence[SuspectGold]) -> str:
    if not found:
        return ""
    lines = [f"## Suspect golds\n\n{len(found)} golds that no sample agrees with, while half of the samples agree:"]
    for one in found[:SHOWN_SUSPECTS]:
        lines.append(
            f"- {one_line(one.question or one.example_id)} Gold: {code(one.gold or '')}; "
            f"{one.agreeing} of {one.samples} samples: {code(one.other)}"
        )
    if len(found) > SHOWN_SUSPECTS:
        lines.append(f"- and {len(found) - SHOWN_SUSPECTS} more in suspect_golds.jsonl")
    return "\n".join(lines)


def one_line(text: str, most: int = 300) -> str:
    """Text of others on one line of Markdown: cut, and without what would begin a tag or a table cell."""
    line = " ".join(text.split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    # Backslashes first, or the escapes below would be escaped again.
    return line.replace("\\", "\\\\").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def code(sql: str, most: int = 600) -> str:
    """SQL as inline code, whatever backticks it contains."""
    line = " ".join(sql.split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    # Two backticks may enclose single ones.
    fence = "``" if "`" in line else "`"
    return f"{fence} {line} {fence}" if fence == "``" else f"{fence}{line}{fence}"
