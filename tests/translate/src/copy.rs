//! What a standby is given: one change of one key at a time, in any order and any number of times.

use bytes::Bytes;
use etcd_prism_wire::translate::{Lookup, Provenance};

use crate::Rules;
use crate::store::Store;

/// The route's keys, and the three records that a standby keeps for each.
pub const ROUTE: &str = "r/";
const GUARD: &str = "g/";
const PROVENANCE: &str = "p/";
const BASE: &str = "b/";

/// One key as the owner has it, or its end; numbers are virtual.
#[derive(Debug, Clone)]
pub struct Apply {
    pub key: String,
    pub mod_revision: i64,
    /// The same on the owner's raw line.
    pub raw_mod_revision: i64,
    /// Create revision, version, value; `None`: a delete.
    pub state: Option<(i64, i64, Bytes)>,
}

fn text(numbers: &[i64]) -> Option<Bytes> {
    Some(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ").into())
}

fn numbers(value: &Bytes) -> Vec<i64> {
    std::str::from_utf8(value).unwrap().split(' ').map(|number| number.parse().unwrap()).collect()
}

/// Applies a change unless a newer one was applied before. `ruled_until`: the last virtual revision of the store's own
/// latest reign; 0 if it never ruled.
pub fn apply(store: &mut Store, apply: &Apply, ruled_until: i64, rules: Rules) {
    let name = |prefix: &str| [prefix, &apply.key].concat();
    let now = store.revision();
    let order = if rules.virtual_guards { apply.mod_revision } else { apply.raw_mod_revision };
    let guard = store.get(&name(GUARD), now).map(|kv| numbers(&kv.value)[0]);
    if guard.is_some_and(|guard| guard >= order) {
        return;
    }
    let is_first = guard.is_none_or(|guard| guard <= ruled_until);
    let mut changes = vec![(name(GUARD), text(&[order]))];
    match &apply.state {
        Some((create_revision, version, value)) => {
            let version_of = |key: &str| store.get(key, now).map_or(0, |kv| kv.version);
            let base = version_of(&apply.key) - version_of(&name(PROVENANCE));
            changes.push((apply.key.clone(), Some(value.clone())));
            changes.push((name(PROVENANCE), text(&[*create_revision, apply.mod_revision, *version])));
            if is_first && rules.base {
                changes.push((name(BASE), if base == 0 { None } else { text(&[base]) }));
            }
        }
        None => {
            changes.push((apply.key.clone(), None));
            if rules.deletes_take_provenance {
                changes.extend([(name(PROVENANCE), None), (name(BASE), None)]);
            }
        }
    }
    store.write(&changes);
}

/// Deletes all that the store has of the route, in several transactions.
pub fn purge(store: &mut Store) {
    for kv in store.range("", store.revision()) {
        let key = String::from_utf8(kv.key.to_vec()).unwrap();
        if [ROUTE, GUARD, PROVENANCE, BASE].iter().any(|prefix| key.starts_with(prefix)) {
            store.write(&[(key, None)]);
        }
    }
}

/// Deletes the guards, after a migration.
pub fn drop_guards(store: &mut Store) {
    let guards = store.range(GUARD, store.revision());
    let key = |kv: etcd_prism_proto::mvccpb::KeyValue| String::from_utf8(kv.key.to_vec()).unwrap();
    let changes: Vec<_> = guards.into_iter().map(|kv| (key(kv), None)).collect();
    store.write(&changes);
}

/// A key's provenance, as it is at a revision.
pub fn provenance(store: &Store, key: &str, at: i64) -> Lookup {
    let Some(record) = store.get(&[PROVENANCE, key].concat(), at) else { return Lookup::Absent };
    let base = store.get(&[BASE, key].concat(), at).map_or(0, |kv| numbers(&kv.value)[0]);
    let [create_revision, mod_revision, version] = numbers(&record.value)[..] else { panic!("{record:?}") };
    Lookup::Found(Provenance {
        create_revision,
        mod_revision,
        version,
        raw_mod_revision: record.mod_revision,
        raw_version: record.version,
        base,
    })
}
