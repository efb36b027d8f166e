"""Checkpoints: reading, converting and writing the weights of models."""
