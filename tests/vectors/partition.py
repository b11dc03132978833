#!/usr/bin/env python3
"""Writes partition.json: keys, their hashes, and the partitions that they belong to.

The hashes come from the reference implementation of XXH3, through Python's xxhash, and not from the
code that the vectors check. Any later version gives the same file:

    python3 -m venv venv && venv/bin/pip install xxhash && venv/bin/python partition.py
"""

import json
from pathlib import Path

import xxhash

PARTITIONS = (1, 4096, 65536)

# XXH3 treats lengths differently from 1, 4, 9, 17, 129 and 241 bytes on; 1,024 is the longest key.
LENGTHS = (1, 2, 3, 4, 8, 9, 16, 17, 32, 33, 64, 128, 129, 240, 241, 255, 256, 512, 1023, 1024)

KEYS = [
    *("key", "key1", "key2", "a", "A", " ", "0", "user000000012345", "user000000012346"),
    *("a/b/c", "a\\b", 'a"b', "{}", "null", "\0", "\0\0", "a\0b", "\n", "\r\n", "\t", "\x7f"),
    # Letters beyond ASCII, composed and decomposed: they look alike and are different keys.
    *("\u00e9", "e\u0301", "\u00fc\u00df", "\u03ba\u03bb\u03b5\u03b9\u03b4\u03af"),
    *("\u043a\u043b\u044e\u0447", "\u05de\u05e4\u05ea\u05d7", "\u0645\u0641\u062a\u0627\u062d"),
    *("\u9375", "\u30ad\u30fc", "\ud0a4", "\u0915\u0941\u0902\u091c\u0940"),
    # Beyond the basic plane, where JSON's escapes are surrogate pairs, and the last code point.
    *("\U0001f511", "\U0001f469\u200d\U0001f4bb", "\U0001f1e6\U0001f1f6", "\U0010ffff"),
    *("\ufeff", "\ufffd", "\u200b", "\u2028"),
    *(("0123456789abcdef" * 64)[:length] for length in LENGTHS),
    "\U0001f511" * 256,
    "\u00e9" * 512,
]


def vector(key):
    """A key's vector. A partition is the top bits of the hash, as many as its number has."""
    digest = xxhash.xxh3_64_intdigest(key.encode())
    partition = {str(count): digest * count >> 64 for count in PARTITIONS}
    return {"key": key, "xxh3_64": f"{digest:016x}", "partition": partition}


def main():
    keys = list(dict.fromkeys(KEYS))
    lines = ",\n".join(json.dumps(vector(key)) for key in keys)
    path = Path(__file__).with_suffix(".json")
    path.write_text(f'{{"vectors": [\n{lines}\n]}}\n', encoding="ascii")
    print(f"{path.name}: {len(keys)} keys")


if __name__ == "__main__":
    main()
