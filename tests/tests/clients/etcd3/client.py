"""Drives python-etcd3 through the proxies whose endpoints are the arguments; prints the cluster id that all replies carried."""

import sys
from urllib.parse import urlparse

import etcd3
from etcd3 import etcdrpc

PREFIXES = ["/registry/events/", "/registry/leases/", "/registry/pods/", "/registry/configmaps/"]

clusters = set()


def header(header):
    assert header.cluster_id != 0, header
    clusters.add(header.cluster_id)
    assert len(clusters) == 1, clusters


def keys(client, prefix):
    key = prefix + "etcd3"
    put = client.put(key, "1")
    header(put.header)
    value, meta = client.get(key)
    header(meta.response_header)
    assert value == b"1" and meta.mod_revision == put.header.revision, meta
    succeeded, responses = client.transaction(
        compare=[client.transactions.mod(key) == put.header.revision],
        success=[client.transactions.put(key, "2"), client.transactions.get(key)],
        failure=[client.transactions.get(key)],
    )
    assert succeeded and responses[1][0][0] == b"2", responses
    assert client.replace(key, "2", "3") and not client.replace(key, "2", "4")
    found = list(client.get_prefix(prefix))
    assert len(found) == 1 and found[0][0] == b"3", found
    header(found[0][1].response_header)
    assert client.delete(key)


def watches(client, prefix):
    events, cancel = client.watch_prefix(prefix, prev_kv=True)
    client.put(prefix + "watched", "1")
    client.delete(prefix + "watched")
    put, delete = next(events), next(events)
    assert isinstance(put, etcd3.events.PutEvent) and put.value == b"1", put
    assert isinstance(delete, etcd3.events.DeleteEvent) and delete.prev_value == b"1", delete
    cancel()


def leases(client, prefix):
    lease = client.lease(30)
    client.put(prefix + "leased", "1", lease=lease)
    renewed = lease.refresh()[0]
    header(renewed.header)
    assert renewed.TTL > 0 and lease.granted_ttl == 30, renewed
    assert list(lease.keys) == [(prefix + "leased").encode()], lease.keys
    lease.revoke()
    assert client.get(prefix + "leased") == (None, None)


def everything(client):
    assert client.status().version.startswith("3.")
    assert len(list(client.members)) == 1
    header(client.clusterstub.MemberList(etcdrpc.MemberListRequest()).header)
    for prefix in PREFIXES:
        client.put(prefix + "everywhere", "1")
    order = [meta.key for _, meta in client.get_all()]
    assert order == sorted(order) and len(order) >= len(PREFIXES), order
    with client.lock("etcd3", ttl=30) as lock:
        assert lock.is_acquired()
    for prefix in PREFIXES:
        client.delete(prefix + "everywhere")


for endpoint in sys.argv[1:]:
    address = urlparse(endpoint)
    with etcd3.client(host=address.hostname, port=address.port, timeout=30) as client:
        for prefix in PREFIXES:
            keys(client, prefix)
            watches(client, prefix)
            leases(client, prefix)
        everything(client)
print(f"cluster_id={clusters.pop()}")
