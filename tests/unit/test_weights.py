"""Weights of client networks: what may be stated, and whom it concerns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from framewire_server.config import ServerConfig
from framewire_server.weights import Weights

STATED = {
    "10.0.0.0/8": 2,
    "10.0.1.0/24": 3,
    "10.0.1.7": 0.5,
    "fd00::/8": 4,
    "fd00::1": 5,
    "::ffff:192.168.0.0/112": 6,
    "unix:": 7,
}


@pytest.mark.parametrize(
    ("identity", "weight"),
    [
        ("ipv4:10.0.1.7", 0.5),
        ("ipv4:10.0.1.8", 3),
        ("ipv4:10.9.9.9", 2),
        ("ipv4:11.0.0.1", 1),
        ("ipv6:[fd00::1]", 5),
        ("ipv6:[fd00::2]", 4),
        ("ipv6:[fd00::2%eth0]", 4),
        ("ipv6:[::1]", 1),
        ("ipv6:[::ffff:10.0.1.7]", 0.5),
        ("ipv4:192.168.3.4", 6),
        ("unix:", 7),
        ("unix:/run/framewire.sock", 7),
        ("vsock:3", 1),
        ("", 1),
    ],
)
def test_the_smallest_network_counts(identity: str, weight: float) -> None:
    weights = Weights(STATED)
    assert weights(identity) == weight
    assert weights(identity) == weight, "remembered"


def test_whoever_is_in_no_stated_network_has_weight_1() -> None:
    assert Weights({})("ipv4:10.0.1.7") == Weights({})("unix:") == 1


@given(st.lists(st.integers(0, 32), min_size=1, unique=True), st.ip_addresses(v=4))
def test_of_all_networks_around_an_address_the_longest_prefix_counts(
    lengths: list[int], address: object
) -> None:
    import ipaddress

    networks = {str(ipaddress.ip_network(f"{address}/{n}", strict=False)): n + 1 for n in lengths}
    assert Weights(networks)(f"ipv4:{address}") == max(lengths) + 1


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"10.0.1.7/24": 1}, "'10.0.1.7/24' is no address or network: 10.0.1.7/24 has host bits set; state"),
        ({"camera": 1}, "'camera' is no address or network"),
        ({"10.0.0.1": 0}, "10.0.0.1: the weight 0 is not between 0.001 and 1000"),
        ({"10.0.0.1": -1}, "the weight -1 is not between"),
        ({"10.0.0.1": 1001}, "the weight 1001 is not between"),
        ({"10.0.0.1": float("inf")}, "the weight inf is not between"),
        ({"10.0.0.1": float("nan")}, "the weight nan is not between"),
        ({"unix:": 0}, "unix:: the weight 0 is not between"),
        ({"10.0.0.1": 1, "10.0.0.1/32": 2}, "10.0.0.1/32: 10.0.0.1/32 is stated twice"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_start(stated: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match="identity_weights") as refusal:
        ServerConfig(identity_weights=stated)
    assert said in str(refusal.value)


def test_weights_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEWIRE_IDENTITY_WEIGHTS", '{"10.0.1.0/24": 3, "10.0.9.7": 0.5, "unix:": 2}')
    assert ServerConfig().identity_weights == {"10.0.1.0/24": 3, "10.0.9.7": 0.5, "unix:": 2}
