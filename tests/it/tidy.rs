//! The repository checks itself: imports go down, files stay small, `unsafe` stays in `io/`, record bytes are not copied.
//!
//! Each rule is a function from the sources to a list of offences, so that its own test can show that it finds one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers of `src/`, lowest first. A module imports from lower lines only, never from its own.
const LAYERS: &[&[&str]] = &[
    &["types", "limits"],
    &["io"],
    &["record"],
    &["protocol"],
    &["storage"],
    &["partition", "metadata", "group"],
    &["shard"],
    &["handlers"],
    &["server"],
    &["config"],
    &["client"],
    &["bench"],
    &["cli"],
];

/// Crates that only some modules may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("glommio", &["io"]),
    ("io_uring", &["io"]),
    ("libc", &["io"]),
    // The load generator waits on its sockets and asks the clocks as precisely as the kernel lets it.
    ("rustix", &["io", "bench"]),
    ("socket2", &["io"]),
    ("core_affinity", &["io"]),
    ("kacrab_protocol", &["protocol"]),
    ("clap", &["cli"]),
];

/// Lines of code that one file may have, tests, comments and blank lines not counted.
const FILE_LINES_MAX: usize = 500;

/// Files that are longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Where record bytes pass: any other copy of bytes there says on its line, or on the line above, what it copies.
const COPY_FREE: &[&str] = &["record", "storage", "partition", "shard", "handlers", "server"];

/// What copies bytes.
const COPIES: &[&str] = &[
    "copy_from_slice",
    "clone_from_slice",
    "extend_from_slice",
    "copy_within",
    "copy_nonoverlapping",
    ".to_vec()",
    ".concat()",
    "put_slice",
    "read_to_end",
];

/// Says that a copy is not one of record bytes, and of what it is.
const COPY_MARK: &str = "// copies:";

/// Whole files that build or take apart batches of their own: (path, reason).
const COPYING_FILES: &[(&str, &str)] = &[
    ("src/record/build.rs", "makes the node's own batches and those of tests"),
    ("src/record/codec.rs", "what a codec puts out are new bytes, off the hot path"),
];

/// Names that say nothing of what is inside.
const VAGUE_NAMES: &[&str] = &["util", "utils", "common", "helpers", "manager", "misc", "core"];

struct Source {
    /// Relative to the repository's root.
    path: String,
    text: String,
}

impl Source {
    /// The module directly under the crate's root, and how many modules deep the file is.
    fn module(&self) -> Option<(&str, usize)> {
        let inner = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        let top = inner.split('/').next()?;
        (!matches!(top, "lib" | "main")).then(|| (top, inner.split('/').count()))
    }

    /// Whether the whole file is tests.
    fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs") || self.path.contains("/tests/")
    }

    /// The lines of code before the test module, with their numbers; comments, blank lines and string contents blanked.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        let body = if self.is_tests() { "" } else { &self.text[..end] };
        body.lines().enumerate().filter_map(|(index, line)| {
            let line = without_comment(line);
            (!line.trim().is_empty()).then_some((index + 1, line))
        })
    }
}

/// The line without its line comment and with the contents of string literals left out. Good enough for rustfmt's
/// output: no source of ours has a block comment or a string over several lines that looks like code.
fn without_comment(line: &str) -> String {
    let mut kept = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_string => drop(chars.next()),
            '"' => {
                in_string = !in_string;
                kept.push('"');
            }
            '\'' if !in_string && chars.peek() == Some(&'"') => kept.push('\''),
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => kept.push(char),
        }
    }
    kept
}

fn level(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The words after each `prefix` in a line, as far as they are identifiers.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|char| char.is_alphanumeric() || char == '_') {
            return None;
        }
        let rest = &line[at + prefix.len()..];
        let end = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
        Some(&rest[..end])
    })
}

fn upward_imports(source: &Source) -> Vec<String> {
    let Some((module, depth)) = source.module() else { return Vec::new() };
    let Some(own) = level(module) else { return vec![format!("{}: {module} is in no layer of tidy.rs", source.path)] };
    let mut offences = Vec::new();
    for (number, line) in source.code() {
        for name in names_after(&line, "crate::") {
            // A grouped import hides its modules from this test.
            let allowed = name == module || level(name).is_some_and(|other| other < own);
            if !allowed {
                offences.push(format!("{}:{number}: {module} may not import {name:?}", source.path));
            }
        }
        if line.contains(&"super::".repeat(depth)) {
            offences.push(format!("{}:{number}: reaches the crate's root by super::", source.path));
        }
    }
    offences
}

