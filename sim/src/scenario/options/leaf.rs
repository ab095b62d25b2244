//! Values of options.

use super::tree::{Node, Problem, Value};
use super::{Choice, Entry, Field, Spec};

fn wrong(node: &Node, spec: &Spec, takes: &str) -> Problem {
    let unit = if spec.unit.is_empty() { String::new() } else { format!(" ({})", spec.unit) };
    let what = format!("{} takes {takes}{unit}, not {}", spec.path, node.value);
    Problem::new(&node.place, what)
}

fn entry(spec: &Spec, takes: String, default: String, value: String) -> Entry {
    Entry { unit: spec.unit, takes, default, value, ..Entry::table(spec) }
}

fn range(spec: &Spec) -> String {
    spec.range.map_or_else(String::new, |(low, high)| format!("{low} to {high}"))
}

fn is_within(spec: &Spec, value: f64) -> bool {
    spec.range.is_none_or(|(low, high)| (low..=high).contains(&value))
}

macro_rules! whole_numbers {
    ($($ty:ty),*) => { $(
        impl Field for $ty {
            fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
                let number = match node.value {
                    Value::Integer(n) if is_within(spec, n as f64) => <$ty>::try_from(n).ok(),
                    _ => None,
                };
                let from = spec.range.map_or_else(String::new, |_| format!(" from {}", range(spec)));
                *self = number.ok_or_else(|| wrong(node, spec, &format!("a whole number{from}")))?;
                Ok(())
            }

            fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
                let takes = if spec.range.is_some() { range(spec) } else { "a number".to_owned() };
                visit(entry(spec, takes, default.to_string(), self.to_string()));
            }
        }
    )* };
}

whole_numbers!(u32, u64);

impl Field for f64 {
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
        let number = match node.value {
            Value::Integer(n) => Some(n as f64),
            Value::Float(n) => Some(n),
            _ => None,
        };
        let fits = |n: &f64| n.is_finite() && is_within(spec, *n);
        let from = spec.range.map_or_else(String::new, |_| format!(" from {}", range(spec)));
        *self = number.filter(fits).ok_or_else(|| wrong(node, spec, &format!("a number{from}")))?;
        Ok(())
    }

    fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
        let takes = if spec.range.is_some() { range(spec) } else { "a number".to_owned() };
        visit(entry(spec, takes, default.to_string(), self.to_string()));
    }
}

impl Field for bool {
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
        let Value::Bool(is) = node.value else {
            return Err(wrong(node, spec, "true or false"));
        };
        *self = is;
        Ok(())
    }

    fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
        let takes = "true or false".to_owned();
        visit(entry(spec, takes, default.to_string(), self.to_string()));
    }
}

fn words<T: Choice>() -> String {
    let words: Vec<&str> = T::ALL.iter().map(|(_, word)| *word).collect();
    match &words[..] {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

fn word<T: Choice>(choice: T) -> String {
    let found = T::ALL.iter().find(|(other, _)| *other == choice);
    found.map_or_else(String::new, |(_, word)| (*word).to_owned())
}

impl<T: Choice> Field for T {
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
        let found = match &node.value {
            Value::Text(text) => T::ALL.iter().find(|(_, word)| word == text),
            _ => None,
        };
        *self = found.ok_or_else(|| wrong(node, spec, &words::<T>()))?.0;
        Ok(())
    }

    fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
        visit(entry(spec, words::<T>(), word(*default), word(*self)));
    }
}

/// The name of a file; empty for none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FileName(pub String);

impl Field for FileName {
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
        let Value::Text(text) = &node.value else {
            return Err(wrong(node, spec, "the name of a file"));
        };
        self.0.clone_from(text);
        Ok(())
    }

    fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
        let told = |name: &FileName| if name.0.is_empty() { "none" } else { &name.0 }.to_owned();
        visit(entry(spec, "the name of a file".to_owned(), told(default), told(self)));
    }
}
