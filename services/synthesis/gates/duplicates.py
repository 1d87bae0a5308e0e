"""Near-duplicates: a question in almost the same words, for a SQL over the same names with almost the same skeleton.

Both by MinHash (datasketch), kept as one byte a permutation (Li and König, b-bit minwise hashing, 2010), so that an
example costs some hundred bytes. Another column or table is another example, whatever the template: examples are only
compared where the names in their SQL are the same. Literals are masked on both sides: another number is no new example.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from services.synthesis.gates.features import Features

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# docs/decisions/0012-decontamination.md has these limits and what they find.
NEAR_QUESTION = 0.85
NEAR_SKELETON = 0.9
PERMUTATIONS = 96  # bytes of a signature
SEED = 1
LEAST_WORDS = 4  # a shorter question is only compared as a whole, by the gate of repeats
CHANCE_AGREEMENT = 1 / 256  # two different hash values with the same low byte


class NearDuplicates:
    """Remembers what passed. From `question` and `skeleton` (estimated Jaccard similarities) on, a pair is near."""

    def __init__(self, question: float = NEAR_QUESTION, skeleton: float = NEAR_SKELETON) -> None:
        from datasketch import MinHash

        self.question, self.skeleton = question, skeleton
        self.empty = MinHash(num_perm=PERMUTATIONS, seed=SEED)
        self.groups: dict[int, bytearray] = {}

    def seen(self, scope: str, found: Features) -> bool:
        """Whether something near was seen in the scope. If not, the example is remembered."""
        if len(found.plain) < LEAST_WORDS:
            return False
        question = self.signature(shingles(found.plain))
        skeleton = self.signature(shingles(found.shape.skeleton.split()))
        group = self.groups.setdefault(group_key(scope, found), bytearray())
        if group and self.matches(group, question, skeleton):
            return True
        group += question.tobytes() + skeleton.tobytes()
        return False

    def matches(self, group: bytearray, question: "NDArray[np.uint8]", skeleton: "NDArray[np.uint8]") -> bool:
        import numpy as np

        # Each example is two signatures: its question's, then its skeleton's.
        known = np.frombuffer(group, dtype=np.uint8).reshape(-1, 2, PERMUTATIONS)
        near = estimate_similarity(known[:, 0], question) >= self.question
        return bool((near & (estimate_similarity(known[:, 1], skeleton) >= self.skeleton)).any())

    def signature(self, parts: list[bytes]) -> "NDArray[np.uint8]":
        """One byte a permutation."""
        import numpy as np

        hashed = self.empty.copy()
        hashed.update_batch(parts)
        low: NDArray[np.uint8] = (hashed.hashvalues & np.uint64(0xFF)).astype(np.uint8)
        return low


def estimate_similarity(known: "NDArray[np.uint8]", signature: "NDArray[np.uint8]") -> "NDArray[np.float64]":
    """Estimated Jaccard similarity to each known signature, corrected for agreement by chance."""
    import numpy as np

    matched: NDArray[np.float64] = (known == signature).mean(axis=1, dtype=np.float64)
    return (matched - CHANCE_AGREEMENT) / (1 - CHANCE_AGREEMENT)


def group_key(scope: str, found: Features) -> int:
    """Equal for examples of a scope whose SQL has the same names."""
    names = found.tokens - frozenset(found.shape.skeleton.split())
    text = "\x1f".join((scope, *sorted(names)))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def shingles(parts: Sequence[str]) -> list[bytes]:
    pairs = (f"{one} {two}" for one, two in pairwise(parts))
    return [part.encode("utf-8", "surrogatepass") for part in (*parts, *pairs)]


class SeenTexts:
    """Remembers texts by 64 bits: among a million, two are taken for one with a chance of 1 in 37 million."""

    def __init__(self) -> None:
        self.hashes: set[int] = set()

    def add(self, *parts: str) -> bool:
        """Remembers the texts together. True if they are new."""
        # surrogatepass: a lone surrogate in a model's text must not fail the shard.
        digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        before = len(self.hashes)
        self.hashes.add(int.from_bytes(digest, "big"))
        return len(self.hashes) > before
