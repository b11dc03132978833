#!/usr/bin/env python3
"""Writes record_digest.json: keys, versions, and the digests of records that have them.

The hashes come from the reference implementation of XXH3, through Python's xxhash, and not from the
code that the vectors check. Any later version gives the same file:

    python3 -m venv venv && venv/bin/pip install xxhash && venv/bin/python record_digest.py
"""

import json
from pathlib import Path
from struct import pack

import xxhash

KEYS = ("key", "key1", "a", "user000000012345", "\u00e9", "\U0001f511")
MOST = 2**64 - 1
VERSIONS = ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (7, 123456789), (2**32, 2**32), (MOST, MOST))


def vector(key, epoch, sequence):
    """The digest of a record of the key with this version."""
    content = pack("<QQQ", xxhash.xxh3_64_intdigest(key.encode()), epoch, sequence)
    digest = xxhash.xxh3_128_intdigest(content)
    return {"key": key, "epoch": f"{epoch}", "sequence": f"{sequence}", "xxh3_128": f"{digest:032x}"}


def main():
    vectors = [vector(key, *version) for key in KEYS for version in VERSIONS]
    lines = ",\n".join(json.dumps(it) for it in vectors)
    path = Path(__file__).with_suffix(".json")
    path.write_text(f'{{"vectors": [\n{lines}\n]}}\n', encoding="ascii")
    print(f"{path.name}: {len(vectors)} records")


if __name__ == "__main__":
    main()
