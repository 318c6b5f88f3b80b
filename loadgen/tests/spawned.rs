//! Proves: a server that the generator started is ended, after a run, after a failure and after an interrupt.
//! Method: a shell script in the server's place, which points at a tiny server in this process and writes down how it ended.
#![cfg(unix)]
// Helpers outside the test functions may panic as the tests do.
#![allow(clippy::unwrap_used)]

mod tiny_operator;
mod tiny_server;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tiny_operator::TinyOperator;
use tiny_server::{Mischief, TinyServer};

/// A script that acts as a server, in a directory of its own.
struct Script {
    directory: TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("server");
        let notes = directory.path().join("notes");
        fs::write(&path, format!("#!/bin/sh\nnotes='{}'\n{body}\n", notes.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    /// Announces the address of `server`, then waits to be terminated and notes that it was.
    fn pointing_at(server: &TinyServer, operator: &TinyOperator) -> Self {
        Self::new(&format!(
            "echo \"$@\" > \"$notes\"\n\
             sleep 60 & trap 'kill $!; echo terminated >> \"$notes\"; exit 0' TERM INT\n\
             echo 'operator on http://{}'\n\
             echo 'listening on {}'\n\
             echo 'listening on {}'\n\
             echo 'listening on {}'\n\
             wait",
            operator.address,
            server.url("ws"),
            server.url("tcp"),
            server.url("udp")
        ))
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("server")
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.directory.path().join("notes")).unwrap()
    }

    fn loadgen(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor-loadgen"));
        command.args(["fanout", "--json", "--spawn"]).arg(self.path()).args(args.split_whitespace());
        command
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ARGUMENTS: &str = "serve --listen 127.0.0.1:0 --admin 127.0.0.1:0";

#[test]
fn a_spawned_server_is_driven_and_then_terminated() {
    let server = TinyServer::start(Mischief::default());
    let operator = TinyOperator::start(&[[0; 4], [5, 15, 15, 0]]);
    let script = Script::pointing_at(&server, &operator);
    let output = script.loadgen("--conns 3 --messages 5 -- --shards 2").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(script.notes(), format!("{ARGUMENTS} --shards 2\nterminated\n"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["deliveries"], &json["server_counts"]["delivered"]), (&15.into(), &15.into()));
    assert_eq!(server.pongs(), 3);
    if cfg!(target_os = "linux") {
        assert!(json["server"]["resident_bytes_idle"].as_u64() > Some(0), "{json}");
    }
}

/// Subscribers speak as they are told, and the publisher as they do, or as it is told.
#[test]
fn a_spawned_server_is_driven_over_the_wire_asked_for() {
    for via in ["", "--publish-via ws"] {
        let server = TinyServer::start(Mischief::default());
        let operator = TinyOperator::start(&[[0; 4], [5, 15, 15, 0]]);
        let script = Script::pointing_at(&server, &operator);
        let load = "--conns 3 --messages 5 --transport tcp";
        let output = script.loadgen(&format!("{load} {via} -- --shards 2")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(script.notes(), format!("{ARGUMENTS} --tcp 127.0.0.1:0 --shards 2\nterminated\n"));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["deliveries"], &json["url"]), (&15.into(), &server.url("tcp").into()));
        // The publisher over TCP was told once that the server lives, too.
        assert_eq!(server.pongs(), if via.is_empty() { 4 } else { 3 });
    }
}

/// Four messages are lost on their way to three subscribers: they are told of, as of a network that may lose them.
#[test]
fn datagrams_that_are_lost_are_counted_and_fail_nothing() {
    let lost = BTreeMap::from([0, 1, 7, 19].map(|number| ((1, number), vec![])));
    for instead in [BTreeMap::new(), lost] {
        let missing = instead.len();
        let server = TinyServer::start(Mischief { instead, ..Mischief::default() });
        let operator = TinyOperator::start(&[[0; 4], [20, 60, 60, 0]]);
        let script = Script::pointing_at(&server, &operator);
        let output = script.loadgen("--conns 3 --messages 20 --transport udp").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(script.notes(), format!("{ARGUMENTS} --udp 127.0.0.1:0\nterminated\n"));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["missing"], &json["url"]), (&missing.into(), &server.url("udp").into()));
        assert_eq!((&json["deliveries"], &json["verified"]), (&(60 - missing).into(), &true.into()));
        assert!(json["receive_buffer_bytes"].as_u64() > Some(0), "{json}");
    }
}

#[test]
fn a_failed_run_terminates_its_server_too() {
    let server = TinyServer::start(Mischief { refuse_from: Some(0), ..Mischief::default() });
    let operator = TinyOperator::start(&[[0; 4], [5, 15, 15, 0]]);
    let script = Script::pointing_at(&server, &operator);
    let output = script.loadgen("--conns 3").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(script.notes(), format!("{ARGUMENTS}\nterminated\n"));
}

#[test]
fn an_interrupted_run_terminates_its_server_too() {
    for signal in ["INT", "TERM"] {
        let server = TinyServer::start(Mischief::default());
        let operator = TinyOperator::start(&[[0; 4], [5, 15, 15, 0]]);
        let script = Script::pointing_at(&server, &operator);
        let mut command = script.loadgen("--conns 3 --rate 10 --secs 3600");
        let mut run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("connect: 3 connections"));
        let kill = format!("kill -{signal} {}", run.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let rest: Vec<String> = lines.collect();
        assert_eq!(run.wait().unwrap().code(), Some(1), "{rest:?}");
        assert!(rest.last().unwrap().contains("interrupted"), "{rest:?}");
        assert_eq!(script.notes(), format!("{ARGUMENTS}\nterminated\n"));
    }
}

#[test]
fn a_server_that_ends_at_once_is_quoted() {
    let script = Script::new("echo 'cannot bind' >&2; exit 3");
    let output = script.loadgen("").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains("cannot bind") && said.contains("ended before it was ready (exit status: 3)"),
        "{said}"
    );
}

#[test]
fn a_path_that_cannot_be_run_is_named() {
    let script = Script::new("");
    fs::remove_file(script.path()).unwrap();
    let output = script.loadgen("").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot run") && said(&output).lines().count() == 1, "{}", said(&output));
}
