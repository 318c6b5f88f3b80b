//! `stentor check`: the effective configuration, and the memory that its bounds add up to.

use super::failure::Failure;
use super::serve::SettingsArgs;
use super::tell;
use clap::Args;
use indicatif::BinaryBytes;
use stentor::config::WorstCase;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let settings = args.settings.resolve()?;
    let text = toml::to_string(&settings).map_err(|error| Failure::run(error.to_string()))?;
    let descriptors = rlimit::Resource::NOFILE.get_hard().map_err(|error| Failure::run(error.to_string()))?;
    let connections = settings.connections_max(descriptors);
    let worst = WorstCase::of(&settings, connections);
    tell(&text);
    tell(&format!("# {} shards, {} door threads", settings.shard_count(), settings.door_count()));
    tell(&format!("# {connections} connections (the descriptor limit is {descriptors})"));
    tell("# worst-case memory, every bound reached at once:");
    for (what, bytes) in [
        ("sequencer queue and topics", worst.sequencer),
        ("histories of all topics", worst.histories),
        ("inboxes and logs of the shards", worst.shards),
        ("outbound queues", worst.queues),
        ("connections and subscriptions", worst.connections),
        ("messages being received", worst.receiving),
        ("all of it", worst.total()),
    ] {
        tell(&format!("#   {what:<32}{:>12}", BinaryBytes(bytes).to_string()));
    }
    for rule in &settings.topics {
        let topics = if rule.pattern.ends_with('*') { settings.limits.topics as u64 } else { 1 };
        let one = rule.history_bytes(&settings.limits) as u64;
        let all = one.saturating_mul(topics).min(settings.limits.histories_bytes as u64);
        let (one, all) = (BinaryBytes(one).to_string(), BinaryBytes(all).to_string());
        tell(&format!("# history under {:?}: {one} a topic, {all} of the histories at most", rule.pattern));
    }
    Ok(())
}
