"""Records that are written as a stream, and what is left of them after a kill."""

import json
from pathlib import Path

import pytest

from posecore.config.merge import UsageError
from posecore.inference.prediction_writer import recover
from posecore.inference.records import RecordFile, read_records, recover_records

RECORDS = [{"name": "a.mp4", "number": number, "people": [{"score": 0.5}] * number} for number in range(4)]


def written(file: Path, records: list[dict]) -> RecordFile:
    stream = RecordFile(file)
    for record in records:
        stream.write(record)
    return stream


@pytest.mark.parametrize("count", range(4))
def test_a_finished_file_is_a_list(tmp_path: Path, count: int) -> None:
    written(tmp_path / "part", RECORDS[:count]).finish(tmp_path / "poses.json")
    assert json.loads((tmp_path / "poses.json").read_text()) == RECORDS[:count]
    assert list(read_records(tmp_path / "poses.json")) == RECORDS[:count]
    assert [file.name for file in tmp_path.iterdir()] == ["poses.json"]


def test_a_file_of_any_layout_is_read(tmp_path: Path) -> None:
    for indent in (None, 1, 4):
        (tmp_path / "poses.json").write_text(json.dumps(RECORDS, indent=indent))
        assert list(read_records(tmp_path / "poses.json")) == RECORDS
    (tmp_path / "poses.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r"poses\.json must be a list of records"):
        list(read_records(tmp_path / "poses.json"))


def test_a_file_cut_anywhere_gives_its_whole_records(tmp_path: Path) -> None:
    written(tmp_path / "whole", RECORDS)
    content = (tmp_path / "whole").read_bytes()
    ends = [content.index(json.dumps(record).encode()) + len(json.dumps(record)) for record in RECORDS]
    for length in range(len(content) + 1):
        (tmp_path / "part").write_bytes(content[:length])
        (tmp_path / "partial.json").unlink(missing_ok=True)
        count = recover_records(tmp_path / "part", tmp_path / "partial.json")
        assert count == sum(length >= end for end in ends)
        if count:
            assert json.loads((tmp_path / "partial.json").read_text()) == RECORDS[:count]
        assert not (tmp_path / "part").exists()
        assert (tmp_path / "partial.json").exists() == bool(count)


def test_what_no_prediction_wrote_is_not_recovered(tmp_path: Path) -> None:
    assert recover(tmp_path) is None
    (tmp_path / "poses.json.part").write_text("something else\n{}\n")
    (tmp_path / "poses.partial.json").write_text("[]")
    assert recover(tmp_path) is None
    assert (tmp_path / "poses.partial.json").read_text() == "[]"


def test_a_file_that_is_written_is_not_taken_for_one_left_behind(tmp_path: Path) -> None:
    stream = written(tmp_path / "poses.json.part", RECORDS)
    for take in (lambda: recover(tmp_path), lambda: RecordFile(tmp_path / "poses.json.part")):
        with pytest.raises(UsageError, match=r"another prediction writes .*poses\.json\.part"):
            take()
    stream.finish(tmp_path / "poses.json")
    assert list(read_records(tmp_path / "poses.json")) == RECORDS


def test_a_full_disk_costs_the_last_record_only(tmp_path: Path) -> None:
    class FullDisk:
        """Takes a part of what is written, and refuses the next."""

        def __init__(self, file) -> None:
            self.file = file
            self.full = False

        def write(self, content: bytes) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            self.full = True
            return self.file.write(content[:7])

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    stream = written(tmp_path / "part", RECORDS[:2])
    whole = stream._file
    stream._file = FullDisk(whole)
    with pytest.raises(UsageError, match=r"part cannot be written: No space left on device"):
        stream.write(RECORDS[2])
    stream._file = whole
    stream.write(RECORDS[3])
    stream.finish(tmp_path / "poses.json")
    assert json.loads((tmp_path / "poses.json").read_text()) == [*RECORDS[:2], RECORDS[3]]
