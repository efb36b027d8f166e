"""Configuration: every key with its default, and reading files and overrides into it.

The keys of each method are in the method's own ``config.py``.
"""

from posecore.config.defaults import METHODS, add_config, get_cfg

__all__ = ["METHODS", "add_config", "get_cfg"]
