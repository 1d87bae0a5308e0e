"""Shared prefixes of prompts. Prompts end with the question, so those on one database agree up to it."""

from collections.abc import Sequence

import numpy as np

MIN_SHARED_TOKENS = 32
MIN_SHARED_FRACTION = 0.6  # of a prompt, so that a common system prompt alone makes no group

TokenArray = np.ndarray[tuple[int], np.dtype[np.int64]]


def common_prefix_length(left: TokenArray, right: TokenArray) -> int:
    size = min(len(left), len(right))
    differing = np.flatnonzero(left[:size] != right[:size])
    return int(differing[0]) if len(differing) else size


def group_by_prefix(prompts: Sequence[Sequence[int]]) -> list[tuple[list[int], int]]:
    """Groups of prompt indices with the length of the shared prefix; for a lone prompt, all but its last token."""
    arrays = [np.array(prompt) for prompt in prompts]
    # in sorted order, prompts with a common prefix are next to each other
    order = sorted(range(len(prompts)), key=lambda index: tuple(prompts[index]))
    found: list[tuple[list[int], int]] = []
    for index in order:
        # the last token stays outside: its hidden state predicts the first one of the answer
        whole = len(prompts[index]) - 1
        if found:
            members, shared = found[-1]
            overlap = min(shared, whole, common_prefix_length(arrays[members[-1]], arrays[index]))
            if overlap >= max(
                MIN_SHARED_TOKENS, MIN_SHARED_FRACTION * len(prompts[index]), MIN_SHARED_FRACTION * shared
            ):
                members.append(index)
                found[-1] = (members, overlap)
                continue
        found.append(([index], whole))
    return found


def group_by_deepest_prefix(prompts: Sequence[Sequence[int]]) -> list[tuple[list[int], int]]:
    """Splits each group further: every prompt goes to the longest prefix that it shares with another one.

    Prompts with few-shot examples before the schema share the examples first, and some of them also the schema.
    """
    found: list[tuple[list[int], int]] = []
    for members, shared in group_by_prefix(prompts):
        # two prompts cannot be split further
        inner = group_by_deepest_prefix([prompts[index][shared:] for index in members]) if len(members) > 2 else []
        deeper = [([members[place] for place in places], shared + more) for places, more in inner if len(places) > 1]
        placed = {index for group, _ in deeper for index in group}
        rest = [index for index in members if index not in placed]
        found += [*deeper, (rest, shared)] if rest else deeper
    return found
