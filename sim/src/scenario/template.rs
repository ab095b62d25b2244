//! A scenario's text.

use super::options::{Node, Place, Problem, Value};
use super::{SHIPPED, Scenario};

/// A scenario as it was written, into which other values can be put.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    /// Its name: that of the file.
    pub name: String,
    /// What it is about, in a line.
    pub about: String,
    kind: Scenario,
    tree: Node,
}

impl Template {
    /// Reads a text. Its options are looked at only when a scenario is made of it.
    pub fn parse(name: &str, text: &str) -> Result<Template, Problem> {
        let mut tree = Node::parse(text)?;
        let kinds = Scenario::KINDS.map(|kind| format!("\"{kind}\"")).join(", ");
        let kind = match tree.take("kind") {
            None => {
                let what = format!("it says no kind: write kind = one of {kinds}");
                return Err(Problem::new(&Place::Whole, what));
            }
            Some(node) => {
                let known = match &node.value {
                    Value::Text(kind) => Scenario::of_kind(kind),
                    _ => None,
                };
                let what = || format!("kind is one of {kinds}, not {}", node.value);
                known.ok_or_else(|| Problem::new(&node.place, what()))?
            }
        };
        let about = match tree.take("about") {
            None => String::new(),
            Some(Node { value: Value::Text(about), .. }) => about,
            Some(node) => {
                let what = format!("about is a text, not {}", node.value);
                return Err(Problem::new(&node.place, what));
            }
        };
        Ok(Template { name: name.to_owned(), about, kind, tree })
    }

    /// One of those that come with the program.
    pub fn shipped(name: &str) -> Option<Result<Template, Problem>> {
        let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Some(Template::parse(name, text))
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        self.kind.kind()
    }

    /// Gives an option another value, by its dotted path.
    pub fn set(&mut self, path: &str, value: &str) -> Result<(), Problem> {
        if path == "kind" || path == "about" {
            let place = Place::Argument(format!("{path}={value}"));
            return Err(Problem::new(
                &place,
                format!("{path} is no option; write a file of your own"),
            ));
        }
        self.tree.set(path, value)
    }

    /// The scenario; `file` gives the text of a file that it names, or says why not.
    pub fn scenario(
        &self,
        file: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Scenario, Problem> {
        self.kind.clone().read(&self.tree, file)
    }
}
