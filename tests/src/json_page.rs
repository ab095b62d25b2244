//! docs/json.md, held against what programs print.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use serde_json::Value;

use crate::programs::repository;

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let path = repository().join("docs/json.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path:?}: {error}"))
});

/// Panics unless the page tells of this event and of each of its fields.
pub fn assert_has(event: &Value) {
    let Some(name) = event["event"].as_str() else { return };
    let missing = missing(&PAGE, name, event);
    assert!(missing.is_empty(), "docs/json.md says nothing of {missing:?} of the event {name:?}");
}

/// What the page does not tell of an event: its own name, or fields.
fn missing(page: &str, name: &str, event: &Value) -> BTreeSet<String> {
    let Some((_, own)) = page.split_once(&format!("### `{name}`\n")) else {
        return [name.to_owned()].into();
    };
    let own = own.split("\n#").next().unwrap_or_default();
    let mut fields = BTreeSet::new();
    collect(event, &mut fields);
    fields.retain(|field| {
        let common = ["event", "ms"].contains(&field.as_str());
        !common && !own.contains(&format!("`{field}`"))
    });
    fields
}

/// The names of all fields, those of objects within it among them.
fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name.clone());
                collect(value, fields);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, fields)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_page_does_not_tell_is_found() {
        let page = "### `one`\n`a`, `b`\n### `two`\n`c`";
        let of = |name: &str, event| missing(page, name, &event).into_iter().collect::<Vec<_>>();
        assert!(of("one", json!({ "event": "one", "ms": 1, "a": [{ "b": 2 }] })).is_empty());
        assert_eq!(of("one", json!({ "a": { "c": 1 }, "d": 2 })), ["c", "d"]);
        assert_eq!(of("three", json!({})), ["three"]);
    }
}
