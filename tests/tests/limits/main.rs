//! What clients and shards may do to the proxy, and what it costs: many connections, large answers, clients that do not
//! read, requests that are no requests, answers that are no answers.

mod connections;
mod drain;
mod flight;
mod garbage;
mod large;
mod loris;
mod malformed;
mod messages;
mod nested;
mod pair;
mod passed_on;
mod reserved;
mod rig;
mod sizes;
mod stalled;
mod watchers;
