//! Options of scenarios: each is said once, with its default, its range, its unit and what it means;
//! reading, checking, explaining and listing them follow from that.

mod leaf;
mod near;
mod tree;

pub use tree::{Node, Place, Problem};

pub(crate) use leaf::FileName;
use near::nearest;
pub(super) use tree::Value;

/// What is known of an option but its value.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(super) path: String,
    pub(super) about: String,
    pub(super) unit: &'static str,
    pub(super) range: Option<(f64, f64)>,
    /// It stands in an entry of a list that has none.
    pub(super) is_example: bool,
}

impl Spec {
    /// Of what has no name.
    pub(super) fn root() -> Spec {
        Spec { path: String::new(), about: String::new(), unit: "", range: None, is_example: false }
    }

    /// Of an option in this table.
    pub(super) fn child(
        &self,
        key: &str,
        about: &str,
        unit: &'static str,
        range: Option<(f64, f64)>,
    ) -> Spec {
        let path =
            if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Spec { path, about: about.trim().to_owned(), unit, range, is_example: self.is_example }
    }
}

/// An option as a user is told of it, or the head of a table of options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its dotted path.
    pub path: String,
    /// What it means.
    pub about: String,
    /// Its unit; empty if it has none.
    pub unit: &'static str,
    /// What it takes; empty for a table.
    pub takes: String,
    /// Its default.
    pub default: String,
    /// Its value.
    pub value: String,
    /// It only shows what an entry of a list may have: there is none.
    pub is_example: bool,
}

impl Entry {
    /// The head of a table.
    pub(super) fn table(spec: &Spec) -> Entry {
        Entry {
            path: spec.path.clone(),
            about: spec.about.clone(),
            unit: "",
            takes: String::new(),
            default: String::new(),
            value: String::new(),
            is_example: spec.is_example,
        }
    }

    /// Whether it is an option, and no head of a table.
    pub fn is_option(&self) -> bool {
        !self.takes.is_empty()
    }
}

/// What can stand behind an option's name: a value, a table, a list of tables.
pub(crate) trait Field: Sized {
    /// Takes what a text says.
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem>;

    /// Tells of itself and of all within.
    fn walk(&self, default: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry));
}

/// A list of tables: `[[name]]`.
impl<T: Field + Default> Field for Vec<T> {
    fn read(&mut self, node: &Node, spec: &Spec) -> Result<(), Problem> {
        let Value::List(list) = &node.value else {
            let what =
                format!("{} is a list of tables, [[{}]], not {}", spec.path, spec.path, node.value);
            return Err(Problem::new(&node.place, what));
        };
        self.clear();
        for (n, node) in list.iter().enumerate() {
            let mut item = T::default();
            item.read(node, &spec.child(&n.to_string(), &spec.about, "", None))?;
            self.push(item);
        }
        Ok(())
    }

    fn walk(&self, _: &Self, spec: &Spec, visit: &mut dyn FnMut(Entry)) {
        let default = T::default();
        for (n, item) in self.iter().enumerate() {
            item.walk(&default, &spec.child(&n.to_string(), &spec.about, "", None), visit);
        }
        if self.is_empty() {
            let mut spec = spec.child("0", &spec.about, "", None);
            spec.is_example = true;
            default.walk(&default, &spec, visit);
        }
    }
}

/// The entries of a table of options.
pub(crate) fn entries<T: Field + Default>(options: &T) -> Vec<Entry> {
    let mut all = Vec::new();
    options.walk(&T::default(), &Spec::root(), &mut |entry| all.push(entry));
    all.retain(|entry| !entry.path.is_empty());
    all
}

/// Options out of a text; what it does not say stays as it is. What nobody knows is told with
/// what it may have been.
pub(crate) fn read<T: Field + Default>(options: &mut T, node: &Node) -> Result<(), Problem> {
    options.read(node, &Spec::root()).map_err(|mut problem| {
        if let Some(unknown) = &problem.unknown {
            let known: Vec<String> = entries(options)
                .into_iter()
                .chain(entries(&T::default()))
                .map(|entry| entry.path)
                .collect();
            problem.what += &match &nearest(unknown, &known)[..] {
                [] => String::from("; sim explain tells all"),
                near => format!("; did you mean {}?", near.join(" or ")),
            };
        }
        problem
    })
}

/// A key that its table does not know.
pub(crate) fn unknown(key: &str, node: &Node, spec: &Spec) -> Problem {
    let path = spec.child(key, "", "", None).path;
    Problem {
        place: node.place.clone(),
        what: format!("there is no option {path}"),
        unknown: Some(path),
    }
}

/// The values of a table.
pub(crate) fn table<'a>(node: &'a Node, spec: &Spec) -> Result<&'a [(String, Node)], Problem> {
    match &node.value {
        Value::Table(entries) => Ok(entries),
        value => {
            let what = format!("{} is a table, [{}], not {value}", spec.path, spec.path);
            Err(Problem::new(&node.place, what))
        }
    }
}

