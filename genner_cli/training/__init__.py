"""Learning: the boundary to torch and transformers."""

import logging
import sys

sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # else bitsandbytes fetches from the Hub as it starts
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # and warns where it cannot
