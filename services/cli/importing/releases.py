"""What is known of the public files: their licences, and which published version a hash belongs to."""

import hashlib
from pathlib import Path

from shared.contracts.datasets import Format
from shared.files import read_chunks

SPIDER_LICENCE = "CC BY-SA 4.0 (Spider, Yu et al. 2018)"
LICENCES: dict[Format, str] = {
    "spider": SPIDER_LICENCE,
    "spider-syn": "MIT (Spider-Syn, Gan et al. 2021), over Spider's databases, CC BY-SA 4.0",
    "spider-dk": "MIT (Spider-DK, Gan et al. 2021), over Spider's databases, CC BY-SA 4.0",
    "spider-realistic": "CC BY-SA 4.0 (Spider-Realistic, Deng et al. 2021)",
    "bird": "CC BY-SA 4.0 (BIRD, Li et al. 2023)",
    "bird-mini": "CC BY-SA 4.0 (BIRD mini-dev)",
    "custom": "none stated",
}
# SHA-256 of a question file -> what it is. Files that we have seen; other versions are unknown, not wrong.
KNOWN = {
    "30d64a3fccde493226df79687aed9e4a1c0129525baf44f29c0573d914d758a4": "Spider 1.0 dev (1,034 questions)",
    "8abb6bdc6a38ee5cec061fa06c5770d8b0f8efc77eb18c318972e5d73ec0b242": "Spider 1.0 train_spider, three fields only",
    "c70b19cd000376d46331dce518c2bc5a672950c9bf2ee6ade7de519e373ee38d": "Spider-Syn dev (1,034 questions)",
    "f045467b2ec33df51362dddfcb9a9424470e3c0c5bacc2e2469805627300964a": "Spider-Syn train (7,000 questions)",
    "f8590106c56e0850c2e1412179a78fdcf86f02226ab9f81a4c367d1ae8575397": "Spider-DK (535 questions)",
    "5193cd3e255e57d72e38c3c4db1b547085f2a7c56e63414a9fc597a2c6730538": "Spider-Realistic, three fields only",
    "39b28ced80d71611e5dc496777387d5c382201d48f10593682c04d49c22f89d6": "BIRD dev (1,534 questions: 925/464/145)",
    "4ba5fa8de55856222f484d380d2ba872b380bf79d825de70478e2120cb0fc43b": "BIRD mini-dev, SQLite (500 questions)",
}


def file_hash(path: Path) -> str:
    """SHA-256 (hex)."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def release_of(hashes: dict[str, str]) -> str | None:
    """The published versions of these files (name -> hash); None where one of them is not known."""
    found = [KNOWN.get(one) for one in hashes.values()]
    known = [name for name in found if name is not None]
    return "; ".join(known) if known and len(known) == len(found) else None
