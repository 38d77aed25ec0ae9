// Drives etcd's own Go client through the proxies whose endpoints are its arguments, and prints the cluster id that all
// replies carried. Exits with 1 at the first thing that is not as etcd has it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

var prefixes = []string{"/registry/events/", "/registry/leases/", "/registry/pods/", "/registry/configmaps/"}

// The one id that every header must carry.
var cluster atomic.Uint64

func check(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func assert(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}

func header(h *pb.ResponseHeader, what string) {
	assert(h != nil && h.ClusterId != 0, "%s: no cluster id: %v", what, h)
	cluster.CompareAndSwap(0, h.ClusterId)
	assert(h.ClusterId == cluster.Load(), "%s: cluster id %x, before %x", what, h.ClusterId, cluster.Load())
}

func main() {
	log.SetFlags(0)
	assert(len(os.Args) > 1, "usage: client ENDPOINT...")
	for _, endpoint := range os.Args[1:] {
		drive(endpoint, endpoint == os.Args[1])
	}
	fmt.Printf("cluster_id=%d\n", cluster.Load())
}

func drive(endpoint string, first bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second, Context: ctx})
	check(err, "client")
	defer client.Close()

	status, err := client.Status(ctx, endpoint)
	check(err, "status")
	header(status.Header, "status")
	assert(status.Leader == status.Header.MemberId, "status: leader %x, member %x", status.Leader, status.Header.MemberId)
	members, err := client.MemberList(ctx)
	check(err, "member list")
	header(members.Header, "member list")
	// A client that follows the member list stays with the proxies.
	check(client.Sync(ctx), "sync")
	assert(len(client.Endpoints()) > 0, "sync: no endpoints")

	for _, prefix := range prefixes {
		keys(ctx, client, prefix)
		watches(ctx, client, prefix)
		leases(ctx, client, prefix)
		objects(ctx, endpoint, prefix)
	}
	locks(ctx, client)
	everything(ctx, client)
	if first {
		compaction(ctx, client)
	}
}

func keys(ctx context.Context, client *clientv3.Client, prefix string) {
	key := prefix + "go"
	put, err := client.Put(ctx, key, "1", clientv3.WithPrevKV())
	check(err, "put")
	header(put.Header, "put")
	get, err := client.Get(ctx, key)
	check(err, "get")
	header(get.Header, "get")
	assert(len(get.Kvs) == 1 && string(get.Kvs[0].Value) == "1", "get: %v", get)
	assert(get.Kvs[0].ModRevision == put.Header.Revision, "get: %v after %v", get, put)

	txn, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", put.Header.Revision)).
		Then(clientv3.OpPut(key, "2"), clientv3.OpGet(prefix, clientv3.WithPrefix())).
		Else(clientv3.OpGet(key)).
		Commit()
	check(err, "txn")
	header(txn.Header, "txn")
	assert(txn.Succeeded && len(txn.Responses) == 2, "txn: %v", txn)
	list, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	check(err, "list")
	header(list.Header, "list")
	assert(list.Count >= 1, "list: %v", list)
	deleted, err := client.Delete(ctx, key, clientv3.WithPrevKV())
	check(err, "delete")
	header(deleted.Header, "delete")
	assert(deleted.Deleted == 1 && string(deleted.PrevKvs[0].Value) == "2", "delete: %v", deleted)
}

func watches(ctx context.Context, client *clientv3.Client, prefix string) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	key := prefix + "watched"
	events := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify(), clientv3.WithProgressNotify())
	created := <-events
	check(created.Err(), "watch")
	assert(created.Created, "watch: %v", created)
	header(created.Header, "watch created")
	put, err := client.Put(ctx, key, "1")
	check(err, "put")
	event := <-events
	check(event.Err(), "watch")
	header(event.Header, "watch event")
	assert(len(event.Events) == 1 && event.Events[0].IsCreate(), "event: %v", event)
	assert(event.Events[0].Kv.ModRevision == put.Header.Revision, "event: %v", event)
	_, err = client.Delete(ctx, key)
	check(err, "delete")
	event = <-events
	assert(len(event.Events) == 1 && string(event.Events[0].PrevKv.Value) == "1", "event: %v", event)

	old := client.Watch(ctx, key, clientv3.WithRev(put.Header.Revision))
	event = <-old
	check(event.Err(), "watch of the past")
	assert(event.Events[0].Kv.ModRevision == put.Header.Revision, "watch of the past: %v", event)

	// As kube-apiserver waits for a consistent read.
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			check(client.RequestProgress(ctx), "progress request")
			continue
		case response := <-events:
			check(response.Err(), "watch")
			if response.IsProgressNotify() {
				header(response.Header, "progress")
				return
			}
		case <-deadline:
			log.Fatalf("no progress on %s", prefix)
		}
	}
}

