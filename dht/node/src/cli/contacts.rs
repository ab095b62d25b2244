//! `dht-node contacts`

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dht::{NodeInfo, SNAPSHOT_CONTACTS_MAX, Snapshot};
use serde_json::json;
use wire::compact::Family;
use wire::scope::is_unicast;
use wire::{Id, NodeId};

use super::output::Output;
use super::session::s;
use super::store::{Store, not_saved, saved};
use super::{Common, Failure};

/// More than a line for each contact that is kept, with comments.
const INPUT_BYTES_MAX: u64 = 4 << 20;
/// Lines that are refused by name; of more, only how many.
const REFUSED_SHOWN: usize = 10;

#[derive(Args, Debug)]
#[command(after_help = "\
Prints the contacts that a node saved in its data folder, one a line: id and address. The node may run
meanwhile; it saves ten seconds after its start, every five minutes, and when it is stopped.

Examples:
  dht-node contacts --data-dir ./node
  dht-node contacts --data-dir ./node | dht-node contacts import --data-dir ./other")]
pub(crate) struct Contacts {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Add contacts to those that a node saved, to start warm from.
    Import(Import),
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line has an id of 40 hexadecimal digits and an address, as in
  2c6b6858d61da9543d4231a71db4b1c9264b0685 203.0.113.5:6881
Empty lines and what follows a # are skipped. If any line is wrong, nothing is imported. The node must
not run. A folder without a node gets one, with an id of its own.

Examples:
  dht-node contacts import --data-dir ./node contacts.txt
  ssh host dht-node contacts --data-dir ./node | dht-node contacts import --data-dir ./node")]
struct Import {
    /// The file to read; `-`: standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

impl Contacts {
    pub(crate) fn run(&self, common: &Common) -> Result<(), Failure> {
        let Some(folder) = &common.data_dir else {
            return Err(Failure::Usage("which node's? name its folder with --data-dir DIR".into()));
        };
        match &self.what {
            None => print(folder, common),
            Some(What::Import(import)) => import.run(folder, common),
        }
    }
}

fn print(folder: &Path, common: &Common) -> Result<(), Failure> {
    let Snapshot { own, contacts } = saved(folder)?.ok_or_else(|| not_saved(folder))?;
    let mut out = Output::new(common);
    for NodeInfo { id, addr } in &contacts {
        let json = json!({"event": "contact", "id": id.to_string(), "addr": addr});
        out.result(&format!("{id} {addr}"), json)?;
    }
    let n = contacts.len();
    let json = json!({"event": "done", "ids": texts(&own), "contacts": n});
    Ok(out.summary(&format!("{n} contact{} of node {}", s(n as u32), name(&own)), json)?)
}

impl Import {
    fn run(&self, folder: &Path, common: &Common) -> Result<(), Failure> {
        // Read before the folder is made: a wrong list leaves nothing behind.
        let new = read(&self.file)?;
        let store = Store::open(folder)?;
        let mut kept = match store.file.load_or_set_aside()? {
            Some(snapshot) => snapshot,
            None => Snapshot {
                own: vec![NodeInfo { id: Id(rand::random()), addr: ([0; 4], 0).into() }],
                contacts: Vec::new(),
            },
        };
        let added = add(&mut kept, new);
        for family in [Family::V4, Family::V6] {
            let of_family = |contact: &&NodeInfo| Family::of(&contact.addr) == family;
            let n = kept.contacts.iter().filter(of_family).count();
            if n > SNAPSHOT_CONTACTS_MAX {
                return Err(Failure::Usage(format!(
                    "that makes {n} contacts of one family, and at most {SNAPSHOT_CONTACTS_MAX} are \
                     kept\n  a node needs a few hundred: give fewer"
                )));
            }
        }
        store.file.save(&kept)?;
        let (own, n) = (&kept.own, kept.contacts.len());
        let json = json!({
            "event": "imported", "ids": texts(own), "imported": added, "contacts": n,
        });
        let imported = format!("{added} contact{} imported", s(added as u32));
        let text = format!("{imported}; node {} has {n}", name(own));
        Ok(Output::new(common).summary(&text, json)?)
    }
}

fn texts(own: &[NodeInfo]) -> Vec<String> {
    own.iter().map(|own| own.id.to_string()).collect()
}

/// What a node is called: by its first id.
fn name(own: &[NodeInfo]) -> String {
    own.first().map_or_else(|| "without an id".into(), |own| own.id.to_string())
}

/// Adds contacts; those under an id or at an address that a new one has give way. Returns how many
/// were added.
fn add(kept: &mut Snapshot, new: Vec<NodeInfo>) -> usize {
    let (mut ids, mut addrs) = (BTreeSet::new(), BTreeSet::new());
    let mut is_first = |contact: &NodeInfo| {
        let first = !ids.contains(&contact.id) && !addrs.contains(&contact.addr);
        first && ids.insert(contact.id) && addrs.insert(contact.addr)
    };
    let is_own = |id| kept.own.iter().any(|own| own.id == id);
    let new: Vec<_> = new.into_iter().filter(|c| !is_own(c.id) && is_first(c)).collect();
    kept.contacts.retain(|c| !ids.contains(&c.id) && !addrs.contains(&c.addr));
    let added = new.len();
    kept.contacts.extend(new);
    added
}

fn read(path: &Path) -> Result<Vec<NodeInfo>, Failure> {
    let failed = |error: io::Error| Failure::Internal(format!("{}: {error}", path.display()));
    let input: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).map_err(failed)?),
    };
    let (mut contacts, mut refused, mut bytes, mut more) = (Vec::new(), Vec::new(), 0, 0);
    for (number, line) in BufReader::new(input.take(INPUT_BYTES_MAX)).split(b'\n').enumerate() {
        let line = line.map_err(failed)?;
        bytes += line.len() as u64 + 1;
        match contact(&String::from_utf8_lossy(&line)) {
            Ok(contact) => contacts.extend(contact),
            Err(_) if refused.len() >= REFUSED_SHOWN => more += 1,
            Err(why) => refused.push(format!("line {}: {why}", number + 1)),
        }
    }
    if bytes >= INPUT_BYTES_MAX {
        let text = format!("{}: more than {INPUT_BYTES_MAX} bytes", path.display());
        return Err(Failure::Usage(text));
    }
    if more > 0 {
        refused.push(format!("and {more} more"));
    }
    match refused.is_empty() {
        true => Ok(contacts),
        false => {
            Err(Failure::Usage(format!("{}\n  nothing is imported", refused.join("\n       "))))
        }
    }
}

