//! What the Rust programs share of the contract in families.py: records in hexadecimal, and the event log of a member.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A header's name and value.
pub type Header = (String, Vec<u8>);

/// One line of the file that `produce` sends.
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
    (text != "-").then(|| (0..text.len()).step_by(2).map(byte).collect())
}

fn push_hex(line: &mut String, data: Option<&[u8]>) {
    let Some(data) = data else { return line.push('-') };
    for byte in data {
        line.push(char::from_digit(u32::from(byte >> 4), 16).expect("a digit"));
        line.push(char::from_digit(u32::from(byte & 15), 16).expect("a digit"));
    }
}

/// The records of a file.
pub fn records(path: &str) -> Vec<Record> {
    let text = std::fs::read_to_string(path).expect("the file of records");
    let header = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("name=value");
        (name.to_owned(), unhex(value).expect("a value"))
    };
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().expect("three fields");
            let (key, value, headers) = (unhex(next()), unhex(next()), next());
            Record { key, value, headers: headers.split(',').filter(|pair| !pair.is_empty()).map(header).collect() }
        })
        .collect()
}

/// Next offsets by partition.
pub type Offsets = BTreeMap<i32, i64>;

/// The event log of one member. It keeps the positions that are delivered and not committed yet.
pub struct Log {
    file: File,
    every: usize,
    lines: String,
    positions: Offsets,
    pending: usize,
    stopping: Arc<AtomicBool>,
}

impl Log {
    fn new(path: &str, every: usize) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).expect("an event log");
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopping);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut signal =
                    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("SIGTERM");
                signal.recv().await;
            });
            told.store(true, Ordering::Relaxed);
        });
        Self { file, every, lines: String::new(), positions: Offsets::new(), pending: 0, stopping }
    }

    /// Becomes true with SIGTERM.
    pub fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopping)
    }

    fn begin(&mut self, kind: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        write!(self.lines, "{now} {kind} ").expect("to memory");
    }

    fn event(&mut self, kind: &str, words: impl IntoIterator<Item = String>) {
        self.begin(kind);
        self.lines.push_str(&words.into_iter().collect::<Vec<_>>().join(" "));
        self.lines.push('\n');
    }

    /// What is flushed outlives the process: the driver ends it by SIGKILL.
    pub fn flush(&mut self) {
        self.file.write_all(self.lines.as_bytes()).expect("the event log takes it");
        self.lines.clear();
    }

    /// Takes one record; true when it is time to commit.
    pub fn delivered(
        &mut self,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> bool {
        self.begin("R");
        write!(self.lines, "{partition} {offset} ").expect("to memory");
        push_hex(&mut self.lines, key);
        self.lines.push(' ');
        push_hex(&mut self.lines, value);
        self.lines.push(' ');
        for (index, (name, data)) in headers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(self.lines, "{comma}{name}=").expect("to memory");
            push_hex(&mut self.lines, Some(data));
        }
        self.lines.push('\n');
        self.positions.insert(partition, offset + 1);
        self.pending += 1;
        self.pending >= self.every
    }

    /// Has `send` commit what is delivered and not committed.
    pub fn commit<E: std::fmt::Display>(&mut self, send: impl FnOnce(&Offsets) -> Result<(), E>) {
        let taken = std::mem::take(&mut self.positions);
        self.pending = 0;
        let words = || taken.iter().map(|(partition, offset)| format!("{partition}:{offset}"));
        if !taken.is_empty() {
            self.event("T", words());
        }
        self.flush();
        if taken.is_empty() {
            return;
        }
        match send(&taken) {
            Ok(()) => self.event("C", words()),
            Err(error) => self.failed(&error),
        }
        self.flush();
    }

    /// These are this member's now.
    pub fn assigned(&mut self, partitions: &[i32]) {
        self.event("A", partitions.iter().map(ToString::to_string));
        self.flush();
    }

    /// These are another member's from now on.
    pub fn revoked(&mut self, partitions: &[i32]) {
        self.positions.retain(|partition, _| !partitions.contains(partition));
        self.event("V", partitions.iter().map(ToString::to_string));
        self.flush();
    }

    /// Notes what went wrong on the way.
    pub fn failed(&mut self, error: &impl std::fmt::Display) {
        self.event("E", [error.to_string().replace('\n', " ")]);
        self.flush();
    }
}

/// What the command line asks for.
pub enum Command {
    Produce { broker: String, topic: String, records: Vec<Record>, codec: String },
    Consume { broker: String, topic: String, group: String, log: Log },
}

/// Reads the command line.
pub fn command() -> Command {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["produce", broker, topic, file, codec] => Command::Produce {
            broker: (*broker).to_owned(),
            topic: (*topic).to_owned(),
            records: records(file),
            codec: (*codec).to_owned(),
        },
        ["consume", broker, topic, group, log, every] => Command::Consume {
            broker: (*broker).to_owned(),
            topic: (*topic).to_owned(),
            group: (*group).to_owned(),
            log: Log::new(log, every.parse().expect("a number")),
        },
        _ => panic!("usage: produce BROKER TOPIC FILE CODEC | consume BROKER TOPIC GROUP LOG EVERY"),
    }
}
