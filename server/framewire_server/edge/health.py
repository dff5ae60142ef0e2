"""grpc.health.v1, with names that come and go."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

_STATUS = {True: health_pb2.HealthCheckResponse.SERVING, False: health_pb2.HealthCheckResponse.NOT_SERVING}


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # it ships no types
    """Answers Check and Watch, overall and for each service, model, and version of a model."""

    async def tell(self, name: str, *, serving: bool) -> None:
        """From now on `name` does or does not answer."""
        await self.set(name, _STATUS[serving])

    async def forget(self, name: str) -> None:
        """There is no `name` any more: Watch tells SERVICE_UNKNOWN, Check ends as NOT_FOUND."""
        if name in self._server_status:
            await self.set(name, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        if not self._gracefully_shutting_down:  # else all names are being gone through
            # The library has no way to do so, and names of versions would gather for as long as the server runs.
            self._server_status.pop(name, None)
