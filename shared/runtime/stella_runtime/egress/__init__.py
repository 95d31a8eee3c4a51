"""The one guarded way out, to the tools that are checked."""

from stella_runtime.egress.client import Egress, open_egress

__all__ = ["Egress", "open_egress"]
