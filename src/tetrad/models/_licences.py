"""Names of licences, as SPDX writes them."""

from __future__ import annotations

import re

UNKNOWN = "unknown"

# The identifiers of https://spdx.org/licenses that models and their data carry; others are kept as they are written.
_IDS = """
AFL-3.0 AGPL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear
BSL-1.0 CC-BY-2.0 CC-BY-3.0 CC-BY-4.0 CC-BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0
CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDLA-Permissive-1.0
CDLA-Permissive-2.0 CDLA-Sharing-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 GPL-2.0 GPL-2.0-only GPL-2.0-or-later
GPL-3.0 GPL-3.0-only GPL-3.0-or-later ISC LGPL-2.1 LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0-only
LGPL-3.0-or-later LPPL-1.3c MIT MIT-0 MPL-2.0 MS-PL NCSA ODbL-1.0 ODC-By-1.0 OFL-1.1 OSL-3.0 PDDL-1.0 PostgreSQL
Unlicense WTFPL Zlib
"""
_BY_FOLDED = {name.lower(): name for name in _IDS.split()}
_WORDS = re.compile(r"\s+(?:and|or|with)\s+", re.IGNORECASE)


def spdx_id(text: str) -> str:
    """Return a licence as SPDX writes it, `unknown` where it is none of those we know.

    Case does not matter, spaces stand for hyphens, an expression is as known as its parts. `LicenseRef-…` is SPDX's own
    way to name others, and stays as it is.
    """
    stated = text.strip()
    if re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]{1,100}", stated):
        return stated
    parts = _WORDS.split(stated)
    found = [_BY_FOLDED.get(re.sub(r"[\s_]+", "-", part.strip(" ()")).lower(), UNKNOWN) for part in parts]
    if UNKNOWN in found:
        return UNKNOWN
    if len(found) == 1:
        return found[0]
    joined = [word.strip().upper() for word in _WORDS.findall(stated)]
    if any(mark in stated for mark in "()"):
        return " ".join(stated.split())
    return " ".join([found[0], *(f"{word} {name}" for word, name in zip(joined, found[1:], strict=True))])