func leases(ctx context.Context, client *clientv3.Client, prefix string) {
	lease, err := client.Grant(ctx, 30)
	check(err, "grant")
	header(lease.ResponseHeader, "grant")
	_, err = client.Put(ctx, prefix+"leased", "1", clientv3.WithLease(lease.ID))
	check(err, "put with a lease")
	once, err := client.KeepAliveOnce(ctx, lease.ID)
	check(err, "keep-alive once")
	header(once.ResponseHeader, "keep-alive once")
	assert(once.TTL > 0, "keep-alive once: %v", once)
	alive, cancel := context.WithCancel(ctx)
	renewals, err := client.KeepAlive(alive, lease.ID)
	check(err, "keep-alive")
	renewal, ok := <-renewals
	assert(ok && renewal.TTL > 0, "keep-alive: %v", renewal)
	header(renewal.ResponseHeader, "keep-alive")
	cancel()
	ttl, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	check(err, "time to live")
	header(ttl.ResponseHeader, "time to live")
	assert(ttl.GrantedTTL == 30 && len(ttl.Keys) == 1 && string(ttl.Keys[0]) == prefix+"leased", "time to live: %v", ttl)
	all, err := client.Leases(ctx)
	check(err, "leases")
	header(all.ResponseHeader, "leases")
	revoked, err := client.Revoke(ctx, lease.ID)
	check(err, "revoke")
	header(revoked.Header, "revoke")
	get, err := client.Get(ctx, prefix+"leased")
	check(err, "get")
	assert(len(get.Kvs) == 0, "a key outlived its lease: %v", get)
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	assert(err != nil && err.Error() == "etcdserver: requested lease not found", "keep-alive of a lease that is gone: %v", err)
}

// The interface that kube-apiserver stores objects with.
func objects(ctx context.Context, endpoint, prefix string) {
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{endpoint}, Context: ctx})
	check(err, "client")
	defer client.Close()
	key := prefix + "object"
	created, err := client.Kubernetes.OptimisticPut(ctx, key, []byte("1"), 0, kubernetes.PutOptions{})
	check(err, "create")
	assert(created.Succeeded, "create: %v", created)
	again, err := client.Kubernetes.OptimisticPut(ctx, key, []byte("1"), 0, kubernetes.PutOptions{GetOnFailure: true})
	check(err, "create again")
	assert(!again.Succeeded && again.KV != nil, "create again: %v", again)
	updated, err := client.Kubernetes.OptimisticPut(ctx, key, []byte("2"), created.Revision, kubernetes.PutOptions{})
	check(err, "update")
	assert(updated.Succeeded && updated.Revision > created.Revision, "update: %v", updated)
	list, err := client.Kubernetes.List(ctx, prefix, kubernetes.ListOptions{Limit: 500})
	check(err, "list")
	assert(len(list.Kvs) == 1 && list.Revision >= updated.Revision, "list: %v", list)
	count, err := client.Kubernetes.Count(ctx, prefix, kubernetes.CountOptions{})
	check(err, "count")
	assert(count == 1, "count: %d", count)
	deleted, err := client.Kubernetes.OptimisticDelete(ctx, key, updated.Revision, kubernetes.DeleteOptions{})
	check(err, "delete")
	assert(deleted.Succeeded, "delete: %v", deleted)
}

func locks(ctx context.Context, client *clientv3.Client) {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	check(err, "session")
	defer session.Close()
	mutex := concurrency.NewMutex(session, "/locks/go")
	check(mutex.Lock(ctx), "lock")
	header(mutex.Header(), "lock")
	other, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	check(err, "session")
	defer other.Close()
	assert(concurrency.NewMutex(other, "/locks/go").TryLock(ctx) == concurrency.ErrLocked, "a lock held twice")
	check(mutex.Unlock(ctx), "unlock")
	election := concurrency.NewElection(session, "/elections/go")
	check(election.Campaign(ctx, "me"), "campaign")
	leader, err := election.Leader(ctx)
	check(err, "leader")
	assert(string(leader.Kvs[0].Value) == "me", "leader: %v", leader)
	check(election.Resign(ctx), "resign")
}

// A range and a watch over all shards.
func everything(ctx context.Context, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	created := <-events
	check(created.Err(), "watch of everything")
	for _, prefix := range prefixes {
		_, err := client.Put(ctx, prefix+"everywhere", "1")
		check(err, "put")
		event := <-events
		check(event.Err(), "watch of everything")
		header(event.Header, "watch of everything")
		assert(string(event.Events[0].Kv.Key) == prefix+"everywhere", "event: %v", event)
	}
	all, err := client.Get(ctx, "", clientv3.WithPrefix())
	check(err, "get of everything")
	header(all.Header, "get of everything")
	assert(all.Count == int64(len(all.Kvs)) && len(all.Kvs) >= len(prefixes), "get of everything: %v", all)
	for i := 1; i < len(all.Kvs); i++ {
		assert(string(all.Kvs[i-1].Key) < string(all.Kvs[i].Key), "not in order: %v", all)
	}
	for _, prefix := range prefixes {
		_, err := client.Delete(ctx, prefix+"everywhere")
		check(err, "delete")
	}
}

func compaction(ctx context.Context, client *clientv3.Client) {
	put, err := client.Put(ctx, "compact_rev_key", "go")
	check(err, "put")
	compacted, err := client.Compact(ctx, put.Header.Revision, clientv3.WithCompactPhysical())
	check(err, "compact")
	header(compacted.Header, "compact")
	_, err = client.Compact(ctx, put.Header.Revision)
	assert(err != nil && err.Error() == "etcdserver: mvcc: required revision has been compacted", "compact again: %v", err)
}
