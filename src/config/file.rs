//! The configuration file.

use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Error;
use super::Origin;
use super::settings::Setting;
use super::value::Value;

/// Reads the file: for each key its name, its line and its value, in the order of the file. The first error in the file is
/// returned.
pub(super) fn read(path: &Path) -> Result<Vec<(&'static str, Origin, Value)>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<(&'static str, Origin, Value)>, Error> {
    let table = DeTable::parse(text).map_err(|error| Error::Syntax {
        path: path.to_owned(),
        line: line_at(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    // The parser sorts keys by name; errors are reported in the order of the file.
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);

    let mut given = Vec::new();
    for (key, value) in entries {
        let line = line_at(text, key.span().start);
        let key = key.into_inner();
        let Some(name) = name_of(&key) else {
            return Err(Error::UnknownKey { path: path.to_owned(), line, hint: hint(&key), key: key.into_owned() });
        };
        let origin = Origin::File { path: path.to_owned(), line, key: name };
        let value = convert(&value).map_err(|kind| Error::Value {
            origin: origin.clone(),
            value: text.get(value.span()).unwrap_or_default().to_owned(),
            reason: format!("a string is needed, not {kind}"),
        })?;
        given.push((name, origin, value));
    }
    Ok(given)
}

/// The name or alias that equals this key.
fn name_of(key: &str) -> Option<&'static str> {
    Setting::named(key)?.names().find(|name| *name == key)
}

/// Names the setting if the key differs in case or has underscores.
fn hint(key: &str) -> String {
    match name_of(&key.to_lowercase().replace('_', "-")) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => String::new(),
    }
}

/// A line number for a byte offset, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The error is the type of the value.
fn convert(value: &Spanned<DeValue<'_>>) -> Result<Value, &'static str> {
    match value.get_ref() {
        DeValue::Array(items) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or(item.get_ref().type_str()))
            .collect::<Result<_, _>>()
            .map(Value::List),
        single => scalar(single).map(Value::Text),
    }
}

/// Numbers and booleans are accepted as text, so that `0` and `true` need no quotes.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(answer) => Ok(answer.to_string()),
        other => Err(other.type_str()),
    }
}
