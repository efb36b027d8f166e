import io

from detectron2.engine import TrainerBase

from posecore.engine.hooks import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Counter(TrainerBase):
    def run_step(self) -> None:
        self.storage.put_scalar("total_loss", 0.25)


def written(file: io.StringIO) -> str:
    trainer = Counter()
    trainer.register_hooks([ProgressBar(file)])
    trainer.train(start_iter=2, max_iter=5)
    return file.getvalue()


def test_a_terminal_sees_a_bar_from_where_the_training_began() -> None:
    text = written(Terminal())
    assert "2/5" in text
    assert "5/5" in text
    assert "loss=0.250" in text


def test_a_file_sees_nothing() -> None:
    assert written(io.StringIO()) == ""
