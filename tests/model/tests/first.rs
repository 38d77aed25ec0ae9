//! First start, and each rule that keeps it safe.

use etcd_prism_model::first::{First, TWO_OPEN, VANISHED, Variant};
use etcd_prism_model::report::{breaks, holds};

/// Two proxies whose tables put `f` on different shards.
fn different(variant: Variant) -> First {
    First { variant, tables: vec![(0, 0), (1, 0)], key: None, mishaps: 1 }
}

#[test]
fn one_table() {
    holds("first start, one table", First { tables: vec![(1, 0); 2], ..different(Variant::Sound) });
}

#[test]
fn two_tables() {
    holds("first start, two tables", different(Variant::Sound));
}

#[test]
fn two_homes() {
    holds("first start, two homes", First { tables: vec![(0, 1), (1, 0)], ..different(Variant::Sound) });
}

#[test]
fn keys_elsewhere() {
    let tables = vec![(1, 0); 2];
    holds("first start, keys elsewhere", First { tables, key: Some(0), ..different(Variant::Sound) });
}

#[test]
fn ce24_nobody_probes() {
    let tables = vec![(1, 0)];
    breaks("ce24", First { tables, key: Some(0), ..different(Variant::NoProbe) }, VANISHED);
}

#[test]
fn ce41_proxies_agree_on_nothing() {
    breaks("ce41, no table", different(Variant::NoTable), TWO_OPEN);
}

#[test]
fn ce41_the_table_is_claimed_on_home_only() {
    let tables = vec![(0, 1), (1, 0)];
    breaks("ce41, home only", First { tables, ..different(Variant::HomeOnly) }, TWO_OPEN);
}
