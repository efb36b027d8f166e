"""What an import left out or decided: :class:`Notes`."""

from collections import defaultdict
from dataclasses import dataclass, field

# The number of examples that a note names.
NUM_EXAMPLES = 3
# The first word of remarks that a user should act on.
WARNING = "WARNING"


@dataclass
class Notes:
    """What an import left out or decided, for its summary.

    Attributes:
        left_out: reason -> what was left out for it, each by a name that helps to find it.
        missing: the names of images whose files were not found.
        remarks: decisions, one sentence each.
    """

    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, example: str) -> None:
        """Notes that something was left out; the reason completes "<count> left out: ..."."""
        self.left_out[reason].append(example)

    def rename(self, path: str, name: str) -> None:
        """Writes a name in place of a path, such as that of a temporary folder."""
        self.left_out = defaultdict(
            list, {key: [text.replace(path, name) for text in texts] for key, texts in self.left_out.items()}
        )
        self.remarks = [text.replace(path, name) for text in self.remarks]

    def remark(self, sentence: str) -> None:
        """Notes a decision once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)
