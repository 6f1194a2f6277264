"""Published methods around an injected model: small pure files, one for each (docs/methods.md)."""
