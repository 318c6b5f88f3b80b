//! One question, its designs and what they were compared at.

use crate::Result;
use crate::figure::Figure;
use std::fs;
use std::path::Path;

/// See the module.
pub(crate) struct Group<'a> {
    pub(crate) name: String,
    /// The first lines of its benchmark.
    pub(crate) question: String,
    /// Ours first.
    pub(crate) designs: Vec<&'a str>,
    pub(crate) rows: Vec<Row<'a>>,
}

/// All designs at one parameter.
pub(crate) struct Row<'a> {
    pub(crate) parameter: &'a str,
    /// In the order of the group's designs; not every design makes sense everywhere.
    pub(crate) figures: Vec<Option<&'a Figure>>,
}

impl<'a> Group<'a> {
    /// Every group there are figures of.
    pub(crate) fn all(figures: &'a [Figure], benches: &Path) -> Result<Vec<Self>> {
        figures.chunk_by(|a, b| a.group == b.group).map(|group| Self::new(group, benches)).collect()
    }

    fn new(figures: &'a [Figure], benches: &Path) -> Result<Self> {
        let name = figures[0].group.clone();
        let mut designs: Vec<_> = figures.iter().map(|figure| figure.design.as_str()).collect();
        designs.sort_by_key(|design| (!design.starts_with("stentor"), *design));
        designs.dedup();
        let mut parameters: Vec<_> = figures.iter().map(|figure| figure.parameter.as_str()).collect();
        parameters.sort_by_key(|parameter| natural(parameter));
        parameters.dedup();
        let row = |parameter| {
            let of = |design| figures.iter().find(|f| f.parameter == parameter && f.design == design);
            Row { parameter, figures: designs.iter().map(|design| of(*design)).collect() }
        };
        let rows = parameters.into_iter().map(row).collect();
        Ok(Self { question: question(&name, benches)?, name, designs, rows })
    }
}

impl<'a> Row<'a> {
    /// Ours and the fastest of the others, where there are both.
    pub(crate) fn duel(&self) -> Option<(&'a Figure, &'a Figure)> {
        let ours = self.figures.iter().flatten().find(|figure| figure.design == "stentor")?;
        let others = self.figures.iter().flatten().filter(|figure| !figure.is_ours());
        let best = others.min_by(|a, b| a.median_ns.total_cmp(&b.median_ns))?;
        Some((ours, best))
    }
}

/// The first paragraphs of a benchmark's file.
pub(crate) fn question_of(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    Ok(lines.map(str::trim).collect::<Vec<_>>().join("\n"))
}

/// A group is named after its file, with more behind it where a file asks in several ways.
fn question(group: &str, benches: &Path) -> Result<String> {
    let mut stem = group;
    loop {
        for file in [benches.join(format!("{stem}.rs")), benches.join(stem).join("main.rs")] {
            if file.exists() {
                return question_of(&file);
            }
        }
        stem = stem
            .rsplit_once('_')
            .ok_or_else(|| format!("no benchmark asks `{group}` (any more); remove its results"))?
            .0;
    }
}

/// So that 1,000 comes after 200.
fn natural(text: &str) -> (String, Vec<u64>) {
    let numbers =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    (text.chars().filter(|c| !c.is_ascii_digit()).collect(), numbers)
}
