"""What several output formats share. `inline` and `listing` are base classes of formats; the rest are tools."""
