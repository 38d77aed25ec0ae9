//! Begins and ends what is planned.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::World;
use crate::etcd::Shard;
use crate::faults::{Fault, HOSTS, Planned};
use crate::proxy::{Command, Machine, SHARDS};

impl World {
    /// Begins and ends what is due.
    pub(super) fn fault(&mut self) {
        let now = self.now();
        while self.faults.first().is_some_and(|planned| planned.from <= now) {
            let planned = self.faults.remove(0);
            self.begin(&planned);
            self.lasting.push(planned);
        }
        let (ended, lasting) = self.lasting.drain(..).partition(|planned| planned.to <= now);
        self.lasting = lasting;
        let ended: Vec<Planned> = ended;
        for planned in ended {
            self.end(&planned);
        }
    }

    fn begin(&mut self, planned: &Planned) {
        self.story.push(format!("{:?} {:?} until {:?}", self.now(), planned.fault, planned.to));
        match &planned.fault {
            Fault::Hold(a, b) => self.sim.hold(*a, *b),
            Fault::Cut(a, b) => self.sim.partition(*a, *b),
            Fault::Slow(a, b, by) => self.sim.set_link_latency(*a, *b, *by),
            Fault::Crash(host) => self.sim.crash(*host),
            Fault::Stop(proxy) => self.machine(proxy).tell(Command::Stop),
            Fault::Jump(proxy, by) => self.machine(proxy).jump(*by),
            Fault::Full(shard) => self.shard(shard).store().full = true,
            Fault::Late(shard, most) => {
                let (mut random, most) = (SmallRng::seed_from_u64(self.random.random()), *most);
                self.shard(shard).set_late(Some(Box::new(move || match random.random_bool(0.25) {
                    true => random.random_range(Duration::ZERO..most),
                    false => Duration::ZERO,
                })));
            }
            Fault::Compact(shard, behind) => {
                let mut store = self.shard(shard).store();
                let to = store.revision() - behind;
                // Where it has been compacted to there, nothing is left to do.
                store.compact(to).ok();
            }
        }
    }

    fn end(&mut self, planned: &Planned) {
        match &planned.fault {
            Fault::Hold(a, b) => self.sim.release(*a, *b),
            Fault::Cut(a, b) => self.sim.repair(*a, *b),
            Fault::Slow(a, b, _) => {
                let usual = self.latencies.iter().find(|(x, y, _)| (x, y) == (a, b));
                let usual = usual.map_or(Duration::from_millis(10), |(_, _, most)| *most);
                self.sim.set_link_latency(*a, *b, Duration::from_millis(1));
                self.sim.set_link_max_message_latency(*a, *b, usual);
            }
            Fault::Late(shard, _) => self.shard(shard).set_late(None),
            Fault::Crash(host) | Fault::Stop(host) => self.start_again(host),
            Fault::Full(shard) => self.shard(shard).store().full = false,
            Fault::Jump(..) | Fault::Compact(..) => {}
        }
    }

    fn start_again(&mut self, host: &str) {
        if let Some(i) = SHARDS.iter().position(|name| *name == host) {
            self.shards[i].start_again();
        }
        self.sim.bounce(host);
    }

    fn machine(&self, name: &str) -> &Machine {
        self.machines.iter().find(|machine| machine.name == name).expect("a proxy")
    }

    fn shard(&self, name: &str) -> &Shard {
        let i = SHARDS.iter().position(|shard| *shard == name).expect("a shard");
        &self.shards[i]
    }

    /// Ends every fault.
    pub(super) fn heal(&mut self) {
        for planned in std::mem::take(&mut self.lasting) {
            self.end(&planned);
        }
        for host in ["a", "b", "p1", "p2"] {
            if !self.sim.is_host_running(host) {
                self.start_again(host);
            }
        }
        for (i, a) in HOSTS.iter().enumerate() {
            for b in &HOSTS[i + 1..] {
                self.sim.release(*a, *b);
            }
        }
        self.story.push(format!("{:?} healed", self.now()));
    }
}
