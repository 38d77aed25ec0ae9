//! Nothing stale is passed on, and each rule that keeps it so is needed.

use etcd_prism_model::reads::{ABOVE, Reads, STALE, Variant};
use etcd_prism_model::report::{breaks, holds};

#[test]
fn one_proxy() {
    holds("reads, one proxy", Reads::new(Variant::Sound));
}

#[test]
fn two_seals() {
    holds("reads, two seals", Reads::with_second_seal(Variant::Sound));
}

#[test]
fn mishaps() {
    holds("reads, mishaps", Reads::with_mishaps(Variant::Sound));
}

#[test]
fn two_proxies() {
    holds("reads, two proxies", Reads::with_two(Variant::Sound));
}

#[test]
#[ignore = "long"]
fn two_proxies_and_time() {
    holds("reads, two proxies and time", Reads { ttl: 1, end_of_time: 1, ..Reads::with_two(Variant::Sound) });
}

#[test]
#[ignore = "long"]
fn mishaps_and_renewals() {
    let model = Reads { renewals: true, ..Reads::with_mishaps(Variant::Sound) };
    holds("reads, mishaps and renewals", model);
}

#[test]
fn ce03_the_line_ends_at_the_seal() {
    breaks("ce03", Reads::with_two(Variant::EndsAtSeal), ABOVE);
}

#[test]
fn ce04_any_acknowledgement_counts() {
    breaks("ce04, any acknowledgement", Reads::with_second_seal(Variant::AnyAcknowledgement), STALE);
}

#[test]
fn ce04_sessions_are_counted_before_the_seal() {
    breaks("ce04, counted before the seal", Reads::new(Variant::CountedBeforeSeal), STALE);
}

#[test]
fn ce04_the_fence_is_read_before_the_session_is_registered() {
    breaks("ce04, registered after reading", Reads::new(Variant::RegisteredAfterReading), STALE);
}

#[test]
fn ce36_events_are_not_checked() {
    breaks("ce36", Reads::new(Variant::OnlyAnswersChecked), STALE);
}

#[test]
fn seal_without_drain() {
    breaks("seal without drain", Reads::new(Variant::NoDrain), STALE);
}

#[test]
fn deadline_from_the_arrival_of_the_renewal() {
    breaks("deadline from arrival", Reads::new(Variant::DeadlineFromArrival), STALE);
}

#[test]
fn deadline_checked_before_the_answer_arrives() {
    breaks("checked when asked", Reads::new(Variant::CheckedWhenAsked), STALE);
}

#[test]
fn in_flight_at_the_acknowledgement() {
    breaks("no generation", Reads::new(Variant::NoGeneration), STALE);
}

#[test]
fn a_delayed_session_put_moves_the_key_to_an_older_lease() {
    breaks("blind put", Reads::with_mishaps(Variant::BlindPut), STALE);
}
