"""The error of a command line or a configuration that its user can mend, :class:`UsageError`, and
:func:`some`, which shortens lists in messages.
"""

from collections.abc import Collection
from itertools import islice


class UsageError(ValueError):
    """An error in a command line or configuration; command-line tools print it without a traceback."""


def some(items: Collection[object], count: int = 5) -> str:
    """The first ``count`` items as text, for a message: ``1, 2, 3, ...`` where there are more."""
    return ", ".join(map(str, islice(items, count))) + (", ..." if len(items) > count else "")
