from __future__ import annotations

import ipaddress
import socket
import uuid

from jupyter_ffdl.lifecycle.local import addresses
from jupyter_ffdl.lifecycle.local.addresses import for_learners, free_port


def test_each_learner_has_a_loopback_address_of_its_own():
    name = str(uuid.uuid4())
    found = for_learners(name, 300)
    assert found == for_learners(name, 300)
    assert len(set(found)) in {300, 1}
    assert all(ipaddress.ip_address(address).is_loopback for address in found)
    assert not any(address.endswith((".0", ".255")) for address in found)


def test_one_learner_lives_on_the_usual_address():
    assert for_learners(str(uuid.uuid4()), 1) == ["127.0.0.1"]


def test_addresses_stay_in_their_range_at_its_end():
    last = uuid.UUID(int=(224 << 16) - 2)
    assert for_learners(str(last), 3)[-1].startswith(("127.16.0.", "127.0.0.1"))


def test_two_trainings_have_different_addresses():
    found = {for_learners(str(uuid.uuid4()), 2)[0] for _ in range(20)}
    assert len(found) > 15 or found == {"127.0.0.1"}


def test_a_free_port_can_be_bound_on_every_address():
    for _ in range(20):
        port = free_port()
        with socket.socket() as everywhere:
            everywhere.bind(("", port))


def test_a_port_that_is_taken_on_one_address_is_not_free():
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert not addresses._free(port)
