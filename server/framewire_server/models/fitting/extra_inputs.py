"""Inputs that are no picture: filled so that boxes come out in pixels of the network's input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from framewire_server.errors import ModelError
from framewire_server.models.signature import Signature
from framewire_server.tensors import Tensor


def fill(signature: Signature) -> dict[str, NDArray[np.generic]]:
    """Returns the value for one picture (without the batch axis) of every input that is no picture, by name.

    Raises ModelError naming an input whose value neither the model file states nor its name tells.
    """
    return {tensor.name: _value(signature, tensor) for tensor in signature.extra_inputs}


def _value(signature: Signature, tensor: Tensor) -> NDArray[np.generic]:
    width, height = signature.input_size or (1, 1)
    known: dict[str, tuple[float, ...]] = {
        "orig_target_sizes": (width, height),  # RT-DETR tools/export_onnx.py: (W, H)
        "orig_size": (width, height),
        "scale_factor": (1.0, 1.0),  # PaddleDetection: resized / original
        "im_shape": (height, width),  # PaddleDetection: of the resized picture
        "image_shape": (height, width),  # keras YOLOv3
    }
    stated = (signature.stated.extra_inputs or {}).get(tensor.name)
    values = stated or known.get(tensor.name.split(":")[0])
    if values is None and tensor.name == "pixel_mask":
        shape = [size or side for size, side in zip(tensor.shape[1:], (height, width), strict=False)]
        return np.ones(shape, tensor.dtype)
    if values is None:
        raise ModelError(
            f"input {tensor} is no picture, and its name tells nothing. State its value for one picture in the "
            f"model file:\n    extra_inputs: {{{tensor.name}: [1.0, 1.0]}}"
        )
    shape = [size or -1 for size in tensor.shape[1:]]
    try:
        return np.array(values, tensor.dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:  # its shape, no type of numbers, too small a type
        raise ModelError(f"input {tensor} does not hold {len(values)} numbers a picture: {error}") from error
