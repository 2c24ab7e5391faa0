//! Instructions of the pure paths, under callgrind.
//!
//! The program goes each path N and 3N times (`ringmain bench paths`), so that its start cancels. callgrind models no
//! processor: it counts what is executed, and two runs of one build agree to the instruction. Instructions are counted
//! in user space only, on an allocator whose cost does not depend on what was allocated before (`heap.c`), and in the variants that valgrind's processor has: AVX2 and the CRC-32C instruction of SSE 4.2 are
//! there, as on the hosts we know; AVX-512 is not, so that the C library copies by other instructions than on a host
//! that has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::shim::compile;
use super::{Count, Counted, Error, Program, Tools};

/// Instructions per iteration of every path that the program knows.
///
/// # Errors
/// Where the program or valgrind could not be run. A program that knows no paths is no error.
pub fn paths(program: &Program, tools: &Tools, scratch: &Path) -> Result<Counted, Error> {
    let Some(counter) = Counter::new(program, tools, scratch)? else {
        let missing = vec!["instructions of the pure paths: valgrind is not here".to_owned()];
        return Ok(Counted { missing, ..Counted::default() });
    };
    let listed = run(Command::new(&program.path).args(["bench", "paths", "--list"]), program, None)?;
    let paths = parse_list(&String::from_utf8_lossy(&listed.stdout));
    if !listed.status.success() || paths.is_empty() {
        let missing = vec![format!("instructions of the pure paths: {} knows none", program.path.display())];
        return Ok(Counted { missing, ..Counted::default() });
    }
    let counts = side_by_side(&paths, |(name, iterations)| counter.path(name, *iterations));
    Ok(Counted { counts: counts.into_iter().collect::<Result<_, Error>>()?, missing: Vec::new() })
}

/// Counts one path after the other.
pub struct Counter<'a> {
    program: &'a Program,
    valgrind: &'a Path,
    heap: Option<Heap>,
}

impl<'a> Counter<'a> {
    /// Of a program's paths; without a C compiler they are counted on the C library's own allocator. `None` where valgrind is
    /// not here.
    ///
    /// # Errors
    /// Where the compiler that is here does not compile.
    pub fn new(program: &'a Program, tools: &'a Tools, scratch: &Path) -> Result<Option<Self>, Error> {
        let Some(valgrind) = &tools.valgrind else { return Ok(None) };
        let heap = tools.cc.as_ref().map(|cc| Heap::compile(cc, scratch)).transpose()?;
        Ok(Some(Self { program, valgrind, heap }))
    }

    /// Instructions per iteration of one path. There is no noise to tell: a repeat gives the same number.
    ///
    /// # Errors
    /// Where the program or valgrind could not be run, or the program does not know the path.
    pub fn path(&self, name: &str, iterations: u64) -> Result<Count, Error> {
        let once = self.collected(name, iterations)?;
        let thrice = self.collected(name, 3 * iterations)?;
        let value = thrice.saturating_sub(once) as f64 / (2 * iterations) as f64;
        Ok(Count { name: format!("paths/{name}"), unit: "instructions", value, noise: 0.0 })
    }

    /// Instructions of a whole run.
    fn collected(&self, name: &str, iterations: u64) -> Result<u64, Error> {
        let mut command = Command::new(self.valgrind);
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--vgdb=no"]).arg(&self.program.path);
        command.args(["bench", "paths", "--path", name, "--iterations", &iterations.to_string()]);
        let output = run(&mut command, self.program, self.heap.as_ref())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let counted = parse_collected(&said).filter(|_| output.status.success());
        counted.ok_or_else(|| Error::Strange(format!("{name} under callgrind ended with {}:\n{said}", output.status)))
    }
}

/// The compiled allocator. Removed when dropped.
struct Heap(PathBuf);

impl Heap {
    fn compile(cc: &Path, scratch: &Path) -> Result<Self, Error> {
        compile(cc, include_str!("heap.c"), &scratch.join(format!("heap-{}", std::process::id()))).map(Self)
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!("{}: {error}", self.0.display());
        }
    }
}

/// What `count` makes of each item, several at a time: nothing here is timed.
fn side_by_side<I: Sync, T: Send>(items: &[I], count: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from).min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let made = count(item);
                    done.lock().expect("no holder panics").push((at, made));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no holder panicked");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

/// Runs with no environment but the program's own: the length of the environment moves the stack.
fn run(command: &mut Command, program: &Program, heap: Option<&Heap>) -> Result<Output, Error> {
    command.env_clear().envs(program.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    if let Some(Heap(library)) = heap {
        command.env("LD_PRELOAD", library);
    }
    command.output().map_err(Error::io(format!("{}", command.get_program().display())))
}

/// Lines of a name and a number.
fn parse_list(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, iterations) = line.split_once(' ')?;
        Some((name.to_owned(), iterations.parse().ok().filter(|iterations| *iterations > 0)?))
    };
    text.lines().filter_map(line).collect()
}

/// The number of the line `==123== Collected : 68280787`.
fn parse_collected(text: &str) -> Option<u64> {
    let line = text.lines().rev().find_map(|line| line.split_once("Collected :"))?.1;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_collected, parse_list, side_by_side};

    #[test]
    fn what_callgrind_says_is_read() {
        let said = "==3424== Callgrind, a call-graph generating cache profiler\n==3424== \n==3424== Events    : Ir\n\
                    ==3424== Collected : 68280787\n==3424== \n==3424== I   refs:      68,280,787\n";
        assert_eq!(parse_collected(said), Some(68_280_787));
        assert_eq!(parse_collected("valgrind: failed to start tool 'callgrind'"), None);
    }

    #[test]
    fn the_list_of_paths_is_read() {
        let listed = parse_list("request/header 1000\nappend/64KiB 10\nno number x\n\nnone 0\n");
        assert_eq!(listed, [("request/header".to_owned(), 1000), ("append/64KiB".to_owned(), 10)]);
    }

    #[test]
    fn items_come_back_in_their_order() {
        let items: Vec<u64> = (0..50).collect();
        assert_eq!(side_by_side(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }
}
