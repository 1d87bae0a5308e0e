"""Bearer keys: shown once, stored as their SHA-256 in signed records in the object store.

Redis can lose its data without losing a key. Whoever can write to the store can remove keys but cannot create one:
records carry an HMAC with a secret that only the gateway has, and ids of removed keys stay in Redis, so that an old
record that is put back opens nothing.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from services.gateway.settings import AuthSettings, GatewaySettings
from shared.api.resources import KeyChange, KeyLimits, KeyRole, KeySummary
from shared.errors import ConflictError, InvalidInputError, NotFoundError, SenseError, UnavailableError
from shared.logging import get_logger
from shared.redis import connect_redis, redis_errors
from shared.settings import RedisSettings
from shared.storage.keys import KEYS_PREFIX, api_key_key
from shared.storage.store import ObjectStore

KEY_PREFIX = "sense_"
REFRESH_S = 2.0
OPERATOR, SCRAPER = "operator", "prometheus"
MIN_SECRET_LENGTH = 16
SECRET_FILE = "key-secret"
RECORD_BYTES = 16_384
# Part of what is signed, so that a signature holds for key records only.
SIGNED_AS = b"sense api key record 1"
REDIS_S = 1.0  # a short timeout: requests wait for Redis here
REDIS_PAUSE_S = 10.0  # without an answer, Redis is left alone for this long: each try costs a timeout
REFUSED = Counter("sense_key_records_refused_total", "Key records that were not taken, by reason", ["reason"])
log = get_logger()


class StoredKey(BaseModel):
    """A key at rest. `sha256` is of the whole key: it has 256 random bits, so no slow hash is needed.

    `id` is this key's alone: what it owns does not pass to a later key of the same name.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str
    role: KeyRole
    sha256: str
    per_minute: int
    created_at: float
    limits: KeyLimits = KeyLimits()

    @property
    def fixed(self) -> bool:
        return self.id in (OPERATOR, SCRAPER)

    def summary(self) -> KeySummary:
        return KeySummary.model_validate(self.model_dump(exclude={"sha256"}))


