"""Annotation formats: one module each, which reads files of that format into COCO's structure."""
