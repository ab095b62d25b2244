//! Rules about the text of the repository itself, each with the reason why it is one.

use std::fs;
use std::path::{Path, PathBuf};

use harness::programs::repository;

/// A source file is talked about at 600 lines and split before this many, tests not counted.
const SOURCE_LINES_MAX: usize = 800;

/// Packages whose code has neither clock nor randomness of its own, outside of `driver/` and
/// binaries: a simulated run could not be repeated.
const PURE: [&str; 4] = ["wire", "dht", "client", "sim"];

/// Folders inside those that are packages of binaries, or binaries.
const IMPURE_FOLDERS: [&str; 3] = ["dht/node/", "client/cli/", "sim/src/bin/"];

/// A text file of the repository.
struct Text {
    /// Relative to the repository, with `/`.
    path: String,
    body: String,
}

/// All files that git would take, so that neither build output nor strangers' files count.
fn texts() -> Vec<Text> {
    let root = repository();
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(&root)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "not a git repository: {root:?}");
    let names = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let texts: Vec<_> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        // What is not text, or was removed and not yet committed, has nothing to be read.
        .filter_map(|name| {
            let body = fs::read_to_string(root.join(name)).ok()?;
            Some(Text { path: name.to_owned(), body })
        })
        .collect();
    assert!(texts.iter().any(|text| text.path == "Cargo.toml"), "no files found in {root:?}");
    texts
}

fn sources(texts: &[Text]) -> impl Iterator<Item = &Text> {
    texts.iter().filter(|text| text.path.ends_with(".rs"))
}

/// The lines before the tests at a file's end, with their numbers.
fn code_lines(text: &Text) -> impl Iterator<Item = (usize, &str)> {
    let lines: Vec<_> = text.body.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    let end = tests.unwrap_or(lines.len());
    lines.into_iter().take(end).enumerate().map(|(i, line)| (i + 1, line))
}

fn is_pure(path: &str) -> bool {
    PURE.iter().any(|package| path.starts_with(&format!("{package}/src/")))
        && !IMPURE_FOLDERS.iter().any(|folder| path.starts_with(folder))
        && !path.contains("/driver/")
}

/// Where any of `words` stands in `lines`, as "path:line: word".
fn find<'a>(
    path: &str,
    lines: impl Iterator<Item = (usize, &'a str)>,
    words: &[String],
) -> Vec<String> {
    lines
        .flat_map(|(number, line)| {
            let found = words.iter().filter(move |word| line.contains(word.as_str()));
            found.map(move |word| format!("{path}:{number}: {word}")).collect::<Vec<_>>()
        })
        .collect()
}

