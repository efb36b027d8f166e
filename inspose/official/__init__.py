"""The model that was released with the paper; docs/inspose.md says how it differs from the paper's own."""
