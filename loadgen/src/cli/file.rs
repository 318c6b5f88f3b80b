//! A scenario file: TOML, whose keys are the flags of its scenario.
//!
//! Contract: a file becomes a command line, so that a key is exactly as strict as the flag; flags that are typed behind the file
//! take the place of its keys. `scenario` names the scenario; `true` sets a flag without a value; `server-args` are what stands
//! behind `--`.

use std::ffi::OsString;
use std::fs;

use toml::{Table, Value};

/// Takes `PROGRAM run FILE [FLAGS]` apart; gives the command line that is meant, or one line on what is wrong. Anything else
/// stays as it is.
pub(super) fn expand(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    match args.as_slice() {
        [program, run, file, typed @ ..] if run == "run" && !file.to_string_lossy().starts_with('-') => {
            let name = file.to_string_lossy();
            let text = fs::read_to_string(file).map_err(|error| format!("cannot read {name}: {error}"))?;
            let table: Table = text.parse().map_err(|error: toml::de::Error| {
                format!("{name}: {}", error.to_string().lines().collect::<Vec<_>>().join(" "))
            })?;
            let said = from_table(table, typed).map_err(|wrong| format!("{name}: {wrong}"))?;
            Ok([program.clone()].into_iter().chain(said).collect())
        }
        _ => Ok(args),
    }
}

fn from_table(mut table: Table, typed: &[OsString]) -> Result<Vec<OsString>, String> {
    let Some(Value::String(scenario)) = table.remove("scenario") else {
        return Err("`scenario` is missing, for example scenario = \"fanout\"".to_owned());
    };
    let behind = match table.remove("server-args") {
        None => Vec::new(),
        Some(Value::Array(args)) => {
            args.iter().map(|arg| shown("server-args", arg)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err("`server-args` must be a list of texts".to_owned()),
    };
    let own =
        typed.iter().take_while(|arg| *arg != "--").map(|arg| arg.to_string_lossy()).collect::<Vec<_>>();
    let mut args = vec![scenario];
    for (key, value) in table {
        let flag = format!("--{key}");
        let is_typed = |arg: &&str| **arg == flag || arg.starts_with(&format!("{flag}="));
        if own.iter().any(|arg| is_typed(&arg.as_ref())) {
            continue;
        }
        match value {
            Value::Boolean(true) => args.push(flag),
            Value::Boolean(false) => {}
            value => args.push(format!("{flag}={}", shown(&key, &value)?)),
        }
    }
    let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
    args.extend(typed.iter().cloned());
    if !behind.is_empty() && !typed.iter().any(|arg| arg == "--") {
        args.push("--".into());
        args.extend(behind.into_iter().map(OsString::from));
    }
    Ok(args)
}

fn shown(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(_) | Value::Float(_) => Ok(value.to_string()),
        Value::Array(values) => {
            let each = values.iter().map(|value| shown(key, value)).collect::<Result<Vec<_>, _>>()?;
            Ok(each.join(","))
        }
        _ => Err(format!("`{key}` must be a number, a text, true or false, or a list of these")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, typed: &str) -> Result<String, String> {
        let typed: Vec<OsString> = typed.split_whitespace().map(OsString::from).collect();
        let args = from_table(text.parse().unwrap(), &typed)?;
        Ok(args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn keys_are_flags_and_typed_flags_take_their_place() {
        let text = "scenario = \"knee\"\nconns = [10, 20]\nrate = 0.5\nbusy-ok = true\njson = false\n";
        let said = expanded(text, "--url ws://h").unwrap();
        assert_eq!(said, "knee --busy-ok --conns=10,20 --rate=0.5 --url ws://h");
        assert_eq!(expanded(text, "--conns 5 --rate=3").unwrap(), "knee --busy-ok --conns 5 --rate=3");
        let text = "scenario = \"fanout\"\nserver-args = [\"--shards\", \"2\"]\n";
        assert_eq!(expanded(text, "").unwrap(), "fanout -- --shards 2");
        assert_eq!(expanded(text, "-- --shards 1").unwrap(), "fanout -- --shards 1");
    }

    #[test]
    fn what_cannot_be_a_flag_is_refused() {
        for (text, word) in [
            ("conns = 1", "scenario"),
            ("scenario = 1", "scenario"),
            ("scenario = \"fanout\"\nserver-args = 1", "server-args"),
            ("scenario = \"fanout\"\n[load]\nrate = 1", "`load`"),
        ] {
            assert!(expanded(text, "").unwrap_err().contains(word), "{text}");
        }
    }
}
