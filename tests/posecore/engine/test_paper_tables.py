"""The rows of the papers' tables."""

from pathlib import Path

import pytest
import yaml

from posecore.config.merge import UsageError
from posecore.engine.paper_tables import choose_rows, comparison_tables, read_rows
from posecore.engine.results import write_results


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A folder of configurations with one table."""
    rows = [
        {"row": "With it (ours)", "config": "m/R.yaml", "overrides": ["A.B", 1], "paper": {"AP": 50.1}},
        {"row": "Without", "config": "m/R.yaml", "overrides": [], "paper": {"AP": 48.0, "AP50": 70.0}},
    ]
    (tmp_path / "paper").mkdir()
    table = {"table": "Table 1", "what": "It", "rows": rows}
    (tmp_path / "paper" / "tables.yaml").write_text(yaml.safe_dump({"method": [table]}))
    return tmp_path


def test_names_are_unique_and_configurations_exist() -> None:
    rows = list(read_rows())
    assert len({row.name for row in rows}) == len(rows) > 30
    assert "directpose/table-5/r-50-multi-scale" in {row.name for row in rows}
    assert not [row.name for row in rows if not row.config_file.is_file()]


def test_a_row_is_described_in_a_line(configs: Path) -> None:
    first, _ = read_rows(configs)
    assert first.describe(configs) == "method/table-1/with-it-ours  m/R.yaml A.B 1  (AP 50.1)"


def test_a_row_is_a_run_in_its_folder(configs: Path) -> None:
    (row,) = choose_rows("*/with-*", configs)
    run = row.run(Path("out"), ["SEED", "3"])
    assert run.overrides == ("A.B", "1", "SEED", "3")
    assert run.folder == Path("out/method/table-1/with-it-ours")


def test_a_pattern_without_rows_is_refused(configs: Path) -> None:
    with pytest.raises(UsageError, match="no row is called 'method/table-2/\\*'"):
        choose_rows("method/table-2/*", configs)


def test_metrics_stand_beside_the_papers_figures(configs: Path, tmp_path: Path) -> None:
    rows = choose_rows("*", configs)
    folder = rows[0].run(tmp_path).folder
    folder.mkdir(parents=True)
    write_results(folder, {"keypoints": {"AP": 50.26}})
    (table,) = comparison_tables(rows, tmp_path)
    assert table.splitlines() == [
        "### method, Table 1: It",
        "",
        "|  | AP | AP50 |",
        "| --- | --- | --- |",
        "| With it (ours) | 50.3 (50.1) | - |",
        "| Without | - (48.0) | - (70.0) |",
    ]
