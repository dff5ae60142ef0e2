"""ModelService: what the server serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from framewire.v1 import model_pb2 as pb
from framewire.v1 import model_pb2_grpc
from framewire_server.edge import messages
from framewire_server.edge.service import Administration, Service, draining
from framewire_server.edge.status import ServicerContext, abort
from framewire_server.errors import NotPermitted, RequestError, Unavailable
from framewire_server.models.options import resolve
from framewire_server.models.repository import Entry, ModelState

_STATES = {
    ModelState.LOADING: pb.MODEL_STATE_LOADING,
    ModelState.READY: pb.MODEL_STATE_READY,
    ModelState.FAILED: pb.MODEL_STATE_FAILED,
}
_NO_ADMINISTRATION = NotPermitted(
    "ADMINISTRATION_OFF",
    "this server does not load or unload models on demand; its operator did not turn it on",
)
T = TypeVar("T")


class ModelHandlers(model_pb2_grpc.ModelServiceServicer):
    """The methods of ModelService."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ListModels(  # noqa: N802  # the protocol's name
        self, _: pb.ListModelsRequest, context: ServicerContext
    ) -> pb.ListModelsResponse:
        """Lists all models, in any state, each with the former versions that are still used."""
        repository = self._service.repository
        return pb.ListModelsResponse(
            models=[
                self._model(entry)
                for name in sorted(repository.entries)
                for entry in repository.versions(name)
            ],
            server_version=self._service.version,
        )

    async def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: ServicerContext
    ) -> pb.GetModelResponse:
        """Describes one model."""
        try:
            entry = self._service.repository.entry(request.model)
        except RequestError as error:
            await abort(context, error)
        return pb.GetModelResponse(model=self._model(entry), server_version=self._service.version)

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: ServicerContext
    ) -> pb.LoadModelResponse:
        """Loads what lies in the operator's folder now, and answers when it serves."""
        entry = await self._administer(context, lambda administration: administration.load(request.model))
        return pb.LoadModelResponse(model=self._model(entry))

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: ServicerContext
    ) -> pb.UnloadModelResponse:
        """Takes a model away, and answers when the calls that used it have ended."""
        await self._administer(context, lambda administration: administration.unload(request.model))
        return pb.UnloadModelResponse()

    async def _administer(
        self, context: ServicerContext, change: Callable[[Administration], Awaitable[T]]
    ) -> T:
        """Changes the models, unless the server is draining; a change under way then is given up."""
        try:
            if self._service.administration is None:
                raise _NO_ADMINISTRATION
            if self._service.draining:
                raise _draining()
            return await change(self._service.administration)
        except asyncio.CancelledError:
            if not self._service.draining or context.cancelled():
                raise
            await abort(context, _draining())
        except Exception as error:
            await abort(context, error)

    def _model(self, entry: Entry) -> pb.Model:
        message = pb.Model(
            name=entry.name,
            state=_STATES[entry.state],
            failure=entry.failure,
            update_failure=entry.update_failure,
            accepted_encodings=list(messages.ENCODINGS),
            limits=self._service.limits(),
            max_batch=entry.max_batch,
        )
        if spec := entry.spec:
            message.version = spec.version
            message.family = spec.family
            message.input_width, message.input_height = spec.input_width, spec.input_height
            message.labels.extend(spec.labels)
            message.default_options.CopyFrom(messages.effective_options(resolve(spec)))
        return message


def _draining() -> Unavailable:
    return draining("the server is stopping, and its models stay as they are")