class SignedKey(BaseModel):
    """What lies in the store: a record as the text that was signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    record: str
    signature: str


class KeySigner:
    """Signs with the first secret and verifies with all, so that a secret can be rotated without a gap.

    Without any, it uses the one in the file `kept`, which is created when it is first needed.
    """

    def __init__(self, known: Sequence[bytes], kept: Path | None = None) -> None:
        self._given, self._kept = tuple(known), kept

    @property
    def _known(self) -> Sequence[bytes]:
        if not self._given and self._kept is not None:
            self._given = (load_or_create_secret(self._kept).encode(),)
        return self._given

    def sign(self, object_key: str, key: StoredKey) -> bytes:
        if not self._known:
            raise InvalidInputError(
                "keys of the store are signed, and this gateway has no secret to sign with; set SENSE_KEY_SECRET, the "
                "same random text for every gateway: openssl rand -hex 32",
                code="key_secret_missing",
            )
        record = key.model_dump_json()
        return (
            SignedKey(record=record, signature=sign_record(self._known[0], object_key, record))
            .model_dump_json()
            .encode()
        )

    def read(self, object_key: str, data: bytes) -> tuple[StoredKey, bool]:
        """The key, and whether an older secret signed it. Raises `RefusedRecordError`."""
        try:
            signed = SignedKey.model_validate_json(data)
        except ValidationError:
            raise RefusedRecordError("unsigned", "it carries no signature or is damaged") from None
        found = [
            place
            for place, secret in enumerate(self._known)
            # Constant time, so that a signature cannot be guessed byte by byte.
            if hmac.compare_digest(sign_record(secret, object_key, signed.record).encode(), signed.signature.encode())
        ]
        if not found:
            raise RefusedRecordError("signature", "it was not signed with this gateway's SENSE_KEY_SECRET")
        try:
            return StoredKey.model_validate_json(signed.record), found[0] > 0
        except ValidationError:
            raise RefusedRecordError("version", "another version of Sense wrote it") from None


class RefusedRecordError(SenseError):
    """A record that is not accepted; `reason` labels the counter."""

    code = "key_record_refused"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RevokedKeys:
    """Ids of removed keys in Redis, and whether there has ever been a key."""

    def __init__(self, url: str, prefix: str) -> None:
        self._removed, self._seen = f"{prefix}keys:removed", f"{prefix}keys:seen"
        self._client = connect_redis(RedisSettings(url=SecretStr(url)), timeout_s=REDIS_S, retries=1)
        self._last: tuple[frozenset[str], bool] | None = None
        self._ask_at = 0.0

    def read(self) -> tuple[frozenset[str], bool]:
        """Removed ids, and whether a key was ever seen; the last answer while Redis is away.

        Raises `UnavailableError` if Redis has never answered.
        """
        if self._last is not None and time.monotonic() < self._ask_at:
            return self._last
        try:
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                pipe.smembers(self._removed)
                pipe.exists(self._seen)
                removed, seen = pipe.execute()
        except UnavailableError:
            if self._last is None:
                raise
            self._ask_at = time.monotonic() + REDIS_PAUSE_S
            log.warning("keys.redis_away", reason="removed keys are known as of the last look")
            return self._last
        before = self._last[0] if self._last else frozenset[str]()
        self._last = (before | frozenset(removed), bool(seen))  # a Redis that lost its data revokes no removal
        return self._last

    def remember(self) -> None:
        with redis_errors():
            self._client.set(self._seen, 1)

    def remove(self, key_id: str) -> None:
        with redis_errors():
            self._client.sadd(self._removed, key_id)


def sign_record(secret: bytes, object_key: str, record: str) -> str:
    """Signs the object key too, so that a record copied to another name is refused."""
    return hmac.new(secret, b"\0".join((SIGNED_AS, object_key.encode(), record.encode())), hashlib.sha256).hexdigest()


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys of the store, read again every two seconds, and the operator's keys from the environment.

    A record is read again when its content changes, whatever its name. Once a key was seen the ring stays `locked`: in
    this process, and by Redis in the next one. Keys that vanish with a store do not open the gateway.
    """

    def __init__(
        self,
        objects: ObjectStore,
        settings: AuthSettings,
        *,
        signer: KeySigner,
        memory: RevokedKeys,
        limits: GatewaySettings,
    ) -> None:
        self.objects, self.settings, self.signer, self.memory = objects, settings, signer, memory
        self.per_minute = limits.key_per_minute
        self._fixed = read_environment_keys(settings, limits.key_per_minute)
        self._known: dict[str, StoredKey] = {}
        self._marks: dict[str, str] = {}
        self._keys: dict[str, StoredKey] = {}
        self._unread = False
        self._read_at = -REFRESH_S
        self._locked = settings.admin_key is not None
        self._lock = Lock()

    @property
    def stale(self) -> bool:
        return time.monotonic() - self._read_at >= REFRESH_S

    @property
    def disabled(self) -> bool:
        return self.settings.auth == "disabled"

    @property
    def locked(self) -> bool:
        return self._locked and not self.disabled

    def refresh(self, *, now: bool = False) -> None:
        """Reads what has changed. Raises `UnavailableError`: a gateway that cannot read its keys lets nobody in."""
        with self._lock:
            if not now and not self.stale:
                return
            removed, seen = self.memory.read()
            known: dict[str, StoredKey] = {}
            marks: dict[str, str] = {}
            unread = False
            for name, mark in self.objects.marks(KEYS_PREFIX):
                changed, key = self._marks.get(name) != mark, self._known.get(name)
                if changed:
                    try:
                        key = self._look(name)
                    except UnavailableError as error:  # only this record is read again the next time
                        log.warning("keys.unread", record=name, error=error.message)
                        unread = True
                        continue
                marks[name] = mark
                if key is not None and key.id not in removed:
                    known[name] = key
                elif key is not None and changed:
                    log_refused_record(
                        name, RefusedRecordError("removed", "its key was removed, and somebody put the record back")
                    )
            self._known, self._marks, self._unread = known, marks, unread
            self._keys = {key.sha256: key for key in known.values()}
            # A record that is refused or cannot be read still shows that somebody has set keys.
            self._locked = self._locked or seen or unread or bool(marks)
            self._read_at = time.monotonic()
            if known and not seen:
                self._remember()

    def _look(self, name: str) -> StoredKey | None:
        """None if the record is refused. Raises `UnavailableError` if it cannot be read now."""
        try:
            key, old = self.signer.read(name, self._read(name))
            if name != api_key_key(key.name):
                raise RefusedRecordError("misplaced", "it is another key's")
        except UnavailableError:
            raise
        except (SenseError, ValueError) as error:  # a file of the folder store may have a name that is no key
            log_refused_record(name, error if isinstance(error, SenseError) else RefusedRecordError("name", str(error)))
            return None
        if old:
            self._renew(name, key)
        return key

    def _read(self, name: str) -> bytes:
        """Raises `RefusedRecordError` for more bytes than a record can have."""
        data = b""
        for chunk in self.objects.open_chunks(name, RECORD_BYTES):
            data += chunk
            if len(data) > RECORD_BYTES:
                raise RefusedRecordError("large", f"it has more than {RECORD_BYTES} bytes")
        return data

    def _renew(self, name: str, key: StoredKey) -> None:
        try:
            self.objects.put(name, self.signer.sign(name, key))
            log.info("keys.signed_anew", record=name)
        except SenseError as error:
            log.warning("keys.not_signed_anew", record=name, error=error.message)

    def _remember(self) -> None:
        try:
            self.memory.remember()
        except UnavailableError as error:
            log.warning("keys.redis_away", error=error.message)

    def find(self, key: str) -> StoredKey | None:
        """None for an unknown key. Raises `UnavailableError` if some keys cannot be read now, and this may be one."""
        hashed = hash_key(key)
        found = self._fixed.get(hashed) or self._keys.get(hashed)
        # The key may be in a record that cannot be read now; a 401 would say that it does not exist.
        if found is None and self._unread:
            raise UnavailableError("some keys cannot be read from the object store now; try again in a moment")
        return found

    def add(
        self, name: str, role: KeyRole, per_minute: int | None, limits: KeyLimits = KeyLimits()
    ) -> tuple[StoredKey, str]:
        """The new key and its text, which is never shown again. Raises `ConflictError`, `InvalidInputError`."""
        self.refresh(now=True)
        place = api_key_key(name)
        if name in (OPERATOR, SCRAPER) or place in self._known:
            raise ConflictError(f"there is a key named {name}; take another name or remove it", code="key_exists")
        if role != "admin" and not self._admins():
            raise InvalidInputError(
                "the first key has to be an admin's: with another one nobody could make or remove keys",
                code="first_key_not_admin",
            )
        text = KEY_PREFIX + secrets.token_urlsafe(32)
        key = StoredKey(
            id=secrets.token_hex(8),
            name=name,
            role=role,
            sha256=hash_key(text),
            per_minute=per_minute or self.per_minute,
            created_at=time.time(),
            limits=limits,
        )
        data = self.signer.sign(place, key)
        # Before the record is stored: if Redis cannot remember that there is a key, no key is created.
        self.memory.remember()
        self.objects.put(place, data)
        self.refresh(now=True)
        # Two gateways may add one name at once; the later write stays.
        if self._known.get(place) != key:
            raise ConflictError(
                f"another gateway made a key named {name} just now; look: sense keys", code="key_exists"
            )
        return key, text

    def change(self, name: str, change: KeyChange) -> StoredKey:
        """Fields that `change` does not set stay. Raises `NotFoundError`."""
        self.refresh(now=True)
        place = api_key_key(name)
        if (key := self._known.get(place)) is None:
            raise NotFoundError(f"there is no key named {name!r}; list them with: sense keys", code="key_not_found")
        limits = KeyLimits.model_validate(key.limits.model_dump() | change.limits.model_dump(exclude_unset=True))
        per_minute = key.per_minute
        if "per_minute" in change.model_fields_set:
            per_minute = change.per_minute or self.per_minute
        changed = key.model_copy(update={"limits": limits, "per_minute": per_minute})
        self.objects.put(place, self.signer.sign(place, changed))
        self.refresh(now=True)
        return changed

    def remove(self, name: str) -> None:
        """Removes refused records too. Raises `NotFoundError`, `ConflictError` for the last admin's key."""
        self.refresh(now=True)
        place = api_key_key(name)
        key = self._known.get(place)
        if key is None and place not in self._marks:
            raise NotFoundError(f"there is no key named {name!r}; list them with: sense keys", code="key_not_found")
        if key is not None:
            # Without an admin's key nobody could create or remove keys.
            if self._admins() == [key]:
                raise ConflictError("this is the last admin key; make another one first", code="last_admin_key")
            # Revoked before it is deleted, so that the old record opens nothing if it is put back.
            self.memory.remove(key.id)
        self.objects.delete(place)
        self.refresh(now=True)

    def list(self) -> "list[StoredKey]":
        self.refresh(now=True)
        return sorted(self._known.values(), key=lambda key: key.name)

    def _admins(self) -> Sequence[StoredKey]:
        return [key for key in (*self._fixed.values(), *self._keys.values()) if key.role == "admin"]


