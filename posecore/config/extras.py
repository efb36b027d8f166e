"""Optional packages, the extras of pyproject.toml: :func:`require_package`."""

import importlib.util

from posecore.config.errors import UsageError


def require_package(name: str, extra: str, wanted_by: str) -> None:
    """Checks that an optional package is installed; nothing is imported.

    Args:
        name: of the package, as it is imported.
        extra: the extra of pyproject.toml that has it, and the file of requirements/.
        wanted_by: the option or the key that needs it, for the message.

    Raises:
        UsageError: it is not installed; the message names the command that installs it.
    """
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"{wanted_by} needs the package {name}, which is not installed: "
            f"`pip install -r requirements/{extra}.txt` (or the extra, `pip install posecore[{extra}]`)"
        )