/// Defines a table of options: a struct with public fields, its default, and how it is read and told
/// of. Each option has a doc comment, a type, a default, and if need be a range and a unit:
/// `nodes: u32 = 1000, in 2..=1_000_000, "nodes";`
macro_rules! options {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $ty:ty = $default:expr
                    $(, in $low:literal ..= $high:literal)? $(, $unit:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, PartialEq, Debug)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $key: $ty,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($key: $default,)* }
            }
        }

        impl $name {
            /// What they are.
            #[allow(dead_code, reason = "not every table tells it by itself")]
            pub(crate) const ABOUT: &'static str = concat!($($about),+);
        }

        impl $crate::scenario::options::Field for $name {
            fn read(
                &mut self,
                node: &$crate::scenario::options::Node,
                spec: &$crate::scenario::options::Spec,
            ) -> Result<(), $crate::scenario::options::Problem> {
                for (key, node) in $crate::scenario::options::table(node, spec)? {
                    match key.as_str() {
                        $(stringify!($key) => {
                            let range: &[(f64, f64)] =
                                &[$((f64::from($low), f64::from($high)))?];
                            let about = concat!($($doc),+);
                            let unit: &[&str] = &[$($unit)?];
                            let unit = unit.first().copied().unwrap_or("");
                            let spec = spec.child(key, about, unit, range.first().copied());
                            $crate::scenario::options::Field::read(&mut self.$key, node, &spec)?;
                        })*
                        _ => return Err($crate::scenario::options::unknown(key, node, spec)),
                    }
                }
                Ok(())
            }

            fn walk(
                &self,
                default: &Self,
                spec: &$crate::scenario::options::Spec,
                visit: &mut dyn FnMut($crate::scenario::options::Entry),
            ) {
                visit($crate::scenario::options::Entry::table(spec));
                $({
                    let range: &[(f64, f64)] = &[$((f64::from($low), f64::from($high)))?];
                    let about = concat!($($doc),+);
                    let unit: &[&'static str] = &[$($unit)?];
                    let unit = unit.first().copied().unwrap_or("");
                    let spec =
                        spec.child(stringify!($key), about, unit, range.first().copied());
                    $crate::scenario::options::Field::walk(
                        &self.$key, &default.$key, &spec, visit,
                    );
                })*
            }
        }
    };
}

/// Defines an option that is one of some words, the first by default.
macro_rules! choices {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident {
            $(#[doc = $first_doc:literal])+
            $first:ident = $first_word:literal,
            $($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub enum $name {
            $(#[doc = $first_doc])+
            #[default]
            $first,
            $($(#[doc = $doc])+ $variant,)*
        }

        impl $crate::scenario::options::Choice for $name {
            const ALL: &'static [($name, &'static str)] =
                &[($name::$first, $first_word), $(($name::$variant, $word)),*];
        }
    };
}

pub(crate) use {choices, options};

/// One of some words.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// All, with their words.
    const ALL: &'static [(Self, &'static str)];
}

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// A law.
        pub enum Law {
            /// None.
            None = "none",
            /// Another.
            Some = "some",
        }
    }

    options! {
        /// A table within.
        pub struct Inner {
            /// A share.
            loss: f64 = 0.0, in 0.0..=1.0;
            /// A law.
            law: Law = Law::None;
        }
    }

    options! {
        /// All.
        pub struct Outer {
            /// So many
            /// nodes.
            nodes: u32 = 10, in 2..=100, "nodes";
            /// Whether.
            flag: bool = false;
            /// The links.
            links: Inner = Inner::default();
            /// Some more.
            more: Vec<Inner> = Vec::new();
        }
    }

    fn outer(text: &str) -> Result<Outer, String> {
        let mut options = Outer::default();
        let tree = Node::parse(text).map_err(|e| e.to_string())?;
        read(&mut options, &tree).map_err(|e| e.to_string())?;
        Ok(options)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(outer(""), Ok(Outer::default()));
        let options =
            outer("nodes = 7\n[links]\nloss = 1\nlaw = \"some\"\n[[more]]\n[[more]]\nloss=0.5");
        let options = options.unwrap();
        assert_eq!((options.nodes, options.links.loss, options.links.law), (7, 1.0, Law::Some));
        assert_eq!(options.more.len(), 2);
        assert_eq!(options.more[1].loss, 0.5);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_a_way_out() {
        for (text, want) in [
            ("\nnodes = 1", "line 2: nodes takes a whole number from 2 to 100 (nodes), not 1"),
            (
                "nodes = \"x\"",
                "line 1: nodes takes a whole number from 2 to 100 (nodes), not \"x\"",
            ),
            ("nodes = 2.5", "line 1: nodes takes a whole number from 2 to 100 (nodes), not 2.5"),
            ("[links]\nloss = 1.5", "line 2: links.loss takes a number from 0 to 1, not 1.5"),
            ("[links]\nlaw = \"sime\"", "line 2: links.law takes none or some, not \"sime\""),
            ("[links]\nlos = 1", "line 2: there is no option links.los; did you mean links.loss?"),
            (
                "loss = 1",
                "line 1: there is no option loss; did you mean links.loss or more.0.loss?",
            ),
            ("flag = 1", "line 1: flag takes true or false, not 1"),
            ("links = 1", "line 1: links is a table, [links], not 1"),
            ("[more]\nloss = 1", "line 1: more is a list of tables, [[more]], not a table"),
            ("zzzzzzzzz = 1", "line 1: there is no option zzzzzzzzz; sim explain tells all"),
        ] {
            assert_eq!(outer(text), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn all_options_are_told_with_all_that_is_known() {
        let options = outer("nodes = 7\n[[more]]\nloss = 0.5").unwrap();
        let all = entries(&options);
        let paths: Vec<_> = all.iter().map(|entry| entry.path.as_str()).collect();
        let want = [
            "nodes",
            "flag",
            "links",
            "links.loss",
            "links.law",
            "more.0",
            "more.0.loss",
            "more.0.law",
        ];
        assert_eq!(paths, want);
        let nodes = &all[0];
        assert_eq!((nodes.about.as_str(), nodes.unit), ("So many nodes.", "nodes"));
        assert_eq!((nodes.default.as_str(), nodes.value.as_str()), ("10", "7"));
        assert_eq!(nodes.takes, "2 to 100");
        assert!(!all[2].is_option() && all[3].is_option());
        let examples = entries(&Outer::default());
        assert!(examples.iter().any(|entry| entry.is_example && entry.path == "more.0.loss"));
    }
}
