//! A flood from a million forged addresses on real sockets: who showed a token before is served
//! meanwhile, and everybody right after. Whoever comes new meanwhile is one of the million to the node.

use std::process::Command;

use harness::lan::Lan;
use harness::ours::DhtNode;
use harness::process::output_of;
use serde_json::Value;

/// What `forge` says.
fn forge(host: &harness::lan::Host, node: &str, rate: &str, secs: &str) -> Value {
    let mut command = host.command(env!("CARGO_BIN_EXE_forge"));
    command.args([node, rate, secs]);
    serde_json::from_str(&output_of(command)).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn share(group: &Value) -> f64 {
    number(&group["answered"]) / number(&group["asked"])
}

/// Kilobytes that a process has in memory.
fn resident_kb(pid: u32) -> f64 {
    let mut grep = Command::new("grep");
    grep.args(["VmRSS", &format!("/proc/{pid}/status")]);
    let line = output_of(grep);
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[test]
#[ignore = "tier 2: it wants both processors for itself"]
fn a_flood_from_a_million_addresses_leaves_known_clients_their_answers() {
    let mut lan = Lan::new();
    let (host, outside) = (lan.host("node"), lan.host("outside"));
    let address = lan.face(&host, &outside);
    let mut node = DhtNode::start(&host, address, &[]);
    let at = address.to_string();
    let received = |node: &DhtNode| number(&node.status()["received"]);

    let calm = forge(&outside, &at, "0", "2");
    println!("calm {calm}");
    assert_eq!(calm["verified"], 100);
    let before = received(&node);
    let most = forge(&outside, &at, "max", "3");
    let saturation = (received(&node) - before) / 3.0;
    println!("saturation {saturation:.0} queries/s of {most}");
    let resident = resident_kb(node.process().id());

    let half = forge(&outside, &at, &format!("{:.0}", saturation / 2.0), "8");
    println!("half: known {:.4} new {:.4} {half}", share(&half["known"]), share(&half["new"]));
    println!("status {}", node.status());
    let grown = resident_kb(node.process().id()) - resident;
    println!("{grown} kB more");

    let twice = forge(&outside, &at, &format!("{:.0}", saturation * 2.0), "5");
    println!("twice: known {:.4} new {:.4} {twice}", share(&twice["known"]), share(&twice["new"]));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = forge(&outside, &at, "0", "2");
    println!("after: known {:.4} new {:.4}", share(&after["known"]), share(&after["new"]));

    assert!(share(&half["known"]) >= 0.99 && share(&half["new"]) > 0.0);
    assert!(share(&twice["known"]) >= 0.99);
    // The budget of all Global sources: 1 MB/s, and three seconds' worth at once.
    let secs = number(&half["secs"]);
    assert!(number(&half["forged_bytes"]) <= 1e6 * (secs + 3.0));
    assert!(grown < 1024.0);
    assert!(share(&after["known"]) >= 0.99 && share(&after["new"]) >= 0.99);
}
