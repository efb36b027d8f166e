"""The error of a command line or a configuration that its user can mend: :class:`UsageError`."""


class UsageError(ValueError):
    """An error in a command line or configuration; command-line tools print it without a traceback."""
