"""A set of texts in some 60 to 100 bytes each: their hashes."""

import hashlib


class Seen:
    """Remembers groups of texts by 64 bits; among a million, two are taken for one with a chance of 1 in 37 million."""

    def __init__(self) -> None:
        self.hashes: set[int] = set()

    def add(self, *parts: str) -> bool:
        """Whether they are new; they are remembered."""
        digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        before = len(self.hashes)
        self.hashes.add(int.from_bytes(digest, "big"))
        return len(self.hashes) > before
