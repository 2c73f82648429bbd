"""Limits on prompts: nobody's template may hold a gateway."""

from __future__ import annotations

MAX_TEMPLATE_CHARS = 256 * 1024
"""One message's template."""

MAX_MESSAGES = 256
MAX_VARIABLES = 256

MAX_VALUES_CHARS = 4 * 1024 * 1024
"""All values of one rendering together, as text."""

MAX_VALUE_DEPTH = 32

MAX_OUTPUT_CHARS = 16 * 1024 * 1024
"""One rendered message."""

MAX_FUEL = 50_000
"""Instructions of one rendering of one message."""

MAX_LOOPED_TEXT_CHARS = 64 * 1024 * 1024
"""What a loop over plain text could write before it runs out of fuel."""

MAX_SECTION_DEPTH = 16

MAX_TAG_CHARS = 2_000
MAX_TAG_NAMES = 24
"""Bound what one Jinja2 expression can build out of the values before it is written."""

MAX_FILE_BYTES = 1024 * 1024

MAX_INCLUDE_DEPTH = 8
MAX_CLOSURE = 64
"""How deep prompts include each other, and how many one prompt may be put together from."""

MAX_STEPS = 32
"""Steps of a chain."""
