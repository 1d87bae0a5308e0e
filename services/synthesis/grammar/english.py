"""The little English that the templates need: plurals, articles, lists, verbs, comparisons."""

from collections.abc import Sequence

VOWEL_SOUNDS = ("a", "e", "i", "o", "u", "hour", "honor")
CONSONANT_SOUNDS = ("unit", "uni", "use", "one", "eu", "ut")

COMPARISONS: dict[str, dict[str, tuple[str, ...]]] = {
    "amount": {
        ">": (
            "with {a} above {v}",
            "whose {l} is greater than {v}",
            "with {a} over {v}",
            "whose {l} is more than {v}",
            "with {a} higher than {v}",
        ),
        "<": (
            "with {a} below {v}",
            "whose {l} is less than {v}",
            "with {a} under {v}",
            "whose {l} is lower than {v}",
        ),
        ">=": ("with {a} of at least {v}", "whose {l} is at least {v}", "with {a} of {v} or more"),
        "<=": ("with {a} of at most {v}", "whose {l} is no more than {v}", "with {a} of {v} or less"),
        "=": ("with {a} of {v}", "whose {l} is exactly {v}"),
        "between": (
            "with {a} between {v} and {w}",
            "whose {l} is between {v} and {w}",
            "whose {l} lies from {v} to {w}",
        ),
    },
    "year": {
        ">": ("with {a} after {v}", "whose {l} is after {v}", "whose {l} is later than {v}"),
        "<": ("with {a} before {v}", "whose {l} is before {v}", "whose {l} is earlier than {v}"),
        ">=": ("with {a} of {v} or later", "whose {l} is {v} or later"),
        "<=": ("with {a} of {v} or earlier", "whose {l} is {v} or earlier"),
        "=": ("with {a} of {v}", "whose {l} is {v}"),
        "between": (
            "with {a} between {v} and {w}",
            "whose {l} is between {v} and {w}",
            "whose {l} lies from {v} to {w}",
        ),
    },
}


def plural(noun: str) -> str:
    """The plural of a noun phrase; the word before "of", "in" or "per" changes, otherwise the last one."""
    for joint in (" of ", " in ", " per "):
        if joint in noun:
            head, tail = noun.split(joint, 1)
            return plural(head) + joint + tail
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    return noun + "s"


def with_article(noun: str) -> str:
    """The noun after "a" or "an"."""
    vowel = noun.startswith(VOWEL_SOUNDS) and not noun.startswith(CONSONANT_SOUNDS)
    return f"{'an' if vowel else 'a'} {noun}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """Words as a person lists them: "a", "a and b", "a, b and c"."""
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def third_person(verb: str) -> str:
    """A verb phrase with its first word in the third person singular."""
    first, _, rest = verb.partition(" ")
    if first == "have":
        inflected = "has"
    elif first.endswith(("s", "x", "ch", "sh", "o")):
        inflected = first + "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        inflected = first[:-1] + "ies"
    else:
        inflected = first + "s"
    return f"{inflected} {rest}".strip()


def sentence(text: str) -> str:
    """One space between words, a capital at the start."""
    flat = " ".join(text.split())
    return flat[:1].upper() + flat[1:]
