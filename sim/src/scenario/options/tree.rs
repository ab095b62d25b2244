//! A scenario's text as a tree of values, each of which knows where it stands.

use std::fmt;

use toml::de::{DeTable, DeValue};

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A line of the scenario's text, from 1.
    Line(usize),
    /// The command line: what stands there.
    Argument(String),
    /// Nowhere in particular.
    Whole,
}

/// Why options cannot be taken, with a way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what would do.
    pub what: String,
    /// The path of an option that nobody knows.
    pub(super) unknown: Option<String>,
}

impl Problem {
    /// A problem somewhere.
    pub fn new(place: &Place, what: impl Into<String>) -> Problem {
        Problem { place: place.clone(), what: what.into(), unknown: None }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(line) => write!(f, "line {line}: {}", self.what),
            Place::Argument(argument) => write!(f, "{argument}: {}", self.what),
            Place::Whole => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    pub(in crate::scenario) place: Place,
    pub(in crate::scenario) value: Value,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::scenario) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A date, or a number that fits nowhere: the text.
    Other(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(n) => write!(f, "{n}"),
            Value::Float(n) => write!(f, "{n}"),
            Value::Bool(is) => write!(f, "{is}"),
            Value::Text(text) => write!(f, "\"{text}\""),
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
            Value::Other(text) => f.write_str(text),
        }
    }
}

impl Node {
    /// Reads TOML.
    pub fn parse(text: &str) -> Result<Node, Problem> {
        let line = |at: usize| Place::Line(1 + text[..at.min(text.len())].matches('\n').count());
        let table = DeTable::parse(text).map_err(|error| {
            let place = error.span().map_or(Place::Whole, |span| line(span.start));
            Problem::new(&place, error.message())
        })?;
        Ok(Node { place: Place::Whole, value: from_table(table.get_ref(), &line) })
    }

    /// Takes one value of a table out of it, if it is there.
    pub(in crate::scenario) fn take(&mut self, key: &str) -> Option<Node> {
        let Value::Table(entries) = &mut self.value else { return None };
        let at = entries.iter().position(|(known, _)| known == key)?;
        Some(entries.remove(at).1)
    }

    /// Gives the option at a dotted path a value: TOML, or else text. A number in the path counts the
    /// entries of a list from 0, and the number of them adds one.
    pub fn set(&mut self, path: &str, text: &str) -> Result<(), Problem> {
        let place = Place::Argument(format!("{path}={text}"));
        let value = match DeValue::parse(text) {
            Ok(value) => from_value(value.get_ref(), &|_| place.clone()),
            Err(_) => Value::Text(text.to_owned()),
        };
        let mut node = self;
        for key in path.split('.') {
            node = node.child(key, &place)?;
        }
        (node.value, node.place) = (value, place);
        Ok(())
    }

    fn child(&mut self, key: &str, place: &Place) -> Result<&mut Node, Problem> {
        let index = key.parse::<usize>().ok();
        let new = || Node { place: place.clone(), value: Value::Table(Vec::new()) };
        if let (Some(0), Value::Table(entries)) = (index, &self.value)
            && entries.is_empty()
        {
            self.value = Value::List(Vec::new());
        }
        let stands = format!("\"{key}\" would stand within {}", self.value);
        match &mut self.value {
            Value::List(list) => {
                let len = list.len();
                let Some(index) = index.filter(|index| *index <= len) else {
                    let what = format!("\"{key}\" is none of the {len} entries there");
                    return Err(Problem::new(place, what));
                };
                if index == len {
                    list.push(new());
                }
                Ok(&mut list[index])
            }
            Value::Table(entries) => {
                let at = entries.iter().position(|(known, _)| known == key);
                let at = at.unwrap_or_else(|| {
                    entries.push((key.to_owned(), new()));
                    entries.len() - 1
                });
                Ok(&mut entries[at].1)
            }
            _ => Err(Problem::new(place, stands)),
        }
    }
}

fn from_table(table: &DeTable<'_>, line: &dyn Fn(usize) -> Place) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let node = Node { place: line(key.span().start), value: from_value(value.get_ref(), line) };
        (key.get_ref().to_string(), node)
    });
    Value::Table(entries.collect())
}

fn from_value(value: &DeValue<'_>, line: &dyn Fn(usize) -> Place) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Value::Integer(n),
            Err(_) => Value::Other(n.as_str().to_owned()),
        },
        DeValue::Float(n) => match n.as_str().parse() {
            Ok(n) => Value::Float(n),
            Err(_) => Value::Other(n.as_str().to_owned()),
        },
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(list) => {
            let node = |item: &toml::Spanned<DeValue<'_>>| Node {
                place: line(item.span().start),
                value: from_value(item.get_ref(), line),
            };
            Value::List(list.iter().map(node).collect())
        }
        DeValue::Table(table) => from_table(table, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let tree =
            Node::parse("a = 1\n[b]\nc = \"x\"\n\n[[d]]\ne = 0x1f\n[[d]]\ne = 2.5\n").unwrap();
        let mut tree = tree;
        let mut b = tree.take("b").unwrap();
        let c = b.take("c").unwrap();
        assert_eq!((c.place, c.value), (Place::Line(3), Value::Text("x".into())));
        let Value::List(mut d) = tree.take("d").unwrap().value else { panic!() };
        let e = d[1].take("e").unwrap();
        assert_eq!((e.place, e.value), (Place::Line(8), Value::Float(2.5)));
        assert_eq!(d[0].take("e").unwrap().value, Value::Integer(31));
        let error = Node::parse("a = 1\nb = = 2\n").unwrap_err();
        assert_eq!(error.place, Place::Line(2));
    }

    #[test]
    fn a_path_leads_to_what_is_there_and_makes_what_is_not() {
        let mut tree = Node::parse("a = 1\n[[d]]\ne = 1\n").unwrap();
        for (path, text) in
            [("a", "2"), ("b.c", "king"), ("d.0.e", "7"), ("d.1.e", "[8]"), ("f.0.g", "true")]
        {
            tree.set(path, text).unwrap();
        }
        assert_eq!(tree.take("a").unwrap().value, Value::Integer(2));
        assert_eq!(tree.take("b").unwrap().take("c").unwrap().value, Value::Text("king".into()));
        let Value::List(mut d) = tree.take("d").unwrap().value else { panic!() };
        assert_eq!(d[0].take("e").unwrap().value, Value::Integer(7));
        assert!(matches!(d[1].take("e").unwrap().value, Value::List(_)));
        assert!(matches!(tree.take("f").unwrap().value, Value::List(_)));
        let mut tree = Node::parse("a = 1\n[[d]]\ne = 1\n").unwrap();
        for path in ["a.b", "d.5.e", "d.x"] {
            assert!(tree.set(path, "1").is_err(), "{path}");
        }
    }
}
