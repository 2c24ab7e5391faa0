//! What a thread allocates and copies: `shim.c`, compiled here, loaded into the node, read from its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// What some threads have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) allocations: u64,
    pub(super) allocated_bytes: u64,
    /// Copies of at least 512 bytes.
    pub(super) copies: u64,
    pub(super) copied_bytes: u64,
}

/// Compiles a library that the loader puts in front of the C library. `path` is the source's and, with `.so`, its own; only
/// the library stays.
pub(super) fn compile(cc: &Path, source: &str, path: &Path) -> Result<PathBuf, Error> {
    let (file, library) = (path.with_extension("c"), path.with_extension("so"));
    fs::write(&file, source).map_err(Error::io(file.display().to_string()))?;
    let mut command = Command::new(cc);
    // Without built-ins: a compiler that knows what memcpy is would make the counting one call itself.
    command.args(["-O2", "-fPIC", "-shared", "-fno-builtin", "-o"]).arg(&library).arg(&file).arg("-ldl");
    let output = command.output().map_err(Error::io(cc.display().to_string()))?;
    fs::remove_file(&file).map_err(Error::io(file.display().to_string()))?;
    if output.status.success() {
        return Ok(library);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Strange(format!("{} cannot compile {}:\n{said}", cc.display(), file.display())))
}

/// What these threads have done so far, by the shim's file.
pub(super) fn read(counts: &Path, threads: &[u32]) -> Result<Done, Error> {
    let bytes =
        fs::read(counts).map_err(Error::io(format!("{}: is the program linked dynamically?", counts.display())))?;
    Ok(sum(&bytes, threads))
}

fn sum(bytes: &[u8], threads: &[u32]) -> Done {
    let mut done = Done::default();
    for slot in bytes.chunks_exact(SLOT_BYTES).skip(1) {
        let number = |at: usize| slot[at * 8..].first_chunk().map_or(0, |bytes| native(*bytes));
        if threads.iter().any(|thread| u64::from(*thread) == number(0)) {
            done.allocations += number(1);
            done.allocated_bytes += number(2);
            done.copies += number(3);
            done.copied_bytes += number(4);
        }
    }
    done
}

#[expect(clippy::host_endian_bytes, reason = "memory that two processes of one machine share")]
fn native(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// The shim.
pub(super) const SOURCE: &str = include_str!("shim.c");
/// As in `shim.c`: the table's head is as long as a slot.
const SLOT_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Done, SOURCE, compile, read};
    use crate::bench::counts::Tools;

    /// Four allocations and three copies that count, and what does not; prints its thread's id.
    const KNOWN: &str = r#"
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static char a[5000], b[5000], line[32];
        int main(void) {
          volatile size_t large = 4096, small = 511;
          void *p = malloc(100), *q = calloc(3, 100), *r;
          p = realloc(p, 1000);
          if (posix_memalign(&r, 4096, 8192)) return 1;
          memcpy(a, b, large); memmove(a + 1, a, large); memcpy(a, b, 512 + small); memcpy(a, b, small);
          free(p); free(q); free(r);
          int length = snprintf(line, sizeof line, "%ld\n", syscall(SYS_gettid));
          return write(1, line, (size_t)length) != length;
        }"#;

    #[test]
    fn a_known_program_is_counted_exactly() {
        let Some(cc) = Tools::find().cc else {
            println!("skipped: no C compiler is here");
            return;
        };
        let dir = tempfile::tempdir().expect("a directory");
        let library = compile(&cc, SOURCE, &dir.path().join("shim")).expect("the shim compiles");
        let (source, known, counts) = (dir.path().join("known.c"), dir.path().join("known"), dir.path().join("counts"));
        std::fs::write(&source, KNOWN).expect("a file");
        let built = Command::new(&cc).args(["-O0", "-fno-builtin", "-o"]).arg(&known).arg(&source).status();
        assert!(built.expect("the compiler runs").success());
        let output =
            Command::new(&known).env("LD_PRELOAD", &library).env("SHIM_COUNTS", &counts).output().expect("it runs");
        assert!(output.status.success());
        let thread = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a thread's id");
        let done = read(&counts, &[thread]).expect("counts");
        let expected = Done {
            allocations: 4,
            allocated_bytes: 100 + 300 + 1000 + 8192,
            copies: 3,
            copied_bytes: 4096 + 4096 + 512 + 511,
        };
        assert_eq!(done, expected);
        assert_eq!(read(&counts, &[0]).expect("counts"), Done::default());
    }
}