fn foreign_crates(source: &Source) -> Vec<String> {
    let Some((module, _)) = source.module() else { return Vec::new() };
    let mut offences = Vec::new();
    for (number, line) in source.code() {
        for (name, owners) in ONLY_IN {
            let prefix = format!("{name}::");
            if !owners.contains(&module) && names_after(&line, &prefix).next().is_some() {
                offences.push(format!("{}:{number}: only {} may name {name}", source.path, owners.join(", ")));
            }
        }
    }
    offences
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').any(|part| part == word)
}

fn unsafe_outside_io(source: &Source) -> Vec<String> {
    let inside = source.path.starts_with("src/io/");
    let lines = source.code().filter(|(_, line)| !inside && has_word(line, "unsafe"));
    lines.map(|(number, _)| format!("{}:{number}: unsafe outside src/io", source.path)).collect()
}

fn long_file(source: &Source) -> Vec<String> {
    let lines = source.code().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    match (lines > FILE_LINES_MAX, excused) {
        (true, false) => vec![format!("{}: {lines} lines of code, {FILE_LINES_MAX} are allowed", source.path)],
        (false, true) => vec![format!("{}: is short again, take it from LONG_FILES", source.path)],
        _ => Vec::new(),
    }
}

fn record_copies(source: &Source) -> Vec<String> {
    let Some((module, _)) = source.module() else { return Vec::new() };
    if !COPY_FREE.contains(&module) || COPYING_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut offences = Vec::new();
    for (number, line) in source.code() {
        let copies = COPIES.iter().find(|copy| line.contains(*copy));
        let marked = [number - 1, number.saturating_sub(2)].iter().any(|index| lines[*index].contains(COPY_MARK));
        if let (Some(copy), false) = (copies, marked) {
            offences.push(format!(
                "{}:{number}: {copy} copies bytes where records pass; say what they are by `{COPY_MARK} ...`",
                source.path
            ));
        }
    }
    offences
}

fn missing_header(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().unwrap_or_default();
    if first.starts_with("//! ") { Vec::new() } else { vec![format!("{}:1: no module header", source.path)] }
}

fn vague_name(source: &Source) -> Vec<String> {
    let inner = source.path.trim_end_matches(".rs");
    let parts = inner.split('/').filter(|part| VAGUE_NAMES.contains(part));
    parts.map(|part| format!("{}: {part:?} says nothing of what is inside", source.path)).collect()
}

/// std, then other crates, then ours: the first groups of `use` lines of a file, re-exports left out.
fn import_groups(source: &Source) -> Vec<String> {
    let mut last = 0;
    let mut offences = Vec::new();
    for (number, line) in source.code() {
        let Some(path) = line.strip_prefix("use ") else { continue };
        let root = path.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or_default();
        let group = match root {
            "std" | "core" | "alloc" => 1,
            "crate" | "super" | "self" => 3,
            // Our own module, named without `self::`, starts where a crate's name would.
            _ if source.text.contains(&format!("mod {root};")) => continue,
            _ => 2,
        };
        if group < last {
            offences.push(format!("{}:{number}: imports go std, other crates, ours", source.path));
        }
        last = last.max(group);
    }
    offences
}

/// Words that mark something as unfinished. Split so that this file does not hold them.
fn leftovers(source: &Source) -> Vec<String> {
    let words = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let mut offences = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(*word)) {
            offences.push(format!("{}:{}: {word}", source.path, index + 1));
        }
    }
    offences
}

/// Paths of one machine or one person, which mean nothing to the next reader. Split for the same reason.
fn machine_paths(source: &Source) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/mn", "t/c/")];
    let mut offences = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        // A path starts where nothing of a path is before it: `tests/x/` is ours, `/x/` is not.
        let starts = |at: usize| !line[..at].ends_with(|char: char| char.is_alphanumeric() || "._-}".contains(char));
        let found = |place: &&&str| line.match_indices(**place).any(|(at, _)| starts(at));
        for place in places.iter().filter(found) {
            offences.push(format!("{}:{}: names {place}", source.path, index + 1));
        }
    }
    offences
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).expect("a source folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Option<Source> {
    let text = fs::read_to_string(path).ok()?;
    let relative = path.strip_prefix(root()).expect("inside the repository").to_string_lossy().into_owned();
    Some(Source { path: relative, text })
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&root().join("src"), &mut paths);
    assert!(paths.len() > 10, "the walk finds the sources");
    paths.iter().map(|path| read(path).expect("sources are text")).collect()
}

