"""Helpers that several tests share: samples, datasets, models, oracles, and the contract of all models."""
