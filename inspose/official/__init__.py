"""The official model of InsPose; docs/inspose.md says how it differs from that of the paper."""
