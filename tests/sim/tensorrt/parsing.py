"""OnnxParser: fills a network definition from an ONNX file, and says which nodes it cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.definitions import INetworkDefinition
from tests.sim.tensorrt.enums import ErrorCode
from tests.sim.tensorrt.interfaces import ILogger
from tests.sim.tensorrt.registry import registry
from tests.sim.tensorrt.support import UNSUPPORTED, refusals


class ParserError(Bound):
    """Why a file was not taken."""

    def _begin(self, code: ErrorCode, desc: str, node: int = -1, name: str = "", kind: str = "") -> None:
        self._code, self._desc, self._node, self._node_name, self._kind = code, desc, node, name, kind

    def code(self) -> ErrorCode:
        return self._code

    def desc(self) -> str:
        return self._desc

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 1

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._node_name

    def node_operator(self) -> str:
        return self._kind

    def local_function_stack(self) -> list[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0

    def __str__(self) -> str:
        return f"In node {self._node} with name: {self._node_name} and operator: {self._kind} (parseNode): {self._desc}"


class OnnxParser(Bound):
    """One file goes into one network."""

    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        if not isinstance(network, INetworkDefinition) or not isinstance(logger, ILogger):
            raise TypeError("__init__(): incompatible constructor arguments.")
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []
        self._flags = 0

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def set_flag(self, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def supports_operator(self, op_name: str) -> bool:
        return op_name not in UNSUPPORTED and (onnx.defs.has(op_name) or registry()._knows(op_name))

    def parse(self, model: Any, path: str | None = None) -> bool:
        """From bytes; `path` is where weights outside of the file are looked for."""
        try:
            parsed = onnx.load_from_string(bytes(memoryview(model)))
        except DecodeError as error:
            return self._fail(
                ParserError._made(
                    ErrorCode.MODEL_DESERIALIZE_FAILED, f"Failed to parse the ONNX model: {error}"
                )
            )
        if path is not None:
            onnx.load_external_data_for_model(parsed, str(Path(path).parent))
        return self._take(parsed)

    def parse_from_file(self, model: str) -> bool:
        """From a file, with weights that lie outside of it."""
        try:
            return self._take(onnx.load(model))
        except (OSError, DecodeError) as error:
            return self._fail(
                ParserError._made(ErrorCode.MODEL_DESERIALIZE_FAILED, f"Failed to open {model}: {error}")
            )

    def supports_model_v2(self, model: Any, path: str | None = None) -> bool:
        return not self._problems(onnx.load_from_string(bytes(memoryview(model))))

    def _take(self, model: onnx.ModelProto) -> bool:
        fault = current().faults.take("parse")
        if fault is not None:
            return self._fail(ParserError._made(ErrorCode.INTERNAL_ERROR, fault.log or "Assertion failed"))
        outside = [
            one.name for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL
        ]
        if outside:
            return self._fail(
                ParserError._made(
                    ErrorCode.MODEL_DESERIALIZE_FAILED, f"Failed to import initializer: {outside[0]}"
                )
            )
        problems = self._problems(model)
        if problems:
            return self._fail(*problems)
        self._network._fill(model)
        return True

    def _problems(self, model: onnx.ModelProto) -> list[ParserError]:
        return [
            ParserError._made(ErrorCode.UNSUPPORTED_NODE, why, position, node.name, node.op_type)
            for position, node, why in refusals(model)
        ]

    def _fail(self, *errors: ParserError) -> bool:
        self._errors += errors
        for error in errors:
            current().log(self._logger, "ERROR", str(error))
        return False


class ParserUntil10:
    """What 11 dropped."""

    def supports_model(self, model: Any, path: str | None = None) -> tuple[bool, list[Any]]:
        return OnnxParser.supports_model_v2(self, model, path), []  # type: ignore[arg-type]
