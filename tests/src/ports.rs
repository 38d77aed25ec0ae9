//! Free loopback ports, held for as long as a test needs them.

use std::fs::{self, File};
use std::net::TcpListener;

/// Below the range from which Linux takes ports for outgoing connections, so that none is taken while a server is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// One port of this machine. No other test, in this process or another, gets it until it is dropped, so a server can
/// be restarted on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn reserve() -> Self {
        let folder = std::env::temp_dir().join("etcd-prism-ports");
        fs::create_dir_all(&folder).expect("folder of the port locks");
        for _ in 0..1_000 {
            let number = rand::random_range(RANGE);
            let lock = File::create(folder.join(number.to_string())).expect("port lock file");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}
