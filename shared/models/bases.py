"""Base models: from a reference in a spec to a local Hugging Face folder."""

import re
from collections.abc import Sequence
from pathlib import Path

from shared.errors import InvalidInputError, UnavailableError
from shared.models.builtin import BUILTINS, builtin_folder

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve_base(ref: str, cache: Path, allowed_roots: Sequence[Path] = ()) -> Path:
    """The folder (config, weights, tokenizer, chat template) that `ref` names.

    `ref` is `builtin:<name>` (converted once into `cache`), an absolute path (or one that begins with `.`) to a
    folder under one of `allowed_roots`, or a hub name `org/name` (downloaded once into `cache`).
    Raises `InvalidInputError` for anything else and `UnavailableError` when the hub does not answer.
    """
    if ref.startswith("builtin:"):
        return builtin_folder(ref, cache)
    if ref.startswith(("/", ".", "~")):
        return _local_folder(ref, allowed_roots)
    if HUB_NAME.fullmatch(ref):
        return _hub_folder(ref, cache)
    raise InvalidInputError(
        f"The base model {ref!r} is none of: {', '.join(sorted(BUILTINS))}; "
        "a folder as an absolute path; a Hugging Face name as org/name."
    )


def _local_folder(ref: str, allowed_roots: Sequence[Path]) -> Path:
    folder = Path(ref).expanduser().resolve()
    if not any(folder.is_relative_to(root.resolve()) for root in allowed_roots):
        roots = ", ".join(str(root) for root in allowed_roots) or "none is set"
        raise InvalidInputError(f"The base model folder {ref} lies outside the folders this server allows ({roots}).")
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"The base model folder {ref} does not exist or holds no config.json.")
    return folder


def _hub_folder(ref: str, cache: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        folder = Path(snapshot_download(ref, cache_dir=cache / "hub", allow_patterns=patterns))
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise InvalidInputError(
            f"The base model {ref} is not on the Hugging Face hub or needs access: "
            "check the name, or accept its licence and set HF_TOKEN on the server."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UnavailableError(
            f"The Hugging Face hub could not be reached for the base model {ref}: check the network (or HF_ENDPOINT), "
            f"put the model's folder under an allowed root and name its path, or use {sorted(BUILTINS)[0]}."
        ) from error
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"The base model {ref} has no config.json on the hub: it is no Transformers model.")
    return folder
