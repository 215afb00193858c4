//! Tables: from a key to the members of a record.

use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use serde_json::{Map, Value};

use super::watched::{FileError, last_line_ends};
use crate::condition::Condition;
use crate::event::FieldPath;
use crate::event::json::Children;
use crate::settings::{Node, Reader, SchemaBuilder, Setting, config, config_choice, config_enum, config_union};
use crate::template::Template;

/// Larger files are refused: a table lives in memory.
const MAX_FILE_BYTES: u64 = 64 << 20;

config! {
    /// Looks a key up in a table and adds what it finds.
    pub struct LookupSetting {
        /// Only where this holds.
        pub when: Option<Condition>,
        /// A field path, or a template such as `{{ region }}-{{ zone }}`.
        pub key: KeySetting,
        /// The table: a CSV, JSON or NDJSON file, read again when it changes.
        pub table: TableSetting,
        /// The object that takes the record's members; the event itself where left out.
        pub to: Option<FieldPath>,
        /// The members to take, or their names with new ones: `[name, tier]` or `{name: customer}`. All where left out.
        pub fields: Option<FieldsSetting>,
        /// What becomes of an event whose key is not in the table.
        pub on_miss: OnMiss = OnMiss::Keep,
    }
}

config_union! {
    /// A file, or a file with its form.
    pub enum TableSetting {
        /// The form is known by the name's end.
        Path(PathBuf),
        /// A file and its form.
        File(TableFile),
    }
}

config! {
    /// A file and its form.
    pub struct TableFile {
        /// The file.
        pub file: PathBuf,
        /// Its format; known by the name's end where left out.
        pub format: Option<TableFormat>,
        /// The column or member that holds the key; the first (of the first record) where left out.
        pub key: Option<String>,
        /// Whether it may have no records. Else such a file is an error at the start, and later does not replace the table in use.
        pub allow_empty: bool = false,
    }
}

config_enum! {
    /// How a table is written.
    pub enum TableFormat {
        /// Lines of columns below a line of names.
        Csv = "csv",
        /// An object from keys to records, or an array of records.
        Json = "json",
        /// A record a line.
        Ndjson = "ndjson",
    }
}

config_union! {
    /// Which members of a record.
    pub enum FieldsSetting {
        /// These.
        Names(Vec<String>),
        /// These, under other names.
        Renamed(crate::settings::Map<String>),
    }
}

config_choice! {
    /// What becomes of an event whose key is not in the table, or absent.
    pub enum OnMiss {
        /// It passes as it is, counted.
        Keep = "keep",
        /// It goes to `id.rejected`.
        Reject = "reject",
        /// It is dropped and counted.
        Drop = "drop",
        /// It takes these members in place of a record.
        Default(crate::settings::Map<Value>) = "default",
    }
}

/// A field path, or a template.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySetting {
    /// The text of one field.
    Path(FieldPath),
    /// Text with values in it.
    Template(Template),
}

impl Setting for KeySetting {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if node.as_str().is_some_and(|text| text.contains("{{")) {
            Template::read(node, cx).map(KeySetting::Template)
        } else {
            FieldPath::read(node, cx).map(KeySetting::Path)
        }
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        serde_json::json!({"type": "string", "minLength": 1})
    }

    fn describe() -> String {
        "a field path or a template".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(match self {
            KeySetting::Path(path) => path.to_string(),
            KeySetting::Template(template) => template.text().to_owned(),
        })
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

/// How a table's file is to be read.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) path: PathBuf,
    format: Option<TableFormat>,
    key: Option<String>,
    allow_empty: bool,
    /// Members to take and their names; `None` for all.
    fields: Option<Vec<(String, String)>>,
}

impl Form {
    pub(super) fn of(table: &TableSetting, fields: Option<&FieldsSetting>) -> Form {
        let fields = fields.map(|fields| match fields {
            FieldsSetting::Names(names) => names.iter().map(|name| (name.clone(), name.clone())).collect(),
            FieldsSetting::Renamed(map) => map.0.iter().map(|(name, to)| (name.value.clone(), to.clone())).collect(),
        });
        match table {
            TableSetting::Path(path) => {
                Form { path: path.clone(), format: None, key: None, allow_empty: false, fields }
            }
            TableSetting::File(file) => Form {
                path: file.file.clone(),
                format: file.format,
                key: file.key.clone(),
                allow_empty: file.allow_empty,
                fields,
            },
        }
    }

