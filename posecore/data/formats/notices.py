"""What a reader filled in or found doubtful: :class:`Notices`."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from posecore.config.errors import some


@dataclass
class Notices:
    """What was filled in, and what looks wrong: by its explanation, the ids of the annotations.

    Attributes:
        total: number of the persons.
    """

    total: int
    ids: dict[str, list] = field(default_factory=lambda: defaultdict(list))

    def texts(self) -> Iterator[str]:
        """The notices, one sentence each."""
        for explanation, ids in self.ids.items():
            yield f"{len(ids)} of {self.total} annotations have {explanation}; annotation {some(ids, 3)}"
