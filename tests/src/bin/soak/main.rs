//! API servers of two minors at work for a while, through two proxies over four shards.
//!
//! `soak --minutes N` (15 unless told). Prints what was done and what was found, and fails where anything is not as it
//! must be: a request failed, a watch lost an event, a watch cache was filled again or differs from etcd, a shard was
//! not compacted, or anything panicked.

mod report;
mod run;
mod server_side;

use std::time::Duration;

const USAGE: &str = "usage: soak [--minutes N]";
const DEFAULT_MINUTES: u64 = 15;

#[tokio::main]
async fn main() {
    match minutes(std::env::args().skip(1)) {
        Ok(minutes) => run::run(Duration::from_secs(60 * minutes)).await,
        Err(error) => {
            eprintln!("soak: {error}\n{USAGE}");
            std::process::exit(2);
        }
    }
}

fn minutes(mut arguments: impl Iterator<Item = String>) -> Result<u64, String> {
    let minutes = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => DEFAULT_MINUTES,
        (Some("--minutes"), Some(number)) => {
            number.parse().map_err(|_| format!("'{number}' is no number of minutes"))?
        }
        (Some("--minutes"), None) => return Err("--minutes needs a number".to_owned()),
        (Some(other), _) => return Err(format!("unknown argument '{other}'")),
    };
    match (minutes, arguments.next()) {
        (0, _) => Err("at least one minute".to_owned()),
        (minutes, None) => Ok(minutes),
        (_, Some(other)) => Err(format!("unknown argument '{other}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::minutes;

    #[test]
    fn the_arguments_are_read() {
        for (arguments, expected) in [
            (&[][..], Some(15)),
            (&["--minutes", "3"], Some(3)),
            (&["--minutes"], None),
            (&["--minutes", "0"], None),
            (&["--minutes", "x"], None),
            (&["--minutes", "3", "4"], None),
            (&["3"], None),
        ] {
            assert_eq!(minutes(arguments.iter().map(|a| a.to_string())).ok(), expected, "{arguments:?}");
        }
    }
}
