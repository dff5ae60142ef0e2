"""Networks that find no boxes: Ultralytics says so in its metadata. Row 1 of the decision table."""

from __future__ import annotations

from framewire_server.models.network.metadata import is_ultralytics
from framewire_server.models.signature import Signature
from framewire_server.models.spec import Refusal


class OtherTasks:
    """Refuses segmentation, pose, rotated boxes and classification, whatever their tensors look like."""

    name = "other-tasks"

    def match(self, signature: Signature) -> Refusal | None:
        """Row 1, before all others."""
        task = signature.metadata.get("task", "detect")
        if task == "detect" or not is_ultralytics(signature.metadata):
            return None
        return Refusal(
            self.name,
            0,
            f"its metadata says that the model's task is {task!r}; Framewire serves detectors (task 'detect')",
        )
