"""Drives aetcd through the proxies whose endpoints are the arguments; prints the cluster id that all replies carried."""

import asyncio
import sys
from urllib.parse import urlparse

import aetcd
from aetcd import rpc

PREFIXES = [b"/registry/events/", b"/registry/leases/", b"/registry/pods/", b"/registry/configmaps/"]

clusters = set()


def header(reply):
    assert reply.header.cluster_id != 0, reply
    clusters.add(reply.header.cluster_id)
    assert len(clusters) == 1, clusters


async def keys(client, prefix):
    key = prefix + b"aetcd"
    put = await client.put(key, b"1")
    header(put)
    get = await client.get(key)
    header(get)
    assert get.value == b"1" and get.mod_revision == put.header.revision, get
    succeeded, responses = await client.transaction(
        compare=[client.transactions.mod(key) == put.header.revision],
        success=[client.transactions.put(key, b"2"), client.transactions.get(key)],
        failure=[client.transactions.get(key)],
    )
    assert succeeded and responses[1][0][0] == b"2", responses
    header(responses[1][0][1])
    assert await client.replace(key, b"2", b"3")
    assert not await client.replace(key, b"2", b"4")
    found = await client.get_prefix(prefix)
    header(found)
    assert len(found) == 1, found
    deleted = await client.delete(key, prev_kv=True)
    header(deleted)
    assert deleted.prev_kv.value == b"3", deleted


async def watches(client, prefix):
    watch = await client.watch_prefix(prefix, prev_kv=True)
    await client.put(prefix + b"watched", b"1")
    await client.delete(prefix + b"watched")
    seen = []
    async for event in watch:
        seen.append(event)
        if len(seen) == 2:
            await watch.cancel()
    put, delete = seen
    assert put.kind == aetcd.EventKind.PUT and put.kv.value == b"1", put
    assert delete.kind == aetcd.EventKind.DELETE and delete.prev_kv.value == b"1", delete


async def leases(client, prefix):
    lease = await client.lease(30)
    await client.put(prefix + b"leased", b"1", lease=lease)
    renewed = await lease.refresh()
    header(renewed)
    assert renewed.TTL > 0, renewed
    assert await lease.granted_ttl() == 30
    assert list(await lease.keys()) == [prefix + b"leased"]
    await lease.revoke()
    assert await client.get(prefix + b"leased") is None
    gone = await client.refresh_lease(lease.id)
    header(gone)
    assert gone.TTL == 0, gone


async def everything(client):
    status = await client.status()
    assert status.version.startswith("3."), status
    assert status.leader is not None, "the leader is a member"
    header(await client.clusterstub.MemberList(rpc.MemberListRequest()))
    for prefix in PREFIXES:
        await client.put(prefix + b"everywhere", b"1")
    found = await client.get_all()
    header(found)
    order = [kv.key for kv in found]
    assert order == sorted(order) and len(order) >= len(PREFIXES), order
    async with client.lock(b"/locks/aetcd", 30) as lock:
        assert await lock.is_acquired()
    for prefix in PREFIXES:
        await client.delete(prefix + b"everywhere")


async def main(endpoints):
    for endpoint in endpoints:
        address = urlparse(endpoint)
        async with aetcd.Client(host=address.hostname, port=address.port, timeout=30) as client:
            for prefix in PREFIXES:
                await keys(client, prefix)
                await watches(client, prefix)
                await leases(client, prefix)
            await everything(client)
    print(f"cluster_id={clusters.pop()}")


asyncio.run(asyncio.wait_for(main(sys.argv[1:]), 120))
