//! Proves: the house rules that a reader would otherwise have to take on trust.

// A failed step is a failed test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// A file without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("\n#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn no_file_is_long_and_half_of_them_are_short() {
    let mut lengths = Vec::new();
    for path in ["src", "loadgen/src", "benches"].into_iter().flat_map(sources) {
        let length = code(&path).lines().count();
        assert!(length <= 600, "{} has {length} lines without its tests", path.display());
        lengths.push(length);
    }
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] < 220, "the median file has {} lines", lengths[lengths.len() / 2]);
}

/// The pure rooms know no threads, no sockets, no tokio and no clock: time is an argument.
#[test]
fn pure_rooms_import_nothing_that_does() {
    let pure = [
        "src/client/address.rs",
        "src/client/backoff.rs",
        "src/client/envelope.rs",
        "src/client/event.rs",
        "src/client/frames.rs",
        "src/client/holes.rs",
        "src/client/places.rs",
        "src/client/said.rs",
        "src/ids.rs",
        "src/limits.rs",
        "src/message",
        "src/protocol",
        "src/sequencer/answers.rs",
        "src/sequencer/changes.rs",
        "src/sequencer/core.rs",
        "src/sequencer/history.rs",
        "src/sequencer/piece.rs",
        "src/sequencer/rules.rs",
        "src/sequencer/turns.rs",
        "src/sequencer/topics.rs",
        "src/sequencer/request.rs",
        "src/sequencer/wildcards.rs",
        "src/shard/core",
        "src/shard/queue",
        "src/transport",
    ];
    let forbidden = [
        "use tokio::",
        "tokio::spawn",
        "std::thread",
        "std::net::Tcp",
        "clock::now",
        "unix_micros()",
        "Instant",
    ];
    let mut moved = pure.to_vec();
    for path in sources("src") {
        let shown = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_str().unwrap().to_owned();
        if !pure.iter().any(|room| shown.starts_with(room)) {
            continue;
        }
        moved.retain(|room| !shown.starts_with(room));
        for line in code(&path).lines().filter(|line| is_code(line)) {
            let found = forbidden.iter().find(|word| line.contains(*word));
            assert!(found.is_none(), "{shown} is pure, and says {line:?}");
        }
    }
    assert!(moved.is_empty(), "pure rooms have moved: {moved:?}");
}

/// The words of the wire know nothing of those who speak them.
#[test]
fn imports_point_downwards() {
    let above = ["crate::server", "crate::operator", "crate::door", "crate::shard", "crate::sequencer::core"];
    for path in sources("src/protocol").into_iter().chain(sources("src/message")) {
        let text = code(&path);
        let found = above.iter().find(|name| text.contains(*name));
        assert!(found.is_none(), "{} imports {}", path.display(), found.unwrap());
    }
}

/// `lib.rs` lists the hot path in the order a message takes; it can be read in an hour.
#[test]
fn the_hot_path_is_short() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed =
        map.split("# Code map: the hot path").nth(1).unwrap().split("Behind a full socket").next().unwrap();
    let mut lines = 0;
    let mut files = 0;
    for word in listed.split(['`', '|', '[', ']']).filter(|word| word.ends_with(".rs")) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(word);
        lines += code(&path).lines().filter(|line| is_code(line)).count();
        files += 1;
    }
    assert!(files >= 12, "the list of the hot path has shrunk to {files} files");
    assert!(lines <= 1_350, "the hot path has {lines} lines of code in {files} files");
}

/// A bound or a setting without a word on what it buys is a riddle.
#[test]
fn every_setting_and_limit_is_documented() {
    let limits = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits.rs")).unwrap();
    let config = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/mod.rs")).unwrap();
    for text in [limits, config] {
        let mut before = "";
        for line in text.lines() {
            if line.starts_with("    pub ") && line.ends_with(',') {
                assert!(before.trim_start().starts_with("///"), "not documented: {line}");
            }
            before = line;
        }
    }
}
