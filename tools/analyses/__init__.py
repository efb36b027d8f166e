"""The commands of tools/analyze.py, one module each."""
