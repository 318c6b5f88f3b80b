//! Keeps the results of `cargo bench` under `benches/results/<date>-<machine>/`, with the machine they were taken
//! on, and makes of them a report, a plot and the README's table. Called after each of several runs of one commit
//! it reports all of them together: a machine that others share is twice as fast in one minute as in the next.
//!
//! Everything is read from where criterion leaves it, and the questions from the benchmarks' own first lines.

mod figure;
mod group;
mod machine;
mod markdown;
mod plot;
mod runs;

use group::Group;
use machine::Machine;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    if env::args().len() > 1 {
        eprintln!("bench-report takes no arguments; it reads what `cargo bench` left");
        return ExitCode::from(2);
    }
    match run() {
        Ok(folder) => {
            println!("{} and README.md are written", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    env::set_current_dir(&root)?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let criterion = target.join("criterion");
    let memory = figure::memory(&criterion)?;
    let machine = Machine::here()?;

    let name = machine.folder();
    let folder = root.join("benches/results").join(&name);
    fs::create_dir_all(&folder)?;
    let runs = runs::kept_with(&folder, &machine, figure::last_run(&criterion)?)?;
    let figures = figure::of_runs(&runs)?;
    let groups = Group::all(&figures, &root.join("benches"))?;
    fs::write(folder.join("memory.json"), serde_json::to_vec_pretty(&memory)?)?;
    fs::write(folder.join("plot.svg"), plot::draw(&groups))?;
    let question = group::question_of(&root.join("benches/memory.rs"))?;
    fs::write(folder.join("report.md"), markdown::report(&machine, runs.len(), &groups, &question, &memory))?;

    let path = root.join("README.md");
    let readme = fs::read_to_string(&path)?;
    fs::write(
        path,
        markdown::replace_table(&readme, &markdown::readme(&machine, runs.len(), &groups, &name))?,
    )?;
    Ok(folder)
}
