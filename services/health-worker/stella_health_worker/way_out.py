"""The way out as the settings of a worker have it."""

from contextlib import AbstractAsyncContextManager

from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.egress import Egress, open_egress


def way_out(settings: HealthWorkerSettings) -> AbstractAsyncContextManager[Egress]:
    """For checks, and for webhooks: with connections of its own each."""
    return open_egress(
        settings.egress_allow,
        allow_by_tenant=settings.egress_tenant_allow,
        own=settings.own_endpoints,
        proxy=settings.proxy,
        send_traceparent=settings.send_traceparent,
    )
