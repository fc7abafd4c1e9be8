"""A Ray cluster of three nodes: prints its address, then loses or adds one for each line it reads.

With `--dashboard PORT`, Ray's dashboard and state API answer at the port.
"""

import os
import sys

# A node counts as lost after a second and a half.
os.environ |= {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}

from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "include_dashboard": False}
if sys.argv[1:2] == ["--dashboard"]:
    head |= {"include_dashboard": True, "dashboard_port": int(sys.argv[2])}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "add\n":
        nodes.append(cluster.add_node(num_cpus=1))
        print("added one", flush=True)
    else:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("lost one", flush=True)
cluster.shutdown()
