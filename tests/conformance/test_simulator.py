"""What stands in for TensorRT, pycuda and cuda.bindings in the simulator is as the real ones are, in every version."""

from __future__ import annotations

import sys
from functools import cache

import pytest

from tests.conformance import behaviour
from tests.conformance.api import Api, differences
from tests.conformance.conftest import cuda_api, pycuda_api, tensorrt_api
from tests.conformance.describe import describe
from tests.sim import install
from tests.sim.personalities import PERSONALITIES

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # the first one installs


@cache
def stand_in(module: str, personality: str) -> Api:
    """Returns what the simulator offers as a module, as one version."""
    with install(personality):
        __import__(module)
        return Api.of(f"the simulator's {module} {personality}", describe(sys.modules[module]))


def members(api: Api) -> set[tuple[str, str]]:
    """Returns all members of a module and its classes."""
    owners = {"": api.members, **api.classes}
    return {(owner, name) for owner, names in owners.items() for name in names}


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_all_of_the_simulated_tensorrt_is_in_the_real_one(personality: str) -> None:
    wrong = list(differences(stand_in("tensorrt", personality), tensorrt_api(personality)))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_what_one_simulated_version_lacks_the_real_one_lacks_too(personality: str) -> None:
    """A member that another version has, and this one denies."""
    ours, real = members(stand_in("tensorrt", personality)), members(tensorrt_api(personality))
    denied = {member for other in PERSONALITIES for member in members(stand_in("tensorrt", other))} - ours
    assert not denied & real


def test_versions_are_told_apart() -> None:
    """What section by section differs between the versions must differ in the simulator, or nothing is tested."""
    old, new = members(stand_in("tensorrt", "10.16")), members(stand_in("tensorrt", "11.4"))
    assert ("BuilderFlag", "FP16") in old - new
    assert ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH") in old - new
    assert ("ICudaEngine", "device_memory_size") in old - new
    first = members(stand_in("tensorrt", "10.0"))
    assert ("ICudaEngine", "device_memory_size_v2") in old - first


@pytest.mark.parametrize("personality", PERSONALITIES)
@pytest.mark.parametrize("name", behaviour.CHECKS)
def test_the_simulated_tensorrt_behaves_as_the_real_one(personality: str, name: str) -> None:
    """test_real_libraries.py makes the same checks with the real bindings."""
    with install(personality) as simulation:
        behaviour.CHECKS[name](simulation.api)


def test_all_of_the_simulated_pycuda_is_in_the_real_one() -> None:
    wrong = list(differences(stand_in("pycuda.driver", "11.4"), pycuda_api()))
    assert not wrong, "\n".join(wrong)


def test_all_of_the_simulated_graphs_are_in_the_real_cuda_bindings() -> None:
    wrong = list(differences(stand_in("cuda.bindings.driver", "11.4"), cuda_api()))
    assert not wrong, "\n".join(wrong)
