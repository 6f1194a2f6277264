"""Counts and sizes in messages."""


def counted(count: int, noun: str) -> str:
    """`1 entity`, `1,200 entities`; `noun` is in the singular, and regular."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def size_text(count: int) -> str:
    """Bytes for people: `8.3 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
