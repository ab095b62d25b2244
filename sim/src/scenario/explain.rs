//! What a scenario is, for people.

use super::{Scenario, Template};

/// Letters of a line.
const WIDTH: usize = 96;

/// What a scenario is, and each of its options with what it means, its unit, what it takes, its value and
/// its default.
pub fn explain(template: &Template, scenario: &Scenario) -> String {
    let mut out = format!("{} (kind {})\n", template.name, scenario.kind());
    out += &wrapped(&template.about, 2);
    out += &wrapped(&format!("{}: {}", scenario.kind(), scenario.kind_about()), 2);
    for entry in scenario.entries() {
        if !entry.is_option() {
            let brackets = if entry.path.split('.').any(|part| part.parse::<u32>().is_ok()) {
                let none = if entry.is_example { " none; an entry has:" } else { "" };
                format!("\n[[{}]]{none}\n", entry.path)
            } else {
                format!("\n[{}]\n", entry.path)
            };
            out += &brackets;
            out += &wrapped(&entry.about, 2);
            continue;
        }
        let unit = if entry.unit.is_empty() { String::new() } else { format!(" {}", entry.unit) };
        let default = match entry.value == entry.default {
            true => "the default".to_owned(),
            false => format!("default {}", entry.default),
        };
        let takes = entry.takes;
        out += &format!("{} = {}{unit}  ({default}; takes {takes})\n", entry.path, entry.value);
        out += &wrapped(&entry.about, 6);
    }
    out
}

/// A text in lines that begin so far in.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &format!("{:indent$}{line}\n", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        out += &format!("{:indent$}{line}\n", "");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_told_with_its_value_and_its_default() {
        let text = "kind = \"dht\"\nabout = \"Mine.\"\nnodes = 7\n[[partition]]\nat_s = 5\n";
        let template = Template::parse("mine", text).unwrap();
        let scenario = template.scenario(&|_| Err(String::new())).unwrap();
        let told = explain(&template, &scenario);
        for want in [
            "mine (kind dht)\n  Mine.\n  dht: An overlay",
            "\nnodes = 7  (default 1000; takes 2 to 1000000)\n      DHT nodes",
            "\nlinks.latency_min_ms = 20 ms  (the default; takes 0.01 to 10000)\n",
            "\n[links]\n  What happens to packets.",
            "\n[[partition.0]]\n",
            "partition.0.at_s = 5 s  (default 0; takes",
            "\n[[sleep.0]] none; an entry has:\n",
        ] {
            assert!(told.contains(want), "{want}\n{told}");
        }
        assert!(told.lines().all(|line| line.chars().count() <= WIDTH + 40));
    }
}
