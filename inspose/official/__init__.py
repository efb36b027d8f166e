"""The model of the official code of InsPose; docs/inspose.md lists its differences from the paper."""
