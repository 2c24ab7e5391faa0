//! Idempotent producers and a reader against a partition whose process is killed, crashed and stopped at random moments:
//! nothing acknowledged is lost, nothing is stored twice, nothing seen changes. Each seed is one history.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::tests::{Node, job, of_producer};
use super::*;
use crate::io::sim::{Faults, World};

const PRODUCERS: usize = 3;
const IN_FLIGHT_MAX: usize = 5;

/// How the process ends in a history: what the acknowledgements are asked to survive.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    /// acks=all and loss of power.
    Crash,
    /// acks=1 and the death of the process.
    Kill,
    /// acks=1 and clean stops.
    Stop,
}

/// One history.
struct History {
    world: Rc<World>,
    end: End,
    /// Acknowledged batches of each producer: sequence number and offset.
    acked: Vec<BTreeMap<i32, i64>>,
    answers: Rc<RefCell<Vec<Answer>>>,
    /// What a reader has seen.
    seen: BTreeMap<i64, String>,
}

type Answer = (usize, i32, Result<AppendInfo, Error>);

impl History {
    fn new(seed: u64, end: End) -> Self {
        let acked = vec![BTreeMap::new(); PRODUCERS];
        let world = World::new(seed, Faults::default());
        Self { world, end, acked, answers: Rc::default(), seen: BTreeMap::new() }
    }

    fn random(&self, below: u64) -> u64 {
        self.world.client().env().random() % below
    }

    fn acks(&self) -> Acks {
        if self.end == End::Crash { Acks::All } else { Acks::Leader }
    }

    /// The first sequence number that a producer has no acknowledgement of.
    fn first_unacked(&self, producer: usize) -> i32 {
        i32::try_from(self.acked[producer].len()).expect("few")
    }

    /// Sends the next batch of a producer.
    fn send(&self, node: &Node, producer: usize, sequence: i32) {
        let value = format!("{producer}:{sequence}");
        let id = i64::try_from(producer).expect("few");
        let ticket = node.partition.append(job(of_producer(id, 0, sequence, &[&value]), self.acks()));
        let answers = Rc::clone(&self.answers);
        let wait = async move {
            let answer = ticket.done().await;
            answers.borrow_mut().push((producer, sequence, answer));
        };
        node.sim.rt.spawn(wait).detach();
    }

    /// Takes the answers that have arrived.
    fn collect(&mut self) {
        for (producer, sequence, answer) in self.answers.take() {
            let offset = answer.expect("nothing fails here").base_offset.0;
            let known = self.acked[producer].insert(sequence, offset);
            assert!(known.is_none_or(|known| known == offset), "a duplicate is answered with the original's offset");
        }
        for acked in &self.acked {
            let contiguous = (0..).zip(acked.keys()).all(|(expected, sequence)| *sequence == expected);
            assert!(contiguous, "acknowledgements leave in order");
        }
    }

    /// Reads everything that is visible and compares it with what was seen before.
    fn look(&mut self, node: &Node) {
        let visible: BTreeMap<i64, String> = node.values().into_iter().collect();
        assert_eq!(visible.len(), usize::try_from(node.partition.high_watermark().0).expect("positive"));
        for (offset, value) in &self.seen {
            assert_eq!(visible.get(offset), Some(value), "offset {offset} was seen");
        }
        self.seen = visible;
    }

    /// One life of the process: sends, waits, reads, at random.
    fn live(&mut self, node: &Node) {
        let mut next: Vec<i32> = (0..PRODUCERS).map(|producer| self.first_unacked(producer)).collect();
        for _ in 0..self.random(60) {
            let producer = usize::try_from(self.random(PRODUCERS as u64)).expect("few");
            let in_flight = next[producer] - self.first_unacked(producer);
            match self.random(10) {
                0..6 if usize::try_from(in_flight).expect("positive") < IN_FLIGHT_MAX => {
                    self.send(node, producer, next[producer]);
                    next[producer] += 1;
                }
                6 if in_flight > 0 => self.send(node, producer, next[producer] - 1),
                7 => self.look(node),
                _ => node.world.run_for_us(self.random(400)),
            }
            self.collect();
        }
    }

    /// Resends what was not acknowledged until all is, then checks what is stored.
    fn settle(&mut self, node: &Node, sent: i32) {
        for producer in 0..PRODUCERS {
            for sequence in self.first_unacked(producer)..sent {
                self.send(node, producer, sequence);
            }
        }
        node.world.run_for_ms(10_000);
        self.collect();
        self.look(node);
        for producer in 0..PRODUCERS {
            let prefix = format!("{producer}:");
            let stored: Vec<&String> = self.seen.values().filter(|value| value.starts_with(&prefix)).collect();
            let expected: Vec<String> = (0..sent).map(|sequence| format!("{producer}:{sequence}")).collect();
            assert_eq!(stored, expected.iter().collect::<Vec<_>>(), "each batch once, in order");
            for (sequence, offset) in &self.acked[producer] {
                assert_eq!(self.seen.get(offset), Some(&format!("{producer}:{sequence}")), "where it was said to be");
            }
        }
    }

    fn run(mut self) {
        let mut node = Node::start(&self.world, 0, Config::default());
        for _ in 0..4 {
            self.live(&node);
            if self.end == End::Stop {
                node.world.run_for_ms(1_000);
            }
            self.collect();
            self.look(&node);
            let epoch = node.partition.leader_epoch() + 1;
            node = match self.end {
                End::Stop => node.restart(true),
                End::Kill => {
                    let Node { world, sim, partition } = node;
                    world.kill();
                    drop((partition, sim));
                    Node::start(&world, epoch, Config::default())
                }
                End::Crash => node.restart(false),
            };
            // Of a dead process no answer arrives; what it had said is in `acked`.
            self.answers.take();
            self.look(&node);
        }
        // What was in flight at the end may be stored too.
        let acked = (0..PRODUCERS).map(|producer| self.first_unacked(producer)).max().expect("producers");
        let sent = acked + i32::try_from(IN_FLIGHT_MAX).expect("few");
        self.settle(&node, sent);
    }
}

fn histories(end: End, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let history = std::panic::catch_unwind(move || History::new(seed, end).run());
        assert!(history.is_ok(), "{end:?}: seed {seed}");
    }
}

#[test]
fn acks_all_survives_loss_of_power() {
    histories(End::Crash, 0..40);
}

#[test]
fn acks_1_survives_kill() {
    histories(End::Kill, 1000..1040);
}

#[test]
fn everything_survives_clean_stops() {
    histories(End::Stop, 2000..2020);
}
