//! Migrations: what holds as designed.

use etcd_prism_model::explore::recovers;
use etcd_prism_model::migrations::{Action, B, Budget, C, Migrations, Script, Variant, World, create, to};
use etcd_prism_model::report::holds;
use etcd_prism_ownership::migration::Goal;

const CANCEL: Goal = Goal::Cancel { abandon: false };
const ABANDON: Goal = Goal::Cancel { abandon: true };
const COMPLETE: Goal = Goal::Complete { abandon: false };

fn sound(goals: &[&[Goal]], budget: Budget) -> Migrations {
    Migrations::bare(Variant::Sound, goals, budget)
}

fn prepared(goals: &[&[Goal]], budget: Budget) -> Migrations {
    Migrations { prepared: true, ..sound(goals, budget) }
}

fn served(goals: &[&[Goal]], proxies: usize, writes: u8, budget: Budget) -> Migrations {
    Migrations { proxies, writes, ..prepared(goals, budget) }
}

fn losses(losses: u8) -> Budget {
    Budget { losses, ..Budget::default() }
}

fn crashes(crashes: u8) -> Budget {
    Budget { crashes, ..Budget::default() }
}

#[test]
fn one_driver() {
    let goals = [create(), to(B), to(0)];
    let budget = Budget { crashes: 2, losses: 2, aborts: 1, ..Budget::default() };
    holds("migrations, one driver", sound(&[&goals], budget));
}

#[test]
fn two_drivers_begin() {
    let goals = [create()];
    holds("migrations, two drivers begin", sound(&[&goals, &goals], Budget { crashes: 1, ..losses(1) }));
}

#[test]
fn two_drivers_switch() {
    let goals = [create(), to(B)];
    holds("migrations, two drivers switch, delays", prepared(&[&goals, &goals], losses(1)));
    holds("migrations, two drivers switch, crashes", prepared(&[&goals, &goals], crashes(1)));
}

#[test]
fn one_switches_one_reverses() {
    let (first, second) = ([create(), to(B)], [create(), to(0)]);
    holds("migrations, one switches, one reverses", prepared(&[&first, &second], losses(1)));
}

#[test]
fn one_switches_one_cancels() {
    let first = [create(), to(B)];
    holds("migrations, one switches, one cancels, delays", prepared(&[&first, &[CANCEL]], losses(1)));
    holds("migrations, one switches, one cancels, crashes", prepared(&[&first, &[CANCEL]], crashes(1)));
}

#[test]
fn one_begins_one_cancels() {
    holds("migrations, one begins, one cancels", sound(&[&[create()], &[CANCEL]], losses(1)));
}

#[test]
fn one_reverses_one_completes() {
    let first = [create(), to(B), to(0)];
    holds("migrations, one reverses, one completes", prepared(&[&first, &[COMPLETE]], losses(1)));
}

#[test]
fn one_switches_one_abandons() {
    let (first, second) = ([create(), to(B)], [ABANDON]);
    let budget = Budget { outages: 1, ..losses(1) };
    let model = Migrations { fragile: vec![B], ..prepared(&[&first, &second], budget) };
    holds("migrations, one switches, one abandons", model);
}

#[test]
fn three_shards() {
    let scripts = vec![
        Script { source: 0, target: B, goals: vec![create(), to(B), COMPLETE] },
        Script { source: 0, target: C, goals: vec![create(), to(C)] },
        Script { source: B, target: C, goals: vec![create(), to(C)] },
    ];
    let model = Migrations { revisions: vec![9, 2, 2], scripts, ..sound(&[], losses(1)) };
    holds("migrations, three shards", model);
}

#[test]
fn one_proxy() {
    let budget = Budget { ticks: 1, naps: 1, ..Budget::default() };
    holds("migrations, one proxy", served(&[&[create(), to(B)]], 1, 2, budget));
}

#[test]
fn one_proxy_there_and_back() {
    let model = served(&[&[create(), to(B), to(0)]], 1, 1, Budget::default());
    holds("migrations, there and back", model);
}

#[test]
#[ignore = "long"]
fn one_proxy_there_and_back_with_more_writes() {
    let budget = Budget { ticks: 1, ..Budget::default() };
    holds("migrations, there and back", served(&[&[create(), to(B), to(0)]], 1, 2, budget));
}

#[test]
fn one_proxy_from_the_beginning() {
    let budget = Budget { pages: 1, ..Budget::default() };
    let model = served(&[&[create(), to(B)]], 1, 1, budget);
    holds("migrations, from the beginning", Migrations { prepared: false, leftover: true, ..model });
}

#[test]
fn expiry() {
    let budget = Budget { expiries: 1, aborts: 1, ..Budget::default() };
    holds("migrations, expiry", served(&[&[create(), to(B), to(B)]], 1, 1, budget));
}

#[test]
fn keys_end_on_the_standby() {
    let budget = Budget { fades: 1, aborts: 1, crashes: 1, ..Budget::default() };
    let model = served(&[&[create(), to(B), to(B)]], 1, 1, budget);
    holds("migrations, keys end on the standby", model);
    let budget = Budget { fades: 1, ..Budget::default() };
    holds("migrations, there and back, keys end", served(&[&[create(), to(B), to(0)]], 1, 1, budget));
}

#[test]
fn two_proxies() {
    let budget = Budget { naps: 1, ..Budget::default() };
    holds("migrations, two proxies", served(&[&[create(), to(B)]], 2, 1, budget));
}

#[test]
#[ignore = "long"]
fn two_drivers_and_a_proxy() {
    let (first, second) = ([create()], [create(), to(B)]);
    let budget = Budget { expiries: 1, ..Budget::default() };
    holds("migrations, two drivers and a proxy", served(&[&first, &second], 1, 1, budget));
}

#[test]
fn a_target_with_higher_revisions() {
    let model = served(&[&[create(), to(B)]], 1, 2, Budget { ticks: 1, ..Budget::default() });
    holds("migrations, higher revisions", Migrations { revisions: vec![2, 40], ..model });
}

#[test]
fn some_driver_always_brings_it_to_rest() {
    let (first, second) = ([create(), to(B)], [create(), to(0)]);
    let budget = Budget { crashes: 1, losses: 1, aborts: 1, ..Budget::default() };
    let rest = |world: &World| world.is_at_rest();
    recovers("recovery, one driver", &sound(&[&[create(), to(B), to(0)]], budget), rest, |_| true);
    recovers("recovery, two drivers", &prepared(&[&first, &second], crashes(1)), rest, |_| true);
    recovers("recovery, a proxy", &served(&[&first], 1, 1, crashes(1)), rest, |_| true);
}

#[test]
fn a_target_that_is_away_closes_the_route_at_one_point_only() {
    let budget = Budget { outages: 1, crashes: 1, losses: 1, ..Budget::default() };
    let model = Migrations { fragile: vec![B], ..sound(&[&[create(), to(B)]], budget) };
    recovers("recovery, the target comes back", &model, |w: &World| w.is_at_rest(), |_| true);
    let for_good = |action: &Action| !matches!(action, Action::Up(_));
    recovers("recovery, the target stays away", &model, |w: &World| w.is_at_rest() || w.needs(B), for_good);
}