def log_refused_record(name: str, error: SenseError) -> None:
    REFUSED.labels(getattr(error, "reason", error.code)).inc()
    remedy = "make the key anew: sense keys remove NAME, sense keys add NAME"
    log.warning("keys.record_refused", record=ascii(name), reason=error.message, remedy=remedy)


def read_environment_keys(settings: AuthSettings, per_minute: int) -> dict[str, StoredKey]:
    found: dict[str, StoredKey] = {}
    given: tuple[tuple[str, KeyRole, str, SecretStr | None], ...] = (
        (OPERATOR, "admin", "SENSE_ADMIN_KEY", settings.admin_key),
        (SCRAPER, "metrics", "SENSE_METRICS_KEY", settings.metrics_key),
    )
    for name, role, variable, secret in given:
        if secret is None or not (text := secret.get_secret_value()):
            continue
        check_secret_length(variable, text)
        found[hash_key(text)] = StoredKey(
            id=name, name=name, role=role, sha256=hash_key(text), per_minute=per_minute, created_at=0.0
        )
    return found


def check_secret_length(variable: str, text: str) -> None:
    if len(text) < MIN_SECRET_LENGTH:
        raise InvalidInputError(
            f"{variable} has {len(text)} characters; {MIN_SECRET_LENGTH} are the least: openssl rand -hex 32"
        )


def open_signer(settings: AuthSettings, state: Path, *, local: bool) -> KeySigner:
    """Takes SENSE_KEY_SECRET, newest first. Without it, a `local` store's gateway keeps a secret in the state folder.

    Raises `InvalidInputError` if a secret could be guessed.
    """
    given = settings.key_secret.get_secret_value().split(",") if settings.key_secret else []
    texts = [text.strip() for text in given if text.strip()]
    for text in texts:
        check_secret_length("SENSE_KEY_SECRET", text)
    return KeySigner([text.encode() for text in texts], state / SECRET_FILE if local else None)


def load_or_create_secret(path: Path) -> str:
    """Only the owner can read the file. The first process writes it, once and whole; others read it.

    Raises `InvalidInputError` if the folder cannot be written, or the secret could be guessed.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
                # On disk before it has its name: no process may ever read half a secret.
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link to an existing name fails, so the first process wins and all others use its secret.
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        text = path.read_text().strip()
    except OSError as error:
        raise InvalidInputError(
            f"the secret that signs keys cannot be kept in {path} ({error.strerror}); give the folder to this user, or "
            "set SENSE_KEY_SECRET"
        ) from error
    check_secret_length(str(path), text)
    return text
