from __future__ import annotations

import pytest

from server.file_descriptors import RESERVED, fitting, needed


@pytest.mark.parametrize("descriptors", [64, 256, RESERVED, 1024, 4096, 20_000, 1_048_576])
def test_the_connections_of_both_ports_leave_descriptors_for_the_rest(descriptors: int) -> None:
    fit = fitting(descriptors, 10_000)
    assert 0 < fit.grpc <= fit.http <= 10_000
    assert descriptors - fit.http - fit.grpc >= min(RESERVED, descriptors // 2)


def test_with_what_is_needed_every_connection_over_http_fits() -> None:
    assert fitting(needed(10_000), 10_000) == (10_000, 2_500)
    assert fitting(needed(10_000) - 100, 10_000).http < 10_000
    assert fitting(1_048_576, 10_000) == (10_000, 10_000)
