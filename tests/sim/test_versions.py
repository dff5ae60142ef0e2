"""Each personality has the members of its version, and its numbers."""

from __future__ import annotations

import pytest

from tests.sim import install
from tests.sim.programs import lane


@pytest.mark.parametrize(
    ("personality", "name", "there"),
    [
        ("11.4", "BuilderFlag.FP16", False),
        ("11.4", "BuilderFlag.INT8", False),
        ("11.4", "NetworkDefinitionCreationFlag.EXPLICIT_BATCH", False),
        ("11.4", "IInt8EntropyCalibrator2", False),
        ("11.4", "ICudaEngine.device_memory_size", False),
        ("11.4", "ICudaEngine.create_execution_context_without_device_memory", False),
        ("11.4", "Builder.platform_has_fast_fp16", False),
        ("11.4", "OnnxParser.supports_model", False),
        ("11.4", "IPluginRegistry.get_plugin_creator", False),
        ("11.4", "ICudaEngine.device_memory_size_v2", True),
        ("10.16", "BuilderFlag.FP16", True),
        ("10.16", "ICudaEngine.device_memory_size", True),
        ("10.16", "ICudaEngine.device_memory_size_v2", True),
        ("10.0", "ICudaEngine.device_memory_size_v2", False),
        ("10.0", "ICudaEngine.get_device_memory_size_for_profile_v2", False),
        ("10.0", "IExecutionContext.set_device_memory", False),
        ("10.0", "ICudaEngine.create_runtime_config", False),
        ("10.0", "IRuntimeConfig", False),
        ("10.0", "OnnxParser.supports_model_v2", False),
        ("10.0", "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", False),
    ],
)
def test_members(personality: str, name: str, there: bool) -> None:
    with install(personality) as sim:
        found = sim.api
        for part in name.split("."):
            owner, found = found, getattr(found, part, None)
            assert found is not None or owner is not None
        assert (found is not None) is there


def test_what_version_7_had_is_nowhere() -> None:
    for personality in ("10.0", "10.16", "11.4"):
        with install(personality), lane() as made:
            for name in ("num_bindings", "get_binding_shape", "max_batch_size", "get_binding_index"):
                assert not hasattr(made.engine, name)
            for name in ("execute_async", "execute_async_v2", "set_binding_shape", "execute"):
                assert not hasattr(made.context, name)
            with pytest.raises(AttributeError, match="has no attribute 'max_workspace_size'"):
                made.context.max_workspace_size = 1


def test_numbers_of_flags_are_the_versions_own() -> None:
    with install("10.16") as old:
        ten = (
            int(old.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
            int(old.api.BuilderFlag.VERSION_COMPATIBLE),
        )
    with install("11.4") as new:
        eleven = (
            int(new.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
            int(new.api.BuilderFlag.VERSION_COMPATIBLE),
        )
        assert new.api.__version__ == "11.4.0.106"
    assert (ten, eleven) == ((1, 13), (0, 12))
