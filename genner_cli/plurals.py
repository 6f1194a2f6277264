"""Counts in messages, in the singular or the plural."""


def counted(count: int, noun: str) -> str:
    """`1 entity`, `1,200 entities`; `noun` is in the singular, and regular."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
