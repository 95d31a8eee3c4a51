"""The one guarded way out, to the tools that are checked."""

from stella_runtime.egress.client import Egress, open_egress
from stella_runtime.egress.proxy import Proxy

__all__ = ["Egress", "Proxy", "open_egress"]
