"""Opens the store that the settings name."""

from shared.errors import InvalidInputError
from shared.storage.base import ObjectStore
from shared.storage.directory import DirectoryStore
from shared.storage.settings import StoreSettings


def open_store(settings: StoreSettings) -> ObjectStore:
    """Raises `InvalidInputError` when a MinIO store lacks its keys. Nothing is asked over the network yet."""
    if settings.kind == "directory":
        return DirectoryStore(settings.root)
    if settings.access_key is None or settings.secret_key is None:
        raise InvalidInputError("the minio store needs keys; set SENSE_STORE_ACCESS_KEY and SENSE_STORE_SECRET_KEY")
    from shared.storage.minio_store import MinioStore

    return MinioStore(
        endpoint=settings.endpoint,
        access_key=settings.access_key.get_secret_value(),
        secret_key=settings.secret_key.get_secret_value(),
        bucket=settings.bucket,
        secure=settings.secure,
        region=settings.region,
        public_endpoint=settings.public_endpoint,
    )
