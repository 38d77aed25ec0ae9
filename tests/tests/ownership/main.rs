//! The rules of ownership over real proxies: whatever stops, dies, is cut off, fills up or comes back from a backup, no
//! acknowledged write is lost, no read is stale, and no key is served in two places.

mod agree;
mod auth;
mod cli;
mod cut;
mod doubles;
mod floors;
mod full;
mod killed;
mod load;
mod moved;
mod restored;
mod site;
mod start;
mod stopped;
mod tables;
mod tally;
mod watcher;