/// Words in two halves, so that this file does not contain them itself.
fn words(halves: &[(&str, &str)]) -> Vec<String> {
    halves.iter().map(|(a, b)| format!("{a}{b}")).collect()
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn pure_code_has_no_clock_and_no_randomness_of_the_system() {
    let banned = words(&[
        ("Instant::", "now"),
        ("System", "Time"),
        ("thread", "_rng"),
        ("rand::", "rng()"),
        ("Os", "Rng"),
        ("getrandom", "::"),
    ]);
    let texts = texts();
    let found: Vec<_> = sources(&texts)
        .filter(|text| is_pure(&text.path))
        .flat_map(|text| find(&text.path, code_lines(text), &banned))
        .collect();
    assert_none("only a driver may ask the system for time or randomness", &found);
}

#[test]
fn no_source_file_is_too_long() {
    let texts = texts();
    let found: Vec<_> = sources(&texts)
        .filter(|text| text.path.contains("src/"))
        .map(|text| (text, code_lines(text).count()))
        .filter(|(_, lines)| *lines > SOURCE_LINES_MAX)
        .map(|(text, lines)| format!("{}: {lines} lines before its tests", text.path))
        .collect();
    assert_none("split these", &found);
}

#[test]
fn nothing_is_left_to_do_in_the_code() {
    let banned = words(&[("to", "do!("), ("unimple", "mented!("), ("db", "g!("), ("FIX", "ME")]);
    let texts = texts();
    let found: Vec<_> = sources(&texts)
        .flat_map(|text| {
            let lines = text.body.lines().enumerate().map(|(i, line)| (i + 1, line));
            find(&text.path, lines, &banned)
        })
        .collect();
    assert_none("finish these", &found);
}

#[test]
fn only_tier_two_may_be_ignored() {
    let (ignore, allowed) = (format!("#[{}", "ignore"), format!("#[{} = \"tier 2", "ignore"));
    let texts = texts();
    let found: Vec<_> = sources(&texts)
        .flat_map(|text| {
            let lines = text.body.lines().enumerate();
            lines
                .filter(|(_, line)| line.contains(&ignore) && !line.contains(&allowed))
                .map(|(i, _)| format!("{}:{}", text.path, i + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none("a test either runs in tier 1 or says that it belongs to tier 2", &found);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let texts = texts();
    let root = repository();
    let mut found = Vec::new();
    for text in texts.iter().filter(|text| text.path.ends_with(".md")) {
        let folder = root.join(&text.path).parent().map(Path::to_owned).unwrap_or_default();
        for (number, target) in links(&text.body) {
            let file: PathBuf = folder.join(&target);
            if !file.exists() {
                found.push(format!("{}:{number}: {target}", text.path));
            }
        }
    }
    assert_none("links to files that are not there", &found);
}

/// The relative targets of Markdown links, `](target)`, without fragments, with line numbers.
fn links(body: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (i, line) in body.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            let elsewhere = target.is_empty() || target.contains("://") || target.contains(':');
            if !elsewhere {
                found.push((i + 1, target.to_owned()));
            }
        }
    }
    found
}

/// The BEPs that docs/beps.md has to speak of.
const BEPS: [&str; 27] = [
    "3", "5", "6", "9", "10", "11", "14", "16", "20", "21", "23", "27", "29", "32", "33", "42",
    "43", "44", "45", "46", "47", "51", "52", "53", "54", "55", "MSE",
];

#[test]
fn every_test_that_the_table_of_beps_names_exists() {
    let texts = texts();
    let table = texts.iter().find(|text| text.path == "docs/beps.md").expect("docs/beps.md");
    let rows = bep_rows(&table.body);
    let mut found = Vec::new();
    for row in &rows {
        for (path, name) in &row.tests {
            let file = texts.iter().find(|text| text.path == *path);
            if !file.is_some_and(|file| has_test(&file.body, name)) {
                found.push(format!("BEP {}: {path}::{name}", row.bep));
            }
        }
        if matches!(row.done, "yes" | "part") && row.tests.is_empty() {
            found.push(format!("BEP {}: no test shows it", row.bep));
        }
        if !["yes", "part", "no", "n/a"].contains(&row.done) {
            found.push(format!("BEP {}: done is {:?}", row.bep, row.done));
        }
    }
    assert_none("docs/beps.md claims what no test shows", &found);
    let told: Vec<_> = rows.iter().map(|row| row.bep).collect();
    assert_eq!(told, BEPS, "rows of docs/beps.md");
}

/// A row of the table of BEPs.
#[derive(Debug, PartialEq)]
struct BepRow<'a> {
    bep: &'a str,
    done: &'a str,
    /// File and function.
    tests: Vec<(&'a str, &'a str)>,
}

fn bep_rows(body: &str) -> Vec<BepRow<'_>> {
    body.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter_map(|cells| match cells[..] {
            ["BEP" | "---", ..] => None,
            [bep, _, done, .., tests] => {
                let tests = tests.split('`').filter_map(|name| name.split_once("::")).collect();
                Some(BepRow { bep, done, tests })
            }
            _ => None,
        })
        .collect()
}

/// Whether a source has a test of this name: a function under a `test` attribute.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let head = format!("fn {name}(");
    let is_attribute = |line: &&str| line.starts_with("#[");
    lines.iter().enumerate().any(|(at, line)| {
        line.trim_start_matches("async ").starts_with(&head)
            && lines[..at]
                .iter()
                .rev()
                .take_while(|l| is_attribute(l))
                .any(|l| l.starts_with("#[test]") || l.starts_with("#[tokio::test"))
    })
}

#[test]
fn the_table_of_beps_is_read_as_it_stands() {
    let table = "| BEP | Title | Done | What | What not | Tests |\n| --- | --- | --- | --- | --- | --- |\n\
         | 3 | X | yes | a | b | `p/q.rs::one` `r.rs::two` |\n| 9 | Y | no | | c | |";
    let row = |bep, done, tests| BepRow { bep, done, tests };
    let tests = vec![("p/q.rs", "one"), ("r.rs", "two")];
    assert_eq!(bep_rows(table), [row("3", "yes", tests), row("9", "no", vec![])]);
    let source = "fn helper() {}\n#[test]\nfn one() {}\n  #[tokio::test(x)]\n  async fn two() {}";
    assert!(has_test(source, "one") && has_test(source, "two"));
    assert!(!has_test(source, "helper") && !has_test(source, "thr"));
}

#[test]
fn no_path_of_one_machine_stands_in_the_repository() {
    let banned = words(&[("/tmp", "/"), ("/work", "/"), ("/root", "/"), ("/home", "/")]);
    let root = format!("{}/", repository().display());
    let banned: Vec<_> = banned.into_iter().chain([root]).collect();
    let texts = texts();
    let found: Vec<_> = texts
        .iter()
        .filter(|text| !text.path.ends_with(".lock"))
        .flat_map(|text| {
            let lines = text.body.lines().enumerate().map(|(i, line)| (i + 1, line));
            find(&text.path, lines, &banned)
        })
        .collect();
    assert_none("these would be wrong elsewhere", &found);
}

#[test]
fn links_are_read_as_markdown_has_them() {
    let body = "see [a](docs/a.md#top) and [b](https://x.y/z)\n![c](c.svg \"title\") [d](#here)";
    let want = vec![(1, "docs/a.md".to_owned()), (2, "c.svg".to_owned())];
    assert_eq!(links(body), want);
}
