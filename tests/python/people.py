"""People with keys, and their events, made by coincurve for both libraries alike."""

import hashlib
import json
import secrets
import time

from coincurve import PrivateKey


def now():
    return int(time.time())


class Person:
    """Somebody with a new key."""

    def __init__(self):
        self.key = PrivateKey(secrets.token_bytes(32))
        self.hex = self.key.secret.hex()
        self.pubkey = self.key.public_key.format()[1:].hex()

    def sign(self, kind=1, content="", tags=(), created_at=None):
        draft = [0, self.pubkey, created_at or now(), kind, list(tags), content]
        digest = hashlib.sha256(json.dumps(draft, separators=(",", ":"), ensure_ascii=False).encode()).digest()
        names = ("pubkey", "created_at", "kind", "tags", "content")
        sig = self.key.sign_schnorr(digest).hex()
        return {"id": digest.hex(), **dict(zip(names, draft[1:])), "sig": sig}
