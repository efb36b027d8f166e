"""The key LOGGERS, with the real packages of wandb and mlflow, offline."""

import json
import logging
from pathlib import Path

import pytest
from detectron2.utils.events import EventStorage
from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.configs import override_list
from helpers.support import core_cfg

from posecore.config.errors import UsageError
from posecore.data.synthetic import make_dataset
from posecore.engine import loggers
from posecore.engine.loggers import LoggedRun, ServiceWriter, chosen_loggers
from posecore.engine.setup import set_up_process
from posecore.engine.trainer import Trainer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=4, size=(48, 64), name="toy")


def train(dataset: Path, output: Path, *names: str, iterations: int = 4, resume: bool = False) -> None:
    """Trains a toy model and evaluates it, with these loggers."""
    cfg = core_cfg(
        *override_list(
            {
                "MODEL.META_ARCHITECTURE": "ToyPose",
                "OUTPUT_DIR": str(output),
                "LOGGERS": names,
                "SEED": 1,
                "DATASETS.DEFINITIONS": (str(dataset),),
                "DATASETS.TRAIN": ("toy_train",),
                "DATASETS.TEST": ("toy_train",),
                "INPUT.MIN_SIZE_TRAIN": (48,),
                "INPUT.MIN_SIZE_TEST": 48,
                "DATALOADER.NUM_WORKERS": 0,
                "SOLVER.MAX_ITER": iterations,
                "SOLVER.STEPS": (),
                "SOLVER.IMS_PER_BATCH": 2,
                "TEST.NUM_PREVIEWS": 0,
            }
        )
    )
    set_up_process(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()


def test_json_alone(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "out", "json")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"metrics.json", "curves.png"} <= names
    assert not any(name.startswith("events") for name in names)


def test_without_json_there_are_no_curves(dataset: Path, tmp_path: Path) -> None:
    train(dataset, tmp_path / "out", "tensorboard")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not {"metrics.json", "curves.png"} & names
    assert any(name.startswith("events") for name in names)


@pytest.mark.parametrize(("names", "message"), [((), "LOGGERS must hold one"), (("csv",), "not 'csv'")])
def test_names_that_are_no_loggers(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen_loggers(core_cfg("LOGGERS", names))


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"LOGGERS 'wandb' needs the package wandb.*requirements/wandb\.txt"):
        chosen_loggers(core_cfg("LOGGERS", ("json", "wandb")))


class FailingWriter(ServiceWriter):
    """A service that is away for the first call."""

    def __init__(self, run: LoggedRun) -> None:
        super().__init__(run)
        self.sent: list[tuple[int, dict]] = []
        self.away = True

    def send(self, iteration, metrics):
        if self.away:
            self.away = False
            raise ConnectionError("the server is away")
        self.sent.append((iteration, dict(metrics)))

    def finish(self, complete):
        raise ConnectionError(f"complete: {complete}")


def test_a_service_that_fails_costs_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = FailingWriter(LoggedRun(tmp_path, resumed=False, max_iter=2, config={}))
    caplog.set_level(logging.WARNING, logger="posecore")
    logging.getLogger("posecore").propagate = True
    with EventStorage(0) as storage:
        storage.put_scalar("loss", 3.0)
        writer.write()
        writer.write()
        writer.write()
        storage.step()
        writer.close()
    assert writer.sent == [(0, {"loss": 3.0})]
    assert "FailingWriter: iteration 0 is not logged: the server is away" in caplog.text
    assert "the record is not ended: complete: False" in caplog.text


def metrics_of(output: Path) -> dict[str, dict[int, float]]:
    """Name -> iteration -> value, of metrics.json."""
    found: dict[str, dict[int, float]] = {}
    for line in (output / "metrics.json").read_text().splitlines():
        values = json.loads(line)
        iteration = values.pop("iteration")
        for name, value in values.items():
            found.setdefault(name, {})[iteration] = value
    return found


def test_mlflow_has_the_metrics_and_the_configuration(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed (requirements/mlflow.txt)")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    output = tmp_path / "out"
    train(dataset, output, "json", "mlflow")
    run_id = (output / "mlflow_run.txt").read_text()
    client = mlflow.MlflowClient((output / "mlruns").as_uri())
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "out"
    assert run.data.params["SOLVER.MAX_ITER"] == "4"
    assert "SOLVER.GAMMA" not in run.data.params  # a default
    for name, values in metrics_of(output).items():
        history = {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
        assert history == pytest.approx(values), name
    artifact = client.download_artifacts(run_id, "config.yaml", str(tmp_path))
    assert "META_ARCHITECTURE: ToyPose" in Path(artifact).read_text()

    train(dataset, output, "json", "mlflow", iterations=6, resume=True)
    assert (output / "mlflow_run.txt").read_text() == run_id
    steps = [metric.step for metric in client.get_metric_history(run_id, "total_loss")]
    assert steps == [3, 5]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_wandb_keeps_an_offline_run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (requirements/wandb.txt)")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    output = tmp_path / "out"
    train(dataset, output, "json", "wandb")
    run_id = (output / "wandb_run.txt").read_text()
    (file,) = output.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    content = file.read_bytes()
    assert {b"ToyPose", b"total_loss", b"keypoints/AP"} <= {
        word for word in (b"ToyPose", b"total_loss", b"keypoints/AP") if word in content
    }

    train(dataset, output, "json", "wandb", iterations=6, resume=True)
    assert (output / "wandb_run.txt").read_text() == run_id


def test_a_training_that_is_not_resumed_is_another_run(tmp_path: Path) -> None:
    run = LoggedRun(tmp_path, resumed=False, max_iter=1, config={})
    loggers.RunIdentity(run, "name.txt").write("first")
    resumed = LoggedRun(tmp_path, resumed=True, max_iter=1, config={})
    assert loggers.RunIdentity(resumed, "name.txt").read() == "first"
    assert loggers.RunIdentity(run, "name.txt").read() == ""
