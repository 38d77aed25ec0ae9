import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Response;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.support.CloseableClient;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import io.grpc.stub.StreamObserver;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** Drives jetcd through the proxies whose endpoints are the arguments; prints the cluster id that all replies carried. */
public class Client {
  private static final List<String> PREFIXES =
      List.of("/registry/events/", "/registry/leases/", "/registry/pods/", "/registry/configmaps/");

  private static long cluster = 0;

  public static void main(String[] endpoints) throws Exception {
    for (String endpoint : endpoints) {
      try (io.etcd.jetcd.Client client = io.etcd.jetcd.Client.builder().endpoints(endpoint).build()) {
        for (String prefix : PREFIXES) {
          keys(client.getKVClient(), prefix);
          watches(client, prefix);
          leases(client, prefix);
        }
        everything(client);
      }
    }
    System.out.println("cluster_id=" + Long.toUnsignedString(cluster));
    System.exit(0);
  }

  private static void keys(KV kv, String prefix) throws Exception {
    ByteSequence key = bytes(prefix + "jetcd");
    var put = header(get(kv.put(key, bytes("1"))));
    var found = header(get(kv.get(key)));
    check(found.getCount() == 1 && found.getKvs().get(0).getValue().equals(bytes("1")), found);
    check(found.getKvs().get(0).getModRevision() == put.getHeader().getRevision(), found);
    var txn = header(get(kv.txn()
        .If(new Cmp(key, Cmp.Op.EQUAL, CmpTarget.modRevision(put.getHeader().getRevision())))
        .Then(Op.put(key, bytes("2"), PutOption.DEFAULT), Op.get(key, GetOption.DEFAULT))
        .Else(Op.get(key, GetOption.DEFAULT))
        .commit()));
    check(txn.isSucceeded() && txn.getGetResponses().get(0).getKvs().get(0).getValue().equals(bytes("2")), txn);
    var list = header(get(kv.get(bytes(prefix), GetOption.builder().isPrefix(true).build())));
    check(list.getCount() == 1, list);
    var deleted = header(get(kv.delete(key)));
    check(deleted.getDeleted() == 1, deleted);
  }

  private static void watches(io.etcd.jetcd.Client client, String prefix) throws Exception {
    BlockingQueue<WatchResponse> responses = new LinkedBlockingQueue<>();
    BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();
    WatchOption option = WatchOption.builder().isPrefix(true).withPrevKV(true).withCreateNotify(true).build();
    ByteSequence key = bytes(prefix + "watched");
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes(prefix), option, Watch.listener(responses::add, errors::add))) {
      check(header(next(responses)).isCreatedNotify(), "created");
      get(client.getKVClient().put(key, bytes("1")));
      WatchEvent put = header(next(responses)).getEvents().get(0);
      check(put.getEventType() == WatchEvent.EventType.PUT && put.getKeyValue().getVersion() == 1, put);
      get(client.getKVClient().delete(key));
      WatchEvent delete = header(next(responses)).getEvents().get(0);
      check(delete.getEventType() == WatchEvent.EventType.DELETE && delete.getPrevKV().getValue().equals(bytes("1")), delete);
    }
    check(errors.isEmpty(), errors);
  }

  private static void leases(io.etcd.jetcd.Client client, String prefix) throws Exception {
    Lease leases = client.getLeaseClient();
    var granted = header(get(leases.grant(30)));
    ByteSequence key = bytes(prefix + "leased");
    get(client.getKVClient().put(key, bytes("1"), PutOption.builder().withLeaseId(granted.getID()).build()));
    var once = header(get(leases.keepAliveOnce(granted.getID())));
    check(once.getTTL() > 0, once);
    BlockingQueue<LeaseKeepAliveResponse> renewals = new LinkedBlockingQueue<>();
    try (CloseableClient alive = leases.keepAlive(granted.getID(), observe(renewals))) {
      check(header(next(renewals)).getTTL() > 0, "keep-alive");
    }
    var left = header(get(leases.timeToLive(granted.getID(), LeaseOption.builder().withAttachedKeys().build())));
    check(left.getGrantedTTL() == 30 && left.getKeys().equals(List.of(key)), left);
    header(get(leases.revoke(granted.getID())));
    check(get(client.getKVClient().get(key)).getCount() == 0, "a key outlived its lease");
  }

  private static void everything(io.etcd.jetcd.Client client) throws Exception {
    KV kv = client.getKVClient();
    header(get(client.getClusterClient().listMember()));
    for (String prefix : PREFIXES) {
      get(kv.put(bytes(prefix + "everywhere"), bytes("1")));
    }
    var all = header(get(kv.get(bytes("\0"), GetOption.builder().withRange(bytes("\0")).build())));
    check(all.getCount() == all.getKvs().size() && all.getCount() >= PREFIXES.size(), all);
    var granted = get(client.getLeaseClient().grant(30));
    var lock = header(get(client.getLockClient().lock(bytes("/locks/jetcd"), granted.getID())));
    header(get(client.getLockClient().unlock(lock.getKey())));
    for (String prefix : PREFIXES) {
      get(kv.delete(bytes(prefix + "everywhere")));
    }
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, StandardCharsets.UTF_8);
  }

  private static <T> T get(CompletableFuture<T> future) throws Exception {
    return future.get(30, TimeUnit.SECONDS);
  }

  private static <T> T next(BlockingQueue<T> queue) throws Exception {
    T value = queue.poll(30, TimeUnit.SECONDS);
    check(value != null, "nothing in time");
    return value;
  }

  private static <T> StreamObserver<T> observe(BlockingQueue<T> queue) {
    return new StreamObserver<>() {
      @Override
      public void onNext(T value) {
        queue.add(value);
      }

      @Override
      public void onError(Throwable error) {}

      @Override
      public void onCompleted() {}
    };
  }

  private static <T extends Response> T header(T response) {
    long id = response.getHeader().getClusterId();
    check(id != 0, response);
    check(cluster == 0 || cluster == id, "cluster id " + id + ", before " + cluster);
    cluster = id;
    return response;
  }

  private static void check(boolean holds, Object what) {
    if (!holds) {
      throw new AssertionError(String.valueOf(what));
    }
  }
}
