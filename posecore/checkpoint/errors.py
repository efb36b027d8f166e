"""The error of weights that cannot be used: :class:`CheckpointError`."""


class CheckpointError(ValueError):
    """Weights that cannot be read, or do not fit the model."""
