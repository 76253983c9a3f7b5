"""A Ray cluster of two nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Nodes of two cores each, which this process has joined."""
    import ray
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 100 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **memory})
    nodes.add_node(num_cpus=2, **memory)
    ray.init(address=nodes.address, logging_level="ERROR", log_to_driver=False)
    assert ray.cluster_resources()["CPU"] == 4
    assert len(ray.nodes()) == 2
    yield nodes
    ray.shutdown()
    nodes.shutdown()
