"""Which certificates are believed."""

import asyncio
import ssl
from collections import OrderedDict

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed

CONTEXTS = 256
"""Settings of TLS that are remembered, one for each set of authorities."""


class Trust:
    """
    Verifies certificates and names against the system's authorities, which SSL_CERT_FILE and
    SSL_CERT_DIR replace, and against those that an integration brings besides.
    """

    def __init__(self, authorities: str | None = None) -> None:
        """`authorities` (PEM) are those of the hub, in place of the system's."""
        self._authorities = authorities
        self._hub = _context(authorities)
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    async def context(self, besides: str | None) -> ssl.SSLContext:
        """
        Settings that believe the authorities given (PEM) besides the hub's.

        Raises CheckFailed if they are none.
        """
        if besides is None:
            return self._hub
        context = self._contexts.get(besides)
        if context is None:
            # Reading the system's takes longer than anything else does in this loop.
            context = await asyncio.to_thread(_context, self._authorities, besides)
            self._contexts[besides] = context
            if len(self._contexts) > CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(besides)
        return context


def _context(authorities: str | None, besides: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    if besides is not None:
        try:
            context.load_verify_locations(cadata=besides)
        except (ssl.SSLError, ValueError):
            raise CheckFailed(
                ErrorCode.MISCONFIGURED, "caBundle holds no certificates in PEM"
            ) from None
    return context
