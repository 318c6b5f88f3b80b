//! The layers of configuration: flag over environment over file over default.
//!
//! Settings are known by the paths of the default's TOML, so a setting added there is at once in the file, the
//! environment and `--set`, and a name that is in none is refused.

use super::Settings;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A setting that cannot be used. One line; the user's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// No setting has that name.
    #[error("{from}: there is no setting {name}; `stentor check` lists them")]
    Unknown {
        /// Which layer said it.
        from: String,
        /// The name.
        name: String,
    },
    /// The value does not fit.
    #[error("{from}: {name} cannot be {value:?}: {message}")]
    Value {
        /// Which layer said it.
        from: String,
        /// The setting.
        name: String,
        /// As given.
        value: String,
        /// What it should be.
        message: String,
    },
    /// Two settings exclude each other.
    #[error("{0}")]
    Contradiction(String),
}

/// Collects what was said, from the weakest layer to the strongest.
#[derive(Debug)]
pub struct Layers {
    table: Table,
}

impl Default for Layers {
    fn default() -> Self {
        // The default always serialises; were it not so, every setting would be unknown.
        Self { table: Table::try_from(Settings::default()).unwrap_or_default() }
    }
}

impl Layers {
    /// The defaults, a file if there is one, then the environment as given.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        if let Some(path) = file {
            layers.read(path)?;
        }
        let names = names(&layers.table);
        for (variable, value) in environment {
            let Some(name) = names.iter().find(|name| variable_of(name) == variable) else { continue };
            layers.set(&variable, name, &value)?;
        }
        Ok(layers)
    }

    /// Sets one setting from text, as the layer called `from`.
    ///
    /// # Errors
    /// There is no such setting, or the text is not of its kind.
    pub fn set(&mut self, from: &str, name: &str, value: &str) -> Result<(), ConfigError> {
        let unknown = || ConfigError::Unknown { from: from.to_owned(), name: name.to_owned() };
        let place = place(&mut self.table, name).ok_or_else(unknown)?;
        let wrong = |message: &str| ConfigError::Value {
            from: from.to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            message: message.to_owned(),
        };
        *place = match place {
            Value::Integer(_) => Value::Integer(value.parse().map_err(|_| wrong("it is a whole number"))?),
            Value::Boolean(_) => Value::Boolean(value.parse().map_err(|_| wrong("it is true or false"))?),
            _ => Value::String(value.to_owned()),
        };
        // Read at once, so that the error names the layer and not the sum of them.
        self.table
            .clone()
            .try_into::<Settings>()
            .map_err(|error| wrong(error.message().lines().next().unwrap_or_default()))?;
        Ok(())
    }

    /// The sum of the layers, checked.
    ///
    /// # Errors
    /// Two settings exclude each other.
    pub fn settings(self) -> Result<Settings, ConfigError> {
        let settings: Settings =
            self.table.try_into().map_err(|error| ConfigError::Contradiction(error.message().to_owned()))?;
        settings.validate()?;
        Ok(settings)
    }

    fn read(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file: Settings = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = format!("line {line}: {}", error.message().lines().next().unwrap_or_default());
            ConfigError::File { path: path.to_owned(), message }
        })?;
        self.table = Table::try_from(file).map_err(|error| ConfigError::Contradiction(error.to_string()))?;
        Ok(())
    }
}

/// The names of the settings, topic rules aside, in which the two differ.
pub(crate) fn differing(one: &Settings, other: &Settings) -> Vec<String> {
    let table = |settings: &Settings| Table::try_from(settings.clone()).unwrap_or_default();
    let (mut one, mut other) = (table(one), table(other));
    let mut names = names(&one);
    names.retain(|name| place(&mut one, name) != place(&mut other, name));
    names
}

/// The names of all settings, `limits.queue_bytes` and so on.
fn names(table: &Table) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => names.extend(inner.keys().map(|name| format!("{key}.{name}"))),
            // Topic rules are said in the file only.
            Value::Array(_) => {}
            _ => names.push(key.clone()),
        }
    }
    names
}

fn variable_of(name: &str) -> String {
    format!("STENTOR_{}", name.replace('.', "_").to_uppercase())
}

fn place<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Value> {
    match name.split_once('.') {
        Some((section, key)) => table.get_mut(section)?.as_table_mut()?.get_mut(key),
        None => table.get_mut(name).filter(|value| !value.is_table() && !value.is_array()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        pairs.into_iter()
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stentor.toml");
        std::fs::write(&path, "shards = 2\n[limits]\nqueue_bytes = 100\nqueue_frames = 7\n").unwrap();
        let env =
            [("STENTOR_LIMITS_QUEUE_BYTES", "200"), ("STENTOR_LISTEN", "127.0.0.1:1"), ("STENTOR_URL", "x")];
        let mut layers = Layers::load(Some(&path), environment(&env)).unwrap();
        layers.set("--listen", "listen", "127.0.0.1:2").unwrap();
        let settings = layers.settings().unwrap();
        assert_eq!((settings.shards, settings.limits.queue_frames), (2, 7));
        assert_eq!(settings.limits.queue_bytes, 200);
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.limits.topics, Settings::default().limits.topics);
    }

    #[test]
    fn a_wrong_setting_is_one_clear_line() {
        let mut layers = Layers::default();
        let error = layers.set("--set", "limits.queue", "1").unwrap_err().to_string();
        assert_eq!(error, "--set: there is no setting limits.queue; `stentor check` lists them");
        let error = layers.set("STENTOR_SHARDS", "shards", "many").unwrap_err().to_string();
        assert_eq!(error, "STENTOR_SHARDS: shards cannot be \"many\": it is a whole number");
        assert!(Layers::default().set("--listen", "listen", "here").is_err());
        assert!(Layers::default().set("--shards", "shards", "-1").is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.toml");
        std::fs::write(&path, "shards = 1\nspeed = 9\n").unwrap();
        let error = Layers::load(Some(&path), environment(&[])).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("speed") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn settings_that_differ_are_named() {
        let one = Settings::default();
        let mut other = Settings { shards: 7, ..one.clone() };
        other.limits.queue_bytes = 1;
        other.topics.push(crate::config::Rule { pattern: "a".into(), ..Default::default() });
        assert_eq!(differing(&one, &other), ["limits.queue_bytes", "shards"]);
        assert!(differing(&one, &one.clone()).is_empty());
    }

    /// Rules are said in the file, come back out as they went in, and are no setting for a flag.
    #[test]
    fn rules_are_read_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stentor.toml");
        let text = "[[topic]]\npattern = \"book.*\"\nclass = \"delta\"\nhistory_messages = 5\n\
                    [[topic]]\npattern = \"*\"\nsnapshot = \"latest\"\n";
        std::fs::write(&path, text).unwrap();
        let settings = Layers::load(Some(&path), environment(&[])).unwrap().settings().unwrap();
        assert_eq!(settings.topics.len(), 2);
        assert_eq!(settings.topics[0].history_messages, Some(5));
        let again: Settings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        std::fs::write(&path, "[[topic]]\npattern = \"a\"\nclass = \"fast\"\n").unwrap();
        let error = Layers::load(Some(&path), environment(&[])).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("fast") && !error.contains('\n'), "{error}");
        assert!(Layers::default().set("--set", "topic", "x").is_err());
    }

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        let mut layers = Layers::default();
        layers.set("--set", "limits.ping_s", "60").unwrap();
        assert!(layers.settings().unwrap_err().to_string().contains("limits.ping_s"));
    }
}