/// Every text file under version control; where there is none (an unpacked archive), the Rust sources.
fn tracked() -> Vec<Source> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    match listed {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            names.split('\0').filter(|name| !name.is_empty()).filter_map(|name| read(&root().join(name))).collect()
        }
        _ => sources(),
    }
}

fn check(sources: &[Source], rule: fn(&Source) -> Vec<String>) {
    let offences: Vec<String> = sources.iter().flat_map(rule).collect();
    let mut listed = String::new();
    for offence in &offences {
        writeln!(listed, "  {offence}").expect("a string takes it");
    }
    assert!(offences.is_empty(), "{} offences:\n{listed}", offences.len());
}

#[test]
fn imports_go_down() {
    check(&sources(), upward_imports);
}

#[test]
fn each_foreign_crate_has_one_home() {
    check(&sources(), foreign_crates);
}

#[test]
fn unsafe_is_in_io_only() {
    check(&sources(), unsafe_outside_io);
}

#[test]
fn files_stay_small() {
    check(&sources(), long_file);
}

#[test]
fn record_bytes_are_copied_in_io_only() {
    check(&sources(), record_copies);
}

#[test]
fn every_file_says_what_it_is() {
    check(&sources(), missing_header);
    check(&sources(), vague_name);
}

#[test]
fn imports_are_grouped() {
    check(&sources(), import_groups);
}

#[test]
fn nothing_is_left_unfinished() {
    check(&tracked(), leftovers);
}

#[test]
fn no_machine_is_named() {
    check(&tracked(), machine_paths);
}

#[test]
fn each_rule_finds_an_offence() {
    let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    let storage = "src/storage/log.rs";
    assert_eq!(upward_imports(&source(storage, "use crate::partition::Partition;\n")).len(), 1);
    assert_eq!(upward_imports(&source(storage, "use crate::{io, partition};\n")).len(), 1);
    assert_eq!(upward_imports(&source(storage, "let x = super::super::partition::y();\n")).len(), 1);
    assert_eq!(upward_imports(&source("src/record/crc.rs", "use crate::protocol::ApiKey;\n")).len(), 1);
    assert_eq!(upward_imports(&source("src/novel/mod.rs", "\n")).len(), 1);
    assert!(
        upward_imports(&source(storage, "use crate::io::Env; // crate::server\nuse super::super_fast;\n")).is_empty()
    );
    assert_eq!(foreign_crates(&source(storage, "use libc::c_int;\n")).len(), 1);
    assert_eq!(unsafe_outside_io(&source(storage, "    unsafe { x() }\n")).len(), 1);
    assert!(unsafe_outside_io(&source("src/io/ring.rs", "    unsafe { x() }\n")).is_empty());
    assert!(unsafe_outside_io(&source(storage, "// unsafe\nlet unsafe_code = \"unsafe\";\n")).is_empty());
    assert_eq!(long_file(&source(storage, &"x();\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
    assert!(long_file(&source(storage, &"// x\n\n".repeat(FILE_LINES_MAX + 1))).is_empty());
    assert_eq!(record_copies(&source(storage, "a.copy_from_slice(b);\n")).len(), 1);
    assert!(record_copies(&source(storage, "// copies: the header\na.copy_from_slice(b);\n")).is_empty());
    assert!(record_copies(&source(storage, "x();\n#[cfg(test)]\nmod tests {\n a.copy_from_slice(b);\n")).is_empty());
    assert_eq!(missing_header(&source(storage, "use std::io;\n")).len(), 1);
    assert_eq!(vague_name(&source("src/util/mod.rs", "")).len(), 1);
    assert_eq!(import_groups(&source(storage, "use bytes::Bytes;\nuse std::io;\n")).len(), 1);
    assert_eq!(leftovers(&source(storage, concat!("// FIX", "ME later\n"))).len(), 1);
    assert_eq!(machine_paths(&source("README.md", concat!("cd /ho", "me/me/x\n"))).len(), 1);
}