/// The contact of a line, if there is one.
fn contact(line: &str) -> Result<Option<NodeInfo>, String> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let (id, addr) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(None),
        (Some(id), Some(addr), None) => (id, addr),
        _ => return Err("not an id and an address".into()),
    };
    let id: NodeId = id.parse().map_err(|error| format!("{error}"))?;
    let addr = addr.parse().map_err(|_| format!("{addr:?} is no IP address with a port"))?;
    if id == Id::ZERO || !is_unicast(addr) {
        return Err("no node can have this id or address".into());
    }
    Ok(Some(NodeInfo { id, addr }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node(n: u8, addr: &str) -> NodeInfo {
        NodeInfo { id: Id([n; 20]), addr: addr.parse().unwrap() }
    }

    #[test]
    fn a_line_is_a_contact_a_comment_or_wrong() {
        let id = "07".repeat(20);
        for (line, found) in [
            (format!("{id} 1.2.3.4:5"), Some(node(7, "1.2.3.4:5"))),
            (format!("\t{id}  [2001:db8::1]:6881 # mine\r"), Some(node(7, "[2001:db8::1]:6881"))),
            (String::new(), None),
            ("  # nothing".into(), None),
        ] {
            assert_eq!(contact(&line), Ok(found), "{line:?}");
        }
        for line in [
            id.clone(),
            "1.2.3.4:5".into(),
            format!("{} 1.2.3.4:5", &id[1..]),
            format!("{id} 1.2.3.4"),
            format!("{id} host:5"),
            format!("{id} 1.2.3.4:0"),
            format!("{id} 0.0.0.0:5"),
            format!("{id} 224.0.0.1:5"),
            format!("{id} 1.2.3.4:5 6"),
            format!("{} 1.2.3.4:5", "00".repeat(20)),
            "\u{fffd}".into(),
        ] {
            assert!(contact(&line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_new_contact_replaces_those_of_its_id_and_its_address() {
        let (a, b, c) = (node(1, "1.1.1.1:1"), node(2, "2.2.2.2:2"), node(3, "3.3.3.3:3"));
        let mut kept = Snapshot { own: vec![node(9, "0.0.0.0:1")], contacts: vec![a, b, c] };
        let new = vec![
            node(1, "2.2.2.2:2"),
            node(1, "4.4.4.4:4"),
            node(3, "2.2.2.2:2"),
            node(9, "3.3.3.3:3"),
        ];
        assert_eq!(add(&mut kept, new), 1);
        assert_eq!(kept.contacts, [c, node(1, "2.2.2.2:2")]);
    }
}
