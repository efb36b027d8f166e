"""Fetches files from the Hugging Face hub: :func:`fetch_from_hub`.

huggingface_hub keeps what it fetches in its own cache, and takes its settings from its own environment
variables (HF_HOME, HF_HUB_OFFLINE, HF_TOKEN, ...).
"""

import re
from pathlib import Path

from posecore.checkpoint.errors import CheckpointError

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repository>[^/@]+/[^/@]+)(?:@(?P<revision>[^/@]+))?/(?P<file>[^@]+)")


def fetch_from_hub(source: str) -> Path:
    """The place on this machine of a file on the hub.

    Args:
        source: ``hf://owner/name/file``, or ``hf://owner/name@revision/file`` with a branch, a tag or a
            commit; the file may lie in folders.

    Raises:
        CheckpointError: the address has another form, huggingface_hub is not installed, or it finds no such
            file on the hub, or in its cache where there is no network.
    """
    address = _ADDRESS.fullmatch(source)
    if address is None:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} must be hf://owner/name/file or hf://owner/name@revision/file"
        )
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} needs a package that is not installed: pip install huggingface_hub"
        ) from error
    try:
        return Path(hf_hub_download(address["repository"], address["file"], revision=address["revision"]))
    # OSError: no such repository or revision, or no network. ValueError: a name that the hub cannot have.
    except (EntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source} cannot be fetched: {error}") from error
