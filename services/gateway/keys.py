"""Bearer keys: shown once, kept as their SHA-256 in the object store, so that losing Redis opens nothing."""

import hashlib
import hmac
import secrets
import time
from threading import Lock

from pydantic import BaseModel, ConfigDict

from services.gateway.settings import AuthSettings
from shared.client.models import KeyRole, KeySummary
from shared.errors import ConflictError, InvalidInputError, NotFoundError
from shared.storage.base import ObjectStore
from shared.storage.keys import KEYS_PREFIX, api_key_key

PREFIX = "sense_"
REFRESH_S = 2.0
ADMIN_NAME = "operator"
ADMIN_KEY_LENGTH = 16


class StoredKey(BaseModel):
    """A key at rest. `sha256` is of the whole key: it has 256 random bits, so no slow hash is needed."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: KeyRole
    sha256: str
    per_minute: int
    created_at: float

    def summary(self) -> KeySummary:
        """What may be shown."""
        return KeySummary(name=self.name, role=self.role, per_minute=self.per_minute, created_at=self.created_at)


def digest(key: str) -> str:
    """The form that is kept and compared."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys of the store, read again every two seconds, and the operator's own of the environment.

    Once a key was seen the ring stays `locked`: keys that vanish with a store do not open the gateway.
    """

    def __init__(self, objects: ObjectStore, settings: AuthSettings, *, per_minute: int) -> None:
        self.objects, self.settings, self.per_minute = objects, settings, per_minute
        self._fixed = operator_key(settings, per_minute)
        self._keys: dict[str, StoredKey] = {}
        self._known: dict[str, StoredKey] = {}
        self._read_at = -REFRESH_S
        self._locked = self._fixed is not None
        self._lock = Lock()

    @property
    def stale(self) -> bool:
        """Whether `refresh` would ask the store."""
        return time.monotonic() - self._read_at >= REFRESH_S

    @property
    def disabled(self) -> bool:
        """Whether the operator asks nobody for a key."""
        return self.settings.auth == "disabled"

    @property
    def locked(self) -> bool:
        """Whether callers need a key."""
        return self._locked and not self.disabled

    def refresh(self, *, now: bool = False) -> None:
        """Reads what is new. Raises `UnavailableError`: a gateway that cannot read its keys lets nobody in."""
        with self._lock:
            if not now and not self.stale:
                return
            names = list(self.objects.list(KEYS_PREFIX))
            self._known = {name: self._known.get(name) or self._read(name) for name in names}
            self._keys = {key.sha256: key for key in self._known.values()}
            self._locked = self._locked or bool(self._keys)
            self._read_at = time.monotonic()

    def find(self, key: str) -> StoredKey | None:
        """Whose key it is; compared in constant time."""
        hashed = digest(key)
        if self._fixed is not None and hmac.compare_digest(hashed, self._fixed.sha256):
            return self._fixed
        return next((one for one in self._keys.values() if hmac.compare_digest(hashed, one.sha256)), None)

    def add(self, name: str, role: KeyRole, per_minute: int | None) -> tuple[StoredKey, str]:
        """A new key and its text, which is never shown again. Raises `ConflictError`, `InvalidInputError`."""
        self.refresh(now=True)
        if name == ADMIN_NAME or api_key_key(name) in self._known:
            raise ConflictError(f"there is a key named {name}; take another name or remove it", code="key_exists")
        if role != "admin" and not self._fixed and all(one.role != "admin" for one in self._keys.values()):
            raise InvalidInputError(
                "the first key has to be an admin's: with another one nobody could make or remove keys",
                code="first_key_not_admin",
            )
        text = PREFIX + secrets.token_urlsafe(32)
        key = StoredKey(
            name=name,
            role=role,
            sha256=digest(text),
            per_minute=per_minute or self.per_minute,
            created_at=time.time(),
        )
        self.objects.put(api_key_key(name), key.model_dump_json().encode())
        self.refresh(now=True)
        return key, text

    def remove(self, name: str) -> None:
        """Raises `NotFoundError`; `ConflictError` for the last admin's key."""
        self.refresh(now=True)
        key = self._known.get(api_key_key(name))
        if key is None:
            raise NotFoundError(f"there is no key named {name!r}; list them with: sense keys", code="key_not_found")
        admins = [one for one in self._keys.values() if one.role == "admin"]
        if admins == [key] and self._fixed is None:
            raise ConflictError("this is the last admin key; make another one first", code="last_admin_key")
        self.objects.delete(api_key_key(name))
        self.refresh(now=True)

    def list(self) -> "list[StoredKey]":
        """Keys of the store by name."""
        self.refresh(now=True)
        return sorted(self._known.values(), key=lambda key: key.name)

    def _read(self, object_key: str) -> StoredKey:
        return StoredKey.model_validate_json(self.objects.get(object_key))


def operator_key(settings: AuthSettings, per_minute: int) -> StoredKey | None:
    """The admin key of the environment. Raises `InvalidInputError` where it could be guessed."""
    if settings.admin_key is None:
        return None
    text = settings.admin_key.get_secret_value()
    if len(text) < ADMIN_KEY_LENGTH:
        raise InvalidInputError(
            f"SENSE_ADMIN_KEY has {len(text)} characters; {ADMIN_KEY_LENGTH} are the least: openssl rand -hex 32"
        )
    return StoredKey(name=ADMIN_NAME, role="admin", sha256=digest(text), per_minute=per_minute, created_at=0.0)
