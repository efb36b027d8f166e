"""Datasets that live as long as a test."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from helpers.skeletons import DOG

from posecore.data import register


@pytest.fixture
def dataset(tmp_path):
    """Registers annotations under a name, with the options of :func:`register`; forgets it afterwards."""
    names = []

    def add(annotations, name="dogs", skeleton=DOG, image_root=tmp_path, **options):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(annotations))
        register(name, file, image_root, skeleton, **options)
        names.append(name)
        return name

    yield add
    for name in set(names):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
