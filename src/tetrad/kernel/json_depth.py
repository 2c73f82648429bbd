"""How deep a JSON document nests, asked without nesting."""

from __future__ import annotations

import re

from tetrad.kernel.canonical_json import MAX_DEPTH

_NO_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^][{}"]++', re.DOTALL)


def nests_deeper(document: bytes, most: int = MAX_DEPTH) -> bool:
    """Tell whether what is known to be a JSON document nests more than `most` levels.

    What Python can read says nothing about it: 3.11 refuses what is deeper than about 1,000 levels, 3.13 reads
    10,000, 3.14 what its stack holds. Whoever gets the document afterwards may run another.
    """
    if document.count(b"[") + document.count(b"{") <= most:  # nearly always
        return False
    depth = 0
    for bracket in _NO_BRACKETS.sub(b"", document):
        depth += 1 if bracket in b"[{" else -1
        if depth > most:
            return True
    return False
