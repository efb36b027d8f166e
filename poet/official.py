"""The parameter names of the released code (amathislab/poet), and what they are called here."""

import re

from torch import Tensor

# (pattern of a whole name in the released code, the name here)
_RULES = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"backbone\.0\.body\.(conv1\.weight)", r"backbone.stem.\1"),
        (r"backbone\.0\.body\.bn1\.(\w+)", r"backbone.stem.conv1.norm.\1"),
        (r"backbone\.0\.body\.(layer\d\.\d+)\.(conv\d\.weight)", r"backbone.\1.\2"),
        (r"backbone\.0\.body\.(layer\d\.\d+)\.bn(\d)\.(\w+)", r"backbone.\1.conv\2.norm.\3"),
        (r"backbone\.0\.body\.(layer\d\.\d+)\.downsample\.0\.(weight)", r"backbone.\1.shortcut.\2"),
        (r"backbone\.0\.body\.(layer\d\.\d+)\.downsample\.1\.(\w+)", r"backbone.\1.shortcut.norm.\2"),
        (r"input_proj\.(weight|bias)", r"projection.\1"),
        (r"query_embed\.(weight)", r"queries.positions.\1"),
        (r"class_embed\.(weight|bias)", r"head.classifier.\1"),
        (r"kpt_embed\.(layers\.\d\.(?:weight|bias))", r"head.regressor.\1"),
        (r"transformer\.decoder\.norm\.(weight|bias)", r"transformer.norm.\1"),
        (r"transformer\.encoder\.layers\.(\d+)\.self_attn\.(.+)", r"transformer.encoder.\1.attention.\2"),
        (
            r"transformer\.decoder\.layers\.(\d+)\.self_attn\.(.+)",
            r"transformer.decoder.\1.self_attention.\2",
        ),
        (
            r"transformer\.decoder\.layers\.(\d+)\.multihead_attn\.(.+)",
            r"transformer.decoder.\1.cross_attention.attention.\2",
        ),
        (r"transformer\.(\w+)\.layers\.(\d+)\.linear1\.(\w+)", r"transformer.\1.\2.feed_forward.0.\3"),
        (r"transformer\.(\w+)\.layers\.(\d+)\.linear2\.(\w+)", r"transformer.\1.\2.feed_forward.3.\3"),
        (
            r"transformer\.(encoder)\.layers\.(\d+)\.norm1\.(\w+)",
            r"transformer.\1.\2.after_attention.norm.\3",
        ),
        (
            r"transformer\.(encoder)\.layers\.(\d+)\.norm2\.(\w+)",
            r"transformer.\1.\2.after_feed_forward.norm.\3",
        ),
        (
            r"transformer\.(decoder)\.layers\.(\d+)\.norm1\.(\w+)",
            r"transformer.\1.\2.after_self_attention.norm.\3",
        ),
        (
            r"transformer\.(decoder)\.layers\.(\d+)\.norm2\.(\w+)",
            r"transformer.\1.\2.after_cross_attention.norm.\3",
        ),
        (
            r"transformer\.(decoder)\.layers\.(\d+)\.norm3\.(\w+)",
            r"transformer.\1.\2.after_feed_forward.norm.\3",
        ),
    )
)
# One tensor of each part, without which a file is no checkpoint of this method.
_LANDMARKS = ("query_embed.weight", "kpt_embed.layers.0.weight", "transformer.decoder.norm.weight")


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under this project's names, for a model of configs/poet/official.

    Args:
        state: a released state dict.

    Raises:
        ValueError: it is of another method, or a tensor has a name that POET's do not have; the message
            shows some.
    """
    if missing := [name for name in _LANDMARKS if name not in state]:
        raise ValueError(f"no released POET checkpoint: it lacks {', '.join(missing)}")
    converted = {_name(theirs): tensor for theirs, tensor in state.items()}
    if unknown := [name for name in state if not _name(name)]:
        raise ValueError(f"{len(unknown)} tensors have names that no POET checkpoint has: {unknown[:5]}")
    return converted


def _name(theirs: str) -> str:
    """The name here, "" if there is none."""
    for pattern, ours in _RULES:
        if match := pattern.fullmatch(theirs):
            name = match.expand(ours)
            return re.sub(r"^backbone\.layer(\d)", lambda found: f"backbone.res{int(found[1]) + 1}", name)
    return ""
