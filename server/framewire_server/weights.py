"""Whose frames count more: weights of client networks, as the operator states them."""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Mapping
from typing import TypeAlias

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"
UNIX = "unix:"
LEAST, MOST = 0.001, 1000.0
_REMEMBERED = 4096
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class Weights:
    """Says how many frames an identity gets for each one of an identity of weight 1.

    `stated` leads an IP address, a network in CIDR notation, or "unix:" to a weight; of several networks that an
    address lies in, the smallest counts, and without any the weight is 1.
    """

    def __init__(self, stated: Mapping[str, float]) -> None:
        """Raises ValueError saying what is wrong with which entry."""
        self._unix = 1.0
        self._networks: dict[Network, float] = {}
        for name, weight in stated.items():
            if not (math.isfinite(weight) and LEAST <= weight <= MOST):
                raise ValueError(f"{name}: the weight {weight:g} is not between {LEAST:g} and {MOST:g}")
            if name == UNIX:
                self._unix = weight
                continue
            network = _network(name)
            if network in self._networks:
                raise ValueError(f"{name}: {network} is stated twice")
            self._networks[network] = weight
        # The smallest network first, which is the longest prefix.
        self._order = sorted(self._networks, key=lambda network: -network.prefixlen)
        self._remembered = functools.lru_cache(_REMEMBERED)(self._look_up)

    def __call__(self, identity: str) -> float:
        """The weight of an identity such as "ipv4:10.0.1.7", "ipv6:[::1]" or "unix:"."""
        return self._remembered(identity)

    def _look_up(self, identity: str) -> float:
        kind, _, address_text = identity.partition(":")
        if kind == "unix":
            return self._unix
        try:
            address = ipaddress.ip_address(address_text.strip("[]"))
        except ValueError:  # say, a transport that has no addresses
            return 1.0
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return next((self._networks[network] for network in self._order if address in network), 1.0)


def _network(name: str) -> Network:
    """Parses an address or a network; IPv4 in IPv6's clothes becomes IPv4. Raises ValueError."""
    try:
        network = ipaddress.ip_network(name)
    except ValueError as error:
        raise ValueError(
            f"{name!r} is no address or network: {error}; state for example 10.0.9.7, 10.0.1.0/24, fd00::/8 or {UNIX}"
        ) from error
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network
