"""Every error a user can meet.

    GennerError            anything that is not a bug
    ├── UsageError         the command line or an options file is wrong         exit 2
    ├── DataError          one document is wrong: recorded, the batch continues   exit 1 at the end
    ├── ReadError          a disk or a server failed: another time it may not   exit 1
    └── ModelError         a model file is broken or does not fit               exit 1
        └── ModelNotFound  what was named is not a model on this machine       exit 2

A message says where, what value, and what to do about it. An exception that is not a
`GennerError` is a bug and shows its traceback.
"""


class GennerError(Exception):
    """Base of all errors with a message meant for the user."""

    exit_code = 1


class UsageError(GennerError):
    """The command was called wrongly."""

    exit_code = 2


class DataError(GennerError):
    """One document cannot be processed; the others can."""


class ReadError(GennerError):
    """A disk or a server failed while documents were read: nothing is wrong with them."""


class ModelError(GennerError):
    """A model cannot be found, read or used."""


class ModelNotFound(ModelError):
    """A path or reference names no model on this machine."""

    exit_code = UsageError.exit_code
