"""Files that are damaged at random: :func:`changed_bytes`."""

import random


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, left out, doubled or cut."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data))
        change = rng.randrange(5)
        if change < 3:
            data[place] = rng.randrange(256)
        elif change == 3:
            del data[place : place + rng.randint(1, 8)]
        else:
            data[place:place] = data[place : place + rng.randint(1, 8)]
        data = data or bytearray(b".")
    return bytes(data[: rng.randint(1, len(data))] if rng.random() < 0.1 else data)
