"""Converts the parameter names of official HRFormers, also those of Poseur: :func:`official_name`."""

import re

# A parameter that every official HRFormer has, and by which its weights are recognized.
MARKER = "stage2.0.branches.0.0.attn.attn.q_proj.weight"

_STEM = {"conv1": "stem.0", "bn1": "stem.1", "conv2": "stem.3", "bn2": "stem.4"}
_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_MLP = {"fc1": 0, "norm1": 1, "dw3x3": 3, "norm2": 4, "fc2": 6, "norm3": 7}


def official_name(name: str) -> str | None:
    """The name here of an official parameter; "" if it is not needed here, None if there is none."""
    if name.endswith((".attn.attn.relative_position_index", ".attn.attn.relative_position_bias_table")):
        return ""  # attention here has no positions
    module, _, leaf = name.rpartition(".")
    if module in _STEM:
        return f"{_STEM[module]}.{leaf}"
    if name.startswith("layer1."):
        return name
    if match := re.fullmatch(r"transition1\.0\.(\d)", module):
        return f"enter.{match[1]}.{leaf}"
    if match := re.fullmatch(r"transition([123])\.(\d)\.0\.(\d)", module):
        return f"starts.{int(match[1]) - 1}.{match[3]}.{leaf}" if match[1] == match[2] else None
    if match := re.fullmatch(r"stage([234])\.(\d+)\.(.+)", module):
        part = _in_module(match[3])
        return part and f"stages.{int(match[1]) - 2}.{match[2]}.{part}.{leaf}"
    return None


def _in_module(name: str) -> str | None:
    if match := re.fullmatch(r"fuse_layers\.(\d)\.(.+)", name):
        return f"fusions.{match[1]}.paths.{match[2]}"
    match = re.fullmatch(r"(branches\.\d\.\d+)\.(norm[12]|attn\.attn|mlp)(?:\.(\w+))?", name)
    if match is None:
        return None
    block, part, layer = match.groups()
    if part == "attn.attn":
        return f"{block}.attention.{_ATTENTION[layer]}" if layer in _ATTENTION else None
    if part == "mlp":
        return f"{block}.mlp.{_MLP[layer]}" if layer in _MLP else None
    return name if layer is None else None
