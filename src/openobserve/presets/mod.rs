//! Resources that are shipped: the starter's dashboards, and those of a system of commands, queries and events.
//!
//! Each preset is a text of the same language as `openobserve:`; names of streams stand in it as `${NAME}` and can be others. What
//! the user's own configuration names under the same name is the user's.

use super::config::{Preset, ServerConfig};
use crate::settings::{Map, Span, Spanned, read_text};
use std::collections::BTreeMap;

/// The text of a preset.
fn shipped(preset: Preset) -> &'static str {
    match preset {
        Preset::Starter => include_str!("starter.yaml"),
        Preset::Cqrs => include_str!("cqrs.yaml"),
    }
}

/// Adds what the presets of a server bring; they are named by `presets.use`.
///
/// Errors: alerts have nowhere to go; a name that cannot be a stream's; in words.
pub fn with_presets(mut server: ServerConfig) -> Result<ServerConfig, String> {
    let asked: Vec<Preset> = server.presets.r#use.clone();
    for preset in Preset::ALL.into_iter().filter(|preset| asked.contains(preset)) {
        let more = read(preset, &server)?;
        if !more.alerts.is_empty() && server.destinations.is_empty() && server.presets.destinations.is_empty() {
            let name = preset.word();
            return Err(format!(
                "the alerts of preset `{name}` have nowhere to go: name `destinations` under `openobserve`"
            ));
        }
        add(&mut server.streams, more.streams);
        add(&mut server.folders, more.folders);
        add(&mut server.alerts, more.alerts);
        add(&mut server.dashboards, more.dashboards);
    }
    Ok(server)
}

fn add<T>(to: &mut Map<T>, from: Map<T>) {
    for (name, value) in from {
        if to.get(&name.value).is_none() {
            to.push((name, value));
        }
    }
}

/// One preset with the names and destinations of a server.
fn read(preset: Preset, server: &ServerConfig) -> Result<ServerConfig, String> {
    let text = shipped(preset);
    let renamed = |name: &str| server.presets.streams.get(name).cloned().unwrap_or_else(|| name.to_owned());
    let mut variables = BTreeMap::new();
    for name in preset.streams() {
        let other = renamed(name);
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if other.is_empty() || !other.chars().all(fine) {
            return Err(format!(
                "`{other}` cannot be the stream `{name}` of preset `{}`: letters, digits, `_` and `:`, as the server has it",
                preset.word()
            ));
        }
        variables.insert((*name).to_owned(), other);
    }
    let text = format!("url: 'http://localhost:5080'\n{text}");
    let (read, report) = read_text::<ServerConfig>(preset.word(), &text, &variables);
    let mut read = read.ok_or_else(|| format!("preset `{}`: {}", preset.word(), report.render()))?;
    for (name, _) in read.streams.iter_mut() {
        name.value = renamed(&name.value);
    }
    let destinations: Vec<Spanned<String>> = match server.presets.destinations.is_empty() {
        true => server.destinations.names().map(|name| Spanned::new(name.to_owned(), Span::default())).collect(),
        false => server.presets.destinations.clone(),
    };
    for (_, alert) in read.alerts.iter_mut() {
        alert.destinations.clone_from(&destinations);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::openobserve::{Kind, Version, dashboard, desired};

    fn server(more: &str) -> ServerConfig {
        let text = format!("url: 'http://localhost:5080'\n{more}");
        let (read, report) = read_text::<ServerConfig>("x", &text, &BTreeMap::new());
        read.unwrap_or_else(|| panic!("{}", report.render()))
    }

    #[test]
    fn what_is_shipped_can_be_read_and_made_for_every_version() {
        let more = "presets: {use: [cqrs, starter], streams: {application_logs: shop, cqrs_events: facts}}\n\
                    destinations: {ops: {url: 'https://x.example/h', preset: slack}}";
        let server = with_presets(server(more)).unwrap();
        for version in ["0.8.0", "0.14.0", "0.92.0"] {
            let (wanted, wrong) = desired(&server, Version::parse(version).unwrap());
            assert_eq!(wrong, Vec::<String>::new());
            let count = |kind: Kind| wanted.iter().filter(|one| one.key.kind == kind).count();
            assert_eq!((count(Kind::Dashboard), count(Kind::Alert), count(Kind::Stream)), (7, 5, 5));
            for one in wanted.iter().filter(|one| one.key.kind == Kind::Dashboard) {
                let queries = dashboard::queries(&one.fields["dashboard"]);
                assert!(queries.len() > 4 && queries.iter().all(|q| !q.query.contains("${")), "{}", one.key);
                assert!(queries.iter().all(|q| !q.query.contains("application_logs")), "{}", one.key);
            }
            for one in wanted.iter().filter(|one| one.key.kind == Kind::Alert) {
                assert_eq!(one.fields["destinations"], serde_json::json!(["ops"]), "{}", one.key);
            }
            assert!(wanted.iter().any(|one| one.key.to_string() == "stream.facts"));
        }
    }

    #[test]
    fn what_is_the_users_stays_and_alerts_need_somewhere_to_go() {
        let mine = "presets: {use: [starter]}\nfolders: {Starter: {description: mine}}";
        let with = with_presets(server(mine)).unwrap();
        assert_eq!(with.folders.get("Starter").unwrap().description, "mine");
        let why = with_presets(server("presets: {use: [cqrs]}")).unwrap_err();
        assert!(why.contains("nowhere to go"), "{why}");
        let why = with_presets(server("presets: {use: [starter], streams: {application_logs: 'a b'}}")).unwrap_err();
        assert!(why.contains("`a b` cannot be the stream"), "{why}");
    }
}
