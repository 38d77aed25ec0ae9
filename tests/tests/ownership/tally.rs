//! What clients were told, and whether it can have been true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use etcd_prism_proto::mvccpb::{Event, KeyValue};
use etcd_prism_tests::watch_check::revision;
use parking_lot::Mutex;
use tonic::Status;

/// A write that was acknowledged.
#[derive(Clone, Debug)]
struct Write {
    key: String,
    value: String,
    revision: i64,
}

#[derive(Debug, Default)]
struct Inner {
    acknowledged: Vec<Write>,
    /// Values that may have been written: each is tried once.
    tried: BTreeSet<String>,
    /// By key, the highest revision that anybody was told of: whoever asks later must not see less.
    newest: BTreeMap<String, i64>,
    /// Operations that went well, by proxy, prefix and kind.
    done: BTreeMap<(String, String, &'static str), usize>,
    /// Code and text of errors, by proxy, with how often they came.
    errors: BTreeMap<(String, String), usize>,
    /// What must not have happened.
    wrong: Vec<String>,
}

/// Shared by everybody who takes part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<Inner>>);

impl Tally {
    pub(crate) fn tried(&self, value: &str) {
        let is_new = self.0.lock().tried.insert(value.to_owned());
        assert!(is_new, "{value} was tried before");
    }

    pub(crate) fn acknowledged(&self, key: &str, value: &str, revision: i64) {
        let mut inner = self.0.lock();
        let (key, value) = (key.to_owned(), value.to_owned());
        raise(&mut inner.newest, &key, revision);
        inner.acknowledged.push(Write { key, value, revision });
    }

    /// By key below `prefix`, what nobody who asks from now on may miss.
    pub(crate) fn newest(&self, prefix: &str) -> BTreeMap<String, i64> {
        let inner = self.0.lock();
        inner.newest.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, r)| (k.clone(), *r)).collect()
    }

    /// Checks an answer against what was known when it was asked for: of all keys that were known then.
    pub(crate) fn saw(&self, who: &str, before: &BTreeMap<String, i64>, header: i64, kvs: &[KeyValue]) {
        let found: BTreeMap<String, i64> =
            kvs.iter().map(|kv| (String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision)).collect();
        let mut inner = self.0.lock();
        for (key, known) in before {
            let seen = found.get(key).copied().unwrap_or(0);
            if seen < *known || header < *known {
                let wrong = format!("{who}: {key} at {seen} (header {header}) after {known} was known");
                inner.wrong.push(wrong);
            }
        }
        for (key, revision) in found {
            raise(&mut inner.newest, &key, revision);
        }
    }

    pub(crate) fn done(&self, proxy: &str, prefix: &str, kind: &'static str) {
        *self.0.lock().done.entry((proxy.to_owned(), prefix.to_owned(), kind)).or_default() += 1;
    }

    /// How often something went well.
    pub(crate) fn count(&self, proxy: &str, prefix: &str, kind: &'static str) -> usize {
        self.0.lock().done.get(&(proxy.to_owned(), prefix.to_owned(), kind)).copied().unwrap_or(0)
    }

    pub(crate) fn failed(&self, proxy: &str, status: &Status) {
        let text = format!("{:?}: {}", status.code(), status.message());
        *self.0.lock().errors.entry((proxy.to_owned(), text)).or_default() += 1;
    }

    /// What clients of a proxy were refused with.
    pub(crate) fn errors(&self, proxy: &str) -> Vec<String> {
        let inner = self.0.lock();
        inner.errors.keys().filter(|(of, _)| of == proxy).map(|(_, text)| text.clone()).collect()
    }

    /// Compares all that clients were told with everything that happened below a prefix on its shard.
    pub(crate) fn check(&self, prefix: &str, history: &[Event]) {
        let inner = self.0.lock();
        assert!(inner.wrong.is_empty(), "{} stale answers, such as {}", inner.wrong.len(), inner.wrong[0]);
        let mut happened = BTreeMap::new();
        for event in history {
            let kv = event.kv.as_ref().expect("a key");
            let (key, value) = (text(&kv.key), text(&kv.value));
            assert!(
                inner.tried.contains(&value),
                "{key} = {value} at {}: nobody wrote that",
                revision(event)
            );
            let before = happened.insert(value.clone(), (key.clone(), revision(event)));
            assert!(
                before.is_none(),
                "{key} = {value} was applied twice: {before:?} and {}",
                revision(event)
            );
            if key.ends_with("/counter") {
                let counted = |value: &str| value.split(' ').next().expect("a word").parse::<u64>();
                let previous = event.prev_kv.as_ref().map_or(Ok(0), |kv| counted(&text(&kv.value)));
                let (previous, now) = (previous.expect("a number"), counted(&value).expect("a number"));
                assert_eq!(now, previous + 1, "an increment of {key} was lost at {}", revision(event));
            }
        }
        let below = inner.acknowledged.iter().filter(|w| w.key.starts_with(prefix));
        let mut count = 0;
        for Write { key, value, revision } in below {
            count += 1;
            let found = happened.get(value);
            assert_eq!(found, Some(&(key.clone(), *revision)), "{key} = {value} at {revision} was lost");
        }
        assert!(count > 0, "nothing was written below {prefix}");
    }
}

fn raise(newest: &mut BTreeMap<String, i64>, key: &str, revision: i64) {
    let known = newest.entry(key.to_owned()).or_default();
    *known = (*known).max(revision);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
