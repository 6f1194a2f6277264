"""The version of genner; changed by hand for a release."""

__version__ = "0.1.0"
