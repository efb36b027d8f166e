"""Layers: parts of networks that do not depend on poses."""
