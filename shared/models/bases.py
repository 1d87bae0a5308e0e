"""Base models: from a reference in a spec to a local Hugging Face folder, and the fingerprint of its files."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from shared.errors import InvalidInputError, UnavailableError
from shared.models.builtin import BUILTIN_MODELS, convert_builtin
from shared.models.manifest import fetch_model, read_manifest
from shared.settings import PathSettings
from shared.storage.store import ObjectStore

FINGERPRINT_BYTES = 1 << 20
STORED_PREFIX = "models/"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve_base(ref: str, cache: Path, allowed_roots: Sequence[Path] = ()) -> Path:
    """The folder (config, weights, tokenizer, chat template) that `ref` names.

    `ref` is `builtin:<name>` (converted once into `cache`), an absolute path (or one that begins with `.`) to a
    folder under one of `allowed_roots`, or a hub name `org/name` (downloaded once into `cache`).
    Raises `InvalidInputError` for anything else and `UnavailableError` when the hub does not answer.
    """
    if ref.startswith("builtin:"):
        return convert_builtin(ref, cache)
    if ref.startswith(("/", ".", "~")):
        return _resolve_local_folder(ref, allowed_roots)
    if HUB_NAME.fullmatch(ref):
        return _download_from_hub(ref, cache)
    raise InvalidInputError(
        f"The base model {ref!r} is none of: {', '.join(sorted(BUILTIN_MODELS))}; "
        "a folder as an absolute path; a Hugging Face name as org/name."
    )


def _resolve_local_folder(ref: str, allowed_roots: Sequence[Path]) -> Path:
    folder = Path(ref).expanduser().resolve()
    if not any(folder.is_relative_to(root.resolve()) for root in allowed_roots):
        roots = ", ".join(str(root) for root in allowed_roots) or "none is set"
        raise InvalidInputError(f"The base model folder {ref} lies outside the folders this server allows ({roots}).")
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"The base model folder {ref} does not exist or holds no config.json.")
    return folder


def _download_from_hub(ref: str, cache: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    # only what Transformers reads: repositories often hold the same weights in other formats
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
            f"put the model's folder under an allowed root and name its path, or use {sorted(BUILTIN_MODELS)[0]}."
        ) from error
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"The base model {ref} has no config.json on the hub: it is no Transformers model.")
    return folder


def base_fingerprint(folder: Path) -> str:
    """Hex digest of config.json and of the name, size, first and last MiB of every safetensors file.

    Reading whole files of a large base takes minutes, and bases that differ only in between are not known.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"\0{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, size - FINGERPRINT_BYTES))
            digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest()


def find_base(objects: ObjectStore, ref: str) -> Path:
    """The local Hugging Face folder of a base. `models/NAME` is a full model of this store.

    Raises `NotFoundError` for an unknown model, `InvalidInputError` for an adapter or an unknown form.
    """
    paths = PathSettings()
    if not ref.startswith(STORED_PREFIX):
        return resolve_base(ref, paths.bases, paths.allowed_roots())
    name = ref.removeprefix(STORED_PREFIX)
    manifest = read_manifest(objects, name)
    if manifest.mode != "full":
        raise InvalidInputError(f"{ref} is an adapter, not a base; name its base, {manifest.base}, instead")
    return fetch_model(objects, name, paths.adapters)


def fetch_model_folders(objects: ObjectStore, base: str, model: str | None) -> tuple[Path, Path | None]:
    """The folders of a stored model: the full weights, and the adapter on top of them, if any.

    Without a model, the folder of the base alone.
    """
    if model is None:
        return find_base(objects, base), None
    folder = fetch_model(objects, model, PathSettings().adapters)
    if read_manifest(objects, model).mode == "full":
        return folder, None
    return find_base(objects, base), folder
