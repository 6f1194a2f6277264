"""An output format in one file: `<John Smith|PER> reported from <New York|LOC>.`"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from genner_cli.formats.shared.inline import InlineFormat


class Angled(InlineFormat):
    """The label stands in the closing; bars, angles and ampersands of the source have an ampersand before them."""

    task = "Copy the text and mark every named entity in it as <mention|LABEL>."
    open = "<"
    close = ("|", ">")
    escapes: ClassVar[Mapping[str, str]] = {char: "&" + char for char in "<>|&"}
    char = '[^<>|&] | "&" [<>|&]'


FORMAT = Angled()