    /// Reads the table, to be used instead of `old`.
    ///
    /// Errors: why the file cannot be used: it cannot be read to its end, has no records, lacks the column or member of
    /// the key, one of `fields` or, where all are taken, one that `old` has; or has another key than `old`.
    pub(super) fn load(&self, path: &Path, old: Option<&Table>) -> Result<Table, FileError> {
        let size = std::fs::metadata(path).map_err(FileError::Read)?.len();
        if size > MAX_FILE_BYTES {
            return Err(format!("the file has {size} bytes, the limit is {MAX_FILE_BYTES}").into());
        }
        let text = std::fs::read_to_string(path).map_err(FileError::Read)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
        let format = match (self.format, &*end) {
            (Some(format), _) => format,
            (None, "csv") => TableFormat::Csv,
            (None, "json") => TableFormat::Json,
            (None, "ndjson" | "jsonl") => TableFormat::Ndjson,
            (None, _) => return Err("the name does not say the format: write `table: {file, format}`".into()),
        };
        let mut table = Table::default();
        if !matches!(format, TableFormat::Json) {
            table.ends = last_line_ends(text, old.map(|old| old.ends))?;
        }
        let mut missing: Vec<&str> = self.fields.iter().flatten().map(|(from, _)| &**from).collect();
        match format {
            TableFormat::Csv => self.csv(text, &mut table, &mut missing)?,
            TableFormat::Json => match serde_json::from_str(text).map_err(|error| error.to_string())? {
                Value::Object(map) => {
                    for (key, value) in map {
                        let record = match value {
                            Value::Object(record) => record,
                            value => Map::from_iter([("value".to_owned(), value)]),
                        };
                        self.add(&mut table, &key, record, &mut missing);
                    }
                }
                Value::Array(list) => {
                    for (n, record) in list.into_iter().enumerate() {
                        self.record(&mut table, record, &mut missing)
                            .map_err(|why| format!("record {}: {why}", n + 1))?;
                    }
                }
                _ => return Err("neither an object nor an array".into()),
            },
            TableFormat::Ndjson => {
                for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                    let record = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", n + 1))?;
                    self.record(&mut table, record, &mut missing).map_err(|why| format!("line {}: {why}", n + 1))?;
                }
            }
        }
        let empty = table.records.is_empty();
        if empty && !self.allow_empty {
            return Err("it has no records; `table: {file, allow_empty: true}` takes it all the same".into());
        }
        if let Some(name) = missing.first().filter(|_| !empty) {
            return Err(format!("`fields` names `{name}`, which no record has").into());
        }
        table.note_members();
        if let Some(name) = old.filter(|_| self.fields.is_none() && !empty).and_then(|old| old.lost_member(&table)) {
            return Err(FileError::Worse(format!(
                "no record has `{name}`, which the table in use has; name those that are to be there with `fields`"
            )));
        }
        // Where nothing says which column is the key, another first one makes every event miss.
        if let Some(old) = old.filter(|old| old.key.is_some() && table.key.is_some() && old.key != table.key) {
            let key = |table: &Table| table.key.clone().unwrap_or_default();
            return Err(FileError::Worse(format!(
                "its first column or member is `{}`, and the table in use has `{}` as its key; say which with `table: {{file, key}}`",
                key(&table),
                key(old)
            )));
        }
        Ok(table)
    }

    fn csv(&self, text: &str, table: &mut Table, missing: &mut Vec<&str>) -> Result<(), FileError> {
        let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let names = reader.headers().map_err(|error| error.to_string())?.clone();
        if names.is_empty() {
            return Err("it is empty: not even the line of columns is there".into());
        }
        let key = match &self.key {
            None => 0,
            Some(key) => {
                names.iter().position(|name| name == key).ok_or_else(|| format!("there is no column `{key}`"))?
            }
        };
        table.key = names.get(key).map(str::to_owned);
        missing.retain(|field| !names.iter().any(|name| name == *field));
        if let Some(name) = missing.first() {
            return Err(format!("there is no column `{name}`, which `fields` names").into());
        }
        for row in reader.records() {
            let row = row.map_err(|error| error.to_string())?;
            let keeps_key = names.get(key).is_some_and(|name| self.takes(name));
            let members = names.iter().zip(&row).enumerate().filter(|(n, _)| *n != key || keeps_key);
            let record = members.map(|(_, (name, value))| (name.to_owned(), value.into())).collect();
            self.add(table, row.get(key).unwrap_or_default(), record, missing);
        }
        Ok(())
    }

    fn record(&self, table: &mut Table, record: Value, missing: &mut Vec<&str>) -> Result<(), FileError> {
        let Value::Object(mut record) = record else { return Err("not an object".into()) };
        let key = match (&self.key, &table.key) {
            (Some(key), _) | (None, Some(key)) => key.clone(),
            (None, None) => record.keys().next().cloned().ok_or("it has no members")?,
        };
        table.key.get_or_insert_with(|| key.clone());
        let value = if self.takes(&key) { record.get(&key).cloned() } else { record.shift_remove(&key) };
        let value = value.ok_or_else(|| format!("there is no member `{key}`"))?;
        let text = match value {
            Value::String(text) => text,
            // No event has this key: null is as good as absent, and the text `null` is something else.
            Value::Null => return Ok(()),
            Value::Object(_) | Value::Array(_) => return Err(format!("`{key}` is not a text or number").into()),
            other => other.to_string(),
        };
        self.add(table, &text, record, missing);
        Ok(())
    }

    /// Whether `fields` names it: then the key is taken like any other.
    fn takes(&self, name: &str) -> bool {
        self.fields.iter().flatten().any(|(from, _)| from == name)
    }

    /// Adds a record; the names of `fields` that it has are no longer `missing`.
    fn add(&self, table: &mut Table, key: &str, record: Map<String, Value>, missing: &mut Vec<&str>) {
        missing.retain(|name| !record.contains_key(*name));
        let record = match &self.fields {
            None => record,
            Some(fields) => {
                let mut record = record;
                fields.iter().filter_map(|(from, to)| Some((to.clone(), record.shift_remove(from)?))).collect()
            }
        };
        let text = Value::Object(record).to_string().into_bytes();
        table.records.insert(key.as_bytes().into(), text.into());
    }
}

