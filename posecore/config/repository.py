"""Paths of the repository's folders that lie beside the packages: configurations and command lines."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
TRAIN_NET = REPOSITORY / "tools" / "train_net.py"
