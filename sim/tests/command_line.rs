//! `sim` as a user calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SMALL: [&str; 6] = ["run", "dht", "--set", "nodes=40", "--set", "lookups=20"];

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(args).output().expect("sim runs")
}

fn small(args: &[&str]) -> Output {
    sim(&[&SMALL[..], args].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it writes UTF-8")
}

/// The JSON in the last line.
fn json(output: &Output) -> Value {
    let text = stdout(output);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|error| {
        panic!("{error} in {text}: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// An empty folder of this test.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sim-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder can be made");
    path
}

#[test]
fn a_sweep_over_seeds_gives_intervals_and_does_not_depend_on_the_workers() {
    let sweep =
        ["--sweep", "links.loss=0,0.2", "--set", "promise.found=0.5", "--seeds", "3", "--json"];
    let with = |workers| {
        let output = small(&[&sweep[..], &["--workers", workers]].concat());
        let mut results = json(&output);
        results.as_object_mut().unwrap().remove("machine").expect("it tells of the machine");
        (output.status.code(), results)
    };
    let (code, results) = with("1");
    assert_eq!(code, Some(0), "{results}");
    assert_eq!(with("2"), (code, results.clone()));
    assert_eq!(results["settings"].as_array().unwrap().len(), 2);
    assert_eq!(results["settings"][1]["options"]["links.loss"], "0.2");
    assert_eq!(results["settings"][1]["seeds"], 3);
    assert_eq!(results["manifest"]["seeds"], serde_json::json!([1, 2, 3]));
    let table = stdout(&small(&["--sweep", "links.loss=0,0.2", "--seeds", "3"]));
    assert!(
        table.contains("3 seeds each; ± reaches the farther end of the 95 % interval"),
        "{table}"
    );
    let one = stdout(&small(&["--seed", "5"]));
    assert!(one.contains("one seed: no interval can be claimed"), "{one}");
    assert!(one.contains("seed 5, trace "), "{one}");
}

#[test]
fn results_go_into_a_folder_that_holds_nothing_else() {
    let path = folder("out");
    let out = path.to_str().unwrap();
    let call = ["--sweep", "nodes=30,40", "--seeds", "2", "--out", out];
    assert_eq!(small(&call).status.code(), Some(0));
    let first: Value =
        serde_json::from_str(&fs::read_to_string(path.join("results.json")).unwrap()).unwrap();
    assert_eq!(first["manifest"]["scenario"], "dht");
    for name in ["runs", "summary", "comparisons", "distributions", "cdf", "series"] {
        let text = fs::read_to_string(path.join(format!("{name}.csv"))).unwrap();
        assert!(text.lines().count() > 2, "{name}: {text}");
    }
    let runs = fs::read_to_string(path.join("runs.csv")).unwrap();
    assert_eq!(runs.lines().count(), 5, "{runs}");
    let figure = path.join("figures/end_p50_ms_over_nodes.svg");
    assert!(fs::read_to_string(&figure).unwrap().starts_with("<svg"));
    // Earlier results give way, and take their figures with them.
    assert_eq!(small(&["--out", out]).status.code(), Some(0));
    assert!(!figure.exists());
    let alien = folder("alien");
    fs::write(alien.join("thesis.txt"), "do not lose me").unwrap();
    let refused = small(&["--out", alien.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("is not empty") && why.contains("name another folder"), "{why}");
    assert_eq!(fs::read_dir(&alien).unwrap().count(), 1);
}

#[test]
fn who_interrupts_it_keeps_the_runs_that_were_done() {
    let path = folder("killed");
    let args = [&SMALL[..], &["--seeds", "100000", "--quiet", "--out", path.to_str().unwrap()]];
    let mut child = Command::new(env!("CARGO_BIN_EXE_sim")).args(args.concat()).spawn().unwrap();
    let results = path.join("results.json");
    let since = std::time::Duration::from_millis(100);
    while !results.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(since);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let results: Value = serde_json::from_str(&fs::read_to_string(results).unwrap()).unwrap();
    let seeds = results["settings"][0]["seeds"].as_u64().unwrap();
    assert!((1..100_000).contains(&seeds), "{seeds}");
}

/// Waits until `is_ready`, or the program ends.
fn wait(child: &mut std::process::Child, mut is_ready: impl FnMut(u32) -> bool) {
    while !is_ready(child.id()) && child.try_wait().expect("it is a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Whether a process has a handler for SIGINT (proc_pid_status(5), a bit for each signal from 1 on).
fn catches_interrupts(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).is_some_and(|b| b & 2 != 0)
}

#[test]
#[cfg(target_os = "linux")]
fn an_interrupt_gives_the_results_of_the_runs_that_are_done() {
    let path = folder("interrupted");
    let out = path.to_str().unwrap();
    for args in [&["--out", out][..], &["--json", "--out", out], &["--json"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
        command.args([&SMALL[..], &["--seeds", "100000", "--quiet"], args].concat());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        wait(&mut child, catches_interrupts);
        let results = path.join("results.json");
        wait(&mut child, |_| results.exists());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{args:?}");
        if args.contains(&"--json") {
            let results = json(&output);
            let runs = |setting: &Value| setting["seeds"].as_u64().unwrap();
            let done: u64 = results["settings"].as_array().unwrap().iter().map(runs).sum();
            assert_eq!(results["missing"].as_u64().map(|missing| missing + done), Some(100_000));
        } else {
            let text = stdout(&output);
            assert!(text.contains(" incomplete: ") && text.contains(" of 100000 runs"), "{text}");
            assert!(text.contains("end_p50_ms"), "{text}");
        }
    }
}

#[test]
fn what_a_host_sends_and_receives_goes_into_a_file() {
    let path = folder("pcap");
    let (run, replay) = (path.join("run"), path.join("replay"));
    let output = small(&["--pcap", run.to_str().unwrap(), "--pcap-host", "7"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let args = ["--until", "60", "--host", "7", "--pcap", replay.to_str().unwrap()];
    let output = sim(&[&["replay"], &SMALL[1..], &args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = fs::read(run).unwrap();
    assert!(bytes.len() > 10_000 && bytes == fs::read(replay).unwrap());
    if Path::new("/dev/full").exists() {
        let full = small(&["--pcap", "/dev/full"]);
        assert_eq!(full.status.code(), Some(2));
        assert!(String::from_utf8(full.stderr).unwrap().contains("/dev/full: "));
    }
}

#[test]
fn a_file_is_a_scenario() {
    let path = folder("file").join("mine.toml");
    fs::write(&path, "kind = \"dht\"\nnodes = 40\nlookups = 20\n[links]\nloss = 0.01\n").unwrap();
    let mine = path.to_str().unwrap();
    let results = json(&sim(&["run", mine, "--set", "dead=0.1", "--json"]));
    assert_eq!(results["manifest"]["scenario"], "mine");
    let options = results["manifest"]["options"].as_array().unwrap();
    for option in ["kind=dht", "nodes=40", "dead=0.1", "links.loss=0.01", "churn.law=none"] {
        assert!(options.iter().any(|known| known == option), "{option} in {options:?}");
    }
    fs::write(&path, "kind = \"dht\"\nnodes = 40\n[links]\nlos = 0.01\n").unwrap();
    let wrong = sim(&["run", mine]);
    assert_eq!(wrong.status.code(), Some(2));
    let why = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        why.contains("line 4: there is no option links.los; did you mean links.loss?"),
        "{why}"
    );
}

#[test]
fn a_measured_matrix_is_read_from_its_file() {
    let path = folder("matrix").join("delays");
    fs::write(&path, "0 40 60\n40 0 80\n60 80 0\n").unwrap();
    let file = format!("links.matrix_file={}", path.display());
    let output = small(&["--set", "links.latency=matrix", "--set", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let missing = small(&["--set", "links.latency=matrix", "--set", "links.matrix_file=gone"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn what_is_promised_and_not_held_is_told() {
    let output = small(&["--set", "links.loss=1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).contains("1 of 1 runs did not hold what is promised"));
}

#[test]
fn wrong_usage_is_told_before_anything_runs() {
    for (args, want) in [
        (&["run", "dth"][..], "there is no scenario dth; there are dht, "),
        (&["run", "dht", "--set", "nodes"], "write it as key=value"),
        (&["run", "dht", "--set", "nodes=1"], "nodes=1: nodes takes a whole number from 2"),
        (&["run", "dht", "--sweep", "node=1,2"], "did you mean nodes?"),
        (&["run", "dht", "--set", "kind=swarm"], "kind is no option"),
        (&["run", "gone.toml"], "gone.toml: "),
        (&["run", "dht", "--seeds", "2", "--pcap", "x"], "--pcap is of one run, and these are 2"),
        (&["run", "dht", "--pcap", "x", "--pcap-host", "1000"], "there is no host 1000; there are"),
        (&["run", "dht", "--pcap", "no/such/folder"], "no/such/folder: "),
        (&["dht", "--nodes", "1"], "nodes takes a whole number from 2 to 1000000, not 1"),
        (&["dht", "--loss", "1.5"], "links.loss takes a number from 0 to 1, not 1.5"),
        (&["swarm", "--up-mbit", "0"], "access.up_mbit takes a number from 0.001"),
    ] {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(why.contains(want), "{args:?}: {why}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn all_scenarios_are_listed_and_explained() {
    let listed = json(&sim(&["list", "--json"]));
    let names: Vec<_> = listed["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    let text = stdout(&sim(&["list"]));
    for name in names {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} in {text}");
        let explained = json(&sim(&["explain", name, "--json"]));
        assert!(explained["options"].as_array().unwrap().len() > 15, "{name}");
    }
    let told = stdout(&sim(&["explain", "dht-nat", "--set", "nodes=7"]));
    assert!(told.contains("nodes = 7  (default 1000; takes 2 to 1000000)"), "{told}");
}

#[test]
fn the_shorthands_keep_their_fields() {
    let dht = json(&sim(&["dht", "--nodes", "40", "--lookups", "20", "--churn", "2", "--json"]));
    for field in [
        "scenario",
        "version",
        "nodes",
        "lookups",
        "seed",
        "loss",
        "dead",
        "churn_s",
        "left",
        "dead_contacts",
        "closest_found",
        "lookups_by_closest_found",
        "found_ratio",
        "hops_mean",
        "asked_mean",
        "first_peer_ms",
        "end_ms",
        "kept_by_mean",
        "contacts_mean",
        "packets",
        "packets_per_lookup",
        "virtual_s",
        "wall_s",
        "peak_rss_bytes",
        "trace_hash",
    ] {
        assert!(dht.get(field).is_some(), "{field} in {dht}");
    }
    assert_eq!((dht["churn_s"].as_f64(), dht["nodes"].as_u64()), (Some(120.0), Some(40)));
    let swarm = json(&sim(&["swarm", "--peers", "4", "--pieces", "5", "--json"]));
    for field in [
        "scenario",
        "version",
        "peers",
        "pieces",
        "piece_length",
        "up_bytes_per_second",
        "down_bytes_per_second",
        "seed",
        "loss",
        "found_ratio",
        "finished",
        "leeches",
        "hops_mean",
        "first_peer_s",
        "metadata_s",
        "finish_s",
        "makespan_s",
        "bound_s",
        "seed_copies",
        "wasted_share",
        "packets",
        "stream_writes",
        "stream_bytes",
        "virtual_s",
        "wall_s",
        "peak_rss_bytes",
        "trace_hash",
    ] {
        assert!(swarm.get(field).is_some(), "{field} in {swarm}");
    }
    // They are the scenarios of the same name.
    let trace = |output: &Output| stdout(output).lines().last().unwrap_or_default().to_owned();
    let short = trace(&sim(&["dht", "--nodes", "40", "--lookups", "20"]));
    assert!(stdout(&small(&[])).contains(short.trim_start_matches("trace ")), "{short}");
}

#[test]
fn a_peer_is_described_at_a_moment_and_at_the_end() {
    let sets = ["--set", "peers=5", "--set", "pieces=20", "--seed", "3"];
    let replay = |args: &[&str]| {
        let output = sim(&[&["replay", "swarm"], &sets[..], args].concat());
        (output.status.code(), stdout(&output), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told, _) = replay(&["--until", "24", "--host", "2"]);
    assert_eq!(code, Some(0));
    for want in ["host 2 at 24", "of 20: ", "connections", "simulated: ", "kept: ", "contacts"] {
        assert!(told.contains(want), "{want} in {told}");
    }
    let (code, told, _) = replay(&["--until", "end", "--host", "2"]);
    assert!(code == Some(0) && told.contains("pieces: 20 of 20: 0-19"), "{told}");
    // Nobody did what it never may.
    let (code, _, why) = replay(&[]);
    assert!(code == Some(2) && why.contains("--until end"), "{why}");
}

#[test]
fn a_hunt_takes_a_kind_and_tells_what_it_ran() {
    let folder = folder("hunt");
    let out = folder.to_str().unwrap();
    for kind in ["dht", "swarm"] {
        let args = ["hunt", "--kind", kind, "--minutes", "0.01", "--out", out, "--json"];
        let output = sim(&args);
        let told = json(&output);
        assert!(told["runs"].as_u64() > Some(0), "{told}");
        // How far it comes is the machine's matter, so what it finds is as well.
        let found = told["found"].as_array().unwrap();
        assert_eq!(output.status.code(), Some(if found.is_empty() { 0 } else { 3 }), "{told}");
        assert!(found.iter().all(|case| case["kind"] == kind), "{told}");
    }
    assert_eq!(sim(&["hunt", "--kind", "eclipse"]).status.code(), Some(2));
}