/// Records by key, each as a JSON object ready to be copied. Of a key given twice the last record counts.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: HashMap<Box<[u8]>, Box<[u8]>>,
    /// The column or member that holds the keys; `None` for an object from keys to records.
    key: Option<String>,
    /// Its last line has an end.
    ends: bool,
    /// Names of the members of its records, up to [`MOST_MEMBERS`].
    members: std::collections::BTreeSet<String>,
}

/// Tables whose records have more members than that, each its own, are not held to have them again.
const MOST_MEMBERS: usize = 256;

impl Table {
    /// The record of `key`.
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.records.get(key).map(|record| &**record)
    }

    fn note_members(&mut self) {
        for record in self.records.values() {
            for child in Children::new(record) {
                let name = &record[child.key.0..child.key.1];
                if self.members.len() <= MOST_MEMBERS && !self.members.iter().any(|known| known.as_bytes() == name) {
                    self.members.insert(String::from_utf8_lossy(name).into_owned());
                }
            }
        }
    }

    /// A member that records of this table have and none of `new`.
    fn lost_member(&self, new: &Table) -> Option<&str> {
        let compared = self.members.len() <= MOST_MEMBERS && new.members.len() <= MOST_MEMBERS;
        self.members.iter().find(|name| compared && !new.members.contains(*name)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(name: &str, text: &str, key: Option<&str>, fields: Option<&[(&str, &str)]>) -> Result<Table, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let fields = fields.map(|list| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect());
        let form = Form { path: path.clone(), format: None, key: key.map(str::to_owned), allow_empty: false, fields };
        form.load(&path, None).map_err(|error| error.to_string())
    }

    fn get(table: &Table, key: &str) -> String {
        String::from_utf8(table.get(key.as_bytes()).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn tables_are_read_in_each_format() {
        let csv = load("t.csv", "\u{feff}id,name,tier\nu1,\"A, \"\"B\"\"\",1\nu2,C,2\n", None, None).unwrap();
        assert_eq!(get(&csv, "u1"), r#"{"name":"A, \"B\"","tier":"1"}"#);
        let csv = load("t.csv", "name,id\nA,7\n", Some("id"), Some(&[("name", "customer"), ("id", "x")])).unwrap();
        assert_eq!(get(&csv, "7"), r#"{"customer":"A","x":"7"}"#);
        let json = load("t.json", r#"{"u1": {"n": 1.10, "o": {"p": []}}, "u2": "x"}"#, None, None).unwrap();
        assert_eq!(get(&json, "u1"), r#"{"n":1.10,"o":{"p":[]}}"#);
        assert_eq!(get(&json, "u2"), r#"{"value":"x"}"#);
        let text = r#"[{"id": 7, "n": null}, {"id": 8}, {"m": 1, "id": 9}, {"id": null}]"#;
        let json = load("t.json", text, None, None).unwrap();
        assert_eq!((get(&json, "7"), get(&json, "8")), (r#"{"n":null}"#.into(), "{}".into()));
        assert_eq!(get(&json, "9"), r#"{"m":1}"#, "the key is the first record's first member");
        assert!(json.get(b"null").is_none(), "no text is null");
        let json = load("t.json", text, None, Some(&[("id", "id"), ("n", "n")])).unwrap();
        assert_eq!((get(&json, "7"), get(&json, "8")), (r#"{"id":7,"n":null}"#.into(), r#"{"id":8}"#.into()));
        let lines = load("t.ndjson", "{\"a\":1,\"id\":\"x\"}\n\n{\"a\":2,\"id\":\"y\"}", Some("id"), None).unwrap();
        assert_eq!(get(&lines, "y"), r#"{"a":2}"#);
        assert!(lines.get(b"z").is_none());
    }

    #[test]
    fn a_table_that_lost_a_column_does_not_replace_one_that_had_it() {
        let dir = tempfile::tempdir().unwrap();
        for (name, good, worse, better) in [
            ("t.csv", "user,name,tier\n1,A,x\n", "user,name\n1,A\n", "user,tier,name,more\n1,x,A,y\n"),
            (
                "t.ndjson",
                "{\"user\":1,\"tier\":\"x\"}\n{\"user\":2}\n",
                "{\"user\":1,\"teir\":\"x\"}\n",
                "{\"user\":3,\"tier\":1}\n",
            ),
            ("t.json", r#"{"1": {"tier": 1}}"#, r#"{"1": {"name": 1}}"#, r#"{"2": {"tier": 1, "name": 2}}"#),
        ] {
            let path = dir.path().join(name);
            let load = |text: &str, fields: Option<Vec<(String, String)>>, old: Option<&Table>| {
                std::fs::write(&path, text).unwrap();
                Form { path: path.clone(), format: None, key: None, allow_empty: false, fields }.load(&path, old)
            };
            let old = load(good, None, None).unwrap();
            let why = load(worse, None, Some(&old)).unwrap_err().to_string();
            assert!(why.contains("`tier`") && why.contains("fields"), "{name}: {why}");
            load(better, None, Some(&old)).unwrap();
            if name == "t.csv" {
                let fields = Some(vec![("name".to_owned(), "name".to_owned())]);
                load(worse, fields, Some(&old)).unwrap();
            }
        }
    }

    #[test]
    fn a_file_that_is_no_table_says_where() {
        for (name, text, want) in [
            ("t.csv", "a,b\n1\n", "record 1"),
            ("t.json", "3", "neither"),
            ("t.json", "[{\"a\":1},2]", "record 2: not an object"),
            ("t.ndjson", "{\"a\":1}\n{", "line 2"),
            ("t.ndjson", "{\"a\":{}}", "line 1: `a` is not a text or number"),
            ("t.txt", "", "format"),
        ] {
            let why = load(name, text, None, None).unwrap_err();
            assert!(why.contains(want), "{name}: {why}");
        }
        assert!(load("t.csv", "a,b\n1,2\n", Some("c"), None).unwrap_err().contains("no column `c`"));
    }
}
